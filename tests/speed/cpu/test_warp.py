"""The compiled augmentation gives the pixels that PyTorch's operations give."""

import torch

from ablations.training.augmentation import Augmentation, augment, augment_by_operations


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
    draws = Augmentation(torch.arange(300) % 2 == 0, angles)
    assert share_that_differs(images, draws) < 2e-5


def test_no_zoom_and_no_angle_is_no_change() -> None:
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    draws = Augmentation(torch.zeros(5, dtype=torch.bool), torch.zeros(5))
    assert torch.equal(augment(images, draws), images)
