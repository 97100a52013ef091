"""Random changes of a whole batch of training images at once, on tensors.

- `ZoomAndRotation` is the published notebook's: with probability 0.1 the central 22x22 pixels resized
  to 28x28 (bilinear); then a rotation by an angle drawn uniformly from -15 to +15 degrees, taking the
  nearest pixel and filling with black, as torchvision's `RandomRotation` does by default.
- `Affine` rotates, scales, shears and shifts at once, and interpolates between pixels.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from ablations.catalogue.experiment import TrainingSpec
from ablations.training.seeding import random_stream
from speed.cpu.warp import transform, zoom_and_rotate

ZOOM_PROBABILITY = 0.1
ZOOM_CROP_PIXELS = 22
MAX_ROTATION_DEGREES = 15.0

AFFINE_ROTATION_DEGREES = 10.0
AFFINE_SHIFT_PIXELS = 2.0
AFFINE_SCALE = 0.1
AFFINE_SHEAR = 0.1
"""Each is drawn uniformly from minus to plus this, times the recipe's `affine_strength`."""


class ZoomAndRotation(NamedTuple):
    """The published changes of each image of an epoch or a batch."""

    is_zoomed: Bool[Tensor, " images"]
    angle_radians: Float[Tensor, " images"]


class Affine(NamedTuple):
    """A map for each image: the pixel at p, in pixels from the centre, comes from A p + b."""

    inverse: Float[Tensor, "images 2 3"]
    """A and, in the last column, b."""


Augmentation = ZoomAndRotation | Affine
Draws = TypeVar("Draws", ZoomAndRotation, Affine, Augmentation)


def choose(draws: Draws, images: Int64[Tensor, " chosen"]) -> Draws:
    """The changes of some images, which are given as their indices."""
    return type(draws)(*(field[images] for field in draws))


def join(parts: Sequence[Draws], device: torch.device) -> Draws:
    """Several draws as one, on a device."""
    return type(parts[0])(*(torch.cat(fields).to(device) for fields in zip(*parts, strict=True)))


def draw_augmentation(
    recipe: TrainingSpec, num_images: int, seed: int, epoch: int, device: torch.device
) -> Augmentation | None:
    """An epoch's augmentation, one draw for each training image; None if the recipe has none.

    It depends on the image, not on its place in the order, and not on the network.
    """
    if not recipe.augment:
        return None
    stream = random_stream(seed, f"augment.epoch{epoch}")
    if recipe.affine_strength is not None:
        inverse = _draw_inverse_maps(recipe.affine_strength, num_images, stream)
        return Affine(inverse.to(device))
    is_zoomed = torch.rand(num_images, generator=stream) < ZOOM_PROBABILITY
    angle = (2 * torch.rand(num_images, generator=stream) - 1) * math.radians(MAX_ROTATION_DEGREES)
    return ZoomAndRotation(is_zoomed.to(device), angle.to(device))


def _draw_inverse_maps(
    strength: float, num_images: int, stream: torch.Generator
) -> Float[Tensor, "images 2 3"]:
    """Rotation times shear over scale, and a shift."""
    draws = strength * (2 * torch.rand(5, num_images, generator=stream) - 1)
    angle, shear = draws[0] * math.radians(AFFINE_ROTATION_DEGREES), draws[1] * AFFINE_SHEAR
    scale, shift = 1 + draws[2] * AFFINE_SCALE, draws[3:] * AFFINE_SHIFT_PIXELS
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = (cos, cos * shear - sin, shift[0]), (sin, sin * shear + cos, shift[1])
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _sample(
    images: Float[Tensor, "batch 1 side side"], inverse: Float[Tensor, "batch 2 3"], mode: str
) -> Float[Tensor, "batch 1 side side"]:
    """The pixels that maps in units of half a side name, from the nearest pixel or by `bilinear`
    interpolation; black outside the image."""
    grid = functional.affine_grid(inverse, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode=mode, align_corners=False)


def augment(
    images: Float[Tensor, "batch 1 28 28"], augmentation: Augmentation
) -> Float[Tensor, "batch 1 28 28"]:
    """Images with their random changes; black is 0.

    On a CPU compiled kernels do the same in a tenth of the time (`speed/cpu/warp.py`).
    """
    if images.device.type != "cpu" or images.dtype != torch.float32:
        return augment_by_operations(images, augmentation)
    if isinstance(augmentation, Affine):
        return transform(images, augmentation.inverse)
    margin = (images.shape[-1] - ZOOM_CROP_PIXELS) // 2
    return zoom_and_rotate(images, augmentation.is_zoomed, margin, augmentation.angle_radians)


def augment_by_operations(
    images: Float[Tensor, "batch 1 28 28"], augmentation: Augmentation
) -> Float[Tensor, "batch 1 28 28"]:
    """The same by PyTorch's operations, on any device."""
    if isinstance(augmentation, Affine):
        half_side = images.shape[-1] / 2
        units = augmentation.inverse.new_tensor([1.0, 1.0, half_side])
        return _sample(images, (augmentation.inverse / units).to(images.dtype), "bilinear")
    margin = (images.shape[-1] - ZOOM_CROP_PIXELS) // 2
    crop = images[..., margin:-margin, margin:-margin]
    zoomed = functional.interpolate(crop, size=images.shape[-2:], mode="bilinear")
    images = torch.where(augmentation.is_zoomed.view(-1, 1, 1, 1), zoomed, images)
    # Counter-clockwise about the centre.
    cos, sin = augmentation.angle_radians.cos(), augmentation.angle_radians.sin()
    zero = torch.zeros_like(cos)
    inverse = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    return _sample(images, inverse, "nearest")
