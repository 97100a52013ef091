"""A convolution and its epilogue as one layer, forward and backward.

Activations are tensors (batch, channels, H, W) with their channels last in memory, float32 or
bfloat16. Kernels see the same memory as a matrix: see `as_rows`.
"""

from dataclasses import dataclass
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
"""A matrix of activations, or their gradients: see `as_rows`."""
convolution_backward = torch.ops.aten.convolution_backward


class SavedTensors(NamedTuple):
    """The tensors that the backward pass of a layer needs. Autograd keeps them, and raises an error
    if one was changed meanwhile."""

    inputs: Tensor
    values: Tensor
    """What the convolution gives."""
    max_values: Tensor | None
    """With pooling: each window's maximum, ..."""
    argmax: Tensor | None
    """... and the index of its corner."""
    weight: Tensor
    bias: Tensor | None
    gamma: Tensor | None

    @property
    def argmax_rows(self) -> NDArray[np.uint8] | None:
        """`argmax` as the kernels take it."""
        return None if self.argmax is None else as_rows(self.argmax)


class ForwardState(NamedTuple):
    """What else the backward pass of a layer needs of its forward pass."""

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

    def geometry(self, inputs: Tensor) -> Geometry | None:
        """The sizes for `convolution.py`; None if PyTorch computes or refuses the convolution."""
        layer = self.convolution
        size, padding = layer.kernel_size[0], layer.padding[0]
        assert isinstance(padding, int)  # `group_layers` does not fuse padding="same".
        is_square = layer.kernel_size == (size, size) and layer.padding == (padding, padding)
        if layer.stride != (1, 1) or not is_square or padding >= size:
            return None
        _, num_channels, height, width = inputs.shape
        geometry = Geometry(height, width, layer.in_channels, layer.out_channels, size, padding)
        is_possible = geometry.out_height > 0 and geometry.out_width > 0
        return geometry if is_possible and num_channels == layer.in_channels else None

    def forward(self, inputs: Tensor) -> tuple[Tensor, SavedTensors, ForwardState]:
        """Activations, of half the height and width if pooled, and what `backward` needs."""
        norm = self.batch_norm
        values, totals, origin = self.convolve(inputs)
        batch_size, num_channels, height, width = values.shape
        per_channel = np.zeros((4, width * num_channels), np.float32)
        per_channel[kernels.SCALE] = 1
        moments = np.empty((2, num_channels))
        if norm:
            count = batch_size * height * width
            _prepare_batch_norm(norm, count, totals, origin, moments, per_channel)
        floor_after = kernels.ZERO if self.relu_after else kernels.NO_FLOOR
        arguments = EpilogueArguments(per_channel, self.floor, floor_after, draw_mask(self.dropout))
        max_values = argmax = None
        if self.max_pool:
            out = _empty(batch_size, num_channels, height // 2, width // 2, dtype=values.dtype)
            max_values, argmax = torch.empty_like(out), torch.empty_like(out, dtype=torch.uint8)
            epilogues.apply_pooled_epilogue(
                as_rows(values), as_rows(out), as_rows(max_values), as_rows(argmax),
                height, num_channels, arguments,
            )  # fmt: skip
        else:
            out = torch.empty_like(values)
            epilogues.apply_epilogue(as_rows(values), as_rows(out), arguments)
        weight, bias, gamma, _ = self.parameters
        assert weight is not None
        tensors = SavedTensors(inputs, values, max_values, argmax, weight, bias, gamma)
        return out, tensors, ForwardState(moments, arguments, bool(norm and not norm.training))

    def convolve(self, inputs: Tensor) -> tuple[Tensor, NDArray[np.float64], NDArray[np.float32]]:
        """The convolution's values, and the arguments of `kernels.compute_moments`."""
        layer, dtype = self.convolution, inputs.dtype
        if (geometry := self.geometry(inputs)) is None:
            bias = None if layer.bias is None else layer.bias.to(dtype)
            values = conv2d(inputs, layer.weight.to(dtype), bias, layer.stride, layer.padding)
            values = values.contiguous(memory_format=torch.channels_last)
            return values, *kernels.sum_moments(as_rows(values), self.floor, layer.out_channels)
        values = _empty(
            len(inputs), layer.out_channels, geometry.out_height, geometry.out_width, dtype=dtype
        )
        bias_row = np.zeros((geometry.out_width, layer.out_channels), np.float32)
        if layer.bias is not None:
            bias_row[:] = _as_array(layer.bias)
        kernel = compile_forward(geometry, dtype == torch.bfloat16)
        needs_sums = self.batch_norm is not None and self.batch_norm.training
        return values, *kernel(
            as_rows(inputs), _weight_rows(layer.weight), bias_row.ravel(), self.floor, needs_sums,
            as_rows(values),
        )  # fmt: skip

    def backward(
        self, tensors: SavedTensors, state: ForwardState, gradient: Tensor, needs_inputs: bool
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Gradients with respect to the inputs, if needed, and to the parameters.

        Raises:
            RuntimeError: the forward pass was in evaluation mode.
        """
        if state.was_evaluating:
            raise RuntimeError("in evaluation mode take gradients of the network itself")
        gradients, inputs = as_rows(gradient), tensors.inputs
        of_batch_norm = self.batch_norm_gradients(tensors, state, gradients)
        if (geometry := self.geometry(inputs)) is None:
            of_inputs, *of_convolution = self._pytorch_gradients(
                tensors, state.arguments, gradients, needs_inputs
            )
            return of_inputs, [*of_convolution, *of_batch_norm]
        of_weight = torch.empty_like(tensors.weight, memory_format=torch.channels_last)
        of_inputs = None
        if needs_inputs:
            of_inputs = torch.empty_like(inputs, memory_format=torch.channels_last)
        kernel = compile_backward(
            geometry, inputs.dtype == torch.bfloat16, needs_inputs, self.needs_bias
        )
        sums = kernel(
            as_rows(inputs), _weight_rows(tensors.weight), as_rows(tensors.values), gradients,
            tensors.argmax_rows, state.arguments,
            as_rows(inputs if of_inputs is None else of_inputs),  # not written if not needed
            _weight_rows(of_weight), len(of_weight),
        )  # fmt: skip
        of_bias = None if tensors.bias is None else torch.zeros_like(tensors.bias)
        if of_bias is not None and self.needs_bias:
            of_bias.copy_(torch.from_numpy(sums.reshape(-1, len(of_bias)).sum(0)))
        return of_inputs, [of_weight, of_bias, *of_batch_norm]

    def batch_norm_gradients(
        self, tensors: SavedTensors, state: ForwardState, gradients: Rows
    ) -> tuple[Tensor | None, Tensor | None]:
        """Those of gamma and beta, from that of the activations; None without batch norm.

        Writes what batch norm's statistics add to the gradient to `state.arguments.per_channel`.
        """
        if self.batch_norm is None or tensors.gamma is None:
            return None, None
        values = tensors.values if tensors.max_values is None else tensors.max_values
        sums = epilogues.sum_gradients(
            gradients, as_rows(values), tensors.argmax_rows, state.arguments
        )
        of_gamma, of_beta = torch.empty_like(tensors.gamma), torch.empty_like(tensors.gamma)
        count = tensors.values.numel() // len(of_gamma)
        kernels.fill_offset_and_slope(
            state.arguments.per_channel, sums, state.moments, _as_array(tensors.gamma),
            self.batch_norm.eps, count, _as_array(of_gamma), _as_array(of_beta),
        )  # fmt: skip
        return of_gamma, of_beta

    def _pytorch_gradients(
        self,
        tensors: SavedTensors,
        arguments: EpilogueArguments,
        gradients: Rows,
        needs_inputs: bool,
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Gradients of a convolution by PyTorch, with respect to inputs, weight and bias."""
        layer, of_values = self.convolution, torch.empty_like(tensors.values)
        values = as_rows(tensors.values)
        epilogues.epilogue_backward(
            gradients, values, tensors.argmax_rows, 0, len(values), of_values.shape[2],
            layer.out_channels, arguments, as_rows(of_values), 0, 0,
        )  # fmt: skip
        of_inputs, of_weight, of_bias = convolution_backward(
            of_values, tensors.inputs, tensors.weight.to(of_values.dtype),
            [layer.out_channels], layer.stride, layer.padding, layer.dilation, False, [0, 0], 1,
            [needs_inputs, True, self.needs_bias],
        )  # fmt: skip
        if layer.bias is not None:
            of_bias = of_bias.float() if self.needs_bias else torch.zeros_like(layer.bias)
        return of_inputs, of_weight.float(), of_bias


def as_rows(tensor: Tensor) -> Rows:
    """A tensor as the kernels read it: (batch x height, width x channels).

    It is the tensor's own memory if the channels are last. Bits of bfloat16 are uint16.
    """
    tensor = tensor.detach()
    elements = tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
    # A step calls this 80 times, and NumPy's views take half the time of PyTorch's.
    last = elements.numpy().transpose(0, 2, 3, 1)
    return last.reshape(-1, last.shape[2] * last.shape[3])


def _weight_rows(weight: Tensor) -> Rows:
    """A convolution's weights as (out channels, height, width x in channels)."""
    return as_rows(weight).reshape(len(weight), weight.shape[2], -1)


def _as_array(parameter: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = parameter.detach().numpy()
    return array


def _empty(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)


def _prepare_batch_norm(
    norm: nn.BatchNorm2d,
    count: int,
    totals: NDArray[np.float64],
    origin: NDArray[np.float32],
    moments: NDArray[np.float64],
    per_channel: NDArray[np.float32],
) -> None:
    """Fill in each channel's mean and variance, and the scale and shift that follow.

    They are the batch's in training, which also updates the running ones; in evaluation they are
    the running ones. `count` is the number of values in each channel.

    Raises:
        ValueError: in training there is only one value in each channel.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    mean, variance = _as_array(norm.running_mean), _as_array(norm.running_var)
    if norm.training:
        if count == 1:
            raise ValueError("batch norm needs more than one value in each channel, and has one")
        kernels.compute_moments(totals, origin, count, moments)
        kernels.update_running_statistics(mean, variance, moments, norm.momentum, count)
        norm.num_batches_tracked.add_(1)
    else:
        moments[0], moments[1] = mean, variance
    gamma, beta = _as_array(norm.weight), _as_array(norm.bias)
    kernels.fill_scale_and_shift(per_channel, moments, gamma, beta, norm.eps)


def draw_mask(dropout: nn.Dropout | None) -> DropoutMask:
    """A new dropout mask, from PyTorch's global generator."""
    if dropout is None or not dropout.training:
        return DropoutMask((np.uint32(0), np.uint32(0)), np.uint32(0), np.float32(1))
    word0, word1 = torch.randint(2**32, (2,)).numpy().astype(np.uint32)
    threshold = np.uint32(dropout.p * 2**32)
    return DropoutMask((word0, word1), threshold, np.float32(1 / (1 - dropout.p)))
