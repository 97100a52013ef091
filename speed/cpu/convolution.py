"""Compiled convolutions with few channels on a CPU, forward and backward, image by image.

Libraries fill a vector register with the channels of a pixel. With 8 or 16 channels half of it
stays empty, and each convolution reads and writes all activations once. Here the tiles of sums
that `microkernels.py` keeps in registers fit the shape of the layer (`tiles.py`), and a layer is
computed image by image, while the image is in the first-level cache. The forward pass adds up the
moments that batch norm needs. The backward pass turns the gradient of the epilogue (`epilogues.py`)
into those of the weights and the inputs without storing it for the whole batch.

An image is convolved as the definition says (`direct.py`), or with fewer products (`winograd.py`).

Sizes are compiled in: every shape of a layer has its own code, which is cached on disk. Matrices
of activations have one row for each row of an image, all channels of a pixel side by side.
Elements are float32, or bfloat16 as uint16.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import numpy as np
from numba.extending import overload

from speed.cpu import epilogues, kernels
from speed.cpu.direct import Direct
from speed.cpu.kernels import compiled
from speed.cpu.tiles import Geometry, OutputTiles, WinogradTiles, output_tiles, winograd_tiles
from speed.cpu.winograd import Winograd


def _by_geometry(stub: Callable[..., Any]) -> Callable[..., Any]:
    """Compile the function of this name in `direct.py` or `winograd.py`.

    Its last argument has the fields of a `Geometry` and the number of elements in a word of 32 bits; they
    are compiled in.
    """

    def choose(*arguments):
        *fields, word_size = (size.literal_value for size in arguments[-1])
        geometry = Geometry(*fields)
        method = Winograd if winograd_tiles(geometry, word_size) else Direct
        return getattr(method(geometry, word_size), stub.__name__)()

    choose.__signature__ = inspect.signature(stub)  # type: ignore[attr-defined]
    overload(stub, prefer_literal=True, jit_options={"forceinline": True})(choose)
    return stub


@_by_geometry
def pack_weights(weights, packed, sizes):
    """Weights (height, width x in channels, out channels) in the order in which they are used."""
    raise NotImplementedError("only within compiled code")


@_by_geometry
def new_scratch(packed, sizes):
    """Memory for `convolve_image`."""
    raise NotImplementedError("only within compiled code")


@_by_geometry
def convolve_image(padded, packed, scratch, bias, values, first_row, sizes):
    """The values of a padded image, into rows of `values` from the first on."""
    raise NotImplementedError("only within compiled code")


@_by_geometry
def new_gradient_scratch(padded, padded_gradient, sizes):
    """Memory for `add_weight_gradients`, with sums of 0."""
    raise NotImplementedError("only within compiled code")


@_by_geometry
def add_weight_gradients(padded, padded_gradient, scratch, sizes):
    """Add an image's part to the sums that make the gradient of the weights."""
    raise NotImplementedError("only within compiled code")


@_by_geometry
def write_weight_gradient(scratch, gradient, sizes):
    """Write what `add_weight_gradients` added up, in the layout of the weights."""
    raise NotImplementedError("only within compiled code")


@compiled
def _transpose_weights(weights, transposed):
    """(out channels, height, width x in channels) -> (height, width x in channels, out channels)."""
    height, length, num_out = transposed.shape
    for channel in range(num_out):
        for y in range(height):
            for column in range(length):
                transposed[y, column, channel] = weights[channel, y, column]


@compiled
def _rotate_weights(weights, rotated):
    """Transposed weights of kernels rotated by 180 degrees, with in channels and out channels exchanged."""
    size, _, num_in = rotated.shape
    num_out = len(weights)
    for y in range(size):
        for x in range(size):
            for channel in range(num_out):
                for to in range(num_in):
                    rotated[y, x * num_out + channel, to] = weights[
                        channel, size - 1 - y, (size - 1 - x) * num_in + to
                    ]


@compiled
def _copy_image(images, first_row, height, padded, padding, num_channels):
    """Copy an image into the middle of a matrix with a margin."""
    for y in range(height):
        for column in range(images.shape[1]):
            to = np.uintp(padding * num_channels + column)
            padded[np.uintp(y + padding), to] = images[np.uintp(first_row + y), np.uintp(column)]


def _tiles(geometry: Geometry, word_size: int) -> OutputTiles | WinogradTiles:
    return winograd_tiles(geometry, word_size) or output_tiles(geometry, word_size)


