"""Compiled epilogues: what follows a convolution, in as few passes over memory as possible.

PyTorch runs batch norm, ReLU, max pooling and dropout one after another, and each reads and writes
all activations, forward and backward. These kernels do the same arithmetic in one pass.

Whatever an epilogue contains, and in whatever order, it is

    clamped = max(value, floor)           floor 0: ReLU before batch norm; -inf: none
    z       = scale * clamped + shift     batch norm; 1 and 0: none
    output  = max(z, floor_after)         0: ReLU after batch norm; -inf: none

then 2x2 max pooling if there is any, then dropout if there is any. (Pooling moves before the last
line, which changes nothing.) Comparisons let NaN pass through, so that divergence stays visible.

Backward kernels take `argmax`, the corner of each window with its maximum; None means no pooling.
Whether there is pooling is known when a kernel is compiled.
"""

from typing import Any, NamedTuple

import numpy as np

from speed.cpu.kernels import (
    OFFSET,
    ROWS_PER_PARTIAL_SUM,
    SCALE,
    SHIFT,
    SLOPE,
    ZERO,
    DropoutMask,
    clamp_min,
    compiled,
    fill_offset_and_slope,
    inlined,
    is_kept,
    load,
    store,
)
from speed.cpu.microkernels import BLOCK, copy_block

NO_GRADIENT = np.float32(4)
"""Instead of the index of a corner, 0 to 3: no gradient flows back through this window."""


class EpilogueArguments(NamedTuple):
    """What the kernels of an epilogue need besides activations."""

    per_channel: Any
    """(4, columns), float32; the backward pass fills in the rows OFFSET and SLOPE."""
    floor: np.float32
    floor_after: np.float32
    mask: DropoutMask


@compiled
def apply_epilogue(values, out, epilogue):
    """Forward, without pooling: from the convolution's values to activations."""
    num_rows, num_columns = values.shape
    per_channel, floor, floor_after, mask = epilogue
    is_dropping = mask.threshold > 0
    for row in range(num_rows):
        for column in range(num_columns):
            z = clamp_min(load(values, row, column), floor)
            z = clamp_min(z * per_channel[SCALE, column] + per_channel[SHIFT, column], floor_after)
            if is_dropping:
                kept = is_kept(row * num_columns + column, mask)
                z = z * mask.keep_scale if kept else ZERO
            store(out, row, column, z)


@inlined
def _copy_pixel(source, first_source, target, first_target, num_channels):
    """Copy the channels of a pixel."""
    in_blocks = num_channels // BLOCK * BLOCK
    for channel in range(0, in_blocks, BLOCK):
        copy_block(  # type: ignore[call-arg]
            source, first_source + channel, target, first_target + channel,
        )  # fmt: skip
    for channel in range(in_blocks, num_channels):
        target[np.uintp(first_target + channel)] = source[np.uintp(first_source + channel)]


@compiled
def _split_pixels(values, row, num_channels, pixels, halves):
    """A row of an image as two halves: its pixels 0, 2, 4, ... and its pixels 1, 3, 5, ...

    `pixels` is memory for the row.
    """
    for column in range(pixels.size):
        pixels[column] = load(values, row, column)
    half = halves.size // 2
    for first in range(0, half, num_channels):
        _copy_pixel(pixels, 2 * first, halves, first, num_channels)
        _copy_pixel(pixels, 2 * first + num_channels, halves, half + first, num_channels)


@inlined
def _update_maximum(z_max, clamped_max, argmax, corner, z, clamped):
    """The larger of two corners; of equal ones the first, and NaN before all, as in PyTorch."""
    is_larger = (z > z_max) | (z != z)  # noqa: PLR0124
    return (
        z if is_larger else z_max,
        clamped if is_larger else clamped_max,
        np.float32(corner) if is_larger else argmax,
    )


