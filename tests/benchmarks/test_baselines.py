"""The baselines train the project's network by the project's recipe."""

import math
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from ablations.catalogue.recipes import PUBLISHED
from ablations.data.dataset import Dataset
from ablations.training.augmentation import MAX_ROTATION_DEGREES, ZOOM_PROBABILITY, ZoomAndRotation
from ablations.training.batches import InputScale, prepare_pixels
from benchmarks.baselines.recipe import (
    BaselineResult,
    make_loaders,
    make_network,
    make_optimizer,
    train_transform,
)

CPU = torch.device("cpu")


def train_baseline(name: str, digits: Dataset, **options: object) -> BaselineResult:
    """Train on 300 images for one epoch."""
    arguments = {"num_epochs": 1, "num_train_images": 300, "seed": 3, "num_workers": 0}
    module = import_module(f"benchmarks.baselines.{name}")
    trained: BaselineResult = module.train(digits, CPU, **(arguments | options))
    return trained


def scaled(pixels: np.ndarray, digits: Dataset, *augmentation: ZoomAndRotation) -> torch.Tensor:
    """This project's inputs of the network."""
    scale = InputScale(digits.mean, digits.std)
    return prepare_pixels(torch.as_tensor(pixels), scale, *augmentation)


def test_baseline_learns(digits: Dataset) -> None:
    options = {"num_epochs": 8, "num_train_images": None}
    first, *_, last = train_baseline("dataloader", digits, **options).epochs
    assert last.test_accuracy_pct > max(25, first.test_accuracy_pct + 10)


@pytest.mark.parametrize("name", ["dataloader", "lightning"])
def test_baseline_is_the_target_trained_by_the_recipe(name: str, digits: Dataset) -> None:
    result = train_baseline(name, digits, num_epochs=4)
    recipe = replace(PUBLISHED, num_epochs=4)
    assert (result.parameters, result.num_train_images) == (18_962, 300)
    assert [epoch.epoch for epoch in result.epochs] == [1, 2, 3, 4]
    for epoch in result.epochs:
        assert epoch.learning_rate == pytest.approx(recipe.learning_rate_at(epoch.epoch))
        assert epoch.seconds > 0
    # The last batch, though smaller, is a step as well.
    assert {epoch.num_steps for epoch in result.epochs} == {math.ceil(300 / recipe.batch_size)}
    assert result.seconds == sum(epoch.seconds for epoch in result.epochs)


def test_baselines_do_the_same_steps(digits: Dataset) -> None:
    # With one seed they start from the same weights and use the same images.
    tuned, untuned, lightning = (
        train_baseline(name, digits, **options).epochs[0].test_accuracy_pct
        for name, options in (
            ("dataloader", {}), ("dataloader", {"is_tuned": False}), ("lightning", {}),
        )
    )  # fmt: skip
    assert untuned == pytest.approx(tuned, abs=1)
    assert lightning == pytest.approx(tuned, abs=1)
    assert make_network(is_tuned=False)[0][0][0].weight.is_contiguous()
    settings = make_optimizer(make_network(), 1, is_tuned=False)[0].defaults
    assert settings["momentum"] == PUBLISHED.momentum
    assert not (settings["weight_decay"] or settings["nesterov"] or settings["fused"])


def test_loaders_yield_every_image(digits: Dataset) -> None:
    train_loader, test_loader = make_loaders(digits, CPU, num_workers=0)
    labels = torch.cat([batch for _, batch in train_loader])
    assert train_loader.batch_size == PUBLISHED.batch_size
    assert sorted(labels.tolist()) == sorted(digits.train_labels.tolist())
    assert labels.tolist() != digits.train_labels.tolist(), "in a random order"
    images, labels = (torch.cat(parts) for parts in zip(*test_loader, strict=True))
    assert labels.tolist() == digits.test_labels.tolist()
    torch.testing.assert_close(images, scaled(digits.test_images, digits))


@pytest.mark.parametrize(
    ("degrees", "is_zoomed"), [(0.0, False), (-15.0, True), (-7.3, False), (4.1, True)]
)
def test_augmentation_is_the_projects(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, degrees: float, is_zoomed: bool
) -> None:
    """The same draws give the same pixels, and both draw from the same distributions."""
    transform = train_transform(digits)
    zoom, rotation, *_ = transform.transforms
    assert zoom.p == ZOOM_PROBABILITY
    assert rotation.degrees == [-MAX_ROTATION_DEGREES, MAX_ROTATION_DEGREES]
    zoom.p = float(is_zoomed)
    monkeypatch.setattr(
        transforms.RandomRotation, "get_params", staticmethod(lambda limits: degrees)
    )
    originals = digits.train_images[:64]
    theirs = torch.stack([transform(Image.fromarray(pixels)) for pixels in originals])
    augmentation = ZoomAndRotation(
        torch.full((64,), is_zoomed), torch.full((64,), math.radians(degrees))
    )
    ours = scaled(originals, digits, augmentation)
    # Pillow computes in whole grey levels, and rounding decides between two equally near pixels.
    one_grey_level = 1.01 / 255 / digits.std
    assert ((theirs - ours).abs() <= one_grey_level).float().mean() > 0.995
    assert theirs.mean().item() == pytest.approx(ours.mean().item(), abs=0.01)
