"""The default length of a study."""

from dataclasses import dataclass, replace

import msgspec

from ablations.catalogue.experiment import DatasetId
from ablations.catalogue.recipes import RECIPES, TUNED, RecipeName

DEFAULT_MARGIN_PCT = 0.10
"""In percentage points: ten of 10,000 test images."""


class TimingPlan(msgspec.Struct, frozen=True):
    """How much is timed, from which an epoch's time is extrapolated."""

    num_rounds: int = 5
    num_train_steps: int = 30
    """Steps of one batch in each round, augmentation included."""
    num_test_images: int = 2000
    """Test images classified in each round."""


@dataclass(frozen=True)
class Preset:
    """The defaults of a study."""

    name: str
    num_epochs: int
    looks: tuple[int, ...]
    """Numbers of seeds at which results are looked at."""
    num_train_images: int | None
    """None: all of the training images."""
    timing: TimingPlan


FULL = Preset(
    "full",
    num_epochs=TUNED.num_epochs,
    looks=(5, 10, 20, 40),
    num_train_images=None,
    timing=TimingPlan(),
)
"""The whole recipe."""

QUICK = Preset(
    "quick",
    num_epochs=3,
    looks=(2,),
    num_train_images=9000,
    timing=TimingPlan(num_rounds=3, num_train_steps=8, num_test_images=500),
)
"""A first impression in a few minutes; its numbers are far from final."""


def choose_preset(name: str, dataset: DatasetId, recipe: RecipeName) -> Preset:
    """A preset by name, fitted to a data set and a recipe.

    A data set smaller than the part that `quick` uses is used whole, for as many epochs as `full`:
    that takes no longer, and the network learns too little in three epochs of few images.
    """
    full = replace(FULL, num_epochs=RECIPES[recipe].num_epochs)
    preset = QUICK if name == "quick" else full
    if preset.num_train_images and preset.num_train_images >= dataset.num_train:
        return replace(preset, num_train_images=None, num_epochs=full.num_epochs)
    return preset
