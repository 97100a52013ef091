"""Compiled epilogues with 2x2 max pooling, forward and backward.

As in `kernels.py`, whose notation this module keeps, batch norm, ReLU, pooling and dropout share
their passes over memory. The rows of `values` are rows of images.
"""

import numpy as np

from speed.cpu.kernels import (
    OFFSET,
    ROWS_PER_PARTIAL_SUM,
    SCALE,
    SHIFT,
    SLOPE,
    ZERO,
    clamp_min,
    compiled,
    inlined,
    is_kept,
    load,
    store,
)

NO_GRADIENT = np.float32(4)
"""Instead of the index of a corner, 0 to 3: no gradient flows back through this window."""


@compiled
def _split_pixels(values, row, num_channels, even, odd):
    """A row of an image as two: its pixels 0, 2, 4, ... and its pixels 1, 3, 5, ..."""
    for pixel in range(even.size // num_channels):
        for channel in range(num_channels):
            to = np.uintp(pixel * num_channels + channel)
            even[to] = load(values, row, 2 * pixel * num_channels + channel)
            odd[to] = load(values, row, (2 * pixel + 1) * num_channels + channel)


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
    """Forward: as `kernels.apply_epilogue`, with the maximum of each window.

    Saved for the backward pass: the corner with the maximum (`argmax`), and its clamped value.
    """
    num_rows, num_columns = out.shape
    per_channel, floor, floor_after, mask = epilogue
    out_height = height // 2
    corners = np.empty((4, num_columns), np.float32)
    maxima = np.empty((3, num_columns), np.float32)
    for row in range(num_rows):
        top = row // out_height * height + row % out_height * 2
        _split_pixels(values, top, num_channels, corners[0], corners[1])
        _split_pixels(values, top + 1, num_channels, corners[2], corners[3])
        _find_maxima(corners, per_channel, floor, maxima)
        _finish_windows(maxima, row, out, floor_after, mask)
        _save_maxima(maxima, row, max_values, argmax)


@compiled
def _add_pooled_sums(gradients, max_values, argmax, first, last, keep_scale, sums, product_sums):
    """Add rows `first` to `last` to the sums of dz and of dz * clamped."""
    for row in range(first, last):
        for column in range(sums.size):
            dz = load(gradients, row, column) * keep_scale
            has_gradient = argmax[np.uintp(row), np.uintp(column)] < NO_GRADIENT
            dz = dz if has_gradient else ZERO
            sums[column] += dz
            product_sums[column] += dz * load(max_values, row, column)


@compiled
def sum_pooled_gradients(gradients, max_values, argmax, keep_scale):
    """Backward, first pass: sums over rows of dz and of dz * clamped, (2, columns), float64."""
    num_rows, num_columns = gradients.shape
    totals = np.zeros((2, num_columns))
    for first in range(0, num_rows, ROWS_PER_PARTIAL_SUM):
        partial = np.zeros((2, num_columns), np.float32)
        last = min(num_rows, first + ROWS_PER_PARTIAL_SUM)
        _add_pooled_sums(
            gradients, max_values, argmax, first, last, keep_scale, partial[0], partial[1]
        )
        totals += partial
    return totals


@compiled
def _unpool_row(gradients, argmax, row, num_channels, left, unpooled):
    """Give each pixel of an image's row its window's gradient if it is the maximum, else 0.

    `left` is the index of the window's left corner in this row: 0 above, 2 below.
    """
    for pixel in range(gradients.shape[1] // num_channels):
        for channel in range(num_channels):
            column = pixel * num_channels + channel
            gradient = load(gradients, row, column)
            corner = np.int32(argmax[np.uintp(row), np.uintp(column)])
            to = np.uintp(2 * pixel * num_channels + channel)
            unpooled[to] = gradient if corner == left else ZERO
            to = np.uintp((2 * pixel + 1) * num_channels + channel)
            unpooled[to] = gradient if corner == left + 1 else ZERO


@compiled
def _backward_row(unpooled, values, row, epilogue, out, out_row, out_column):
    """The gradient with respect to a row of an image."""
    per_channel, floor, _, mask = epilogue
    for column in range(unpooled.size):
        value = load(values, row, column)
        clamped = clamp_min(value, floor)
        bracket = per_channel[OFFSET, column] + per_channel[SLOPE, column] * clamped
        gradient = per_channel[SCALE, column] * (unpooled[column] * mask.keep_scale) - bracket
        store(out, out_row, out_column + column, ZERO if value <= floor else gradient)


@compiled
def pooled_epilogue_backward(
    gradients, values, argmax, first_row, num_rows, height, num_channels, epilogue,
    out, out_row, out_column,
):  # fmt: skip
    """Backward, second pass: as `kernels.epilogue_backward`, where one corner has a gradient.

    A last row or column that no window covers still contributes to batch norm's statistics.
    """
    out_height = height // 2
    unpooled = np.zeros(values.shape[1], np.float32)
    for row in range(first_row, first_row + num_rows):
        y = row % height
        if y < 2 * out_height:
            window = row // height * out_height + y // 2
            _unpool_row(gradients, argmax, window, num_channels, y % 2 * 2, unpooled)
        else:
            unpooled[:] = 0
        _backward_row(unpooled, values, row, epilogue, out, out_row + row - first_row, out_column)
