"""One fused layer: a convolution and what follows it, forward and backward, and what is kept between."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv2d

from speed.cpu import kernels, pooling
from speed.cpu.activations import Activations, kernel_rows, vector
from speed.cpu.convolution import compile_backward, compile_forward
from speed.cpu.epilogues import Followers
from speed.cpu.tiles import Geometry

convolution_backward = torch.ops.aten.convolution_backward
NOTHING = np.empty((0, 0), np.uint8)
"""In place of a matrix that is not needed."""


class Mask(NamedTuple):
    """Which activations dropout keeps: those whose random number is at least the threshold."""

    key: tuple[np.uint32, np.uint32]
    threshold: np.uint32
    keep_scale: np.float32


class Saved(NamedTuple):
    """The tensors that the backward pass of a layer needs. Autograd keeps them, and says so if one
    was changed meanwhile."""

    inputs: Tensor
    """Rows, as the values."""
    values: Tensor
    winners: Tensor | None
    """With pooling: each window's winner, ..."""
    choice: Tensor | None
    """... and its corner."""
    weight: Tensor
    bias: Tensor | None
    gamma: Tensor | None


NOT_HERE = Saved(torch.empty(0), torch.empty(0), None, None, torch.empty(0), None, None)


class Kept(NamedTuple):
    """What the backward pass of a layer needs to know of its forward pass."""

    tensors: Saved
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    """Height and width of the values."""
    moments: NDArray[np.float64]
    per_channel: NDArray[np.float32]
    mask: Mask
    was_evaluating: bool
    """Whether batch norm used its running statistics."""


