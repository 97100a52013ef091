"""Augmentation, random streams, and the training loop."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import functional as transforms

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.recipes import PUBLISHED
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset
from ablations.training import loop
from ablations.training.augmentation import (
    AFFINE_SHIFT_PIXELS,
    MAX_ROTATION_DEGREES,
    Affine,
    Augmentation,
    ZoomAndRotation,
    augment,
    augment_by_operations,
    draw_augmentation,
)
from ablations.training.batches import Images, load_images, prepare_pixels
from ablations.training.epoch import EpochRecord
from ablations.training.loop import prepare_training, train, train_epoch
from ablations.training.seeding import derive_seed, initialise_weights
from mnist_blocks import TARGET
from mnist_blocks.network import build_network
from tests.factories import run_specs_on

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("apply", "share_that_differs"),
    # A point half-way between two pixels may go to either, by the last digit of a sine.
    [(augment, 2e-5), (augment_by_operations, 0)],
    ids=["kernel", "operations"],
)
def test_augmentation_is_torchvisions(
    apply: Callable[[Tensor, Augmentation], Tensor], share_that_differs: float
) -> None:
    images = torch.rand(300, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    degrees = torch.linspace(-30, 30, 300)
    degrees[1] = 0
    is_zoomed = torch.arange(300) % 2 == 0
    ours = apply(images, ZoomAndRotation(is_zoomed, degrees.deg2rad()))
    zoomed = transforms.resize(transforms.center_crop(images, [22, 22]), [28, 28])
    unrotated = torch.where(is_zoomed.view(-1, 1, 1, 1), zoomed, images)
    pairs = zip(unrotated, degrees.tolist(), strict=True)
    theirs = torch.stack([transforms.rotate(image, angle) for image, angle in pairs])
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    assert ((ours - theirs).abs() > 1e-5).float().mean() <= share_that_differs
    assert torch.equal(ours[1], images[1]), "no zoom and no angle is no change"


def test_affine_kernel_gives_what_the_operations_give() -> None:
    images = torch.rand(300, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    # Twice the strength moves many pixels out of the image.
    recipe = replace(PUBLISHED, affine_strength=2.0)
    draws = draw_augmentation(recipe, 300, seed=0, epoch=1, device=CPU)
    assert isinstance(draws, Affine)
    torch.testing.assert_close(
        augment(images, draws), augment_by_operations(images, draws), rtol=0, atol=2e-5
    )
    identity = Affine(torch.eye(2, 3).expand(300, 2, 3))
    torch.testing.assert_close(augment(images, identity), images)
    shifted = Affine(torch.tensor([[1.0, 0, 3], [0, 1, -40]]).expand(300, 2, 3).contiguous())
    assert not augment(images, shifted).any()


def test_affine_maps_have_their_distribution() -> None:
    recipe = replace(PUBLISHED, affine_strength=0.5)
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


def test_draws_have_their_distribution() -> None:
    draws = draw_augmentation(PUBLISHED, 4000, seed=3, epoch=2, device=CPU)
    assert isinstance(draws, ZoomAndRotation)
    degrees = draws.angle_radians.rad2deg()
    assert degrees.abs().max() <= MAX_ROTATION_DEGREES * 1.0001
    # Four standard deviations.
    assert abs(degrees.mean()) < 4 * MAX_ROTATION_DEGREES / math.sqrt(3 * 4000)
    assert abs(draws.is_zoomed.float().mean() - 0.1) < 4 * math.sqrt(0.1 * 0.9 / 4000)


@pytest.mark.parametrize("ablation", CATALOGUE, ids=lambda entry: entry.name)
def test_shared_layers_start_from_the_targets_weights(ablation: Ablation) -> None:
    networks = build_network(TARGET), build_network(ablation.network_spec)
    for network in networks:
        initialise_weights(network, 7)
    target, variant = (network.state_dict() for network in networks)
    shared = {
        name.removesuffix(".weight")
        for name, tensor in variant.items()
        if name.endswith(".weight") and name in target and tensor.shape == target[name].shape
    }
    assert {"stage1.block1.conv", "stage2.block1.conv"} <= shared
    for name, tensor in variant.items():
        if name.rpartition(".")[0] in shared:
            assert torch.equal(tensor, target[name]), name


def test_order_covers_all_images_is_new_in_each_epoch_and_the_same_for_every_variant(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[int]] = []
    real = loop.prepare_batch

    def spy(images: Images, batch: Tensor, *rest: object) -> Tensor:
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
    assert sorted(number for batch in first for number in batch) == list(range(300))
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
    rates = [PUBLISHED.learning_rate_at(epoch) for epoch in range(1, 21)]
    assert rates == pytest.approx([0.01] * 15 + [0.001] * 5)
    constant = replace(PUBLISHED, drop_learning_rate_after=None)
    assert {constant.learning_rate_at(epoch) for epoch in range(1, 21)} == {0.01}


def test_one_cycle_rises_and_falls() -> None:
    recipe = replace(PUBLISHED, drop_learning_rate_after=None, warm_up=0.2)
    ends = [recipe.learning_rate_at(epoch, 1.0) for epoch in (1, 2, 4, 8, 12, 20)]
    assert ends == pytest.approx([0.0025, 0.005, 0.01, 0.0075, 0.005, 0.0])
    rates = [rate for epoch in range(1, 21) for rate in recipe.learning_rates(epoch, 10)]
    assert sum(rates) / len(rates) == pytest.approx(0.005, rel=1e-3)
    assert min(rates) > 0
    without_warm_up = replace(recipe, warm_up=0.0)
    assert without_warm_up.learning_rate_at(1, 0.0) == 0.01


@pytest.mark.parametrize("name", ["target", "no-input-normalisation"])
def test_inputs_are_normalised_unless_that_is_removed(digits: Dataset, name: str) -> None:
    trainee = prepare_training(run_specs_on(digits, name)[0], digits, CPU)
    images, _ = load_images(digits, trainee.recipe, CPU)
    inputs = prepare_pixels(images.pixels, trainee.scale)
    mean, std = (0, 1) if name == "target" else (digits.mean, digits.std)
    assert inputs.mean() == pytest.approx(mean, abs=1e-3)
    assert inputs.std() == pytest.approx(std, abs=1e-3)


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
    # A twentieth of the images.
    mnist = load_dataset("mnist", mnist_folder)
    run_spec = run_specs_on(mnist, "no-gap", num_epochs=2, num_train_images=3000)[0]
    trained = train(run_spec, mnist, CPU)
    assert trained.epochs[-1].test_accuracy_pct > 80


def test_divergence_is_a_result(digits: Dataset) -> None:
    run_spec = run_specs_on(digits, "no-batchnorm", num_epochs=5, num_train_images=300)[0]
    wild = replace(run_spec, training=replace(run_spec.training, learning_rate=1e6))
    trained = train(wild, digits, CPU)
    assert trained.has_diverged
    assert len(trained.epochs) < 5
    assert trained.epochs[-1].train_loss is None
    assert 0 <= trained.epochs[-1].test_accuracy_pct <= 100


def test_plain_loop_on_a_gpu_uses_no_tf32(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    # Without a GPU, PyTorch raises when the network is copied to it.
    with suppress(AssertionError, RuntimeError):
        prepare_training(run_specs_on(digits)[0], digits, torch.device("cuda"))
    assert not torch.backends.cudnn.allow_tf32
