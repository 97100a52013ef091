"""What a network and its training are made of, part by part, and how that differs from the target.

Everything follows from the two specs: no ablation is known by name here. `diagrams.py` draws it.
"""

import functools
import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import groupby
from typing import Literal, NamedTuple

from ablations.catalogue.experiment import TARGET_TRAINING, TrainingSpec
from ablations.words import plural
from mnist_blocks import TARGET, NetworkSpec
from mnist_blocks.spec import IMAGE_SIZE
from mnist_blocks.summary import LayerRow, layer_table
from reports.text.wording import enumerate_words

State = Literal["kept", "removed", "added", "changed"]
Moved = Literal["", "up", "down", "elsewhere"]


KINDS = {
    "conv 3×3": "3×3 convolution",
    "conv 1×1": "1×1 convolution",
    "batch norm": "batch normalisation",
    "max pool": "max pooling",
    "global average pool": "global average pooling",
    "flatten": "flattening",
    "linear": "linear layer",
}
"""Layers as they are called in a sentence."""


class Part(NamedTuple):
    """One thing that is done to images, in the network or in training."""

    key: str
    """Where in its column, such as `block1.conv`."""
    kind: str
    """What it is called in a sentence, such as `3×3 convolution`."""
    label: str
    """What stands in its box, such as `conv 3×3, 8 → 16`."""
    value: str = ""
    """Of the label, how much there is of it, such as `8 → 16`."""
    details: tuple[str, ...] = ()
    """What else is true of it, such as `stride 2`."""


class Box(NamedTuple):
    """A part, beside what it is in the target."""

    part: Part
    state: State
    was: Part | None = None
    """The target's, where there is one."""
    moved: Moved = ""
    """Whether its place among the others is not the target's."""
    old_place: str = ""
    """Of a part that has moved: the key of the part that it followed in the target, if any."""
    beside: str = ""
    """Of a part that has moved: the kind of the part that it has just overtaken, or let pass."""


class Column(NamedTuple):
    """Boxes that stand one below the other, in the order in which they are carried out."""

    title: str
    boxes: tuple[Box, ...]
    shape: tuple[int, ...] | None = None
    """What comes out at its end; None where nothing does."""
    target_shape: tuple[int, ...] | None = None
    """What comes out of it in the target."""


cached_layers = functools.cache(layer_table)
"""The layer table of a spec, made once: a page compares every network with one target."""


def columns(
    network: NetworkSpec, training: TrainingSpec, target_training: TrainingSpec = TARGET_TRAINING
) -> list[Column]:
    """Images, stages, head and training from left to right, each part compared with the target."""
    stages = max(len(network.channels), len(TARGET.channels))
    names = [f"stage{number}" for number in range(1, stages + 1)]
    image = (1, IMAGE_SIZE, IMAGE_SIZE)
    images = align(image_parts(target_training), image_parts(training))
    recipe = align(training_parts(target_training), training_parts(training))
    return [
        Column("Images", images, image, image),
        *(layer_column(name, f"Stage {name[5:]}", network) for name in names),
        layer_column("head", "Head", network),
        Column("Training", recipe),
    ]


def layer_column(name: str, title: str, network: NetworkSpec) -> Column:
    """The layers of a stage, or of the head, in the network and in the target."""
    target_rows, rows = (
        [row for row in cached_layers(spec) if row.name.startswith(f"{name}.")]
        for spec in (TARGET, network)
    )
    boxes = align([layer_part(row) for row in target_rows], [layer_part(row) for row in rows])
    shapes = [found[-1].output_shape if found else None for found in (rows, target_rows)]
    return Column(title, boxes, *shapes)


def layer_part(row: LayerRow) -> Part:
    """A layer of the layer table. Its description is `conv 3x3, 8 -> 16, stride 2`, or alike."""
    words = re.sub(r"(\d)x(\d)", r"\1×\2", row.description).replace("->", "→")
    label, *details = words.split(", ")
    if details and details[0][0].isdigit():
        label += f", {details.pop(0)}"
    value = re.search(r"[\d.]+( → \d+)?$", label)
    kind = label[: value.start()].rstrip(", ") if value else label
    key = row.name.partition(".")[2]
    return Part(key, KINDS.get(kind, kind), label, value[0] if value else "", tuple(details))


def image_parts(training: TrainingSpec) -> list[Part]:
    """What happens to images before the network sees them."""
    number = training.num_train_images
    count = "all" if number is None else f"first {number:,}"
    parts = [Part("num_train_images", "choice of training images", f"{count} images", count)]
    if training.augment:
        parts.append(Part("augment", "zooming and rotating of images", "zoom and rotate"))
    if training.normalise_input:
        parts.append(Part("normalise_input", "normalisation of the input", "normalise"))
    return parts


