"""What stands between two convolutions, computed in as few passes over memory as it takes.

PyTorch runs batch norm, ReLU, max pooling and dropout one after another; each reads all
activations and writes them again, forward and backward. These loops do the same arithmetic on
several of them at once. Numba compiles them on their first use, for the processor at hand, and
keeps the result on disk.

Activations come with their channels last, as a matrix with a row for each row of an image: all
channels of its first pixel, then those of the next. Numbers that belong to channels come as a
matrix `per_channel` with a row for each of SCALE, SHIFT, OFFSET and SLOPE, repeated to the same
length: so the loop along a row is one that a processor does sixteen numbers at a time. (One matrix, not four vectors: the compiler must make
sure that nothing it writes overlaps what it reads, and gives up when there are too many pairs.)
Elements are float32, or bfloat16 as its 16 bits (uint16), which is float32 without the lower half.

What follows a convolution is, whatever its order and whatever is missing of it,

    cut  = max(value, floor)            floor 0: ReLU before batch norm; -inf: none
    z    = scale * cut + shift          batch norm; 1 and 0: none
    out  = max(z, floor_after)          0: ReLU after batch norm; -inf: none

then perhaps a 2x2 maximum, then perhaps dropout. Comparisons are written so that NaN passes
through: a network that diverges must be seen to.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload, register_jitable

from speed.cpu.compiling import kept_on_disk

ZERO = np.float32(0)
NO_FLOOR = np.float32(-np.inf)
SCALE, SHIFT, OFFSET, SLOPE = range(4)
ROWS_AT_ONCE = 64
"""Sums over so many rows are taken in float32, and sums of those in float64."""

# "contract": a product and a sum may become one instruction with one rounding.
compiled = kept_on_disk({"contract", "nsz"})
inlined = register_jitable(forceinline=True)


@intrinsic
def bits_to_float(typing_context, bits):
    """The float32 with these 32 bits."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def float_to_bits(typing_context, value):
    """The 32 bits of a float32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


def load(matrix, row, column):
    """An element as a float32."""
    raise NotImplementedError("only within compiled code")


@overload(load, jit_options={"forceinline": True})
def load_for_type(matrix, row, column):
    """Picks the code for the type of the matrix's elements."""
    # An index of an unsigned type cannot count from the end, which spares a comparison.
    if matrix.dtype == types.float32:
        return lambda matrix, row, column: matrix[np.uintp(row), np.uintp(column)]
    return lambda matrix, row, column: bits_to_float(  # type: ignore[call-arg]
        np.uint32(matrix[np.uintp(row), np.uintp(column)]) << np.uint32(16)
    )


def store(matrix, row, column, value):
    """Write a float32 into an element, rounded to nearest (ties to even) for bfloat16."""
    raise NotImplementedError("only within compiled code")


@overload(store, jit_options={"forceinline": True})
def store_for_type(matrix, row, column, value):
    """Picks the code for the type of the matrix's elements."""
    if matrix.dtype == types.float32:

        def store_float32(matrix, row, column, value):
            matrix[np.uintp(row), np.uintp(column)] = value

        return store_float32

    def store_bfloat16(matrix, row, column, value):
        bits = float_to_bits(np.float32(value))  # type: ignore
        # What is not a number stays so: rounding could make an infinity or a zero of it.
        bits = np.uint32(0x7FC00000) if value != value else bits  # noqa: PLR0124
        half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        matrix[np.uintp(row), np.uintp(column)] = np.uint16((bits + half) >> np.uint32(16))

    return store_bfloat16


@inlined
def random_bits(number, key0, key1):
    """32 bits that look random, the same for the same number and key (two words).

    The multipliers and shifts are those of a published search for a low bias (C. Wellons,
    "Hash Function Prospector", 2018 and later). Nothing is stored between two draws, so a
    dropout mask can be computed again in the backward pass.
    """
    bits = np.uint32(np.uint32(number) * np.uint32(0x9E3779B9)) ^ key0
    bits ^= bits >> np.uint32(16)
    bits = np.uint32(bits * np.uint32(0x21F0AAAD)) ^ key1
    bits ^= bits >> np.uint32(15)
    bits = np.uint32(bits * np.uint32(0xD35A2D97))
    return bits ^ (bits >> np.uint32(15))


