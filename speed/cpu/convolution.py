"""Compiled convolutions with few channels on a CPU, forward and backward, image by image.

Libraries fill a vector register with the channels of a pixel. With 8 or 16 channels half of it
stays empty, and each convolution reads and writes all activations once. Here the tiles of sums
that `microkernels.py` keeps in registers fit the shape of the layer (`tiles.py`), and a layer is
computed image by image, while the image is in the first-level cache. The forward pass adds up the
moments that batch norm needs. The backward pass turns the gradient of the epilogue (`epilogues.py`)
into those of the weights and the inputs without storing it for the whole batch.

Sizes are compiled in: every shape of a layer has its own code, which is cached on disk. Matrices
of activations have one row for each row of an image, all channels of a pixel side by side.
Elements are float32, or bfloat16 as uint16.
"""

import functools
from dataclasses import astuple
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from speed.cpu import epilogues, kernels
from speed.cpu.kernels import compiled
from speed.cpu.microkernels import LANES, accumulate_outputs, accumulate_weight_gradients
from speed.cpu.tiles import Geometry, gradient_tiles, output_tiles


@compiled
def _pack_weights(weights, packed, vectors, steps, group):
    """Weights (out channels, height, width x in channels) in the order in which they are used.

    Rows of `packed` are vectors: for each block of channels all rows of the kernel, for each of
    those all steps. Lanes without a channel, and the end of the last step, get 0.
    """
    num_channels, height, length = weights.shape
    word_size = packed.shape[1] // LANES
    for row in range(packed.shape[0]):
        vector = row // (vectors * steps * height) * vectors + row % vectors
        step = row // vectors % steps
        y = row // (vectors * steps) % height
        for lane in range(LANES):
            channel = vector * (LANES // group) + lane // group
            first = (step * group + lane % group) * word_size
            for i in range(word_size):
                is_inside = (channel < num_channels) & (first + i < length)
                weight = weights[channel, y, first + i] if is_inside else kernels.ZERO
                kernels.store(packed, row, lane * word_size + i, weight)


@compiled
def _rotate_weights(weights, rotated):
    """Kernels rotated by 180 degrees, with in channels and out channels exchanged."""
    num_out, size, _ = weights.shape
    num_in = rotated.shape[0]
    for to in range(num_in):
        for y in range(size):
            for x in range(size):
                for channel in range(num_out):
                    rotated[to, y, x * num_out + channel] = weights[
                        channel, size - 1 - y, (size - 1 - x) * num_in + to
                    ]


@compiled
def _copy_image(images, first_row, height, padded, padding, num_channels):
    """Copy an image into the middle of a matrix with a margin."""
    for y in range(height):
        for column in range(images.shape[1]):
            to = np.uintp(padding * num_channels + column)
            padded[np.uintp(y + padding), to] = images[np.uintp(first_row + y), np.uintp(column)]


@compiled
def write_row(sums, block_channels, num_channels, bias, values, row):
    """A row of sums plus bias as values. Sums come in blocks of channels, perhaps too many."""
    if block_channels == num_channels:
        for column in range(bias.size):
            at = np.uintp(column)
            kernels.store(values, row, column, sums[at] + bias[at])
        return
    width = bias.size // num_channels
    for first in range(0, num_channels, block_channels):
        for pixel in range(width):
            for channel in range(min(block_channels, num_channels - first)):
                column = pixel * num_channels + first + channel
                at = first * width + pixel * block_channels + channel
                kernels.store(values, row, column, sums[np.uintp(at)] + bias[np.uintp(column)])


def convolve_image(padded, packed, sums, bias, values, first_row, sizes):
    """The values of a padded image, into rows of `values` from the first on.

    `sizes`: the fields of the convolution's `Geometry`, which are compiled in.
    """
    raise NotImplementedError("only within compiled code")


@overload(convolve_image, prefer_literal=True, jit_options={"forceinline": True})
def _convolve_image_with_tiles(padded, packed, sums, bias, values, first_row, sizes):
    geometry = Geometry(*(size.literal_value for size in sizes))
    tiles = output_tiles(geometry, 2 if padded.dtype == types.uint16 else 1)
    out_height, out_width = geometry.out_height, geometry.out_width
    in_channels, out_channels = geometry.in_channels, geometry.out_channels
    padded_row, block_channels = geometry.padded_row, tiles.block_channels
    rows, pixels, blocks = tiles.rows, tiles.pixels, tiles.blocks
    block_rows = geometry.kernel_size * tiles.steps * tiles.vectors
    tile_sizes = (
        geometry.kernel_size, tiles.steps, rows, pixels, tiles.vectors, tiles.group, padded_row,
        in_channels, tiles.sums_shape[1],
    )  # fmt: skip

    def convolve(padded, packed, sums, bias, values, first_row, sizes):
        for y in range(0, out_height, rows):
            for block in range(blocks):
                for tile in range(0, out_width, pixels):
                    x = min(tile, out_width - pixels)
                    accumulate_outputs(  # type: ignore[call-arg]
                        padded, y * padded_row + x * in_channels,
                        packed, block * block_rows * packed.shape[1],
                        sums, (block * out_width + x) * block_channels, tile_sizes,
                    )  # fmt: skip
            for r in range(rows):
                write_row(sums[r], block_channels, out_channels, bias, values, first_row + y + r)

    return convolve


@functools.cache
def compile_forward(geometry: Geometry, is_bfloat16: bool) -> Any:
    """The convolution of a batch, with a bias: see `convolve` below."""
    tiles = output_tiles(geometry, 2 if is_bfloat16 else 1)
    height, out_height, padding = geometry.height, geometry.out_height, geometry.padding
    in_channels, out_channels = geometry.in_channels, geometry.out_channels
    row_size = geometry.out_width * out_channels
    packed_shape, padded_shape, sums_shape = (
        tiles.packed_shape,
        tiles.padded_shape,
        tiles.sums_shape,
    )
    vectors, steps, group, sizes = tiles.vectors, tiles.steps, tiles.group, astuple(geometry)

    @compiled
    def convolve(inputs, weights, bias, floor, needs_sums, values):
        """Writes the values. Returns the arguments of `kernels.compute_moments`."""
        packed = np.empty(packed_shape, inputs.dtype)
        _pack_weights(weights, packed, vectors, steps, group)
        padded = np.zeros(padded_shape, inputs.dtype)
        sums = np.empty(sums_shape, np.float32)
        origin = np.zeros(row_size, np.float32)
        totals = np.zeros((2, row_size))
        for image in range(inputs.shape[0] // height):
            _copy_image(inputs, image * height, height, padded, padding, in_channels)
            convolve_image(padded, packed, sums, bias, values, image * out_height, sizes)
            if needs_sums:
                if image == 0:
                    kernels.fill_origin(values, floor, out_channels, origin)
                first, last = image * out_height, (image + 1) * out_height
                partial = np.zeros((2, row_size), np.float32)
                kernels.add_moments(values, first, last, floor, origin, partial[0], partial[1])
                totals += partial
        return totals, origin

    return convolve


@compiled
def _join_words(elements, words, word_size, distance):
    """The word that begins at each element: a float32 itself, or a pair of bfloat16, the second of
    which is `distance` elements further."""
    for index in range(elements.size - distance):
        one, other = elements[np.uintp(index)], elements[np.uintp(index + distance)]
        if word_size == 2:
            words[np.uintp(index)] = np.uint32(one) | (np.uint32(other) << np.uint32(16))
        else:
            words[np.uintp(index)] = one


@compiled
def _write_weight_gradient(sums, tiles, gradient):
    """Write what `accumulate_weight_gradients` added up, in the layout of the weights."""
    vectors, vector_blocks, channels, channel_blocks = tiles
    num_channels, height, length = gradient.shape
    for channel in range(num_channels):
        block, n = divmod(channel, channels)
        for y in range(height):
            for column in range(length):
                vector, lane = divmod(column, LANES)
                tile = (y * vector_blocks + vector // vectors) * channel_blocks + block
                at = ((tile * channels + n) * vectors + vector % vectors) * LANES + lane
                gradient[channel, y, column] = sums[at]


@functools.cache
def compile_backward(
    geometry: Geometry, is_bfloat16: bool, needs_inputs: bool, needs_bias: bool
) -> Any:
    """The gradients of a convolution and its epilogue: see `differentiate` below."""
    word_size = 2 if is_bfloat16 else 1
    word_type = np.uint32 if is_bfloat16 else np.float32
    reverse = geometry.reverse
    height, out_height, size = geometry.height, geometry.out_height, geometry.kernel_size
    in_channels, out_channels = geometry.in_channels, geometry.out_channels
    padding, margin = geometry.padding, reverse.padding
    input_size, output_size = geometry.width * in_channels, geometry.out_width * out_channels
    padded_shape = output_tiles(geometry, word_size).padded_shape
    # Of the gradient with respect to the inputs:
    tiles = output_tiles(reverse, word_size)
    rotated_shape = (in_channels, size, size * out_channels)
    packed_shape, sums_shape, reverse_sizes = tiles.packed_shape, tiles.sums_shape, astuple(reverse)
    padded_gradient_shape = tiles.padded_shape
    vectors, steps, group = tiles.vectors, tiles.steps, tiles.group
    # Of the gradient with respect to the weights:
    of_weights = gradient_tiles(geometry)
    vector_blocks, channel_blocks = of_weights.vector_blocks, of_weights.channel_blocks
    channels, block_lanes = of_weights.channels, of_weights.vectors * LANES
    weight_tiles = (of_weights.vectors, vector_blocks, channels, channel_blocks)
    tile_size = channels * block_lanes
    padded_row, first_gradient = geometry.padded_row, margin * (reverse.padded_row + out_channels)
    sizes = (
        out_height, -(-geometry.out_width // word_size), of_weights.vectors, channels, padded_row,
        word_size * in_channels, reverse.padded_row, word_size * out_channels,
    )  # fmt: skip

    @compiled
    def differentiate(
        inputs, weights, values, gradients, argmax, epilogue, inputs_gradient, weights_gradient,
        num_channels,
    ):  # fmt: skip
        """Writes the gradients with respect to the weights and, if needed, the inputs.

        Returns, if the bias needs it, the gradient with respect to the values, summed over rows.
        `num_channels` is `out_channels`: a compiler that knows it unrolls a loop by it.
        """
        packed = np.empty(packed_shape, inputs.dtype)
        if needs_inputs:
            rotated = np.empty(rotated_shape, np.float32)
            _rotate_weights(weights, rotated)
            _pack_weights(rotated, packed, vectors, steps, group)
        padded = np.zeros(padded_shape, inputs.dtype)
        padded_gradient = np.zeros(padded_gradient_shape, inputs.dtype)
        input_words = np.zeros(padded.size + vector_blocks * block_lanes, word_type)
        gradient_words = np.zeros(padded_gradient.size, word_type)
        weight_sums = np.zeros(size * vector_blocks * channel_blocks * tile_size, np.float32)
        sums = np.empty(sums_shape, np.float32)
        no_bias = np.zeros(input_size, np.float32)
        bias_sums = np.zeros(output_size)
        for image in range(inputs.shape[0] // height):
            epilogues.epilogue_backward(
                gradients, values, argmax, image * out_height, out_height, out_height,
                num_channels, epilogue, padded_gradient, margin, margin * out_channels,
            )  # fmt: skip
            if needs_bias:
                kernels.add_column_sums(
                    padded_gradient, margin, out_height, margin * out_channels, bias_sums
                )
            _copy_image(inputs, image * height, height, padded, padding, in_channels)
            _join_words(padded.ravel(), input_words, word_size, in_channels)
            _join_words(padded_gradient.ravel(), gradient_words, word_size, out_channels)
            for y in range(size):
                for vector in range(vector_blocks):
                    for channel in range(channel_blocks):
                        tile = (y * vector_blocks + vector) * channel_blocks + channel
                        accumulate_weight_gradients(  # type: ignore[call-arg]
                            input_words, y * padded_row + vector * block_lanes,
                            gradient_words, first_gradient + channel * channels,
                            weight_sums, tile * tile_size, sizes,
                        )  # fmt: skip
            if needs_inputs:
                convolve_image(
                    padded_gradient, packed, sums, no_bias, inputs_gradient, image * height,
                    reverse_sizes,
                )  # fmt: skip
        _write_weight_gradient(weight_sums, weight_tiles, weights_gradient)
        return bias_sums

    return differentiate
