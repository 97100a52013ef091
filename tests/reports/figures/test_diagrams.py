"""The diagrams: every difference is marked by shape and word, and nothing else is."""

import re
from dataclasses import fields, replace

from hypothesis import given
from hypothesis import strategies as st

from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.experiment import TARGET_TRAINING, TrainingSpec
from mnist_blocks import TARGET, NetworkSpec
from mnist_blocks.summary import layer_table
from reports.figures.diagrams import columns, totals
from tests.strategies import network_specs


def layer_label(description: str) -> str:
    """A layer's words without what follows the channels: `conv 3×3, 8 → 16`."""
    words = re.sub(r", (stride 2|no bias)", "", description)
    return re.sub(r"(\d)x(\d)", r"\1×\2", words).replace("->", "→")


trainings = st.builds(
    TrainingSpec,
    num_epochs=st.sampled_from([TARGET_TRAINING.num_epochs, 1, 100]),
    batch_size=st.sampled_from([TARGET_TRAINING.batch_size, 2]),
    learning_rate=st.sampled_from([TARGET_TRAINING.learning_rate, 0.001, 3.0]),
    momentum=st.sampled_from([TARGET_TRAINING.momentum, 0.0, 0.99]),
    drop_learning_rate_after=st.sampled_from([TARGET_TRAINING.drop_learning_rate_after, None, 1.0]),
    augment=st.booleans(),
    normalise_input=st.booleans(),
    num_train_images=st.sampled_from([None, 2, 2000]),
)


networks = st.sampled_from([entry.network_spec for entry in CATALOGUE]) | network_specs()


@given(networks, trainings)
def test_what_differs_is_marked_and_nothing_else_is(
    network: NetworkSpec, training: TrainingSpec
) -> None:
    images, *layers, recipe = columns(network, training)
    # Without the removed boxes it is the network, without the added ones the target.
    for spec, left_out in ((network, "removed"), (TARGET, "added")):
        boxes = [box for column in layers for box in column.boxes if box.state != left_out]
        parts = [box.was or box.part if spec == TARGET else box.part for box in boxes]
        expected = [layer_label(row.description) for row in layer_table(spec)]
        assert [part.label for part in parts] == expected
    for column in (images, *layers, recipe):
        for box in column.boxes:
            assert (box.state == "kept") == (box.part == box.was) == (not box.marks)
        # A part that is in both is removed and added only if parts changed their order.
        was, now = (
            [box.part.key for box in column.boxes if box.state != left_out]
            for left_out in ("added", "removed")
        )
        in_both = [[key for key in one if key in other] for one, other in ((was, now), (now, was))]
        keys = [box.part.key for box in column.boxes]
        assert (len(keys) > len(set(keys))) == (in_both[0] != in_both[1])
    differs = {
        field.name
        for field in fields(training)
        if getattr(training, field.name) != getattr(TARGET_TRAINING, field.name)
    }
    of_images = {"augment", "normalise_input", "num_train_images"}
    for column, names in ((images, differs & of_images), (recipe, differs - of_images)):
        assert sum(box.state != "kept" for box in column.boxes) == len(names)


def test_marks_name_the_targets_value() -> None:
    network = NetworkSpec(
        block="conv-relu", dropout=0.5, hidden_features=(), downsample="stride", conv_bias=False
    )
    training = replace(TARGET_TRAINING, momentum=0.5, drop_learning_rate_after=None)
    marked = {
        (column.title, box.part.label): box.marks
        for column in columns(network, training)
        for box in column.boxes
        if box.marks
    }
    assert marked["Stage 3", "batch norm 32"] == ["× removed"]
    assert marked["Stage 3", "conv 3×3, 32 → 32"] == ["now no bias"]
    assert marked["Stage 2", "conv 3×3, 16 → 16"] == ["now stride 2", "now no bias"]
    assert marked["Head", "linear 32 → 10"] == ["was 32 → 16"]
    assert marked["Training", "momentum 0.5"] == ["was 0.9"]
    assert marked["Training", "÷ 10 after 75 %"] == ["× removed"]


def test_a_length_that_all_runs_share_is_no_difference() -> None:
    short = replace(TARGET_TRAINING, num_epochs=2, num_train_images=2000)
    found = columns(TARGET, replace(short, momentum=0.0, augment=False), short)
    states = {box.part.label: box.state for column in found for box in column.boxes}
    removed = {label for label, state in states.items() if state == "removed"}
    assert removed == {"zoom and rotate", "momentum 0.9"}
    assert states["2 epochs"] == states["first 2,000 images"] == "kept"


def test_totals_and_output_shapes_stand_beside_the_targets() -> None:
    assert totals(replace(TARGET, pooling="flatten")) == [
        ("parameters", 43_538, 18_962),
        ("multiply-adds per image", 1_888_032, 1_863_456),
    ]
    found = columns(replace(TARGET, channels=(8, 16, 14)), TARGET_TRAINING)
    assert [column.shape for column in found] == [
        (1, 28, 28), (8, 14, 14), (16, 7, 7), (14, 7, 7), (10,), None,
    ]  # fmt: skip
    assert found[3].target_shape == (32, 7, 7)