@compiled
def _find_maxima(corners, per_channel, floor, maxima):
    """For each window of a row: the largest z, its clamped value, and the index of its corner."""
    for column in range(corners.shape[1]):
        scale, shift = per_channel[SCALE, column], per_channel[SHIFT, column]
        value0, value1 = clamp_min(corners[0, column], floor), clamp_min(corners[1, column], floor)
        value2, value3 = clamp_min(corners[2, column], floor), clamp_min(corners[3, column], floor)
        z, value, corner = value0 * scale + shift, value0, ZERO
        z, value, corner = _update_maximum(z, value, corner, 1, value1 * scale + shift, value1)
        z, value, corner = _update_maximum(z, value, corner, 2, value2 * scale + shift, value2)
        z, value, corner = _update_maximum(z, value, corner, 3, value3 * scale + shift, value3)
        maxima[0, column] = z
        maxima[1, column] = value
        maxima[2, column] = corner


@compiled
def _finish_windows(maxima, row, out, floor_after, mask):
    """ReLU and dropout for a row of windows; marks those through which no gradient flows."""
    num_columns = maxima.shape[1]
    for column in range(num_columns):
        z = maxima[0, column]
        kept = is_kept(row * num_columns + column, mask)
        corner = maxima[2, column]
        corner = NO_GRADIENT if z <= floor_after else corner
        maxima[2, column] = corner if kept else NO_GRADIENT
        z = clamp_min(z, floor_after) * mask.keep_scale
        store(out, row, column, z if kept else ZERO)


@compiled
def _save_maxima(maxima, row, max_values, argmax):
    """Write what the backward pass needs of a row of windows."""
    for column in range(maxima.shape[1]):
        store(max_values, row, column, maxima[1, column])
    for column in range(maxima.shape[1]):
        argmax[np.uintp(row), np.uintp(column)] = np.uint8(np.int32(maxima[2, column]))


@compiled
def apply_pooled_epilogue(values, out, max_values, argmax, height, num_channels, epilogue):
    """Forward with 2x2 max pooling. The rows of `values` are rows of images of this height.

    Saved for the backward pass: the corner with the maximum (`argmax`), and its clamped value.
    """
    num_rows, num_columns = out.shape
    per_channel, floor, floor_after, mask = epilogue
    out_height = height // 2
    corners = np.empty((4, num_columns), np.float32)
    pixels = np.empty(2 * num_columns, np.float32)
    maxima = np.empty((3, num_columns), np.float32)
    for row in range(num_rows):
        top = row // out_height * height + row % out_height * 2
        _split_pixels(values, top, num_channels, pixels, corners[:2].ravel())
        _split_pixels(values, top + 1, num_channels, pixels, corners[2:].ravel())
        _find_maxima(corners, per_channel, floor, maxima)
        _finish_windows(maxima, row, out, floor_after, mask)
        _save_maxima(maxima, row, max_values, argmax)


@inlined
def _gradient_at_z(gradient, z, floor_after, is_dropping, number, mask):
    """The gradient of the loss with respect to z, from that with respect to the output."""
    if is_dropping:
        gradient = gradient * mask.keep_scale if is_kept(number, mask) else ZERO
    return ZERO if z <= floor_after else gradient


@compiled
def _add_gradient_sums(gradients, values, argmax, first, last, epilogue, sums, product_sums):
    """Add rows `first` to `last` to the sums of dz and of dz * clamped."""
    per_channel, floor, floor_after, mask = epilogue
    is_dropping = mask.threshold > 0
    for row in range(first, last):
        for column in range(sums.size):
            clamped = clamp_min(load(values, row, column), floor)
            gradient = load(gradients, row, column)
            if argmax is None:
                z = clamped * per_channel[SCALE, column] + per_channel[SHIFT, column]
                number = row * sums.size + column
                dz = _gradient_at_z(gradient, z, floor_after, is_dropping, number, mask)
            else:
                has_gradient = argmax[np.uintp(row), np.uintp(column)] < NO_GRADIENT
                dz = gradient * mask.keep_scale if has_gradient else ZERO
            sums[column] += dz
            product_sums[column] += dz * clamped


