"""A convolution of one image as it is defined: each output is a sum of products.

`Direct` makes the bodies of the compiled functions that `convolution.py` declares; `winograd.py` has
the other form.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from speed.cpu import kernels
from speed.cpu.kernels import compiled
from speed.cpu.microkernels import LANES, accumulate_outputs, accumulate_weight_gradients
from speed.cpu.tiles import Geometry, gradient_tiles, output_tiles


@compiled
def arrange_weights(weights, packed, vectors, steps, group):
    """Weights (height, width x in channels, out channels) in the order in which they are used.

    Rows of `packed` are vectors: for each block of channels all rows of the kernel, for each of
    those all steps. Lanes without a channel, and the end of the last step, get 0.
    """
    height, length, num_channels = weights.shape
    word_size = packed.shape[1] // LANES
    for row in range(packed.shape[0]):
        vector = row // (vectors * steps * height) * vectors + row % vectors
        step = row // vectors % steps
        y = row // (vectors * steps) % height
        if group * word_size == 1 and (vector + 1) * LANES <= num_channels:
            for lane in range(LANES):
                kernels.store(packed, row, lane, weights[y, step, vector * LANES + lane])
            continue
        for lane in range(LANES):
            channel = vector * (LANES // group) + lane // group
            first = (step * group + lane % group) * word_size
            for i in range(word_size):
                is_inside = (channel < num_channels) & (first + i < length)
                weight = weights[y, first + i, channel] if is_inside else kernels.ZERO
                kernels.store(packed, row, lane * word_size + i, weight)


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
def gradient_at(sums, tiles, row, channel, column):
    """One of the sums that `accumulate_weight_gradients` made: a row of kernels, an output channel,
    and a column of the weights."""
    lanes, vectors, vector_blocks, channels, channel_blocks = tiles
    block, n = divmod(channel, channels)
    vector, lane = divmod(column, lanes)
    tile = (row * vector_blocks + vector // vectors) * channel_blocks + block
    return sums[((tile * channels + n) * vectors + vector % vectors) * lanes + lane]


@dataclass(frozen=True)
class Direct:
    """The bodies of the functions of `convolution.py` for one convolution."""

    geometry: Geometry
    word_size: int
    """Elements in 32 bits."""

    def pack_weights(self) -> Callable[..., None]:
        """See `convolution.pack_weights`."""
        geometry, word_size = self.geometry, self.word_size
        tiles = output_tiles(geometry, word_size)
        vectors, steps, group = tiles.vectors, tiles.steps, tiles.group

        def pack_all(weights, packed, sizes):
            arrange_weights(weights, packed, vectors, steps, group)

        return pack_all

    def new_scratch(self) -> Callable[..., Any]:
        """See `convolution.new_scratch`: the sums of a row of tiles."""
        geometry, word_size = self.geometry, self.word_size
        shape = output_tiles(geometry, word_size).sums_shape

        def allocate(packed, sizes):
            return np.empty(shape, np.float32)

        return allocate

    def convolve_image(self) -> Callable[..., None]:
        """See `convolution.convolve_image`."""
        geometry, word_size = self.geometry, self.word_size
        tiles = output_tiles(geometry, word_size)
        out_height, out_width = geometry.out_height, geometry.out_width
        in_channels, out_channels = geometry.in_channels, geometry.out_channels
        padded_row, block_channels = geometry.padded_row, tiles.block_channels
        rows, pixels, blocks = tiles.rows, tiles.pixels, tiles.blocks
        block_rows = geometry.kernel_size * tiles.steps * tiles.vectors
        tile_sizes = (
            geometry.kernel_size, tiles.steps, rows, pixels, tiles.vectors, tiles.group, padded_row,
            in_channels, tiles.sums_shape[1],
        )  # fmt: skip

        def convolve(padded, packed, scratch, bias, values, first_row, sizes):
            for y in range(0, out_height, rows):
                for block in range(blocks):
                    for tile in range(0, out_width, pixels):
                        x = min(tile, out_width - pixels)
                        accumulate_outputs(  # type: ignore[call-arg]
                            padded, y * padded_row + x * in_channels,
                            packed, block * block_rows * packed.shape[1],
                            scratch, (block * out_width + x) * block_channels, tile_sizes,
                        )  # fmt: skip
                for r in range(rows):
                    write_row(
                        scratch[r], block_channels, out_channels, bias, values, first_row + y + r
                    )

        return convolve

    def new_gradient_scratch(self) -> Callable[..., Any]:
        """See `convolution.new_gradient_scratch`: the words of inputs and gradients, and the sums."""
        geometry, word_size = self.geometry, self.word_size
        tiles = gradient_tiles(geometry, word_size)
        word_type = np.uint32 if word_size == 2 else np.float32
        extra, num_sums = (
            tiles.vector_blocks * tiles.block_lanes,
            geometry.kernel_size * tiles.num_tiles * tiles.size,
        )

        def allocate(padded, padded_gradient, sizes):
            return (
                np.zeros(padded.size + extra, word_type),
                np.zeros(padded_gradient.size, word_type),
                np.zeros(num_sums, np.float32),
            )

        return allocate

    def add_weight_gradients(self) -> Callable[..., None]:
        """See `convolution.add_weight_gradients`."""
        geometry, word_size = self.geometry, self.word_size
        tiles, reverse = gradient_tiles(geometry, word_size), geometry.reverse
        size, in_channels, out_channels = (
            geometry.kernel_size,
            geometry.in_channels,
            geometry.out_channels,
        )
        vector_blocks, channel_blocks, channels = (
            tiles.vector_blocks,
            tiles.channel_blocks,
            tiles.channels,
        )
        block_lanes, tile_size, padded_row = tiles.block_lanes, tiles.size, geometry.padded_row
        first_gradient = reverse.padding * (reverse.padded_row + out_channels)
        tile_sizes = (
            geometry.out_height, -(-geometry.out_width // word_size), tiles.vectors, channels, tiles.lanes,
            padded_row, word_size * in_channels, reverse.padded_row, word_size * out_channels,
        )  # fmt: skip

        def add(padded, padded_gradient, scratch, sizes):
            input_words, gradient_words, sums = scratch
            _join_words(padded.ravel(), input_words, word_size, in_channels)
            _join_words(padded_gradient.ravel(), gradient_words, word_size, out_channels)
            for y in range(size):
                for vector in range(vector_blocks):
                    for channel in range(channel_blocks):
                        tile = (y * vector_blocks + vector) * channel_blocks + channel
                        accumulate_weight_gradients(  # type: ignore[call-arg]
                            input_words, y * padded_row + vector * block_lanes,
                            gradient_words, first_gradient + channel * channels,
                            sums, tile * tile_size, tile_sizes,
                        )  # fmt: skip

        return add

    def write_weight_gradient(self) -> Callable[..., None]:
        """See `convolution.write_weight_gradient`."""
        geometry, word_size = self.geometry, self.word_size
        tiles = astuple(gradient_tiles(geometry, word_size))

        def write(scratch, gradient, sizes):
            num_channels, height, length = gradient.shape
            for channel in range(num_channels):
                for y in range(height):
                    for column in range(length):
                        gradient[channel, y, column] = gradient_at(
                            scratch[2], tiles, y, channel, column
                        )

        return write
