"""The baselines train the project's network by the project's recipe: nobody can call them straw men."""

import importlib
import math
import os
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torchvision import transforms

from ablations.catalogue.experiment import TARGET_TRAINING
from ablations.data.dataset import Dataset
from ablations.training.augmentation import MAX_ROTATION_DEGREES, ZOOM_PROBABILITY, Augmentation
from ablations.training.batches import Images, InputScale, prepare_batch
from benchmarks.baselines.command import baseline_command
from benchmarks.baselines.recipe import (
    BaselineResult,
    make_loaders,
    make_network,
    make_optimizer,
    plain_transform,
    train_transform,
)

CPU = torch.device("cpu")
NUM_EPOCHS = 16
"""Enough for the recipe to learn the digits, which are 12 steps an epoch."""


def baseline_module(name: str) -> ModuleType:
    """A baseline; without Lightning its test is skipped, or fails under CI."""
    try:
        return importlib.import_module(f"benchmarks.baselines.{name}")
    except ModuleNotFoundError as error:
        if error.name != "pytorch_lightning":
            raise
        reason = "PyTorch Lightning is missing: pip install -e '.[test]'"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module", params=["dataloader", "lightning"])
def result(request: pytest.FixtureRequest, digits: Dataset) -> BaselineResult:
    trained: BaselineResult = baseline_module(request.param).train(
        digits, CPU, NUM_EPOCHS, num_workers=1
    )
    return trained


def test_baseline_learns(result: BaselineResult) -> None:
    accuracies = [epoch.test_accuracy_pct for epoch in result.epochs]
    assert accuracies[-1] > 35
    assert accuracies[-1] > accuracies[0] + 10
    assert all(0 <= accuracy <= 100 for accuracy in accuracies)


def test_baseline_is_the_target_trained_by_the_recipe(
    result: BaselineResult, digits: Dataset
) -> None:
    recipe = replace(TARGET_TRAINING, num_epochs=NUM_EPOCHS)
    numbers = range(1, NUM_EPOCHS + 1)
    assert result.parameters == 18_962
    assert result.num_train_images == digits.id.num_train
    assert [epoch.epoch for epoch in result.epochs] == list(numbers)
    rates = [epoch.learning_rate for epoch in result.epochs]
    assert rates == pytest.approx([recipe.learning_rate_at(number) for number in numbers])
    assert rates[-1] < rates[0], "the rate drops within these epochs"
    # The last batch, though smaller, is a step as well.
    num_steps = math.ceil(digits.id.num_train / recipe.batch_size)
    assert {epoch.num_steps for epoch in result.epochs} == {num_steps}
    assert all(epoch.seconds > 0 for epoch in result.epochs)
    assert result.seconds == sum(epoch.seconds for epoch in result.epochs)
    assert result.peak_device_memory_mib is None


def test_both_baselines_do_the_same_steps(digits: Dataset) -> None:
    # With one seed they start from the same weights and see the same images.
    results = [
        baseline_module(name).train(
            digits, CPU, num_epochs=1, num_train_images=300, seed=3, num_workers=0
        )
        for name in ("dataloader", "lightning")
    ]
    plain, lightning = [result.epochs[0] for result in results]
    assert plain.num_steps == lightning.num_steps == 3
    assert plain.test_accuracy_pct == pytest.approx(lightning.test_accuracy_pct, abs=1)
    assert {result.num_train_images for result in results} == {300}


def test_untuned_loop_does_the_same_in_its_own_layout(digits: Dataset) -> None:
    tuned, untuned = (
        baseline_module("dataloader").train(
            digits,
            CPU,
            num_epochs=1,
            num_train_images=300,
            seed=3,
            num_workers=0,
            is_tuned=is_tuned,
        )
        for is_tuned in (True, False)
    )
    assert tuned.epochs[0].num_steps == untuned.epochs[0].num_steps
    assert tuned.epochs[0].test_accuracy_pct == pytest.approx(
        untuned.epochs[0].test_accuracy_pct, abs=1
    )
    assert make_network(is_tuned=False)[0][0][0].weight.is_contiguous()
    assert make_optimizer(make_network(), 1, is_tuned=False)[0].defaults["fused"] is False


@pytest.mark.parametrize("num_epochs", [1, 2, 3, 4, 7, 20])
def test_schedule_is_the_recipes(num_epochs: int) -> None:
    recipe = replace(TARGET_TRAINING, num_epochs=num_epochs)
    optimizer, schedule = make_optimizer(make_network(), num_epochs)
    for epoch in range(1, num_epochs + 1):
        [group] = optimizer.param_groups
        assert group["lr"] == pytest.approx(recipe.learning_rate_at(epoch))
        assert group["momentum"] == recipe.momentum
        assert group["weight_decay"] == 0 and not group["nesterov"]
        optimizer.step()
        schedule.step()


def test_loaders_hand_out_every_image(digits: Dataset) -> None:
    train_loader, test_loader = make_loaders(digits, CPU, num_workers=0)
    labels = torch.cat([batch for _, batch in train_loader])
    assert train_loader.batch_size == TARGET_TRAINING.batch_size
    assert sorted(labels.tolist()) == sorted(digits.train_labels.tolist())
    assert labels.tolist() != digits.train_labels.tolist(), "in a random order"
    images, labels = (torch.cat(parts) for parts in zip(*test_loader, strict=True))
    assert labels.tolist() == digits.test_labels.tolist()
    ours = prepare_batch(
        Images(torch.as_tensor(digits.test_images), torch.as_tensor(digits.test_labels).long()),
        torch.arange(len(labels)),
        InputScale(digits.mean, digits.std),
    )
    torch.testing.assert_close(images, ours)


@pytest.mark.parametrize("degrees", [0.0, -15.0, -7.3, 4.1, 15.0])
@pytest.mark.parametrize("is_zoomed", [False, True])
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
    num_images = 64
    theirs = torch.stack([transform(Image.fromarray(p)) for p in digits.train_images[:num_images]])
    ours = prepare_batch(
        Images(
            torch.as_tensor(digits.train_images[:num_images]),
            torch.as_tensor(digits.train_labels[:num_images]).long(),
        ),
        torch.arange(num_images),
        InputScale(digits.mean, digits.std),
        Augmentation(
            torch.full((num_images,), is_zoomed),
            torch.full((num_images,), math.radians(degrees)),
        ),
    )
    # Pillow computes in whole grey levels, and the nearest of two pixels that are equally near
    # is a matter of rounding.
    one_grey_level = 1.01 / 255 / digits.std
    assert ((theirs - ours).abs() <= one_grey_level).float().mean() > 0.995
    assert theirs.mean().item() == pytest.approx(ours.mean().item(), abs=0.01)


def test_transform_of_test_images_has_no_chance_in_it(digits: Dataset) -> None:
    transform = plain_transform(digits)
    image = Image.fromarray(digits.test_images[0])
    assert torch.equal(transform(image), transform(image))


def test_command_says_what_is_missing_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from ablations.data.datasets import DataError
    from benchmarks.baselines import command

    def nowhere(*rest: object, **options: object) -> None:
        raise DataError("MNIST is not in data; use --dataset digits, which needs no files")

    monkeypatch.setattr(command, "resolve_dataset", nowhere)
    finished = CliRunner().invoke(baseline_command(lambda: None), ["--epochs", "1"])  # type: ignore[arg-type,return-value]
    assert finished.exit_code == 1
    assert finished.output.strip().splitlines() == [
        "Error: MNIST is not in data; use --dataset digits, which needs no files"
    ]
