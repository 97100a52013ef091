"""The compiled augmentation gives the pixels that PyTorch's operations give."""

from dataclasses import replace

import torch

from ablations.catalogue.experiment import TARGET_TRAINING
from ablations.training.augmentation import (
    Affine,
    Augmentation,
    ZoomAndRotation,
    augment,
    augment_by_operations,
    draw_augmentation,
)


def share_that_differs(images: torch.Tensor, draws: Augmentation) -> float:
    """A point half-way between two pixels may go to either, by the last digit of a sine."""
    quick, plain = augment(images, draws), augment_by_operations(images, draws)
    assert quick.shape == plain.shape
    assert quick.dtype == plain.dtype
    return ((quick - plain).abs() > 1e-5).float().mean().item()


def test_warped_noise_is_that_of_the_operations() -> None:
    stream = torch.Generator().manual_seed(0)
    images = torch.rand(300, 1, 28, 28, generator=stream)
    angles = torch.linspace(-0.5, 0.5, 300) + 1e-3
    draws = ZoomAndRotation(torch.arange(300) % 2 == 0, angles)
    assert share_that_differs(images, draws) < 2e-5


def test_no_zoom_and_no_angle_is_no_change() -> None:
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    draws = ZoomAndRotation(torch.zeros(5, dtype=torch.bool), torch.zeros(5))
    assert torch.equal(augment(images, draws), images)


def test_affine_noise_is_that_of_the_operations() -> None:
    images = torch.rand(300, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    # Twice the strength moves many pixels out of the image.
    recipe = replace(TARGET_TRAINING, affine_strength=2.0)
    draws = draw_augmentation(recipe, 300, seed=0, epoch=1, device=torch.device("cpu"))
    assert isinstance(draws, Affine)
    torch.testing.assert_close(
        augment(images, draws), augment_by_operations(images, draws), rtol=0, atol=2e-5
    )
    identity = Affine(torch.eye(2, 3).expand(300, 2, 3))
    torch.testing.assert_close(augment(images, identity), images)
    shifted = Affine(torch.tensor([[1.0, 0, 3], [0, 1, -40]]).expand(300, 2, 3).contiguous())
    assert not augment(images, shifted).any()
