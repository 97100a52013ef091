"""Augmentation, random streams, and the training loop."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms import functional as torchvision_functional

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.experiment import TARGET_TRAINING
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset
from ablations.training import loop
from ablations.training.augmentation import (
    AFFINE_SHIFT_PIXELS,
    MAX_ROTATION_DEGREES,
    Affine,
    ZoomAndRotation,
    draw_augmentation,
    rotate,
    zoom_centre,
)
from ablations.training.batches import Images, InputScale, load_images, prepare_pixels
from ablations.training.epoch import EpochRecord
from ablations.training.loop import evaluate, prepare_training, train, train_epoch
from ablations.training.seeding import derive_seed, initialise_weights
from mnist_blocks import TARGET
from mnist_blocks.network import build_network
from mnist_blocks.summary import leaves
from tests.factories import run_specs_on

CPU = torch.device("cpu")


def test_rotation_is_torchvisions() -> None:
    stream = torch.Generator().manual_seed(0)
    images = torch.rand(32, 1, 28, 28, generator=stream)
    degrees = torch.linspace(-MAX_ROTATION_DEGREES, MAX_ROTATION_DEGREES, 32)
    ours = rotate(images, degrees.deg2rad())
    theirs = [
        torchvision_functional.rotate(image, angle.item())
        for image, angle in zip(images, degrees, strict=True)
    ]
    assert torch.equal(ours, torch.stack(theirs))


def test_zoom_is_torchvisions_crop_and_resize() -> None:
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    theirs = torchvision_functional.resize(
        torchvision_functional.center_crop(images, [22, 22]), [28, 28]
    )
    torch.testing.assert_close(zoom_centre(images), theirs)


def test_draws_have_their_distribution() -> None:
    draws = draw_augmentation(TARGET_TRAINING, 4000, seed=3, epoch=2, device=CPU)
    assert isinstance(draws, ZoomAndRotation)
    degrees = draws.angle_radians.rad2deg()
    assert degrees.abs().max() <= MAX_ROTATION_DEGREES * 1.0001
    # Four standard deviations.
    assert abs(degrees.mean()) < 4 * MAX_ROTATION_DEGREES / math.sqrt(3 * 4000)
    assert abs(draws.is_zoomed.float().mean() - 0.1) < 4 * math.sqrt(0.1 * 0.9 / 4000)


def test_affine_maps_have_their_distribution() -> None:
    recipe = replace(TARGET_TRAINING, affine_strength=0.5)
    draws = draw_augmentation(recipe, 4000, seed=3, epoch=2, device=CPU)
    assert isinstance(draws, Affine)
    shifts, areas = draws.inverse[:, :, 2], torch.linalg.det(draws.inverse[:, :, :2])
    assert shifts.abs().max().item() == pytest.approx(AFFINE_SHIFT_PIXELS / 2, rel=1e-3)
    assert shifts.mean().abs() < 0.05
    # The scale is 0.95 to 1.05, and neither rotation nor shear changes an area.
    assert areas.min().item() == pytest.approx(1 / 1.05**2, rel=1e-2)
    assert areas.max().item() == pytest.approx(1 / 0.95**2, rel=1e-2)
    angles = torch.atan2(draws.inverse[:, 1, 0], draws.inverse[:, 0, 0]).rad2deg()
    assert angles.abs().max().item() == pytest.approx(5, rel=1e-2)


def test_streams_differ_by_name_by_seed_and_by_epoch() -> None:
    names = ["order.epoch1", "order.epoch2", "augment.epoch1", "dropout"]
    seeds = {derive_seed(seed, name) for seed in range(50) for name in names}
    assert len(seeds) == 200
    for recipe in (TARGET_TRAINING, replace(TARGET_TRAINING, affine_strength=1.0)):
        first, second = (draw_augmentation(recipe, 100, 0, epoch, CPU) for epoch in (1, 2))
        assert first and second and not torch.equal(first[0], second[0])


@pytest.mark.parametrize("ablation", CATALOGUE, ids=lambda entry: entry.name)
def test_shared_layers_start_from_the_targets_weights(ablation: Ablation) -> None:
    target, variant = build_network(TARGET), build_network(ablation.network_spec)
    initialise_weights(target, 7)
    initialise_weights(variant, 7)
    target_layers = dict(leaves(target))
    shared = []
    for name, layer in leaves(variant):
        other = target_layers.get(name)
        if isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(other, type(layer)):
            if layer.weight.shape != other.weight.shape:
                continue
            shared.append(name)
            assert torch.equal(layer.weight, other.weight), name
            if layer.bias is not None:
                assert torch.equal(layer.bias, other.bias), name
    assert {"stage1.block1.conv", "stage2.block1.conv"} <= set(shared)


def test_order_covers_all_images_is_new_in_each_epoch_and_the_same_for_every_variant(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[int]] = []
    real = loop.prepare_batch

    def spy(images: Images, batch: torch.Tensor, *rest: object) -> torch.Tensor:
        batches.append(batch.tolist())
        return real(images, batch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "prepare_batch", spy)

    def order(name: str, epoch: int) -> list[list[int]]:
        batches.clear()
        run_spec = run_specs_on(digits, name)[0]
        recipe = replace(run_spec.training, num_train_images=300)
        images, _ = load_images(digits, recipe, CPU)
        train_epoch(prepare_training(run_spec, digits, CPU), images, epoch)
        return list(batches)

    first = order("target", 1)
    assert [len(batch) for batch in first] == [128, 128, 44]
    assert sorted(itertools.chain(*first)) == list(range(300))
    assert first == order("no-gap", 1) == order("no-augmentation", 1)
    assert first != order("target", 2)


@pytest.mark.parametrize(
    ("changes", "rates", "options"),
    [
        ({}, [0.01] * 3, {}),
        (
            # The first of two epochs: half of it rises, then it falls.
            {
                "num_epochs": 2, "drop_learning_rate_after": None, "warm_up": 0.25,
                "nesterov": True, "weight_decay": 0.1,
            },
            [0.01 / 3, 0.01, 0.01 * 7 / 9],
            {"nesterov": True},
        ),
    ],
    ids=["published", "one cycle"],
)  # fmt: skip
def test_one_epoch_is_the_textbook_loop(
    digits: Dataset, changes: dict[str, Any], rates: list[float], options: dict[str, bool]
) -> None:
    # Three steps, the last one smaller, in the plainest PyTorch: no augmentation, no dropout.
    run_spec = run_specs_on(digits, "no-dropout")[0]
    recipe = replace(run_spec.training, augment=False, num_train_images=300, **changes)
    run_spec = replace(run_spec, training=recipe)
    images, _ = load_images(digits, run_spec.training, CPU)
    trainee = prepare_training(run_spec, digits, CPU)
    loss, num_correct = train_epoch(trainee, images, epoch=1)

    network = build_network(run_spec.network)
    initialise_weights(network, 0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, **options)
    order = torch.randperm(
        300, generator=torch.Generator().manual_seed(derive_seed(0, "order.epoch1"))
    )
    loss_sum, expected_correct = 0.0, 0
    for start, rate in zip(range(0, 300, 128), rates, strict=True):
        batch = order[start : start + 128]
        inputs = torch.from_numpy(digits.train_images)[batch][:, None] / 255
        inputs = (inputs - digits.mean) / digits.std
        labels = torch.from_numpy(digits.train_labels)[batch].long()
        logits = network(inputs)
        batch_loss = functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        batch_loss.backward()
        optimizer.param_groups[0]["lr"] = rate
        for name, parameter in network.named_parameters():
            if name.endswith("weight") and ".bn." not in name:
                assert parameter.grad is not None
                parameter.grad += recipe.weight_decay * parameter.detach()
        optimizer.step()
        loss_sum += batch_loss.item() * len(batch)
        expected_correct += int((logits.argmax(1) == labels).sum())
    assert loss == pytest.approx(loss_sum / 300, rel=1e-5)
    assert num_correct == expected_correct
    for ours, theirs in zip(trainee.network.parameters(), network.parameters(), strict=True):
        # Weights move by 0.01 and more; the rest is the order in which float32 sums are taken.
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_learning_rate_drops_after_epoch_15() -> None:
    rates = [TARGET_TRAINING.learning_rate_at(epoch) for epoch in range(1, 21)]
    assert rates == pytest.approx([0.01] * 15 + [0.001] * 5)
    constant = replace(TARGET_TRAINING, drop_learning_rate_after=None)
    assert {constant.learning_rate_at(epoch) for epoch in range(1, 21)} == {0.01}


def test_one_cycle_rises_and_falls() -> None:
    recipe = replace(TARGET_TRAINING, drop_learning_rate_after=None, warm_up=0.2)
    ends = [recipe.learning_rate_at(epoch, 1.0) for epoch in (1, 2, 4, 8, 12, 20)]
    assert ends == pytest.approx([0.0025, 0.005, 0.01, 0.0075, 0.005, 0.0])
    rates = [rate for epoch in range(1, 21) for rate in recipe.learning_rates(epoch, 10)]
    assert sum(rates) / len(rates) == pytest.approx(0.005, rel=1e-3)
    assert min(rates) > 0
    without_warm_up = replace(recipe, warm_up=0.0)
    assert without_warm_up.learning_rate_at(1, 0.0) == 0.01


def test_evaluation_is_of_all_images_with_dropout_off(digits: Dataset) -> None:
    run_spec = run_specs_on(digits)[0]
    trainee = prepare_training(run_spec, digits, CPU)
    _, images = load_images(digits, run_spec.training, CPU)
    trainee.network.train()
    first = evaluate(trainee, images)
    second = evaluate(trainee, images)
    assert len(first.predicted_class) == len(first.true_class_probability) == 360
    assert torch.equal(first.true_class_probability, second.true_class_probability)
    # Against the network called on all the images at once.
    trainee.network.eval()
    logits = trainee.network(prepare_pixels(images.pixels, trainee.scale))
    probabilities = logits.softmax(1)[torch.arange(360), images.labels]
    torch.testing.assert_close(first.true_class_probability, probabilities.detach())
    assert first.num_correct == int((logits.argmax(1) == images.labels).sum())
    assert first.loss == pytest.approx(functional.cross_entropy(logits, images.labels).item())


def test_input_scale(digits: Dataset) -> None:
    images, _ = load_images(digits, TARGET_TRAINING, CPU)
    scaled = prepare_pixels(images.pixels, InputScale(digits.mean, digits.std))
    assert abs(scaled.mean()) < 1e-3
    assert scaled.std() == pytest.approx(1, abs=1e-3)
    raw = prepare_pixels(images.pixels, InputScale())
    assert raw.min() == 0
    assert raw.max() == 1
    run_spec = run_specs_on(digits, "no-input-normalisation")[0]
    assert prepare_training(run_spec, digits, CPU).scale == InputScale(0.0, 1.0)


def test_epochs_are_recorded_and_reported(digits: Dataset) -> None:
    reported: list[EpochRecord] = []
    trained = train(
        run_specs_on(digits, num_epochs=4, num_train_images=256)[0], digits, CPU, reported.append
    )
    assert reported == trained.epochs
    assert [epoch.epoch for epoch in reported] == [1, 2, 3, 4]
    assert [epoch.learning_rate for epoch in reported] == pytest.approx([0.01, 0.01, 0.01, 0.001])
    assert reported[-1].test_correct == trained.test_result.num_correct
    assert reported[-1].test_accuracy_pct == pytest.approx(reported[-1].test_correct / 3.6)
    assert not trained.has_diverged


def test_it_learns_mnist(mnist_folder: Path) -> None:
    # Trained on a twentieth of the images, tested on all.
    mnist = load_dataset("mnist", mnist_folder)
    run_spec = run_specs_on(mnist, "no-gap", num_epochs=2, num_train_images=3000)[0]
    trained = train(run_spec, mnist, CPU)
    assert len(trained.test_result.predicted_class) == 10_000
    assert trained.epochs[-1].test_accuracy_pct > 80
    assert trained.epochs[-1].test_correct == trained.test_result.num_correct


def test_divergence_is_a_result(digits: Dataset) -> None:
    run_spec = run_specs_on(digits, "no-batchnorm", num_epochs=5, num_train_images=300)[0]
    wild = replace(run_spec, training=replace(run_spec.training, learning_rate=1e6))
    trained = train(wild, digits, CPU)
    assert trained.has_diverged
    assert len(trained.epochs) < 5
    assert trained.epochs[-1].train_loss is None
    assert 0 <= trained.epochs[-1].test_accuracy_pct <= 100