@compiled
def sum_gradients(gradients, values, argmax, epilogue):
    """Backward, first pass: sums over rows of dz and of dz * clamped, (2, columns), float64.

    With pooling, `values` are those of the maxima.
    """
    num_rows, num_columns = values.shape
    totals = np.zeros((2, num_columns))
    for first in range(0, num_rows, ROWS_PER_PARTIAL_SUM):
        partial = np.zeros((2, num_columns), np.float32)
        last = min(num_rows, first + ROWS_PER_PARTIAL_SUM)
        _add_gradient_sums(gradients, values, argmax, first, last, epilogue, partial[0], partial[1])
        totals += partial
    return totals


@compiled
def differentiate_batch_norm(
    gradients, values, argmax, epilogue, moments, gamma, epsilon, count, gamma_gradient,
    beta_gradient,
):  # fmt: skip
    """Write the gradients of gamma and beta, and the rows OFFSET and SLOPE of `epilogue`."""
    sums = sum_gradients(gradients, values, argmax, epilogue)
    fill_offset_and_slope(
        epilogue.per_channel, sums, moments, gamma, epsilon, count, gamma_gradient, beta_gradient
    )


@compiled
def _unpool_row(gradients, argmax, row, height, num_channels, halves, unpooled):
    """Give each pixel of an image's row its window's gradient if it is the maximum, else 0.

    A last row or column that no window covers gets 0. `halves` is memory for the left and the right
    pixels of the row's windows.
    """
    y, out_height = row % height, height // 2
    if y >= 2 * out_height:
        unpooled[:] = 0
        return
    window = row // height * out_height + y // 2
    left = y % 2 * 2  # the index of the window's left corner in this row: 0 above, 2 below
    half = gradients.shape[1]
    for column in range(half):
        gradient = load(gradients, window, column)
        corner = np.int32(argmax[np.uintp(window), np.uintp(column)])
        halves[0, column] = gradient if corner == left else ZERO
        halves[1, column] = gradient if corner == left + 1 else ZERO
    pixels = halves.ravel()
    for first in range(0, half, num_channels):
        _copy_pixel(pixels, first, unpooled, 2 * first, num_channels)
        _copy_pixel(pixels, half + first, unpooled, 2 * first + num_channels, num_channels)


@compiled
def epilogue_backward(
    gradients, values, argmax, first_row, num_rows, height, num_channels, epilogue,
    out, out_row, out_column,
):  # fmt: skip
    """Backward, second pass: the gradient with respect to some rows of the values.

    d clamped = scale * dz - (offset + slope * clamped): the bracket is what batch norm's mean and
    variance contribute, and 0 without it. The result goes to `out` from a row and a column on.
    """
    num_columns = values.shape[1]
    per_channel, floor, floor_after, mask = epilogue
    is_dropping = mask.threshold > 0
    unpooled = np.zeros(num_columns, np.float32)
    halves = np.empty((2, gradients.shape[1]), np.float32)
    for row in range(first_row, first_row + num_rows):
        if argmax is not None:
            _unpool_row(gradients, argmax, row, height, num_channels, halves, unpooled)
        for column in range(num_columns):
            value = load(values, row, column)
            clamped = clamp_min(value, floor)
            if argmax is None:
                z = clamped * per_channel[SCALE, column] + per_channel[SHIFT, column]
                gradient, number = load(gradients, row, column), row * num_columns + column
                dz = _gradient_at_z(gradient, z, floor_after, is_dropping, number, mask)
            else:
                dz = unpooled[column] * mask.keep_scale
            bracket = per_channel[OFFSET, column] + per_channel[SLOPE, column] * clamped
            gradient = per_channel[SCALE, column] * dz - bracket
            gradient = ZERO if value <= floor else gradient
            store(out, out_row + row - first_row, out_column + column, gradient)
