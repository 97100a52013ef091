"""Compiled augmentation of a batch of images on a CPU, in one pass over each image.

Equal to `augment_by_operations` in `ablations/training/augmentation.py`, and ten times as fast.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from speed.cpu.compiling import cached_njit

compiled = cached_njit({"contract"})
ONE, HALF, ZERO = np.float32(1), np.float32(0.5), np.float32(0)


@compiled
def _zoom(image, margin, zoomed):
    """Crop a margin and resize to the original size: bilinear, edges repeated."""
    side = len(image)
    crop_side = side - 2 * margin
    ratio = np.float32(crop_side) / np.float32(side)
    for y in range(side):
        from_y = max((np.float32(y) + HALF) * ratio - HALF, ZERO)
        upper = int(from_y)
        lower = min(upper + 1, crop_side - 1)
        down = from_y - np.float32(upper)
        for x in range(side):
            from_x = max((np.float32(x) + HALF) * ratio - HALF, ZERO)
            left = int(from_x)
            right = min(left + 1, crop_side - 1)
            across = from_x - np.float32(left)
            above = (ONE - across) * image[margin + upper, margin + left]
            above += across * image[margin + upper, margin + right]
            below = (ONE - across) * image[margin + lower, margin + left]
            below += across * image[margin + lower, margin + right]
            zoomed[y, x] = (ONE - down) * above + down * below


@compiled
def _rotate(image, cos, sin, rotated):
    """Rotate about the centre: each pixel takes the nearest pixel of the image."""
    side = np.int32(len(image))
    centre = np.float32(side - 1) * HALF
    flat = image.ravel()
    for y in range(side):
        dy = np.float32(y) - centre
        for x in range(side):
            dx = np.float32(x) - centre
            column = np.int32(np.rint(cos * dx - sin * dy + centre))
            row = np.int32(np.rint(sin * dx + cos * dy + centre))
            is_inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
            where = np.uintp(row * side + column if is_inside else np.int32(0))
            rotated[y, x] = flat[where] if is_inside else ZERO


@compiled
def _zoom_and_rotate(images, is_zoomed, margin, cos, sin, out):
    zoomed = np.empty(images.shape[1:], np.float32)
    for number in range(len(images)):
        if is_zoomed[number]:
            _zoom(images[number], margin, zoomed)
            _rotate(zoomed, cos[number], sin[number], out[number])
        else:
            _rotate(images[number], cos[number], sin[number], out[number])


def zoom_and_rotate(
    images: Float[Tensor, "batch 1 side side"],
    is_zoomed: Bool[Tensor, " batch"],
    margin: int,
    angle_radians: Float[Tensor, " batch"],
) -> Float[Tensor, "batch 1 side side"]:
    """Images, some zoomed by cropping a margin (in pixels), each rotated by its angle."""
    out = torch.empty_like(images)
    _zoom_and_rotate(
        images[:, 0].numpy(),
        is_zoomed.numpy(),
        margin,
        angle_radians.cos().numpy(),
        angle_radians.sin().numpy(),
        out[:, 0].numpy(),
    )
    return out


@compiled
def _transform(images, inverse, out):
    """Each pixel of the result, by bilinear interpolation; black outside the image."""
    side = images.shape[1]
    centre, last = np.float32(side - 1) * HALF, np.float32(side)
    # A margin of zeros, and every place moved to it that lies further out.
    padded = np.zeros((side + 3, side + 3), np.float32)
    flat, width = padded.ravel(), np.int32(side + 3)
    for number in range(len(images)):
        padded[1 : side + 1, 1 : side + 1] = images[number]
        for y in range(side):
            dy = np.float32(y) - centre
            start_x = inverse[number, 0, 1] * dy + inverse[number, 0, 2] + centre
            start_y = inverse[number, 1, 1] * dy + inverse[number, 1, 2] + centre
            for x in range(side):
                dx = np.float32(x) - centre
                from_x = min(max(inverse[number, 0, 0] * dx + start_x, -ONE), last) + ONE
                from_y = min(max(inverse[number, 1, 0] * dx + start_y, -ONE), last) + ONE
                column, row = np.int32(from_x), np.int32(from_y)
                across, down = from_x - np.float32(column), from_y - np.float32(row)
                where = np.uintp(row * width + column)
                below = np.uintp((row + np.int32(1)) * width + column)
                one = flat[where] + across * (flat[where + np.uintp(1)] - flat[where])
                other = flat[below] + across * (flat[below + np.uintp(1)] - flat[below])
                out[number, y, x] = one + down * (other - one)


def transform(
    images: Float[Tensor, "batch 1 side side"], inverse: Float[Tensor, "batch 2 3"]
) -> Float[Tensor, "batch 1 side side"]:
    """Images whose pixel at p comes from A p + b, in pixels from the centre; `inverse` is (A b)."""
    out = torch.empty_like(images)
    _transform(images[:, 0].numpy(), inverse.numpy(), out[:, 0].numpy())
    return out
