"""A network and its training as columns of boxes, each compared with the target: from specs alone.

`reports/html/templates/diagram.html` shows them.
"""

import functools
import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from ablations.catalogue.experiment import TARGET_TRAINING, TrainingSpec
from ablations.words import plural
from mnist_blocks import TARGET, NetworkSpec
from mnist_blocks.spec import IMAGE_SIZE
from mnist_blocks.summary import LayerRow, layer_table

State = Literal["kept", "removed", "added", "changed"]


class Part(NamedTuple):
    """One operation on images, in the network or in training."""

    key: str
    """Unique in its column, such as `block1.conv`."""
    label: str
    """The text in its box, such as `conv 3×3, 8 → 16`."""
    value: str = ""
    """The number in the label, such as `8 → 16`."""
    details: tuple[str, ...] = ()
    """Further lines, such as `stride 2`."""


class Box(NamedTuple):
    """A part, and how it differs from the target's."""

    part: Part
    state: State
    was: Part | None = None
    """The target's, of a part that is kept or changed."""

    @property
    def block(self) -> str:
        """The block that the part belongs to; empty outside of one."""
        return self.part.key.rpartition(".")[0]

    @property
    def details(self) -> list[str]:
        """The further lines that the target's part has too; all lines of an added part."""
        was = self.was
        return [line for line in self.part.details if was is None or line in was.details]

    @property
    def marks(self) -> list[str]:
        """What differs from the target, a line each; none where the part is kept."""
        if self.was is None:
            return ["× removed" if self.state == "removed" else "+ added"]
        old, new = self.was, self.part
        marks = [f"was {old.value}"] if new.value != old.value else []
        marks += [f"now {detail}" for detail in new.details if detail not in old.details]
        return marks + [f"no {detail} now" for detail in old.details if detail not in new.details]


class Column(NamedTuple):
    """Boxes from top to bottom, in the order of computation."""

    title: str
    boxes: tuple[Box, ...]
    shape: tuple[int, ...] | None = None
    """Of its output; None where there is none."""
    target_shape: tuple[int, ...] | None = None
    """Of its output in the target."""


_cached_layers = functools.cache(layer_table)
"""The layer table of a spec, cached: a page compares every network with one target."""


def totals(network: NetworkSpec) -> list[tuple[str, int, int]]:
    """Parameters and multiply-adds per image: the unit, the network's number and the target's."""
    counted = [("parameters", "parameters"), ("multiply_adds", "multiply-adds per image")]
    return [
        (
            unit,
            *(
                sum(getattr(row, name) for row in _cached_layers(spec))
                for spec in (network, TARGET)
            ),
        )
        for name, unit in counted
    ]


def columns(
    network: NetworkSpec, training: TrainingSpec, target_training: TrainingSpec = TARGET_TRAINING
) -> list[Column]:
    """Images, stages, head and training from left to right, each part compared with the target."""
    stages = max(len(network.channels), len(TARGET.channels))
    names = [f"stage{number}" for number in range(1, stages + 1)]
    image = (1, IMAGE_SIZE, IMAGE_SIZE)
    images = _align(_image_parts(target_training), _image_parts(training))
    recipe = _align(_training_parts(target_training), _training_parts(training))
    return [
        Column("Images", images, image, image),
        *(_layer_column(name, f"Stage {name[5:]}", network) for name in names),
        _layer_column("head", "Head", network),
        Column("Training", recipe),
    ]


def _layer_column(name: str, title: str, network: NetworkSpec) -> Column:
    """The layers of a stage, or of the head, in the network and in the target."""
    target_rows, rows = (
        [row for row in _cached_layers(spec) if row.name.startswith(f"{name}.")]
        for spec in (TARGET, network)
    )
    boxes = _align([_layer_part(row) for row in target_rows], [_layer_part(row) for row in rows])
    shapes = [found[-1].output_shape if found else None for found in (rows, target_rows)]
    return Column(title, boxes, *shapes)


def _layer_part(row: LayerRow) -> Part:
    """A layer of the layer table. Its description is such as `conv 3x3, 8 -> 16, stride 2`."""
    words = re.sub(r"(\d)x(\d)", r"\1×\2", row.description).replace("->", "→")
    label, *details = words.split(", ")
    if details and details[0][0].isdigit():
        label += f", {details.pop(0)}"
    value = re.search(r"[\d.]+( → \d+)?$", label)
    key = row.name.partition(".")[2]
    return Part(key, label, value[0] if value else "", tuple(details))


def _image_parts(training: TrainingSpec) -> list[Part]:
    """What happens to images before the network sees them."""
    number = training.num_train_images
    count = "all" if number is None else f"first {number:,}"
    parts = [Part("num_train_images", f"{count} images", count)]
    if training.augment:
        parts.append(Part("augment", "zoom and rotate"))
    if training.normalise_input:
        parts.append(Part("normalise_input", "normalise"))
    return parts


def _training_parts(training: TrainingSpec) -> list[Part]:
    """How the weights are found."""
    rate, momentum = f"{training.learning_rate}", f"{training.momentum}"
    epochs, batch = f"{training.num_epochs}", f"{training.batch_size}"
    parts = [
        Part("loss", "cross entropy"),
        Part("optimiser", "gradient descent"),
        Part("momentum", f"momentum {momentum}", momentum),
        Part("learning_rate", f"learning rate {rate}", rate),
    ]
    if not training.momentum:
        parts = [part for part in parts if part.key != "momentum"]
    if training.drop_learning_rate_after is not None:
        after = f"after {100 * training.drop_learning_rate_after:g} %"
        parts.append(Part("drop", f"÷ 10 {after}", after, ("of the epochs",)))
    return [
        *parts,
        Part("batch_size", f"batches of {batch}", batch),
        Part("num_epochs", plural(training.num_epochs, "epoch"), epochs),
    ]


def _align(before: Sequence[Part], after: Sequence[Part]) -> tuple[Box, ...]:
    """The parts of both in one order. A part that moved is removed at one place and added at another."""
    old_keys, new_keys = ([part.key for part in parts] for parts in (before, after))
    boxes: list[Box] = []
    matcher = SequenceMatcher(None, old_keys, new_keys, autojunk=False)
    for step, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        old, new = before[old_start:old_end], after[new_start:new_end]
        if step == "equal":
            pairs = zip(new, old, strict=True)
            boxes += [Box(one, "kept" if one == was else "changed", was) for one, was in pairs]
        else:
            boxes += [Box(part, "added") for part in new]
            boxes += [Box(part, "removed") for part in old]
    return tuple(boxes)
