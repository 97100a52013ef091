"""Convolutions of few channels on a CPU, forward and backward, image by image.

Libraries fill a vector register with the channels of a pixel; with 8 or 16 channels half of it
stays empty, and each convolution reads and writes all activations once. Here the tiles of sums
that `microkernels.py` keeps in registers are cut to the shape of the layer (`tiles.py`), and all that
happens to an image in a layer happens at once, while the image lies in the fastest cache: the
forward pass adds up what batch norm needs to know, and the backward pass turns the gradient of
what follows the convolution (`kernels.py`, `pooling.py`) into that of the weights and that of the
inputs, without ever writing it down for the whole batch.

Sizes are compiled in: every shape of a layer has code of its own, which Numba keeps on disk.
Matrices of activations have one row for each row of an image, all channels of a pixel side by
side; elements are float32, or bfloat16 as uint16.
"""

import functools
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from speed.cpu import kernels, pooling
from speed.cpu.compiling import kept_on_disk
from speed.cpu.microkernels import LANES, add_up_gradients, add_up_outputs
from speed.cpu.tiles import Geometry, gradient_tiles, output_tiles

compiled = kept_on_disk({"contract", "nsz"})


def word(elements, index, other):
    """The word that is multiplied: an element alone, or a pair of bfloat16."""
    raise NotImplementedError("only within compiled code")


@overload(word, jit_options={"forceinline": True})
def word_for_type(elements, index, other):
    """Picks the code for the type of the elements."""
    if elements.dtype == types.float32:
        return lambda elements, index, other: elements[np.uintp(index)]
    return lambda elements, index, other: (
        np.uint32(elements[np.uintp(index)])
        | (np.uint32(elements[np.uintp(other)]) << np.uint32(16))
    )