@dataclass(frozen=True)
class FusedLayer:
    """A convolution and what follows it."""

    convolution: nn.Conv2d
    followers: Followers

    @property
    def parameters(self) -> list[Tensor | None]:
        """Weight, bias, and batch norm's gamma and beta; None for what there is not."""
        norm = self.followers.batch_norm
        batch_norm = [norm.weight, norm.bias] if norm else [None, None]
        return [self.convolution.weight, self.convolution.bias, *batch_norm]

    def geometry(self, inputs: Activations) -> Geometry | None:
        """The sizes for `convolution.py`; None if the convolution is left to PyTorch, also to be
        refused by it."""
        layer = self.convolution
        size, padding = layer.kernel_size[0], layer.padding[0]
        assert isinstance(padding, int)  # `epilogues.py` leaves padding="same" alone.
        is_square = layer.kernel_size == (size, size) and layer.padding == (padding, padding)
        if layer.stride != (1, 1) or not is_square or padding >= size:
            return None
        geometry = Geometry(
            inputs.height, inputs.width, layer.in_channels, layer.out_channels, size, padding
        )
        is_possible = geometry.out_height > 0 and geometry.out_width > 0
        return geometry if is_possible and inputs.num_channels == layer.in_channels else None

    def forward(self, inputs: Activations) -> tuple[Activations, Kept]:
        """Activations of half the height and width if pooled, and what the backward pass needs."""
        floor, norm = self.followers.floor, self.followers.batch_norm
        values, totals, origin = self.convolve(inputs)
        per_channel = np.zeros((4, values.rows.shape[1]), np.float32)
        per_channel[kernels.SCALE] = 1
        moments = np.empty((2, values.num_channels))
        if norm:
            prepare_batch_norm(norm, values, totals, origin, moments, per_channel)
        mask = draw_mask(self.followers.dropout)
        settings = (per_channel, floor, self.followers.floor_after, *mask)
        winners = choice = None
        if self.followers.max_pool:
            out, best = (
                Activations.empty(
                    values.batch_size, values.num_channels, values.height // 2, values.width // 2,
                    values.rows.dtype,
                )
                for _ in range(2)
            )  # fmt: skip
            choice = torch.empty(out.rows.shape, dtype=torch.uint8)
            pooling.pool(
                values.rows.numpy(), out.rows.numpy(), best.rows.numpy(), choice.numpy(),
                values.height, values.num_channels, *settings,
            )  # fmt: skip
            winners = best.rows
        else:
            out = values._replace(rows=torch.empty_like(values.rows))
            kernels.finish(values.rows.numpy(), out.rows.numpy(), *settings)
        weight, bias, gamma, _ = self.parameters
        assert weight is not None
        saved = Saved(inputs.rows, values.rows, winners, choice, weight, bias, gamma)
        sizes = (inputs.height, inputs.width), (values.height, values.width)
        is_evaluating = norm is not None and not norm.training
        return out, Kept(saved, *sizes, moments, per_channel, mask, is_evaluating)

    def convolve(
        self, inputs: Activations
    ) -> tuple[Activations, NDArray[np.float64], NDArray[np.float32]]:
        """The values, and the sums over them that batch norm's training takes (see
        `kernels.moments_of`)."""
        layer, norm = self.convolution, self.followers.batch_norm
        needs_sums = norm is not None and norm.training
        if (geometry := self.geometry(inputs)) is None:
            tensor = inputs.as_tensor()
            bias = None if layer.bias is None else layer.bias.to(tensor.dtype)
            weight = layer.weight.to(tensor.dtype)
            values = Activations.of(conv2d(tensor, weight, bias, layer.stride, layer.padding))
            rows = values.rows.numpy()
            return values, *kernels.channel_sums(rows, self.followers.floor, layer.out_channels)
        values = Activations.empty(
            inputs.batch_size, layer.out_channels, geometry.out_height, geometry.out_width,
            inputs.rows.dtype,
        )  # fmt: skip
        bias_row = np.zeros(values.rows.shape[1], np.float32)
        if layer.bias is not None:
            bias_row.reshape(geometry.out_width, -1)[:] = vector(layer.bias)
        compute = compile_forward(geometry, inputs.rows.dtype == torch.uint16)
        sums = compute(
            inputs.rows.numpy(), kernel_rows(layer.weight), bias_row, self.followers.floor,
            needs_sums, values.rows.numpy(),
        )  # fmt: skip
        return values, *sums

    def backward(
        self, kept: Kept, gradient: Activations, needs_inputs: bool
    ) -> tuple[Activations, list[Tensor | None]]:
        """Gradients with respect to the inputs, if they are needed, and to the parameters.

        Raises:
            RuntimeError: the forward pass was in evaluation mode.
        """
        if kept.was_evaluating:
            raise RuntimeError("in evaluation mode take gradients of the network itself")
        saved = kept.tensors
        of_batch_norm = self.batch_norm_gradients(kept, gradient)
        inputs = Activations(saved.inputs, self.convolution.in_channels, *kept.in_size)
        if (geometry := self.geometry(inputs)) is None:
            compute = self.convolution_gradients_by_pytorch
            of_inputs, *of_convolution = compute(kept, inputs, gradient, needs_inputs)
            return of_inputs, [*of_convolution, *of_batch_norm]
        of_inputs = inputs._replace(rows=torch.empty_like(inputs.rows)) if needs_inputs else inputs
        of_weight = torch.empty_like(saved.weight, memory_format=torch.channels_last)
        is_pooled = saved.choice is not None
        sums = compile_backward(
            geometry, inputs.rows.dtype == torch.uint16, is_pooled, needs_inputs, self.needs_bias
        )(
            inputs.rows.numpy(), kernel_rows(saved.weight), saved.values.numpy(),
            gradient.rows.numpy(), NOTHING if saved.choice is None else saved.choice.numpy(),
            kept.per_channel, self.followers.floor, self.followers.floor_after, *kept.mask,
            of_inputs.rows.numpy(), kernel_rows(of_weight), len(of_weight),
        )  # fmt: skip
        of_bias = None if saved.bias is None else torch.zeros_like(saved.bias)
        if of_bias is not None and self.needs_bias:
            of_bias.copy_(torch.from_numpy(sums.reshape(-1, len(of_bias)).sum(0)))
        return of_inputs, [of_weight, of_bias, *of_batch_norm]

    @property
    def needs_bias(self) -> bool:
        """Whether the gradient of the convolution's bias is anything but 0.

        Batch norm takes off again what a bias adds. PyTorch's layers sum up rounding errors there.
        """
        norm_takes_it_off = self.followers.batch_norm and not self.followers.relu_before
        return self.convolution.bias is not None and not norm_takes_it_off

    def batch_norm_gradients(
        self, kept: Kept, gradient: Activations
    ) -> tuple[Tensor | None, Tensor | None]:
        """Those of gamma and beta, from that of the activations; None without batch norm.

        What batch norm's statistics add to the gradient goes to `kept.per_channel`.
        """
        norm, saved = self.followers.batch_norm, kept.tensors
        if norm is None or saved.gamma is None:
            return None, None
        if saved.winners is not None and saved.choice is not None:
            sums = pooling.pool_gradient_sums(
                gradient.rows.numpy(), saved.winners.numpy(), saved.choice.numpy(),
                kept.mask.keep_scale,
            )  # fmt: skip
        else:
            sums = kernels.gradient_sums(
                gradient.rows.numpy(), saved.values.numpy(), kept.per_channel,
                self.followers.floor, self.followers.floor_after, *kept.mask,
            )  # fmt: skip
        of_gamma, of_beta = torch.empty_like(saved.gamma), torch.empty_like(saved.gamma)
        count = saved.values.numel() // len(of_gamma)
        kernels.fill_offset_and_slope(
            kept.per_channel, sums, kept.moments, vector(saved.gamma), norm.eps, count,
            vector(of_gamma), vector(of_beta),
        )  # fmt: skip
        return of_gamma, of_beta

    def convolution_gradients_by_pytorch(
        self, kept: Kept, inputs: Activations, gradient: Activations, needs_inputs: bool
    ) -> tuple[Activations, Tensor, Tensor | None]:
        """Gradients with respect to the inputs, the weight and the bias."""
        layer, followers, saved = self.convolution, self.followers, kept.tensors
        rows, out = saved.values.numpy(), torch.empty_like(saved.values)
        if saved.choice is not None:
            pooling.pool_backward(
                gradient.rows.numpy(), rows, saved.choice.numpy(), 0, len(rows),
                kept.out_size[0], layer.out_channels, kept.per_channel, followers.floor,
                kept.mask.keep_scale, out.numpy(), 0, 0,
            )  # fmt: skip
        else:
            kernels.finish_backward(
                gradient.rows.numpy(), rows, 0, len(rows), kept.per_channel, followers.floor,
                followers.floor_after, *kept.mask, out.numpy(), 0, 0,
            )  # fmt: skip
        of_values = Activations(out, layer.out_channels, *kept.out_size).as_tensor()
        of_inputs, of_weight, of_bias = convolution_backward(
            of_values, inputs.as_tensor(), saved.weight.to(of_values.dtype), [layer.out_channels],
            layer.stride, layer.padding, layer.dilation, False, [0, 0], 1,
            [needs_inputs, True, self.needs_bias],
        )  # fmt: skip
        if layer.bias is not None:
            of_bias = (
                of_bias.to(layer.bias.dtype) if self.needs_bias else torch.zeros_like(layer.bias)
            )
        return (
            Activations.of(of_inputs) if needs_inputs else inputs,
            of_weight.to(layer.weight.dtype),
            of_bias,
        )


