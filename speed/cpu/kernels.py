"""What compiled kernels share: elements, dropout masks, and the statistics of batch norm.

Activations are a matrix with one row for each row of an image: all channels of its first pixel,
then all channels of the next. Elements are float32, or bfloat16 as its 16 bits (uint16), which is
the upper half of a float32. Numbers that belong to channels are a matrix `per_channel` with the
rows SCALE, SHIFT, OFFSET and SLOPE, repeated to the length of an activation row, so that the
compiler vectorises the loop along a row. (One matrix instead of four vectors: with more arrays the
compiler gives up on proving that inputs and outputs do not overlap.)

`epilogues.py` explains how batch norm, `clamped` and z are related.
"""

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import overload, register_jitable

from speed.cpu.compiling import cached_njit

ZERO = np.float32(0)
NO_FLOOR = np.float32(-np.inf)
SCALE, SHIFT, OFFSET, SLOPE = range(4)
ROWS_PER_PARTIAL_SUM = 64
"""Sums over this many rows are taken in float32, and sums of those in float64."""

# "contract": a product and a sum may become one instruction with one rounding.
compiled = cached_njit({"contract", "nsz"})
inlined = register_jitable(forceinline=True)


class DropoutMask(NamedTuple):
    """Which activations dropout keeps: those whose random number is at least the threshold."""

    key: tuple[np.uint32, np.uint32]
    threshold: np.uint32
    keep_scale: np.float32


def load(matrix, row, column):
    """An element as a float32."""
    raise NotImplementedError("only within compiled code")


@overload(load, jit_options={"forceinline": True})
def _load_for_type(matrix, row, column):
    # An index of an unsigned type cannot count from the end, which saves a comparison.
    if matrix.dtype == types.float32:
        return lambda matrix, row, column: matrix[np.uintp(row), np.uintp(column)]
    return lambda matrix, row, column: np.uint32(
        matrix[np.uintp(row), np.uintp(column)] << np.uint32(16)
    ).view(np.float32)


def store(matrix, row, column, value):
    """Write a float32 to an element, rounded to nearest (ties to even) for bfloat16."""
    raise NotImplementedError("only within compiled code")


@overload(store, jit_options={"forceinline": True})
def _store_for_type(matrix, row, column, value):
    if matrix.dtype == types.float32:

        def store_float32(matrix, row, column, value):
            matrix[np.uintp(row), np.uintp(column)] = value

        return store_float32

    def store_bfloat16(matrix, row, column, value):
        bits = np.float32(value).view(np.uint32)
        # Rounding could turn a NaN into infinity or zero.
        bits = np.uint32(0x7FC00000) if value != value else bits  # noqa: PLR0124
        half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        matrix[np.uintp(row), np.uintp(column)] = np.uint16((bits + half) >> np.uint32(16))

    return store_bfloat16


@inlined
def is_kept(number, mask):
    """Whether dropout keeps the activation with this number.

    The random number is a hash of the activation's number and the mask's key, so the backward pass
    computes it again and nothing is stored. Multipliers and shifts are from a search for low bias
    (C. Wellons, "Hash Function Prospector", 2018 and later).
    """
    bits = np.uint32(np.uint32(number) * np.uint32(0x9E3779B9)) ^ mask.key[0]
    bits ^= bits >> np.uint32(16)
    bits = np.uint32(bits * np.uint32(0x21F0AAAD)) ^ mask.key[1]
    bits ^= bits >> np.uint32(15)
    bits = np.uint32(bits * np.uint32(0xD35A2D97))
    return bits ^ (bits >> np.uint32(15)) >= mask.threshold


@inlined
def clamp_min(value, floor):
    """max(value, floor), and NaN for NaN."""
    return floor if value < floor else value  # noqa: FURB136 (max would lose NaN)


@compiled
def add_moments(values, first, last, floor, origin, sums, square_sums):
    """Add rows `first` to `last` to the sums of clamped - origin and of its square."""
    for row in range(first, last):
        for column in range(origin.size):
            value = clamp_min(load(values, row, column), floor) - origin[column]
            sums[column] += value
            square_sums[column] += value * value


@compiled
def fill_origin(values, floor, num_channels, origin):
    """The first pixel's clamped values, in each column of its channel.

    The variance is a difference of two sums, which loses digits if the mean is large compared with
    the deviation. So sums are taken about an origin near the mean.
    """
    for column in range(origin.size):
        origin[column] = clamp_min(load(values, 0, column % num_channels), floor)