@compiled
def arrange_weights(weights, arranged, vectors, steps, group, in_word):
    """Weights (out channels, height, width x in channels) in the order in which they are used.

    Rows of `arranged` are vectors: of each block of channels all rows of the kernel, of each of
    those all steps. Lanes without a channel, and the end of the last step, get 0.
    """
    num_channels, height, length = weights.shape
    num_rows, num_columns = arranged.shape
    lanes = num_columns // in_word
    for row in range(num_rows):
        vector = row // (vectors * steps * height) * vectors + row % vectors
        step = row // vectors % steps
        y = row // (vectors * steps) % height
        for lane in range(lanes):
            channel = vector * (lanes // group) + lane // group
            first = (step * group + lane % group) * in_word
            for i in range(in_word):
                is_inside = (channel < num_channels) & (first + i < length)
                weight = weights[channel, y, first + i] if is_inside else kernels.ZERO
                kernels.store(arranged, row, lane * in_word + i, weight)


@compiled
def turn_weights(weights, turned):
    """Kernels turned by 180 degrees, with in channels and out channels exchanged."""
    num_out, size, _ = weights.shape
    num_in = turned.shape[0]
    for to in range(num_in):
        for y in range(size):
            for x in range(size):
                for channel in range(num_out):
                    turned[to, y, x * num_out + channel] = weights[
                        channel, size - 1 - y, (size - 1 - x) * num_in + to
                    ]


@compiled
def copy_image(images, first_row, height, padded, padding, num_channels):
    """An image into the middle of a matrix with a margin."""
    for y in range(height):
        for column in range(images.shape[1]):
            to = np.uintp(padding * num_channels + column)
            padded[np.uintp(y + padding), to] = images[np.uintp(first_row + y), np.uintp(column)]


@compiled
def finish_row(sums, block_channels, num_channels, bias, values, row):
    """A row of sums as values; sums come in blocks of channels, perhaps more than there are."""
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


def convolve_image(padded, arranged, sums, bias, values, first_row, extent, sizes):
    """The values of an image whose margins are 0, into rows of `values` from the first on.

    `extent`: output rows and columns, channels and blocks of channels, and a pixel's distance in
    `padded`; `sizes`: those of `add_up_outputs`.
    """
    raise NotImplementedError("only within compiled code")


@overload(convolve_image, prefer_literal=True, jit_options={"forceinline": True})
def convolve_image_with_tiles(padded, arranged, sums, bias, values, first_row, extent, sizes):
    """Writes the sizes into the code: `add_up_outputs` is made for them."""
    size, steps, rows, pixels, vectors, group, padded_row, in_channels, sums_row = (
        one.literal_value for one in sizes
    )
    out_height, out_width, out_channels, blocks = (one.literal_value for one in extent)
    block_channels = vectors * LANES // group
    block_words = size * steps * vectors

    def convolve(padded, arranged, sums, bias, values, first_row, extent, sizes):
        for y in range(0, out_height, rows):
            for block in range(blocks):
                for tile in range(0, out_width, pixels):
                    x = min(tile, out_width - pixels)
                    add_up_outputs(  # type: ignore[call-arg]
                        padded, y * padded_row + x * in_channels,
                        arranged, block * block_words * arranged.shape[1],
                        sums, (block * out_width + x) * block_channels,
                        (size, steps, rows, pixels, vectors, group, padded_row, in_channels,
                         sums_row),
                    )  # fmt: skip
            for r in range(rows):
                finish_row(sums[r], block_channels, out_channels, bias, values, first_row + y + r)

    return convolve


@functools.cache
def compile_forward(geometry: Geometry, is_bfloat16: bool) -> Any:
    """The convolution of a batch, with a bias; see `convolve` below."""
    in_word = 2 if is_bfloat16 else 1
    tiles = output_tiles(geometry, in_word)
    height, out_height, out_width = geometry.height, geometry.out_height, geometry.out_width
    in_channels, out_channels = geometry.in_channels, geometry.out_channels
    size, padding = geometry.kernel_size, geometry.padding
    rows, pixels, vectors, blocks = tiles.rows, tiles.pixels, tiles.vectors, tiles.blocks
    group, steps = tiles.group, tiles.steps
    lanes = LANES
    padded_height, padded_row = height + 2 * padding, (geometry.width + 2 * padding) * in_channels
    block_channels = vectors * lanes // group
    sums_row = blocks * out_width * block_channels + lanes
    # The last step of a kernel's row may read beyond it, words that meet weights of 0.
    more_rows = -(-group * in_word // padded_row)

    @compiled
    def convolve(inputs, weights, bias, floor, needs_sums, values):
        """Writes the values; returns what `kernels.moments_of` takes: sums and their origin."""
        arranged = np.empty((blocks * size * steps * vectors, lanes * in_word), inputs.dtype)
        arrange_weights(weights, arranged, vectors, steps, group, in_word)
        padded = np.zeros((padded_height + more_rows, padded_row), inputs.dtype)
        sums = np.empty((rows, sums_row), np.float32)
        origin = np.zeros(out_width * out_channels, np.float32)
        totals = np.zeros((2, origin.size))
        for image in range(inputs.shape[0] // height):
            copy_image(inputs, image * height, height, padded, padding, in_channels)
            convolve_image(
                padded, arranged, sums, bias, values, image * out_height,
                (out_height, out_width, out_channels, blocks),
                (size, steps, rows, pixels, vectors, group, padded_row, in_channels, sums_row),
            )  # fmt: skip
            if needs_sums:
                if image == 0:
                    kernels.fill_origin(values, floor, out_channels, origin)
                first, last = image * out_height, (image + 1) * out_height
                partial = np.zeros((2, origin.size), np.float32)
                kernels.add_moments(values, first, last, floor, origin, partial[0], partial[1])
                totals += partial
        return totals, origin

    return convolve


@compiled
def join_words(elements, words, distance):
    """The word that begins at each element; its other half lies at a distance."""
    for index in range(elements.size - distance):
        words[np.uintp(index)] = word(elements, index, index + distance)


@compiled
def write_weight_gradient(sums, tiles, gradient):
    """The sums of `add_up_gradients` as (out channels, height, width x in channels)."""
    vectors, vector_blocks, channels, channel_blocks = tiles
    num_channels, height, length = gradient.shape
    lanes = sums.size // (num_channels * height * vectors * vector_blocks)
    for channel in range(num_channels):
        block, n = divmod(channel, channels)
        for y in range(height):
            for column in range(length):
                vector, lane = divmod(column, lanes)
                tile = (y * vector_blocks + vector // vectors) * channel_blocks + block
                at = ((tile * channels + n) * vectors + vector % vectors) * lanes + lane
                gradient[channel, y, column] = sums[at]


@functools.cache
def compile_backward(
    geometry: Geometry,
    is_bfloat16: bool,
    is_pooled: bool,
    needs_inputs: bool,
    needs_bias: bool,
) -> Any:
    """The gradients of a convolution and what follows it; see `differentiate` below."""
    in_word = 2 if is_bfloat16 else 1
    reverse = geometry.reverse
    tiles, weight_tiles = output_tiles(reverse, in_word), gradient_tiles(geometry)
    height, width, out_height, out_width = (
        geometry.height, geometry.width, geometry.out_height, geometry.out_width,
    )  # fmt: skip
    in_channels, out_channels, size = (
        geometry.in_channels, geometry.out_channels, geometry.kernel_size,
    )  # fmt: skip
    padding, margin = geometry.padding, reverse.padding
    padded_height, padded_row = height + 2 * padding, (width + 2 * padding) * in_channels
    # At least one pixel of 0 ends a row: the neighbour of the last, where two make a word.
    margin_row = (out_width + max(2 * margin, 1)) * out_channels
    margin_height = out_height + 2 * margin
    lanes = LANES
    # Of the gradient with respect to the inputs:
    rows, pixels, vectors, blocks = tiles.rows, tiles.pixels, tiles.vectors, tiles.blocks
    group, steps = tiles.group, tiles.steps
    block_channels = vectors * lanes // group
    sums_row = blocks * width * block_channels + lanes
    more_rows = -(-group * in_word // margin_row)
    # Of the gradient with respect to the weights:
    w_vectors, w_vector_blocks = weight_tiles.vectors, weight_tiles.vector_blocks
    w_channels, w_channel_blocks = weight_tiles.channels, weight_tiles.channel_blocks
    w_pixels = -(-out_width // in_word)
    input_step, gradient_step = in_word * in_channels, in_word * out_channels
    first_gradient = margin * (margin_row + out_channels)
    w_tile = w_channels * w_vectors * lanes
    word_type = np.uint32 if is_bfloat16 else np.float32

    @compiled
    def differentiate(
        inputs, weights, values, gradients, choice, per_channel, floor, floor_after,
        key, threshold, keep_scale, inputs_gradient, weights_gradient, num_channels,
    ):  # fmt: skip
        """From the gradient with respect to the activations, writes those with respect to the
        weights and, if they are needed, to the inputs. Returns the sums of the gradient with
        respect to the values, for each number of a row, if the bias needs them.

        `num_channels` is `out_channels`, which a compiler that knew it would unroll a loop by.
        """
        turned = np.empty((in_channels, size, size * out_channels), np.float32)
        arranged = np.empty((blocks * size * steps * vectors, lanes * in_word), inputs.dtype)
        if needs_inputs:
            turn_weights(weights, turned)
            arrange_weights(turned, arranged, vectors, steps, group, in_word)
        padded = np.zeros((padded_height + 1, padded_row), inputs.dtype)
        padded_gradient = np.zeros((margin_height + more_rows, margin_row), inputs.dtype)
        input_words = np.zeros(padded.size + w_vector_blocks * w_vectors * lanes, word_type)
        gradient_words = np.zeros(padded_gradient.size, word_type)
        weight_sums = np.zeros(size * w_vector_blocks * w_channel_blocks * w_tile, np.float32)
        sums = np.empty((rows, sums_row), np.float32)
        no_bias = np.zeros(width * in_channels, np.float32)
        bias_sums = np.zeros(out_width * out_channels)
        for image in range(inputs.shape[0] // height):
            if is_pooled:
                pooling.pool_backward(
                    gradients, values, choice, image * out_height, out_height, out_height,
                    num_channels, per_channel, floor, keep_scale, padded_gradient, margin,
                    margin * out_channels,
                )  # fmt: skip
            else:
                kernels.finish_backward(
                    gradients, values, image * out_height, out_height, per_channel, floor,
                    floor_after, key, threshold, keep_scale, padded_gradient, margin, margin * out_channels,
                )  # fmt: skip
            if needs_bias:
                kernels.add_up_rows(
                    padded_gradient, margin, out_height, margin * out_channels, bias_sums
                )
            copy_image(inputs, image * height, height, padded, padding, in_channels)
            join_words(padded.ravel(), input_words, in_channels)
            join_words(padded_gradient.ravel(), gradient_words, out_channels)
            for y in range(size):
                for vector in range(w_vector_blocks):
                    for channel in range(w_channel_blocks):
                        tile = (y * w_vector_blocks + vector) * w_channel_blocks + channel
                        add_up_gradients(  # type: ignore[call-arg]
                            input_words, y * padded_row + vector * w_vectors * lanes,
                            gradient_words, first_gradient + channel * w_channels,
                            weight_sums, tile * w_tile,
                            (out_height, w_pixels, w_vectors, w_channels, padded_row, input_step,
                             margin_row, gradient_step),
                        )  # fmt: skip
            if needs_inputs:
                convolve_image(
                    padded_gradient, arranged, sums, no_bias, inputs_gradient, image * height,
                    (height, width, in_channels, blocks),
                    (size, steps, rows, pixels, vectors, group, margin_row, out_channels,
                     sums_row),
                )  # fmt: skip
        write_weight_gradient(
            weight_sums, (w_vectors, w_vector_blocks, w_channels, w_channel_blocks),
            weights_gradient,
        )  # fmt: skip
        return bias_sums

    return differentiate
