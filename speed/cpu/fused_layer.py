"""A convolution and its epilogue as one layer, forward and backward."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv2d

from speed.cpu import kernels, pooling
from speed.cpu.activations import ActivationRows, as_array, weight_rows
from speed.cpu.convolution import compile_backward, compile_forward
from speed.cpu.epilogues import Epilogue
from speed.cpu.kernels import DropoutMask, EpilogueArguments
from speed.cpu.tiles import Geometry

convolution_backward = torch.ops.aten.convolution_backward
NO_ARGMAX = np.empty((0, 0), np.uint8)


class SavedTensors(NamedTuple):
    """The tensors that the backward pass of a layer needs. Autograd keeps them, and raises an error
    if one was changed meanwhile."""

    inputs: Tensor
    """Rows, as the values."""
    values: Tensor
    max_values: Tensor | None
    """With pooling: each window's maximum, ..."""
    argmax: Tensor | None
    """... and the index of its corner."""
    weight: Tensor
    bias: Tensor | None
    gamma: Tensor | None


class ForwardState(NamedTuple):
    """What else the backward pass of a layer needs of its forward pass."""

    in_size: tuple[int, int]
    out_size: tuple[int, int]
    """Height and width of the values."""
    moments: NDArray[np.float64]
    arguments: EpilogueArguments
    was_evaluating: bool
    """Whether batch norm used its running statistics."""


