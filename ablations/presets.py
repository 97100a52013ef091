"""How long a study is, where nothing else is said."""

from dataclasses import dataclass, replace

from ablations.experiment import DatasetId
from ablations.timing import TimingPlan


@dataclass(frozen=True)
class Preset:
    """The defaults of a study."""

    name: str
    num_epochs: int
    seeds: tuple[int, ...]
    num_train_images: int | None
    """None: all of the training images."""
    timing: TimingPlan


FULL = Preset("full", num_epochs=20, seeds=(0, 1, 2), num_train_images=None, timing=TimingPlan())
"""The reference recipe."""

QUICK = Preset(
    "quick",
    num_epochs=3,
    seeds=(0,),
    num_train_images=9000,
    timing=TimingPlan(num_rounds=3, num_train_steps=8, num_test_images=500),
)
"""A first look in a few minutes; its numbers are far from final."""


def choose_preset(name: str, dataset: DatasetId) -> Preset:
    """A preset by name, fitted to a data set.

    A data set that is smaller than the share which `quick` takes is used whole, for as many epochs
    as `full` has: that takes no longer, and three epochs of few images would teach nothing.
    """
    preset = QUICK if name == "quick" else FULL
    if preset.num_train_images and preset.num_train_images >= dataset.num_train:
        return replace(preset, num_train_images=None, num_epochs=FULL.num_epochs)
    return preset
