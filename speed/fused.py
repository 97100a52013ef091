"""A network's forward and backward pass on a CPU, with the steps between convolutions fused.

`fuse(network)` returns a function that computes what the network computes. It uses the network's
own layers for their weights, settings and running statistics, so training it trains the network.
Convolutions are PyTorch's (oneDNN); what follows each of them is done by `kernels.py`.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

from mnist_blocks.summary import leaves
from speed import kernels

ROW_LENGTH = 512
"""Numbers in a row of a kernel's matrix, at most: some of them stay in the fastest cache."""

Step = Callable[[Tensor], Tensor]
convolution_backward = torch.ops.aten.convolution_backward


@dataclass(frozen=True)
class Followers:
    """The layers between a convolution and the next layer with weights, those that are there."""

    relu_before: nn.ReLU | None = None
    batch_norm: nn.BatchNorm2d | None = None
    relu_after: nn.ReLU | None = None
    max_pool: nn.MaxPool2d | None = None
    dropout: nn.Dropout | None = None

    @property
    def floor(self) -> np.float32:
        """What values are raised to before batch norm."""
        return np.float32(0) if self.relu_before else kernels.NO_FLOOR

    @property
    def floor_after(self) -> np.float32:
        """What values are raised to after batch norm."""
        return np.float32(0) if self.relu_after else kernels.NO_FLOOR


ORDER = {
    nn.BatchNorm2d: ["batch_norm"],
    nn.ReLU: ["relu_before", "relu_after"],
    nn.MaxPool2d: ["max_pool"],
    nn.Dropout: ["dropout"],
}
"""The place, or the places, that a layer may take among the followers of a convolution."""


def fuse(
    network: nn.Sequential, training_dtype: torch.dtype = torch.float32
) -> Callable[[Float[Tensor, "batch 1 28 28"]], Float[Tensor, "batch 10"]]:
    """A function that classifies as `network` does, in its training or its evaluation mode.

    With `training_dtype=torch.bfloat16`, activations and their gradients are kept in bfloat16
    while training: 8 bits of precision, half the memory. Convolutions use their weights, and give
    their gradients, rounded to it; the weights that the optimiser changes, statistics, sums, the
    head and all evaluation stay in float32. Dropout masks come from a generator of their own kind, seeded
    from PyTorch's global one.
    """
    steps = [
        convolution_step(layer, followers, training_dtype)
        if isinstance(layer, nn.Conv2d) and followers
        else in_float32(layer)
        for layer, followers in group_layers([layer for _, layer in leaves(network)])
    ]

    def classify(images: Tensor) -> Tensor:
        for step in steps:
            images = step(images)
        return images

    return classify


def group_layers(layers: Sequence[nn.Module]) -> list[tuple[nn.Module, Followers | None]]:
    """Each convolution with the layers after it that can be fused; other layers by themselves."""
    groups: list[tuple[nn.Module, Followers | None]] = []
    remaining = list(layers)
    while remaining:
        layer = remaining.pop(0)
        found: dict[str, nn.Module] = {}
        if has_usual_settings(layer) and isinstance(layer, nn.Conv2d):
            while remaining and (place := next_place(remaining[0], found)):
                found[place] = remaining.pop(0)
        # mypy cannot know that the places fit the layers' types.
        groups.append((layer, Followers(**found) if found else None))  # type: ignore[arg-type]
    return groups


def next_place(layer: nn.Module, found: dict[str, nn.Module]) -> str | None:
    """The place of a layer among the followers, if it may come after those found so far."""
    places = list(Followers.__dataclass_fields__)
    latest = max((places.index(place) for place in found), default=-1)
    for place in ORDER.get(type(layer), []):
        if places.index(place) > latest and has_usual_settings(layer):
            # Without batch norm there is one ReLU: it makes no difference where it stands.
            return place
    return None


def has_usual_settings(layer: nn.Module) -> bool:
    """Whether the kernels do all that a layer does; one with other settings is left as it is."""
    match layer:
        case nn.Conv2d():
            return layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
        case nn.BatchNorm2d():
            return layer.affine and layer.track_running_stats and layer.momentum is not None
        case nn.MaxPool2d():
            is_2x2 = layer.kernel_size == layer.stride == 2
            return is_2x2 and layer.padding == 0 and layer.dilation == 1 and not layer.ceil_mode
    return True


def in_float32(layer: nn.Module) -> Step:
    """A layer as it is, given what the fused steps before it computed."""
    return lambda values: layer(values.float())


def convolution_step(convolution: nn.Conv2d, followers: Followers, dtype: torch.dtype) -> Step:
    """A convolution and what follows it; `dtype` is that of activations while training."""

    def step(values: Tensor) -> Tensor:
        norm = followers.batch_norm
        finished: Tensor = ConvolveAndFinish.apply(
            values.to(dtype if convolution.training else torch.float32),
            convolution.weight,
            convolution.bias,
            norm.weight if norm else None,
            norm.bias if norm else None,
            convolution,
            followers,
        )
        return finished

    return step