@dataclass(frozen=True)
class FusedLayer:
    """A convolution and its epilogue."""

    convolution: nn.Conv2d
    epilogue: Epilogue

    @property
    def parameters(self) -> list[Tensor | None]:
        """Weight, bias, and batch norm's gamma and beta; None for what is missing."""
        norm = self.epilogue.batch_norm
        batch_norm = [norm.weight, norm.bias] if norm else [None, None]
        return [self.convolution.weight, self.convolution.bias, *batch_norm]

    def geometry(self, inputs: ActivationRows) -> Geometry | None:
        """The sizes for `convolution.py`; None if PyTorch computes or refuses the convolution."""
        layer = self.convolution
        size, padding = layer.kernel_size[0], layer.padding[0]
        assert isinstance(padding, int)  # `epilogues.py` does not fuse padding="same".
        is_square = layer.kernel_size == (size, size) and layer.padding == (padding, padding)
        if layer.stride != (1, 1) or not is_square or padding >= size:
            return None
        geometry = Geometry(
            inputs.height, inputs.width, layer.in_channels, layer.out_channels, size, padding
        )
        is_possible = geometry.out_height > 0 and geometry.out_width > 0
        return geometry if is_possible and inputs.num_channels == layer.in_channels else None

    def forward(self, inputs: ActivationRows) -> tuple[ActivationRows, SavedTensors, ForwardState]:
        """Activations, of half the height and width if pooled, and what `backward` needs."""
        epilogue, norm = self.epilogue, self.epilogue.batch_norm
        values, totals, origin = self.convolve(inputs)
        per_channel = np.zeros((4, values.rows.shape[1]), np.float32)
        per_channel[kernels.SCALE] = 1
        moments = np.empty((2, values.num_channels))
        if norm:
            _prepare_batch_norm(norm, values, totals, origin, moments, per_channel)
        mask = draw_mask(epilogue.dropout)
        arguments = EpilogueArguments(per_channel, epilogue.floor, epilogue.floor_after, mask)
        max_values = argmax = None
        if epilogue.max_pool:
            out = ActivationRows.empty(
                values.batch_size, values.num_channels, values.height // 2, values.width // 2,
                values.rows.dtype,
            )  # fmt: skip
            max_values = torch.empty_like(out.rows)
            argmax = torch.empty(out.rows.shape, dtype=torch.uint8)
            pooling.apply_pooled_epilogue(
                values.rows.numpy(), out.rows.numpy(), max_values.numpy(), argmax.numpy(),
                values.height, values.num_channels, arguments,
            )  # fmt: skip
        else:
            out = values._replace(rows=torch.empty_like(values.rows))
            kernels.apply_epilogue(values.rows.numpy(), out.rows.numpy(), arguments)
        weight, bias, gamma, _ = self.parameters
        assert weight is not None
        tensors = SavedTensors(inputs.rows, values.rows, max_values, argmax, weight, bias, gamma)
        sizes = (inputs.height, inputs.width), (values.height, values.width)
        is_evaluating = norm is not None and not norm.training
        return out, tensors, ForwardState(*sizes, moments, arguments, is_evaluating)

    def convolve(
        self, inputs: ActivationRows
    ) -> tuple[ActivationRows, NDArray[np.float64], NDArray[np.float32]]:
        """The convolution's values, and the arguments of `kernels.compute_moments`."""
        layer, norm = self.convolution, self.epilogue.batch_norm
        needs_sums = norm is not None and norm.training
        if (geometry := self.geometry(inputs)) is None:
            tensor = inputs.as_tensor()
            bias = None if layer.bias is None else layer.bias.to(tensor.dtype)
            weight = layer.weight.to(tensor.dtype)
            values = ActivationRows.of(conv2d(tensor, weight, bias, layer.stride, layer.padding))
            rows = values.rows.numpy()
            return values, *kernels.sum_moments(rows, self.epilogue.floor, layer.out_channels)
        values = ActivationRows.empty(
            inputs.batch_size, layer.out_channels, geometry.out_height, geometry.out_width,
            inputs.rows.dtype,
        )  # fmt: skip
        bias_row = np.zeros(values.rows.shape[1], np.float32)
        if layer.bias is not None:
            bias_row.reshape(geometry.out_width, -1)[:] = as_array(layer.bias)
        kernel = compile_forward(geometry, inputs.rows.dtype == torch.uint16)
        sums = kernel(
            inputs.rows.numpy(), weight_rows(layer.weight), bias_row, self.epilogue.floor,
            needs_sums, values.rows.numpy(),
        )  # fmt: skip
        return values, *sums

    def backward(
        self,
        tensors: SavedTensors,
        state: ForwardState,
        gradient: ActivationRows,
        needs_inputs: bool,
    ) -> tuple[ActivationRows | None, list[Tensor | None]]:
        """Gradients with respect to the inputs, if needed, and to the parameters.

        Raises:
            RuntimeError: the forward pass was in evaluation mode.
        """
        if state.was_evaluating:
            raise RuntimeError("in evaluation mode take gradients of the network itself")
        of_batch_norm = self.batch_norm_gradients(tensors, state, gradient)
        inputs = ActivationRows(tensors.inputs, self.convolution.in_channels, *state.in_size)
        if (geometry := self.geometry(inputs)) is None:
            of_inputs, *of_convolution = self._pytorch_gradients(
                tensors, state, inputs, gradient, needs_inputs
            )
            return of_inputs, [*of_convolution, *of_batch_norm]
        of_inputs = inputs._replace(rows=torch.empty_like(inputs.rows)) if needs_inputs else inputs
        of_weight = torch.empty_like(tensors.weight, memory_format=torch.channels_last)
        is_pooled = tensors.argmax is not None
        kernel = compile_backward(
            geometry, inputs.rows.dtype == torch.uint16, is_pooled, needs_inputs, self.needs_bias
        )
        sums = kernel(
            inputs.rows.numpy(), weight_rows(tensors.weight), tensors.values.numpy(),
            gradient.rows.numpy(), NO_ARGMAX if tensors.argmax is None else tensors.argmax.numpy(),
            state.arguments, of_inputs.rows.numpy(), weight_rows(of_weight), len(of_weight),
        )  # fmt: skip
        of_bias = None if tensors.bias is None else torch.zeros_like(tensors.bias)
        if of_bias is not None and self.needs_bias:
            of_bias.copy_(torch.from_numpy(sums.reshape(-1, len(of_bias)).sum(0)))
        return of_inputs if needs_inputs else None, [of_weight, of_bias, *of_batch_norm]

    @property
    def needs_bias(self) -> bool:
        """Whether the gradient of the convolution's bias is anything but 0.

        Batch norm subtracts what a bias adds. PyTorch's layers add up rounding errors there.
        """
        is_subtracted = self.epilogue.batch_norm and not self.epilogue.relu_before
        return self.convolution.bias is not None and not is_subtracted

    def batch_norm_gradients(
        self, tensors: SavedTensors, state: ForwardState, gradient: ActivationRows
    ) -> tuple[Tensor | None, Tensor | None]:
        """Those of gamma and beta, from that of the activations; None without batch norm.

        Writes what batch norm's statistics add to the gradient to `state.arguments.per_channel`.
        """
        norm, arguments = self.epilogue.batch_norm, state.arguments
        if norm is None or tensors.gamma is None:
            return None, None
        if tensors.max_values is not None and tensors.argmax is not None:
            sums = pooling.sum_pooled_gradients(
                gradient.rows.numpy(), tensors.max_values.numpy(), tensors.argmax.numpy(),
                arguments.mask.keep_scale,
            )  # fmt: skip
        else:
            sums = kernels.sum_gradients(gradient.rows.numpy(), tensors.values.numpy(), arguments)
        of_gamma, of_beta = torch.empty_like(tensors.gamma), torch.empty_like(tensors.gamma)
        count = tensors.values.numel() // len(of_gamma)
        kernels.fill_offset_and_slope(
            arguments.per_channel, sums, state.moments, as_array(tensors.gamma), norm.eps, count,
            as_array(of_gamma), as_array(of_beta),
        )  # fmt: skip
        return of_gamma, of_beta

    def _pytorch_gradients(
        self,
        tensors: SavedTensors,
        state: ForwardState,
        inputs: ActivationRows,
        gradient: ActivationRows,
        needs_inputs: bool,
    ) -> tuple[ActivationRows | None, Tensor, Tensor | None]:
        """Gradients of a convolution by PyTorch, with respect to inputs, weight and bias."""
        layer, arguments = self.convolution, state.arguments
        values, out = tensors.values.numpy(), torch.empty_like(tensors.values)
        if tensors.argmax is not None:
            pooling.pooled_epilogue_backward(
                gradient.rows.numpy(), values, tensors.argmax.numpy(), 0, len(values),
                state.out_size[0], layer.out_channels, arguments, out.numpy(), 0, 0,
            )  # fmt: skip
        else:
            kernels.epilogue_backward(
                gradient.rows.numpy(), values, 0, len(values), arguments, out.numpy(), 0, 0
            )
        of_values = ActivationRows(out, layer.out_channels, *state.out_size).as_tensor()
        of_inputs, of_weight, of_bias = convolution_backward(
            of_values, inputs.as_tensor(), tensors.weight.to(of_values.dtype),
            [layer.out_channels], layer.stride, layer.padding, layer.dilation, False, [0, 0], 1,
            [needs_inputs, True, self.needs_bias],
        )  # fmt: skip
        if layer.bias is not None:
            of_bias = of_bias.float() if self.needs_bias else torch.zeros_like(layer.bias)
        return ActivationRows.of(of_inputs) if needs_inputs else None, of_weight.float(), of_bias