def prepare_batch_norm(
    norm: nn.BatchNorm2d,
    values: Activations,
    totals: NDArray[np.float64],
    origin: NDArray[np.float32],
    moments: NDArray[np.float64],
    per_channel: NDArray[np.float32],
) -> None:
    """Fill in the mean and variance of each channel, and the scale and shift that follow: the
    batch's, or in evaluation the running ones, which a batch in training moves.

    Raises:
        ValueError: in training there is but one value a channel.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    mean, variance = vector(norm.running_mean), vector(norm.running_var)
    if norm.training:
        if values.numbers_a_channel == 1:
            raise ValueError("batch norm needs more than one value a channel, and has one")
        kernels.moments_of(totals, origin, values.numbers_a_channel, moments)
        kernels.update_running_statistics(
            mean, variance, moments, norm.momentum, values.numbers_a_channel
        )
        norm.num_batches_tracked.add_(1)
    else:
        moments[0], moments[1] = mean, variance
    kernels.fill_scale_and_shift(
        per_channel, moments, vector(norm.weight), vector(norm.bias), norm.eps
    )


def draw_mask(dropout: nn.Dropout | None) -> Mask:
    """A new dropout mask, from PyTorch's global generator."""
    if dropout is None or not dropout.training:
        return Mask((np.uint32(0), np.uint32(0)), np.uint32(0), np.float32(1))
    word0, word1 = torch.randint(2**32, (2,)).numpy().astype(np.uint32)
    return Mask((word0, word1), np.uint32(dropout.p * 2**32), np.float32(1 / (1 - dropout.p)))
