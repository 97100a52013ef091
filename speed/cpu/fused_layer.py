"""A convolution and its epilogue as one layer, forward and backward.

A layer takes and gives activations as the kernels see them: a NumPy matrix of `as_rows`, and the
shape (batch, channels, H, W) of the tensor. A step makes a hundred arrays, and PyTorch's tensors
take longer to make than NumPy's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv2d

from speed.cpu import epilogues, kernels
from speed.cpu.convolution import compile_backward, compile_forward
from speed.cpu.epilogues import EpilogueArguments
from speed.cpu.kernels import DropoutMask
from speed.cpu.tiles import Geometry

Rows = NDArray[Any]
"""A matrix of activations, or their gradients, float32, or bfloat16 as uint16: see `as_rows`."""
Shape = tuple[int, ...]
"""Of a tensor of activations: (batch, channels, H, W)."""
NO_DROPOUT = DropoutMask((np.uint32(0), np.uint32(0)), np.uint32(0), np.float32(1))
convolution_backward = torch.ops.aten.convolution_backward


class Activations(NamedTuple):
    """What a layer takes and gives."""

    rows: Rows
    shape: Shape


class LayerArrays(NamedTuple):
    """A layer's numbers, in the memory of its parameters and running statistics."""

    weight: NDArray[np.float32]
    """(out channels, height, width x in channels)."""
    bias: NDArray[np.float32]
    """0 without a bias."""
    gamma: NDArray[np.float32] | None
    """Of batch norm, like the rest; None without it."""
    beta: NDArray[np.float32] | None
    running_mean: NDArray[np.float32] | None
    running_variance: NDArray[np.float32] | None
    num_batches: NDArray[np.int64] | None


class ForwardState(NamedTuple):
    """What the backward pass of a layer needs of its forward pass."""

    inputs: Activations
    geometry: Geometry | None
    """None if PyTorch computed the convolution."""
    values: Activations
    """What the convolution gives."""
    max_values: Rows | None
    """With pooling: each window's maximum, ..."""
    argmax: NDArray[np.uint8] | None
    """... and the index of its corner."""
    moments: NDArray[np.float64]
    """Mean and variance of each channel, (2, channels)."""
    arguments: EpilogueArguments
    was_evaluating: bool
    """Whether batch norm used its running statistics."""