class Mask(NamedTuple):
    """Which activations dropout keeps: those whose random number is at least the threshold."""

    key: tuple[np.uint32, np.uint32]
    threshold: np.uint32
    keep_scale: np.float32


class ConvolveAndFinish(torch.autograd.Function):
    """A convolution and what follows it, with its gradient."""

    @staticmethod
    def forward(
        context: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
        convolution: nn.Conv2d,
        followers: Followers,
    ) -> Tensor:
        """Inputs (batch, channels, H, W) -> activations."""
        weight = weight.to(inputs.dtype)
        values = conv2d(
            inputs,
            weight,
            None if bias is None else bias.to(inputs.dtype),
            convolution.stride,
            convolution.padding,
        )
        out, kept = finish(context, values, followers)
        context.save_for_backward(inputs, weight, gamma, *kept)
        context.convolution = convolution
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients with respect to the inputs, the weight, the bias, gamma and beta."""
        inputs, weight, gamma, *kept = context.saved_tensors
        convolution, followers = context.convolution, context.followers
        values_gradient, gamma_gradient, beta_gradient = finish_backward(
            context, gradients[0], gamma, *kept
        )
        inputs_gradient, weight_gradient, _ = convolution_backward(
            values_gradient, inputs, weight, None, convolution.stride, convolution.padding,
            convolution.dilation, False, [0, 0], 1, [context.needs_input_grad[0], True, False],
        )  # fmt: skip
        bias_gradient = None
        if convolution.bias is not None:
            bias_gradient = gradient_of_bias(convolution.bias, values_gradient, followers)
        return (
            inputs_gradient, weight_gradient.to(convolution.weight.dtype), bias_gradient,
            gamma_gradient, beta_gradient, None, None,
        )  # fmt: skip


def gradient_of_bias(bias: Tensor, values_gradient: Tensor, followers: Followers) -> Tensor:
    """The sum over batch and image: nothing, where batch norm takes the mean off again.

    PyTorch's layers sum up the rounding errors there, and take a quarter as long as for all the
    weights together.
    """
    if followers.batch_norm and not followers.relu_before:
        return torch.zeros_like(bias)
    mean = batch_moments(values_gradient, kernels.NO_FLOOR)[0]
    count = values_gradient.numel() // len(bias)
    return torch.from_numpy(mean * count).to(bias.dtype)


def finish(context: Any, values: Tensor, followers: Followers) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What follows a convolution: values (batch, channels, H, W) -> activations, of half the
    height and width if pooled.

    Returns them with the tensors that the backward pass needs; smaller things are left in the
    context.
    """
    values = values.contiguous(memory_format=torch.channels_last)
    rows = matrix(values, row_length(values, followers))
    per_channel = np.zeros((4, rows.shape[1]), np.float32)
    per_channel[kernels.SCALE] = 1
    moments = None
    if norm := followers.batch_norm:
        moments = take_moments(norm, values, followers.floor)
        kernels.fill_scale_and_shift(
            per_channel, moments, vector(norm.weight), vector(norm.bias), norm.eps
        )
    mask = draw_mask(followers.dropout)
    settings = (followers.floor, followers.floor_after, *mask)
    context.followers, context.mask = followers, mask
    context.was_evaluating = norm is not None and not norm.training
    context.moments, context.per_channel = moments, per_channel
    if followers.max_pool:
        return pool(values, rows, per_channel, settings)
    out = torch.empty_like(values)
    kernels.finish(rows, matrix(out, rows.shape[1]), per_channel, *settings)
    return out, (values,)