@inlined
def at_least(value, floor):
    """max(value, floor), and NaN for NaN."""
    return floor if value < floor else value  # noqa: FURB136 (max would lose NaN)


@compiled
def draw_kept(num_rows, num_columns, key, threshold):
    """The dropout mask that the kernels draw: True where an element is kept."""
    kept = np.empty((num_rows, num_columns), np.bool_)
    key0, key1 = key
    for row in range(num_rows):
        for column in range(num_columns):
            kept[row, column] = random_bits(row * num_columns + column, key0, key1) >= threshold
    return kept


@compiled
def add_moments(values, first, last, floor, origin, sums, square_sums):
    """Add rows `first` to `last` to the sums of cut - origin and of its square."""
    for row in range(first, last):
        for column in range(origin.size):
            value = at_least(load(values, row, column), floor) - origin[column]
            sums[column] += value
            square_sums[column] += value * value


@compiled
def fill_origin(values, floor, num_channels, origin):
    """The first pixel's cut values, in each column of its channel.

    The variance is the difference of two sums, which would lose its digits if the mean were
    large beside it: so sums are taken about an origin of the right size.
    """
    for column in range(origin.size):
        origin[column] = at_least(load(values, 0, column % num_channels), floor)


@compiled
def channel_sums(values, floor, num_channels):
    """What `moments_of` takes: for each number of a row the sums of cut - origin and of its
    square, (2, columns), and the origin."""
    num_rows, num_columns = values.shape
    origin = np.empty(num_columns, np.float32)
    fill_origin(values, floor, num_channels, origin)
    totals = np.zeros((2, num_columns))
    for first in range(0, num_rows, ROWS_AT_ONCE):
        partial = np.zeros((2, num_columns), np.float32)
        last = min(num_rows, first + ROWS_AT_ONCE)
        add_moments(values, first, last, floor, origin, partial[0], partial[1])
        totals += partial
    return totals, origin


@compiled
def moments_of(totals, origin, count, moments):
    """Mean and (biased) variance of each channel, (2, channels), from the sums of cut - origin
    and of its square."""
    num_channels = moments.shape[1]
    means = sum_by_channel(totals, num_channels)
    means /= count
    for channel in range(num_channels):
        variance = means[1, channel] - means[0, channel] ** 2
        moments[0, channel] = means[0, channel] + origin[channel]
        moments[1, channel] = np.float64(0) if variance < 0 else variance  # NaN stays NaN


@compiled
def add_up_rows(matrix, first_row, num_rows, first_column, totals):
    """Add the elements of some rows, from a column on, to the totals of their columns."""
    sums = np.zeros(totals.size, np.float32)
    for row in range(first_row, first_row + num_rows):
        for column in range(totals.size):
            sums[column] += load(matrix, row, first_column + column)
    totals += sums


@compiled
def sum_by_channel(totals, num_channels):
    """Sums over those columns that belong to the same channel: (2, channels)."""
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
    """From the sums of dz and of dz * cut: what batch norm's statistics add to the gradient.

    The gradient through the batch's own mean and variance is that of Ioffe and Szegedy (2015,
    section 3), with the terms ordered by power of the value:
    d cut = scale * (dz - mean(dz) - x * mean(dz * x)), where x = (cut - mean) / deviation.
    """
    num_channels = gamma.size
    sums = sum_by_channel(totals, num_channels)
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
    """The averages over training that evaluation uses, as PyTorch updates them."""
    for channel in range(running_mean.size):
        variance = moments[1, channel] * count / (count - 1)  # unbiased
        running_mean[channel] += momentum * (moments[0, channel] - running_mean[channel])
        running_variance[channel] += momentum * (variance - running_variance[channel])


