"""A convolution of one image with 3x3 kernels in fewer products, in float32.

Two neighbouring outputs of a kernel with three weights take six products of an input and a weight. With
sums and differences of both, four do (Winograd 1980, Arithmetic Complexity of Computations; for
networks: Lavin and Gray 2015, arXiv:1509.09308):

    inputs    a, b, c, d   ->  a - c,  b + c,  c - b,  d - b
    weights   p, q, r      ->  p,  (p + q + r) / 2,  (p - q + r) / 2,  r
    products  s, t, u, v   ->  outputs  s + t + u,  t - u + v

In two directions a tile of 2x2 outputs takes 16 products in place of 36. Those of all tiles in a row and
all channels are sixteen products of matrices, which are computed as convolutions with 1x1 kernels.

The gradient of the weights is the same backward: gradients of the outputs become those of the products
(`transform_tile` with "gradients"), which are multiplied by the transformed inputs, added up over all
tiles, and turned into the gradient of the weights at the end.

`Winograd` makes the bodies of the compiled functions that `convolution.py` declares.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from speed.cpu.direct import arrange_weights, write_row
from speed.cpu.kernels import compiled
from speed.cpu.microkernels import (
    LANES,
    accumulate_outputs,
    accumulate_weight_gradients,
    transform_tile,
)
from speed.cpu.tiles import (
    WINOGRAD_PRODUCTS,
    Geometry,
    WinogradTiles,
    gradient_tiles,
    output_tiles,
)

HALF = np.float32(0.5)


@compiled
def _transform_weights(weights, transformed):
    """(3, 3 x in channels, out channels) -> (16, in channels, out channels)."""
    _, num_in, num_out = transformed.shape
    columns = np.empty((4, 3, num_out), np.float32)
    for channel in range(num_in):
        for x in range(3):
            for to in range(num_out):
                at = x * num_in + channel
                p, q, r = weights[0, at, to], weights[1, at, to], weights[2, at, to]
                columns[0, x, to], columns[3, x, to] = p, r
                columns[1, x, to], columns[2, x, to] = HALF * (p + q + r), HALF * (p - q + r)
        for y in range(4):
            for to in range(num_out):
                p, q, r = columns[y, 0, to], columns[y, 1, to], columns[y, 2, to]
                transformed[4 * y, channel, to] = p
                transformed[4 * y + 1, channel, to] = HALF * (p + q + r)
                transformed[4 * y + 2, channel, to] = HALF * (p - q + r)
                transformed[4 * y + 3, channel, to] = r


@dataclass(frozen=True)
class Winograd:
    """The bodies of the functions of `convolution.py` for one convolution."""

    geometry: Geometry
    word_size: int
    """Elements in 32 bits."""

    def pack_weights(self) -> Callable[..., None]:
        """See `convolution.pack_weights`."""
        geometry = self.geometry
        tiles = output_tiles(WinogradTiles(geometry).product, 1)
        vectors, steps, group = tiles.vectors, tiles.steps, tiles.group
        shape = WINOGRAD_PRODUCTS, geometry.in_channels, geometry.out_channels

        def transform_and_pack(weights, packed, sizes):
            transformed = np.empty(shape, np.float32)
            _transform_weights(weights, transformed)
            arrange_weights(transformed, packed, vectors, steps, group)

        return transform_and_pack

    def new_scratch(self) -> Callable[..., Any]:
        """See `convolution.new_scratch`: for a row of tiles the transformed inputs, products and sums."""
        geometry = self.geometry
        columns = WinogradTiles(geometry).columns
        input_size = WINOGRAD_PRODUCTS * columns * geometry.in_channels
        product_size = WINOGRAD_PRODUCTS * columns * geometry.out_channels + LANES
        sums_shape = 2, 2 * columns * geometry.out_channels

        def allocate(packed, sizes):
            return (
                np.empty(input_size, np.float32),
                np.empty(product_size, np.float32),
                np.empty(sums_shape, np.float32),
            )

        return allocate

    def convolve_image(self) -> Callable[..., None]:
        """See `convolution.convolve_image`."""
        geometry = self.geometry
        tiles = WinogradTiles(geometry)
        of_products = output_tiles(tiles.product, 1)
        rows, columns, padded_row = tiles.rows, tiles.columns, tiles.padded_row
        in_channels, out_channels = geometry.in_channels, geometry.out_channels
        out_height = geometry.out_height
        pixels, blocks, block_channels = (
            of_products.pixels,
            of_products.blocks,
            of_products.block_channels,
        )
        block_rows = of_products.steps * of_products.vectors
        input_step, block_size = columns * in_channels, columns * block_channels
        input_sizes = padded_row, in_channels, 4 * input_step, input_step, in_channels
        product_sizes = (
            1, of_products.steps, 1, pixels, of_products.vectors, of_products.group, 0, in_channels, 0,
        )  # fmt: skip
        output_step, sums_row = blocks * block_size, 2 * columns * out_channels
        output_sizes = 4 * output_step, output_step, sums_row, out_channels, block_channels

        def convolve(padded, packed, scratch, bias, values, first_row, sizes):
            inputs, products, sums = scratch
            for row in range(rows):
                for column in range(columns):
                    transform_tile(  # type: ignore[call-arg]
                        padded, 2 * (row * padded_row + column * in_channels),
                        inputs, column * in_channels, "inputs", input_sizes,
                    )  # fmt: skip
                for number in range(WINOGRAD_PRODUCTS):
                    for block in range(blocks):
                        for tile in range(0, columns, pixels):
                            x = min(tile, columns - pixels)
                            accumulate_outputs(  # type: ignore[call-arg]
                                inputs, number * input_step + x * in_channels,
                                packed, (block * WINOGRAD_PRODUCTS + number) * block_rows * LANES,
                                products, (number * blocks + block) * block_size + x * block_channels,
                                product_sizes,
                            )  # fmt: skip
                for block in range(blocks):
                    for column in range(columns):
                        transform_tile(  # type: ignore[call-arg]
                            products, block * block_size + column * block_channels,
                            sums, 2 * column * out_channels + block * block_channels,
                            "outputs", output_sizes,
                        )  # fmt: skip
                for r in range(min(2, out_height - 2 * row)):
                    write_row(
                        sums[r], out_channels, out_channels, bias, values, first_row + 2 * row + r
                    )

        return convolve

    def new_gradient_scratch(self) -> Callable[..., Any]:
        """See `convolution.new_gradient_scratch`: transformed inputs and gradients of a row, and sums."""
        geometry, word_size = self.geometry, self.word_size
        tiles = WinogradTiles(geometry)
        of_products = gradient_tiles(tiles.product, word_size)
        num_products = WINOGRAD_PRODUCTS * tiles.columns
        input_size = num_products * geometry.in_channels + of_products.block_lanes
        gradient_size = num_products * geometry.out_channels
        num_sums = WINOGRAD_PRODUCTS * of_products.num_tiles * of_products.size

        def allocate(padded, padded_gradient, sizes):
            return (
                np.zeros(input_size, np.float32),
                np.empty(gradient_size, np.float32),
                np.zeros(num_sums, np.float32),
            )

        return allocate

    def add_weight_gradients(self) -> Callable[..., None]:
        """See `convolution.add_weight_gradients`."""
        geometry, word_size = self.geometry, self.word_size
        tiles, reverse = WinogradTiles(geometry), geometry.reverse
        of_products = gradient_tiles(tiles.product, word_size)
        rows, columns, padded_row = tiles.rows, tiles.columns, tiles.padded_row
        gradient_row = WinogradTiles(reverse).padded_row
        in_channels, out_channels = geometry.in_channels, geometry.out_channels
        vector_blocks, channel_blocks = of_products.vector_blocks, of_products.channel_blocks
        channels, block_lanes, tile_size = (
            of_products.channels,
            of_products.block_lanes,
            of_products.size,
        )
        first_gradient = reverse.padding * (gradient_row + out_channels)
        input_step, gradient_step = columns * in_channels, columns * out_channels
        input_sizes = padded_row, in_channels, 4 * input_step, input_step, in_channels
        gradient_sizes = gradient_row, out_channels, 4 * gradient_step, gradient_step, out_channels
        product_sizes = (
            1, columns, of_products.vectors, channels, of_products.lanes, 0, in_channels, 0, out_channels,
        )  # fmt: skip

        def add(padded, padded_gradient, scratch, sizes):
            inputs, gradients, sums = scratch
            for row in range(rows):
                for column in range(columns):
                    transform_tile(  # type: ignore[call-arg]
                        padded, 2 * (row * padded_row + column * in_channels),
                        inputs, column * in_channels, "inputs", input_sizes,
                    )  # fmt: skip
                    transform_tile(
                        padded_gradient,
                        first_gradient + 2 * (row * gradient_row + column * out_channels),
                        gradients, column * out_channels, "gradients", gradient_sizes,
                    )  # fmt: skip
                for number in range(WINOGRAD_PRODUCTS):
                    for vector in range(vector_blocks):
                        for channel in range(channel_blocks):
                            tile = (number * vector_blocks + vector) * channel_blocks + channel
                            accumulate_weight_gradients(  # type: ignore[call-arg]
                                inputs, number * input_step + vector * block_lanes,
                                gradients, number * gradient_step + channel * channels,
                                sums, tile * tile_size, product_sizes,
                            )  # fmt: skip

        return add

    def write_weight_gradient(self) -> Callable[..., None]:
        """See `convolution.write_weight_gradient`."""
        tiles = gradient_tiles(WinogradTiles(self.geometry).product, self.word_size)
        lanes, blocks = tiles.block_lanes, tiles.vector_blocks
        block_step = tiles.channel_blocks * tiles.size
        product_step = blocks * block_step

        def write(scratch, gradient, sizes):
            sums = scratch[2]
            num_out, _, length = gradient.shape
            num_in = length // 3
            columns = np.empty((3, 4, lanes), np.float32)
            for to, block in np.ndindex(num_out, blocks):
                first = block * block_step + to * lanes
                for x in range(4):
                    for lane in range(lanes):
                        at = np.uintp(first + x * product_step + lane)
                        a, b = sums[at], sums[at + np.uintp(4 * product_step)]
                        c, d = (
                            sums[at + np.uintp(8 * product_step)],
                            sums[at + np.uintp(12 * product_step)],
                        )
                        columns[0, x, lane] = a + HALF * (b + c)
                        columns[1, x, lane] = HALF * (b - c)
                        columns[2, x, lane] = HALF * (b + c) + d
                for y in range(3):
                    for lane in range(lanes):
                        a, b = columns[y, 0, lane], columns[y, 1, lane]
                        c, d = columns[y, 2, lane], columns[y, 3, lane]
                        at = block * lanes + lane
                        gradient[to, y, at] = a + HALF * (b + c)
                        gradient[to, y, num_in + at] = HALF * (b - c)
                        gradient[to, y, 2 * num_in + at] = HALF * (b + c) + d

        return write