@compiled
def sum_moments(values, floor, num_channels):
    """The arguments of `compute_moments`: for each column the sums of clamped - origin and of its
    square, (2, columns), and the origin."""
    num_rows, num_columns = values.shape
    origin = np.empty(num_columns, np.float32)
    fill_origin(values, floor, num_channels, origin)
    totals = np.zeros((2, num_columns))
    for first in range(0, num_rows, ROWS_PER_PARTIAL_SUM):
        partial = np.zeros((2, num_columns), np.float32)
        last = min(num_rows, first + ROWS_PER_PARTIAL_SUM)
        add_moments(values, first, last, floor, origin, partial[0], partial[1])
        totals += partial
    return totals, origin


@compiled
def compute_moments(totals, origin, count, moments):
    """Mean and biased variance of each channel, (2, channels), from the result of `sum_moments`."""
    num_channels = moments.shape[1]
    means = _sum_by_channel(totals, num_channels)
    means /= count
    for channel in range(num_channels):
        variance = means[1, channel] - means[0, channel] ** 2
        moments[0, channel] = means[0, channel] + origin[channel]
        moments[1, channel] = np.float64(0) if variance < 0 else variance  # NaN stays NaN


@compiled
def add_column_sums(matrix, first_row, num_rows, first_column, totals):
    """Add the elements of some rows, from a column on, to the totals of their columns."""
    sums = np.zeros(totals.size, np.float32)
    for row in range(first_row, first_row + num_rows):
        for column in range(totals.size):
            sums[column] += load(matrix, row, first_column + column)
    totals += sums


@compiled
def _sum_by_channel(totals, num_channels):
    """Sums over the columns that belong to one channel: (2, channels)."""
    sums = np.zeros((2, num_channels))
    for column in range(totals.shape[1]):
        sums[0, column % num_channels] += totals[0, column]
        sums[1, column % num_channels] += totals[1, column]
    return sums


@compiled
def fill_scale_and_shift(per_channel, moments, gamma, beta, epsilon):
    """Batch norm as a scale and a shift of each channel (Ioffe and Szegedy, 2015, algorithm 1)."""
    num_channels = gamma.size
    for column in range(per_channel.shape[1]):
        channel = column % num_channels
        scale = gamma[channel] / np.sqrt(moments[1, channel] + epsilon)
        per_channel[SCALE, column] = scale
        per_channel[SHIFT, column] = beta[channel] - scale * moments[0, channel]


@compiled
def fill_offset_and_slope(
    per_channel, totals, moments, gamma, epsilon, count, gamma_gradient, beta_gradient
):
    """What batch norm's statistics add to the gradient, from the sums of dz and of dz * clamped.

    The gradient through the batch's own mean and variance (Ioffe and Szegedy, 2015, section 3),
    with its terms ordered by power of the value:
    d clamped = scale * (dz - mean(dz) - x * mean(dz * x)), where x = (clamped - mean) / deviation.
    """
    num_channels = gamma.size
    sums = _sum_by_channel(totals, num_channels)
    offset, slope = np.empty(num_channels), np.empty(num_channels)
    for channel in range(num_channels):
        mean, variance = moments[0, channel], moments[1, channel]
        inverse_deviation = 1 / np.sqrt(variance + epsilon)
        along_x = (sums[1, channel] - mean * sums[0, channel]) * inverse_deviation
        gamma_gradient[channel] = along_x
        beta_gradient[channel] = sums[0, channel]
        scale = gamma[channel] * inverse_deviation
        slope[channel] = scale * inverse_deviation * along_x / count
        offset[channel] = scale * sums[0, channel] / count - slope[channel] * mean
    for column in range(per_channel.shape[1]):
        per_channel[OFFSET, column] = offset[column % num_channels]
        per_channel[SLOPE, column] = slope[column % num_channels]


@compiled
def update_running_statistics(running_mean, running_variance, moments, momentum, count):
    """Update the averages that evaluation uses, as PyTorch does."""
    for channel in range(running_mean.size):
        variance = moments[1, channel] * count / (count - 1)  # unbiased
        running_mean[channel] += momentum * (moments[0, channel] - running_mean[channel])
        running_variance[channel] += momentum * (variance - running_variance[channel])


@compiled
def prepare_batch_norm(
    totals, origin, count, is_training, momentum, epsilon, arrays, moments, per_channel
):
    """Fill in each channel's mean and variance, and the scale and shift that follow.

    They are the batch's in training, which also updates the running ones; in evaluation they are
    the running ones. `arrays` are gamma, beta, the running mean and variance, and the number of
    batches so far; `count` is the number of values in each channel.
    """
    gamma, beta, running_mean, running_variance, num_batches = arrays
    if is_training:
        compute_moments(totals, origin, count, moments)
        update_running_statistics(running_mean, running_variance, moments, momentum, count)
        num_batches[()] += 1
    else:
        moments[0], moments[1] = running_mean, running_variance
    fill_scale_and_shift(per_channel, moments, gamma, beta, epsilon)