@functools.cache
def compile_forward(geometry: Geometry, is_bfloat16: bool) -> Any:
    """The convolution of a batch, with a bias: see `convolve` below."""
    sizes = (*astuple(geometry), 2 if is_bfloat16 else 1)
    tiles = _tiles(geometry, sizes[-1])
    packed_shape, padded_shape = tiles.packed_shape, tiles.padded_shape
    height, out_height, padding = geometry.height, geometry.out_height, geometry.padding
    in_channels, out_channels = geometry.in_channels, geometry.out_channels
    row_size, size = geometry.out_width * out_channels, geometry.kernel_size
    transposed_shape = size, size * in_channels, out_channels

    @compiled
    def convolve(inputs, weights, bias, floor, needs_sums, values):
        """Writes the values. Returns the arguments of `kernels.compute_moments`."""
        bias_row = np.empty(row_size, np.float32)
        for column in range(row_size):
            bias_row[column] = bias[column % out_channels]
        transposed = np.empty(transposed_shape, np.float32)
        _transpose_weights(weights, transposed)
        packed = np.empty(packed_shape, inputs.dtype)
        pack_weights(transposed, packed, sizes)
        padded = np.zeros(padded_shape, inputs.dtype)
        scratch = new_scratch(packed, sizes)
        origin = np.zeros(row_size, np.float32)
        totals = np.zeros((2, row_size))
        for image in range(inputs.shape[0] // height):
            _copy_image(inputs, image * height, height, padded, padding, in_channels)
            convolve_image(padded, packed, scratch, bias_row, values, image * out_height, sizes)
            if needs_sums:
                if image == 0:
                    kernels.fill_origin(values, floor, out_channels, origin)
                first, last = image * out_height, (image + 1) * out_height
                partial = np.zeros((2, row_size), np.float32)
                kernels.add_moments(values, first, last, floor, origin, partial[0], partial[1])
                totals += partial
        return totals, origin

    return convolve


@functools.cache
def compile_backward(
    geometry: Geometry, is_bfloat16: bool, needs_inputs: bool, needs_bias: bool
) -> Any:
    """The gradients of a convolution and its epilogue: see `differentiate` below."""
    reverse = geometry.reverse
    sizes, reverse_sizes = ((*astuple(one), 2 if is_bfloat16 else 1) for one in (geometry, reverse))
    tiles, reverse_tiles = _tiles(geometry, sizes[-1]), _tiles(reverse, sizes[-1])
    padded_shape, padded_gradient_shape = tiles.padded_shape, reverse_tiles.padded_shape
    packed_shape = reverse_tiles.packed_shape
    height, out_height, size = geometry.height, geometry.out_height, geometry.kernel_size
    in_channels, out_channels = geometry.in_channels, geometry.out_channels
    padding, margin = geometry.padding, reverse.padding
    input_size, output_size = geometry.width * in_channels, geometry.out_width * out_channels
    rotated_shape = size, size * out_channels, in_channels

    @compiled
    def differentiate(
        inputs, weights, values, gradients, argmax, epilogue, inputs_gradient, weights_gradient,
        bias_gradient, num_channels,
    ):  # fmt: skip
        """Writes the gradients with respect to the weights and, if needed, the inputs and the bias.

        `num_channels` is `out_channels`: a compiler that knows it unrolls a loop by it.
        """
        packed = np.empty(packed_shape, inputs.dtype)
        if needs_inputs:
            rotated = np.empty(rotated_shape, np.float32)
            _rotate_weights(weights, rotated)
            pack_weights(rotated, packed, reverse_sizes)
        padded = np.zeros(padded_shape, inputs.dtype)
        padded_gradient = np.zeros(padded_gradient_shape, inputs.dtype)
        scratch = new_scratch(packed, reverse_sizes)
        gradient_scratch = new_gradient_scratch(padded, padded_gradient, sizes)
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
            add_weight_gradients(padded, padded_gradient, gradient_scratch, sizes)
            if needs_inputs:
                convolve_image(
                    padded_gradient, packed, scratch, no_bias, inputs_gradient, image * height,
                    reverse_sizes,
                )  # fmt: skip
        write_weight_gradient(gradient_scratch, weights_gradient, sizes)
        if needs_bias:
            for channel in range(out_channels):
                bias_gradient[channel] = bias_sums[channel::out_channels].sum()

    return differentiate