@dataclass(frozen=True)
class FusedLayer:
    """A convolution and the layers between it and the next layer with weights, in this order."""

    convolution: nn.Conv2d
    relu_before: nn.ReLU | None = None
    batch_norm: nn.BatchNorm2d | None = None
    relu_after: nn.ReLU | None = None
    max_pool: nn.MaxPool2d | None = None
    dropout: nn.Dropout | None = None

    @property
    def parameters(self) -> list[Tensor | None]:
        """Weight, bias, and batch norm's gamma and beta; None for what is missing."""
        norm = self.batch_norm
        batch_norm = [norm.weight, norm.bias] if norm else [None, None]
        return [self.convolution.weight, self.convolution.bias, *batch_norm]

    @cached_property
    def arrays(self) -> LayerArrays:
        """Made once, since that takes as long as a kernel. Weights must have their channels last."""
        layer, norm = self.convolution, self.batch_norm
        weight = as_rows(layer.weight).reshape(layer.out_channels, layer.kernel_size[0], -1)
        assert np.shares_memory(weight, layer.weight.detach().numpy())
        bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias
        of_norm: Sequence[Tensor | None] = [None] * 5
        if norm:
            averages = norm.running_mean, norm.running_var, norm.num_batches_tracked
            of_norm = [norm.weight, norm.bias, *averages]
        arrays = [one if one is None else one.detach().numpy() for one in of_norm]
        return LayerArrays(weight, bias.detach().numpy(), *arrays)

    @property
    def floor(self) -> np.float32:
        """The minimum that values are clamped to before batch norm."""
        return kernels.ZERO if self.relu_before else kernels.NO_FLOOR

    @property
    def needs_bias(self) -> bool:
        """Whether the gradient of the convolution's bias is anything but 0.

        Batch norm subtracts what a bias adds. PyTorch's layers add up rounding errors there.
        """
        is_subtracted = self.batch_norm and not self.relu_before
        return self.convolution.bias is not None and not is_subtracted

    def geometry(self, shape: Shape) -> Geometry | None:
        """The sizes for `convolution.py`; None if PyTorch computes or refuses the convolution."""
        layer = self.convolution
        size, padding = layer.kernel_size[0], layer.padding[0]
        assert isinstance(padding, int)  # `group_layers` does not fuse padding="same".
        is_square = layer.kernel_size == (size, size) and layer.padding == (padding, padding)
        if layer.stride != (1, 1) or not is_square or padding >= size:
            return None
        _, num_channels, height, width = shape
        geometry = Geometry(height, width, layer.in_channels, layer.out_channels, size, padding)
        is_possible = geometry.out_height > 0 and geometry.out_width > 0
        return geometry if is_possible and num_channels == layer.in_channels else None

    def forward(self, inputs: Activations) -> tuple[Activations, ForwardState]:
        """Activations, of half the height and width if pooled, and what `backward` needs.

        Raises:
            ValueError: in training there is only one value in each channel for batch norm.
        """
        norm, geometry = self.batch_norm, self.geometry(inputs.shape)
        values, totals, origin = self.convolve(inputs, geometry)
        rows, (batch_size, num_channels, height, width) = values
        per_channel = np.zeros((4, width * num_channels), np.float32)
        moments = np.empty((2, num_channels))
        if norm:
            count = batch_size * height * width
            if norm.training and count == 1:
                raise ValueError(
                    "batch norm needs more than one value in each channel, and has one"
                )
            kernels.prepare_batch_norm(
                totals, origin, count, norm.training, norm.momentum, norm.eps, self.arrays[2:],
                moments, per_channel,
            )  # fmt: skip
        else:
            per_channel[kernels.SCALE] = 1
        floor_after = kernels.ZERO if self.relu_after else kernels.NO_FLOOR
        arguments = EpilogueArguments(per_channel, self.floor, floor_after, draw_mask(self.dropout))
        max_values = argmax = None
        if self.max_pool:
            height, width = height // 2, width // 2
            out = np.empty((batch_size * height, width * num_channels), rows.dtype)
            max_values, argmax = np.empty_like(out), np.empty_like(out, np.uint8)
            epilogues.apply_pooled_epilogue(
                rows, out, max_values, argmax, values.shape[2], num_channels, arguments
            )
        else:
            out = np.empty_like(rows)
            epilogues.apply_epilogue(rows, out, arguments)
        was_evaluating = bool(norm and not norm.training)
        state = ForwardState(
            inputs, geometry, values, max_values, argmax, moments, arguments, was_evaluating
        )
        return Activations(out, (batch_size, num_channels, height, width)), state

    def convolve(
        self, inputs: Activations, geometry: Geometry | None
    ) -> tuple[Activations, NDArray[np.float64], NDArray[np.float32]]:
        """The convolution's values, and the arguments of `kernels.compute_moments`."""
        layer, rows = self.convolution, inputs.rows
        if geometry is None:
            images = as_tensor(inputs)
            weight = layer.weight.to(images.dtype)
            bias = None if layer.bias is None else layer.bias.to(images.dtype)
            result = conv2d(images, weight, bias, layer.stride, layer.padding)
            values = Activations(as_rows(result), tuple(result.shape))
            return values, *kernels.sum_moments(values.rows, self.floor, layer.out_channels)
        batch_size, num_channels = inputs.shape[0], geometry.out_channels
        height, width = geometry.out_height, geometry.out_width
        found = np.empty((batch_size * height, width * num_channels), rows.dtype)
        kernel = compile_forward(geometry, rows.dtype == np.uint16)
        needs_sums = self.batch_norm is not None and self.batch_norm.training
        totals, origin = kernel(
            rows, self.arrays.weight, self.arrays.bias, self.floor, needs_sums, found
        )
        return Activations(found, (batch_size, num_channels, height, width)), totals, origin

    def backward(
        self, state: ForwardState, gradients: Rows, needs_inputs: bool
    ) -> tuple[Rows | None, list[Tensor | None]]:
        """Gradients with respect to the inputs, if needed, and to the parameters.

        Raises:
            RuntimeError: the forward pass was in evaluation mode.
        """
        if state.was_evaluating:
            raise RuntimeError("in evaluation mode take gradients of the network itself")
        of_batch_norm = self.batch_norm_gradients(state, gradients)
        if state.geometry is None:
            of_inputs, *of_convolution = self._pytorch_gradients(state, gradients, needs_inputs)
            return of_inputs, [*of_convolution, *of_batch_norm]
        rows, arrays = state.inputs.rows, self.arrays
        num_channels, height, _ = arrays.weight.shape
        of_weight, of_bias = np.empty_like(arrays.weight), np.zeros_like(arrays.bias)
        # Not written if not needed.
        of_inputs = np.empty_like(rows) if needs_inputs else rows
        kernel = compile_backward(
            state.geometry, rows.dtype == np.uint16, needs_inputs, self.needs_bias
        )
        kernel(
            rows, arrays.weight, state.values.rows, gradients, state.argmax, state.arguments,
            of_inputs, of_weight, of_bias, num_channels,
        )  # fmt: skip
        shape = num_channels, state.inputs.shape[1], height, height
        of_convolution = [
            as_tensor(Activations(of_weight, shape)),
            None if self.convolution.bias is None else torch.from_numpy(of_bias),
        ]
        return of_inputs if needs_inputs else None, [*of_convolution, *of_batch_norm]

    def batch_norm_gradients(
        self, state: ForwardState, gradients: Rows
    ) -> tuple[Tensor | None, Tensor | None]:
        """Those of gamma and beta, from that of the activations; None without batch norm.

        Writes what batch norm's statistics add to the gradient to `state.arguments.per_channel`.
        """
        if self.batch_norm is None:
            return None, None
        values = state.values.rows if state.max_values is None else state.max_values
        gamma = self.arrays.gamma
        assert gamma is not None
        of_gamma, of_beta = np.empty_like(gamma), np.empty_like(gamma)
        batch_size, _, height, width = state.values.shape
        epilogues.differentiate_batch_norm(
            gradients, values, state.argmax, state.arguments, state.moments, gamma,
            self.batch_norm.eps, batch_size * height * width, of_gamma, of_beta,
        )  # fmt: skip
        return torch.from_numpy(of_gamma), torch.from_numpy(of_beta)

    def _pytorch_gradients(
        self, state: ForwardState, gradients: Rows, needs_inputs: bool
    ) -> tuple[Rows | None, Tensor, Tensor | None]:
        """Gradients of a convolution by PyTorch, with respect to inputs, weight and bias."""
        layer, (values, shape) = self.convolution, state.values
        of_values = Activations(np.empty_like(values), shape)
        epilogues.epilogue_backward(
            gradients, values, state.argmax, 0, len(values), shape[2], layer.out_channels,
            state.arguments, of_values.rows, 0, 0,
        )  # fmt: skip
        images, gradient = as_tensor(state.inputs), as_tensor(of_values)
        of_inputs, of_weight, of_bias = convolution_backward(
            gradient, images, layer.weight.to(images.dtype), [layer.out_channels], layer.stride,
            layer.padding, layer.dilation, False, [0, 0], 1, [needs_inputs, True, self.needs_bias],
        )  # fmt: skip
        if layer.bias is not None:
            of_bias = of_bias.float() if self.needs_bias else torch.zeros_like(layer.bias)
        return as_rows(of_inputs) if needs_inputs else None, of_weight.float(), of_bias


def as_rows(tensor: Tensor) -> Rows:
    """A tensor as the kernels read it: (batch x height, width x channels).

    It is the tensor's own memory if the channels are last. Bits of bfloat16 are uint16.
    """
    tensor = tensor.detach()
    elements = tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
    last = elements.numpy().transpose(0, 2, 3, 1)
    return last.reshape(-1, last.shape[2] * last.shape[3])


def as_tensor(activations: Activations) -> Tensor:
    """A tensor of activations from their rows, in the same memory."""
    (rows, (batch_size, num_channels, height, width)) = activations
    elements = torch.from_numpy(rows)
    if rows.dtype == np.uint16:
        elements = elements.view(torch.bfloat16)
    return elements.view(batch_size, height, width, num_channels).permute(0, 3, 1, 2)


def draw_mask(dropout: nn.Dropout | None) -> DropoutMask:
    """A new dropout mask, from PyTorch's global generator."""
    if dropout is None or not dropout.training:
        return NO_DROPOUT
    word0, word1 = torch.randint(2**32, (2,)).numpy().astype(np.uint32)
    threshold = np.uint32(dropout.p * 2**32)
    return DropoutMask((word0, word1), threshold, np.float32(1 / (1 - dropout.p)))