def pool(
    values: Tensor, rows: NDArray[Any], per_channel: NDArray[np.float32], settings: tuple[Any, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`finish` with 2x2 max pooling, which also keeps each window's winner and its corner."""
    batch_size, num_channels, height, width = values.shape
    out, winners, choice = (
        torch.empty(
            (batch_size, num_channels, height // 2, width // 2),
            dtype=dtype,
            memory_format=torch.channels_last,
        )
        for dtype in (values.dtype, values.dtype, torch.uint8)
    )
    out_rows, winner_rows, choice_rows = (
        matrix(tensor, width // 2 * num_channels) for tensor in (out, winners, choice)
    )
    kernels.pool(
        rows, out_rows, winner_rows, choice_rows, height, num_channels, per_channel, *settings
    )
    return out, (values, winners, choice)


def finish_backward(
    context: Any, gradient: Tensor, gamma: Tensor | None, values: Tensor, *kept: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients with respect to the values, gamma and beta, from that of the activations.

    Called again with `retain_graph`, it gives the same.

    Raises:
        RuntimeError: the forward pass was in evaluation mode.
    """
    if context.was_evaluating:
        raise RuntimeError("in evaluation mode take gradients of the network itself")
    gradient = gradient.to(values.dtype).contiguous(memory_format=torch.channels_last)
    followers, per_channel, mask = context.followers, context.per_channel, context.mask
    num_channels, height = values.shape[1:3]
    rows = matrix(values, per_channel.shape[1])
    settings = (followers.floor, followers.floor_after, *mask)
    values_gradient = torch.empty_like(values)
    out = matrix(values_gradient, rows.shape[1])
    if followers.max_pool:
        num_columns = gradient.shape[3] * num_channels
        windows, winners, choice = (matrix(tensor, num_columns) for tensor in (gradient, *kept))
        sums = None
        if followers.batch_norm:
            sums = kernels.pool_gradient_sums(windows, winners, choice, mask.keep_scale)
        parameters = batch_norm_gradients(context, gamma, sums, values.numel() // num_channels)
        kernels.pool_backward(
            windows, rows, choice, out, height, num_channels, per_channel,
            followers.floor, mask.keep_scale,
        )  # fmt: skip
    else:
        gradients = matrix(gradient, rows.shape[1])
        sums = None
        if followers.batch_norm:
            sums = kernels.gradient_sums(gradients, rows, per_channel, *settings)
        parameters = batch_norm_gradients(context, gamma, sums, values.numel() // num_channels)
        kernels.finish_backward(gradients, rows, out, per_channel, *settings)
    return values_gradient, *parameters


def batch_norm_gradients(
    context: Any, gamma: Tensor | None, sums: NDArray[np.float64] | None, count: int
) -> tuple[Tensor | None, Tensor | None]:
    """Those of gamma and beta, from the sums of the backward pass; None without batch norm.

    The second pass needs what the statistics add to the gradient, which goes to the context.
    """
    if gamma is None:
        return None, None
    gamma_gradient, beta_gradient = torch.empty_like(gamma), torch.empty_like(gamma)
    kernels.fill_offset_and_slope(
        context.per_channel, sums, context.moments, vector(gamma), context.followers.batch_norm.eps,
        count, vector(gamma_gradient), vector(beta_gradient),
    )  # fmt: skip
    return gamma_gradient, beta_gradient


def row_length(values: Tensor, followers: Followers) -> int:
    """Numbers in a row of a kernel's matrix: a row of an image, or a number of whole pixels."""
    batch_size, num_channels, height, width = values.shape
    if followers.max_pool:
        return width * num_channels
    return pixels_in_a_row(batch_size * height * width, num_channels) * num_channels


@functools.cache
def pixels_in_a_row(num_pixels: int, num_channels: int) -> int:
    """As many as fit, so that rows are of the same length."""
    most = max(1, ROW_LENGTH // num_channels)
    return next(number for number in range(most, 0, -1) if num_pixels % number == 0)


def matrix(tensor: Tensor, num_columns: int) -> NDArray[Any]:
    """A tensor's own memory, channels last, as a matrix; bfloat16 as its bits."""
    rows = tensor.detach().permute(0, 2, 3, 1).view(-1, num_columns)
    array: NDArray[Any] = (
        rows.view(torch.uint16) if rows.dtype == torch.bfloat16 else rows
    ).numpy()
    return array


def vector(tensor: Tensor) -> NDArray[np.float32]:
    """The own memory of a tensor with one number for each channel."""
    array: NDArray[np.float32] = tensor.detach().numpy()
    return array


def take_moments(norm: nn.BatchNorm2d, values: Tensor, floor: np.float32) -> NDArray[np.float64]:
    """Mean and variance of each channel, (2, channels): the batch's, or in evaluation the running
    ones, which a batch in training moves."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    running = vector(norm.running_mean), vector(norm.running_var)
    if not norm.training:
        return np.stack(running).astype(np.float64)
    count = values.numel() // values.shape[1]
    if count == 1:
        raise ValueError(
            f"batch norm needs more than one value a channel, and has {tuple(values.shape)}"
        )
    moments = batch_moments(values, floor)
    mean, variance = running
    kernels.update_running_statistics(mean, variance, moments, norm.momentum, count)
    norm.num_batches_tracked.add_(1)
    return moments


def batch_moments(values: Tensor, floor: np.float32) -> NDArray[np.float64]:
    """Mean and (biased) variance over the batch and the image, (2, channels)."""
    moments: NDArray[np.float64] = kernels.channel_moments(
        matrix(values, row_length(values, Followers())), floor, values.shape[1]
    )
    return moments


def draw_mask(dropout: nn.Dropout | None) -> Mask:
    """A new dropout mask, from PyTorch's global generator."""
    if dropout is None or not dropout.training:
        return Mask((np.uint32(0), np.uint32(0)), np.uint32(0), np.float32(1))
    word0, word1 = torch.randint(2**32, (2,)).numpy().astype(np.uint32)
    return Mask((word0, word1), np.uint32(dropout.p * 2**32), np.float32(1 / (1 - dropout.p)))
