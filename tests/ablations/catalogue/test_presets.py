"""Presets of a study's length."""

from ablations.catalogue.experiment import DatasetId
from ablations.catalogue.presets import choose_preset
from tests.factories import MNIST


def test_presets() -> None:
    assert choose_preset("full", MNIST).num_epochs == 20
    assert choose_preset("full", MNIST).num_train_images is None
    assert choose_preset("quick", MNIST).num_train_images == 9000
    small = choose_preset("quick", DatasetId("digits", "cd" * 32, 1437, 360))
    assert (small.num_train_images, small.num_epochs) == (None, 20)
