"""2x2 max pooling with what stands before and after it, forward and backward.

As in `kernels.py`, whose notation this keeps, batch norm, ReLU, pooling and dropout share their
passes over memory. The rows of `values` are rows of images.
"""

import numpy as np

from speed.cpu.kernels import (
    OFFSET,
    ROWS_AT_ONCE,
    SCALE,
    SHIFT,
    SLOPE,
    ZERO,
    at_least,
    compiled,
    inlined,
    load,
    random_bits,
    store,
)

SHUT = np.float32(4)
"""In place of a corner's number 0 to 3: no gradient flows back through this 2x2 window."""


@compiled
def split_pixels(values, row, num_channels, even, odd):
    """A row of an image as two: its pixels 0, 2, 4, ... and its pixels 1, 3, 5, ..."""
    for pixel in range(even.size // num_channels):
        for channel in range(num_channels):
            to = np.uintp(pixel * num_channels + channel)
            even[to] = load(values, row, 2 * pixel * num_channels + channel)
            odd[to] = load(values, row, (2 * pixel + 1) * num_channels + channel)


@inlined
def challenge(best, winner, corner, other, z, cut):
    """The better of two corners; of equal ones the first, and NaN before all, as in PyTorch."""
    is_better = (z > best) | (z != z)  # noqa: PLR0124
    return (
        z if is_better else best,
        cut if is_better else winner,
        np.float32(other) if is_better else corner,
    )


@compiled
def find_winners(corners, per_channel, floor, found):
    """For each window of a row: the greatest z, its cut value, and the number of its corner."""
    for column in range(corners.shape[1]):
        scale, shift = per_channel[SCALE, column], per_channel[SHIFT, column]
        cut0, cut1 = at_least(corners[0, column], floor), at_least(corners[1, column], floor)
        cut2, cut3 = at_least(corners[2, column], floor), at_least(corners[3, column], floor)
        best, winner, corner = cut0 * scale + shift, cut0, ZERO
        best, winner, corner = challenge(best, winner, corner, 1, cut1 * scale + shift, cut1)
        best, winner, corner = challenge(best, winner, corner, 2, cut2 * scale + shift, cut2)
        best, winner, corner = challenge(best, winner, corner, 3, cut3 * scale + shift, cut3)
        found[0, column] = best
        found[1, column] = winner
        found[2, column] = corner


@compiled
def finish_windows(found, row, out, floor_after, key0, key1, threshold, keep_scale):
    """What follows the maximum, for a row of windows; marks those through which nothing flows."""
    num_columns = found.shape[1]
    for column in range(num_columns):
        best = found[0, column]
        is_kept = random_bits(row * num_columns + column, key0, key1) >= threshold
        corner = found[2, column]
        corner = SHUT if best <= floor_after else corner
        found[2, column] = corner if is_kept else SHUT
        best = at_least(best, floor_after) * keep_scale
        store(out, row, column, best if is_kept else ZERO)


@compiled
def keep_winners(found, row, winners, choice):
    """Write down what the backward pass needs to know of a row of windows."""
    for column in range(found.shape[1]):
        store(winners, row, column, found[1, column])
    for column in range(found.shape[1]):
        choice[np.uintp(row), np.uintp(column)] = np.uint8(np.int32(found[2, column]))


@compiled
def pool(
    values,
    out,
    winners,
    choice,
    height,
    num_channels,
    per_channel,
    floor,
    floor_after,
    key,
    threshold,
    keep_scale,
):
    """Forward: as `kernels.finish`, with the maximum of each window.

    Kept for the backward pass: which corner won (`choice`), and its cut value (`winners`).
    """
    num_rows, num_columns = out.shape
    key0, key1 = key
    out_height = height // 2
    corners = np.empty((4, num_columns), np.float32)
    found = np.empty((3, num_columns), np.float32)
    for row in range(num_rows):
        top = row // out_height * height + row % out_height * 2
        split_pixels(values, top, num_channels, corners[0], corners[1])
        split_pixels(values, top + 1, num_channels, corners[2], corners[3])
        find_winners(corners, per_channel, floor, found)
        finish_windows(found, row, out, floor_after, key0, key1, threshold, keep_scale)
        keep_winners(found, row, winners, choice)


@compiled
def add_pool_gradient_sums(gradients, winners, choice, first, last, keep_scale, sums, product_sums):
    """Add rows `first` to `last` to the sums of dz and of dz * cut."""
    for row in range(first, last):
        for column in range(sums.size):
            dz = load(gradients, row, column) * keep_scale
            is_chosen = choice[np.uintp(row), np.uintp(column)] < SHUT
            dz = dz if is_chosen else ZERO
            sums[column] += dz
            product_sums[column] += dz * load(winners, row, column)


@compiled
def pool_gradient_sums(gradients, winners, choice, keep_scale):
    """Backward, first pass: sums over rows of dz and of dz * cut, for each column: float64."""
    num_rows, num_columns = gradients.shape
    totals = np.zeros((2, num_columns))
    for first in range(0, num_rows, ROWS_AT_ONCE):
        partial = np.zeros((2, num_columns), np.float32)
        last = min(num_rows, first + ROWS_AT_ONCE)
        add_pool_gradient_sums(
            gradients, winners, choice, first, last, keep_scale, partial[0], partial[1]
        )
        totals += partial
    return totals


@compiled
def spread_gradient(gradients, choice, row, num_channels, left, spread):
    """Give each pixel of an image's row its window's gradient if it won, else 0.

    `left` is the number of the window's left corner in this row: 0 above, 2 below.
    """
    for pixel in range(gradients.shape[1] // num_channels):
        for channel in range(num_channels):
            column = pixel * num_channels + channel
            gradient = load(gradients, row, column)
            corner = np.int32(choice[np.uintp(row), np.uintp(column)])
            to = np.uintp(2 * pixel * num_channels + channel)
            spread[to] = gradient if corner == left else ZERO
            to = np.uintp((2 * pixel + 1) * num_channels + channel)
            spread[to] = gradient if corner == left + 1 else ZERO


@compiled
def pool_backward_row(
    spread, values, row, per_channel, floor, keep_scale, out, out_row, out_column
):
    """The gradient with respect to a row of an image."""
    for column in range(spread.size):
        value = load(values, row, column)
        cut = at_least(value, floor)
        bracket = per_channel[OFFSET, column] + per_channel[SLOPE, column] * cut
        gradient = per_channel[SCALE, column] * (spread[column] * keep_scale) - bracket
        store(out, out_row, out_column + column, ZERO if value <= floor else gradient)


@compiled
def pool_backward(
    gradients, values, choice, first_row, num_rows, height, num_channels, per_channel, floor,
    keep_scale, out, out_row, out_column,
):  # fmt: skip
    """Backward, second pass: as `kernels.finish_backward`, where one corner of a window has a gradient.

    A last row or column that no window covers still takes part in batch norm's statistics.
    """
    out_height = height // 2
    spread = np.zeros(values.shape[1], np.float32)
    for row in range(first_row, first_row + num_rows):
        y = row % height
        if y < 2 * out_height:
            window = row // height * out_height + y // 2
            spread_gradient(gradients, choice, window, num_channels, y % 2 * 2, spread)
        else:
            spread[:] = 0
        pool_backward_row(
            spread, values, row, per_channel, floor, keep_scale, out, out_row + row - first_row,
            out_column,
        )  # fmt: skip
