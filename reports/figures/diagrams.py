"""A network and its training as columns of boxes, each compared with the target: from specs alone.

`reports/html/templates/diagram.html` shows them.
"""

import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from itertools import groupby
from typing import Literal, NamedTuple

from ablations.catalogue.experiment import TrainingSpec
from ablations.words import plural
from mnist_blocks import TARGET, NetworkSpec
from mnist_blocks.spec import IMAGE_SIZE
from mnist_blocks.summary import LayerRow, layer_table

State = Literal["kept", "removed", "added", "changed"]
Parts = Mapping[str, str]
"""The operations of a column in their order, and the shape of its output: labels such as
`conv 3×3, 8 → 16` by keys such as `block1.conv`."""


class Box(NamedTuple):
    """A part of a column, and how it differs from the target's."""

    key: str
    label: str
    state: State
    mark: str = ""
    """What differs from the target, such as `was 32 → 32`; empty for a part that is kept."""


def totals(network: NetworkSpec) -> list[tuple[str, int, int]]:
    """Parameters and multiply-adds per image: the unit, the network's number and the target's."""
    return [
        (
            unit,
            sum(getattr(row, field) for row in layer_table(network)),
            sum(getattr(row, field) for row in layer_table(TARGET)),
        )
        for field, unit in (
            ("parameters", "parameters"),
            ("multiply_adds", "multiply-adds per image"),
        )
    ]


def columns(
    network: NetworkSpec, training: TrainingSpec, target_training: TrainingSpec
) -> dict[str, list[Box]]:
    """Images, stages, head and training from left to right, each part compared with the target."""
    before, after = _columns(TARGET, target_training), _columns(network, training)
    # The longer one has every stage.
    titles = max(before, after, key=len)
    return {title: _compare(before.get(title, {}), after.get(title, {})) for title in titles}


def _columns(network: NetworkSpec, training: TrainingSpec) -> dict[str, Parts]:
    """The parts of each column by its title."""
    count = training.num_train_images
    images = {
        "num_train_images": "all images" if count is None else f"first {count:,} images",
        "augment": _augmentation_label(training),
        "normalise_input": "normalise" if training.normalise_input else "",
        "output": f"output 1 × {IMAGE_SIZE} × {IMAGE_SIZE}",
    }
    layers = {}
    for name, group in groupby(layer_table(network), lambda row: row.name.partition(".")[0]):
        rows = list(group)
        labels = {row.name.removeprefix(f"{name}."): _label(row) for row in rows}
        labels["output"] = f"output {' × '.join(map(str, rows[-1].output_shape))}"
        layers[name.replace("stage", "stage ").capitalize()] = labels
    recipe = {
        "loss": "cross entropy",
        "optimiser": "gradient descent",
        "momentum": f"momentum {training.momentum}" if training.momentum else "",
        "nesterov": "Nesterov" if training.nesterov else "",
        "weight_decay": f"weight decay {training.weight_decay:g}" if training.weight_decay else "",
        "learning_rate": f"learning rate {training.learning_rate:g}",
        "schedule": _schedule_label(training),
        "batch_size": f"batches of {training.batch_size}",
        "num_epochs": plural(training.num_epochs, "epoch"),
        "seed_offset": "other random numbers" if training.seed_offset else "",
    }
    parts = {"Images": images, **layers, "Training": recipe}
    return {
        title: {key: label for key, label in column.items() if label}
        for title, column in parts.items()
    }


def _augmentation_label(training: TrainingSpec) -> str:
    if not training.augment:
        return ""
    return "zoom and rotate" if training.affine_strength is None else "rotate, scale, shear, shift"


def _schedule_label(training: TrainingSpec) -> str:
    if training.warm_up is not None:
        return f"{100 * training.warm_up:g} % warm-up, then linearly to 0"
    share = training.drop_learning_rate_after
    return "" if share is None else f"÷ 10 after {100 * share:g} % of the epochs"


def _label(row: LayerRow) -> str:
    return re.sub(r"(\d)x(\d)", r"\1×\2", row.description).replace("->", "→")


def _compare(before: Parts, after: Parts) -> list[Box]:
    """The parts of both in one order. A part that moved is removed at one place and added at another."""
    boxes: list[Box] = []
    old_keys, new_keys = list(before), list(after)
    matcher = SequenceMatcher(None, old_keys, new_keys, autojunk=False)
    for step, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        old, new = old_keys[old_start:old_end], new_keys[new_start:new_end]
        if step == "equal":
            boxes += [_compare_labels(key, before[key], after[key]) for key in new]
        else:
            boxes += [Box(key, after[key], "added", "+ added") for key in new]
            boxes += [Box(key, before[key], "removed", "× removed") for key in old]
    return boxes


def _compare_labels(key: str, before: str, after: str) -> Box:
    """A part that both have. Of labels with as many items, the mark lists only those that differ."""
    if before == after:
        return Box(key, after, "kept")
    if after.startswith(f"{before}, "):
        return Box(key, before, "changed", f"now {after.removeprefix(f'{before}, ')}")
    old, new = before.split(", "), after.split(", ")
    was = [word for word in old if word not in new] if len(old) == len(new) else old
    return Box(key, after, "changed", f"was {', '.join(was)}")