@compiled
def finish(values, out, per_channel, floor, floor_after, key, threshold, keep_scale):
    """Forward, without pooling: all values to the activations that the next layer sees."""
    num_rows, num_columns = values.shape
    key0, key1 = key
    is_dropping = threshold > 0
    for row in range(num_rows):
        for column in range(num_columns):
            z = at_least(load(values, row, column), floor)
            z = at_least(z * per_channel[SCALE, column] + per_channel[SHIFT, column], floor_after)
            if is_dropping:
                is_kept = random_bits(row * num_columns + column, key0, key1) >= threshold
                z = z * keep_scale if is_kept else ZERO
            store(out, row, column, z)


@inlined
def gradient_at_z(gradient, z, floor_after, is_dropping, number, key0, key1, threshold, keep_scale):
    """The gradient of the loss with respect to z, from that with respect to the output."""
    if is_dropping:
        is_kept = random_bits(number, key0, key1) >= threshold
        gradient = gradient * keep_scale if is_kept else ZERO
    return ZERO if z <= floor_after else gradient


@compiled
def add_gradient_sums(
    gradients,
    values,
    first,
    last,
    per_channel,
    floor,
    floor_after,
    key,
    threshold,
    keep_scale,
    sums,
    product_sums,
):
    """Add rows `first` to `last` to the sums of dz and of dz * cut."""
    num_columns = values.shape[1]
    key0, key1 = key
    is_dropping = threshold > 0
    for row in range(first, last):
        for column in range(num_columns):
            cut = at_least(load(values, row, column), floor)
            z = cut * per_channel[SCALE, column] + per_channel[SHIFT, column]
            dz = gradient_at_z(
                load(gradients, row, column), z, floor_after,
                is_dropping, row * num_columns + column, key0, key1, threshold, keep_scale,
            )  # fmt: skip
            sums[column] += dz
            product_sums[column] += dz * cut


@compiled
def gradient_sums(gradients, values, per_channel, floor, floor_after, key, threshold, keep_scale):
    """Backward, first pass: sums over rows of dz and of dz * cut, for each column: float64."""
    num_rows, num_columns = values.shape
    totals = np.zeros((2, num_columns))
    for first in range(0, num_rows, ROWS_AT_ONCE):
        partial = np.zeros((2, num_columns), np.float32)
        last = min(num_rows, first + ROWS_AT_ONCE)
        add_gradient_sums(
            gradients, values, first, last, per_channel, floor, floor_after,
            key, threshold, keep_scale, partial[0], partial[1],
        )  # fmt: skip
        totals += partial
    return totals


@compiled
def finish_backward(
    gradients, values, first_row, num_rows, per_channel, floor, floor_after, key, threshold,
    keep_scale, out, out_row, out_column,
):  # fmt: skip
    """Backward, second pass: the gradient with respect to some rows of the values.

    d cut = scale * dz - (offset + slope * cut): the bracket is what batch norm's mean and
    variance contribute, and 0 without it. It is written to `out` from a row and a column on.
    """
    num_columns = values.shape[1]
    key0, key1 = key
    is_dropping = threshold > 0
    for row in range(first_row, first_row + num_rows):
        for column in range(num_columns):
            value = load(values, row, column)
            cut = at_least(value, floor)
            z = cut * per_channel[SCALE, column] + per_channel[SHIFT, column]
            dz = gradient_at_z(
                load(gradients, row, column), z, floor_after,
                is_dropping, row * num_columns + column, key0, key1, threshold, keep_scale,
            )  # fmt: skip
            bracket = per_channel[OFFSET, column] + per_channel[SLOPE, column] * cut
            gradient = per_channel[SCALE, column] * dz - bracket
            gradient = ZERO if value <= floor else gradient
            store(out, out_row + row - first_row, out_column + column, gradient)
