"""The compiled augmentation gives the pixels that PyTorch's operations give."""

import pytest
import torch

from ablations.data.dataset import Dataset
from ablations.training.augmentation import (
    Augmentation,
    augment,
    augment_by_operations,
    draw_augmentation,
)

CPU = torch.device("cpu")


def floats(pixels: object) -> torch.Tensor:
    return torch.as_tensor(pixels).unsqueeze(1).float() / 255


def share_that_differs(images: torch.Tensor, draws: Augmentation) -> float:
    """A point half-way between two pixels may go to either, by the last digit of a sine."""
    quick, plain = augment(images, draws), augment_by_operations(images, draws)
    assert quick.shape == plain.shape
    assert quick.dtype == plain.dtype
    return ((quick - plain).abs() > 1e-5).float().mean().item()


def test_warped_digits_are_those_of_the_operations(digits: Dataset) -> None:
    images = floats(digits.train_images)
    draws = draw_augmentation(len(images), seed=3, epoch=2, device=CPU)
    assert draws.is_zoomed.any()
    assert share_that_differs(images, draws) < 1e-5


@pytest.mark.parametrize("is_zoomed", [False, True])
def test_warped_noise_is_that_of_the_operations(is_zoomed: bool) -> None:
    stream = torch.Generator().manual_seed(0)
    images = torch.rand(300, 1, 28, 28, generator=stream)
    angles = torch.linspace(-0.5, 0.5, 300) + 1e-3
    draws = Augmentation(torch.full((300,), is_zoomed), angles)
    assert share_that_differs(images, draws) < 2e-5


def test_no_zoom_and_no_angle_is_no_change() -> None:
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    draws = Augmentation(torch.zeros(5, dtype=torch.bool), torch.zeros(5))
    assert torch.equal(augment(images, draws), images)