def training_parts(training: TrainingSpec) -> list[Part]:
    """How the weights are found."""
    rate, momentum = f"{training.learning_rate}", f"{training.momentum}"
    epochs, batch = f"{training.num_epochs}", f"{training.batch_size}"
    parts = [
        Part("loss", "loss", "cross entropy"),
        Part("optimiser", "optimiser", "gradient descent"),
        Part("momentum", "momentum", f"momentum {momentum}", momentum),
        Part("learning_rate", "learning rate", f"learning rate {rate}", rate),
    ]
    if not training.momentum:
        parts = [part for part in parts if part.key != "momentum"]
    if training.drop_learning_rate_after is not None:
        after = f"after {100 * training.drop_learning_rate_after:g} %"
        drop = "drop of the learning rate"
        parts.append(Part("drop", drop, f"÷ 10 {after}", after, ("of the epochs",)))
    return [
        *parts,
        Part("batch_size", "batch size", f"batches of {batch}", batch),
        Part("num_epochs", "number of epochs", plural(training.num_epochs, "epoch"), epochs),
    ]


def align(before: Sequence[Part], after: Sequence[Part]) -> tuple[Box, ...]:
    """The parts of both, each once and in one order; what stays in its place keeps it."""
    old_keys, new_keys = [part.key for part in before], [part.key for part in after]
    old_parts = dict(zip(old_keys, before, strict=True))
    boxes = []
    matcher = SequenceMatcher(None, old_keys, new_keys, autojunk=False)
    for step, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        for part in after[new_start:new_end]:
            was = old_parts.get(part.key)
            box = Box(part, state_of(part, was), was)
            boxes.append(moved_box(box, before, after) if was and step != "equal" else box)
        gone = [part for part in before[old_start:old_end] if part.key not in new_keys]
        boxes += [Box(part, "removed", part) for part in gone]
    return tuple(boxes)


def state_of(part: Part, was: Part | None) -> State:
    """A part of the network that is there: added, changed or kept."""
    if was is None:
        return "added"
    return "kept" if part == was else "changed"


def moved_box(box: Box, before: Sequence[Part], after: Sequence[Part]) -> Box:
    """A part that both have, but at different places among those that both have."""
    key, old_keys = box.part.key, [part.key for part in before]
    shared = [part for part in after if part.key in old_keys]
    new_rank = [part.key for part in shared].index(key)
    old_rank = sorted(shared, key=lambda part: old_keys.index(part.key)).index(box.part)
    place = old_keys.index(key)
    moved: Moved = "elsewhere"
    beside = ""
    if new_rank < old_rank:
        moved, beside = "up", shared[new_rank + 1].kind
    elif new_rank > old_rank:
        moved, beside = "down", shared[new_rank - 1].kind
    return box._replace(moved=moved, beside=beside, old_place=old_keys[place - 1] if place else "")


def change_words(box: Box) -> list[str]:
    """What a box says of its difference from the target; nothing where it is kept."""
    if box.state in ("removed", "added"):
        return [box.state]
    words = []
    if box.was and box.state == "changed":
        old, new = box.was, box.part
        if new.value != old.value:
            words.append(f"was {old.value}")
        words += [f"now {detail}" for detail in new.details if detail not in old.details]
        words += [f"no {detail} now" for detail in old.details if detail not in new.details]
    if box.moved:
        words.append("moved" if box.moved == "elsewhere" else f"moved {box.moved}")
    return words


def changed_parts(
    network: NetworkSpec, training: TrainingSpec, target_training: TrainingSpec = TARGET_TRAINING
) -> list[str]:
    """What differs from the target, one sentence for each kind of difference."""
    found: dict[tuple[str, str], list[str]] = {}
    for column in columns(network, training, target_training):
        for box in column.boxes:
            for change in change_sentences(box):
                found.setdefault((box.part.kind, change), []).append(column.title)
    return [sentence(kind, change, places) for (kind, change), places in found.items()]


def change_sentences(box: Box) -> list[str]:
    """What is said of one box, such as `is removed`; nothing where it is kept."""
    if box.state in ("removed", "added"):
        return [f"is {box.state}"]
    sentences = []
    if box.state == "changed":
        words = change_words(box._replace(moved=""))
        value = [box.part.value] if words[0].startswith("was") else []
        sentences.append(f"is changed ({', '.join([*value, *words])})")
    if box.moved:
        side = {"up": "before", "down": "after"}.get(box.moved, "at another place")
        sentences.append(f"now stands {side} {box.beside}".rstrip())
    return sentences


def sentence(kind: str, change: str, places: Sequence[str]) -> str:
    """`Batch normalisation is removed in 6 places: stage 1 (2), stage 2 (2) and stage 3 (2).`"""
    where = ""
    if places[0] not in ("Images", "Training"):
        counts = [(title.lower(), len(list(same))) for title, same in groupby(places)]
        titles = enumerate_words(
            title + (f" ({count})" if count > 1 else "") for title, count in counts
        )
        where = f" in {len(places)} places: {titles}" if len(places) > 1 else f" in {titles}"
        where = where.replace(" head", " the head")
    return f"{kind[0].upper()}{kind[1:]} {change}{where}."