def _prepare_batch_norm(
    norm: nn.BatchNorm2d,
    values: ActivationRows,
    totals: NDArray[np.float64],
    origin: NDArray[np.float32],
    moments: NDArray[np.float64],
    per_channel: NDArray[np.float32],
) -> None:
    """Fill in each channel's mean and variance, and the scale and shift that follow.

    They are the batch's in training, which also updates the running ones; in evaluation they are
    the running ones.

    Raises:
        ValueError: in training there is only one value in each channel.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    mean, variance = as_array(norm.running_mean), as_array(norm.running_var)
    if norm.training:
        count = values.values_per_channel
        if count == 1:
            raise ValueError("batch norm needs more than one value in each channel, and has one")
        kernels.compute_moments(totals, origin, count, moments)
        kernels.update_running_statistics(mean, variance, moments, norm.momentum, count)
        norm.num_batches_tracked.add_(1)
    else:
        moments[0], moments[1] = mean, variance
    gamma, beta = as_array(norm.weight), as_array(norm.bias)
    kernels.fill_scale_and_shift(per_channel, moments, gamma, beta, norm.eps)


def draw_mask(dropout: nn.Dropout | None) -> DropoutMask:
    """A new dropout mask, from PyTorch's global generator."""
    if dropout is None or not dropout.training:
        return DropoutMask((np.uint32(0), np.uint32(0)), np.uint32(0), np.float32(1))
    word0, word1 = torch.randint(2**32, (2,)).numpy().astype(np.uint32)
    threshold = np.uint32(dropout.p * 2**32)
    return DropoutMask((word0, word1), threshold, np.float32(1 / (1 - dropout.p)))
