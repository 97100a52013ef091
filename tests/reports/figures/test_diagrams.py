"""The diagrams: every difference is marked by shape and word, and nothing else is."""

import re
from collections import Counter
from dataclasses import replace

import pytest

from ablations.catalogue.ablation import Ablation, spec_changes
from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.recipes import PUBLISHED
from mnist_blocks import TARGET, NetworkSpec
from mnist_blocks.summary import layer_table
from reports.figures.diagrams import Box, columns, totals

Columns = dict[str, list[Box]]


def labels(found: Columns, state: str) -> Counter[str]:
    boxes = [box for column in found.values() for box in column if box.key != "output"]
    return Counter(box.label for box in boxes if box.state == state)


def layer_label(description: str) -> str:
    """A layer's words without what follows the channels: `conv 3×3, 8 → 16`."""
    words = re.sub(r", (stride 2|no bias)", "", description)
    return re.sub(r"(\d)x(\d)", r"\1×\2", words).replace("->", "→")


@pytest.mark.parametrize(
    "ablation",
    [entry for entry in CATALOGUE if "published" in entry.recipes],
    ids=lambda entry: entry.name,
)
def test_what_differs_is_marked_and_nothing_else_is(ablation: Ablation) -> None:
    was, now = (
        {row.name: row.description for row in layer_table(spec)}
        for spec in (TARGET, ablation.network_spec)
    )
    found = columns(ablation.network_spec, ablation.training_spec("published"), PUBLISHED)
    switched_off = {
        "momentum": "momentum 0.9",
        "drop_learning_rate_after": "÷ 10 after 75 % of the epochs",
        "augment": "zoom and rotate",
        "normalise_input": "normalise",
    }
    missing = Counter(layer_label(was[name]) for name in was if name not in now)
    changes = spec_changes(TARGET, ablation.training_spec("published"), PUBLISHED)
    fields_changed = {change.field for change in changes} - {"seed_offset"}
    missing += Counter(switched_off[field] for field in fields_changed)
    # What moved is removed at one place and added at another.
    moved = labels(found, "removed") - missing
    assert labels(found, "removed") == missing + moved
    assert labels(found, "added") == moved + Counter(
        layer_label(now[name]) for name in now if name not in was
    ) + Counter(["other random numbers"] * (ablation.control == "negative"))
    in_both = [[name for name in one if name in other] for one, other in ((was, now), (now, was))]
    assert bool(moved) == (in_both[0] != in_both[1])
    assert labels(found, "changed") == Counter(
        layer_label(now[name]) for name in now if name in was and now[name] != was[name]
    )
    boxes = [box for column in found.values() for box in column]
    assert all(bool(box.mark) == (box.state != "kept") for box in boxes)


def test_marks_name_the_targets_value() -> None:
    network = NetworkSpec(
        block="conv-relu", dropout=0.5, hidden_features=(), downsample="stride", conv_bias=False
    )
    training = replace(PUBLISHED, momentum=0.5, drop_learning_rate_after=None)
    marked = {
        (title, box.label): box.mark
        for title, column in columns(network, training, PUBLISHED).items()
        for box in column
        if box.mark
    }
    assert marked["Stage 3", "batch norm 32"] == "× removed"
    assert marked["Stage 3", "conv 3×3, 32 → 32"] == "now no bias"
    assert marked["Stage 2", "conv 3×3, 16 → 16"] == "now stride 2, no bias"
    assert marked["Head", "linear 32 → 10"] == "was linear 32 → 16"
    assert marked["Training", "momentum 0.5"] == "was momentum 0.9"
    assert marked["Training", "÷ 10 after 75 % of the epochs"] == "× removed"
    wider = columns(replace(network, channels=(8, 16, 14)), training, PUBLISHED)["Stage 3"]
    assert (wider[0].label, wider[0].mark) == (
        "conv 3×3, 16 → 14, no bias",
        "was conv 3×3, 16 → 32",
    )


def test_a_length_that_all_runs_share_is_no_difference() -> None:
    short = replace(PUBLISHED, num_epochs=2, num_train_images=2000)
    found = columns(TARGET, replace(short, momentum=0.0), short)
    assert labels(found, "removed") == Counter(["momentum 0.9"])
    assert labels(found, "kept") >= Counter(["2 epochs", "first 2,000 images"])


def test_totals_and_output_shapes_stand_beside_the_targets() -> None:
    assert totals(replace(TARGET, pooling="flatten")) == [
        ("parameters", 43_538, 18_962),
        ("multiply-adds per image", 1_888_032, 1_863_456),
    ]
    found = columns(replace(TARGET, channels=(8, 16, 14)), PUBLISHED, PUBLISHED)
    outputs = [(box.label, box.mark) for *_, box in found.values() if box.key == "output"]
    assert outputs == [
        ("output 1 × 28 × 28", ""),
        ("output 8 × 14 × 14", ""),
        ("output 16 × 7 × 7", ""),
        ("output 14 × 7 × 7", "was output 32 × 7 × 7"),
        ("output 10", ""),
    ]
