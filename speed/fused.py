"""A network's forward and backward pass on a CPU, with the steps between convolutions fused.

`fuse(network)` returns a function that computes what the network computes. It uses the network's
own layers for their weights, settings and running statistics, so training it trains the network.
Convolutions are PyTorch's (oneDNN); what follows each of them is done by `kernels.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mnist_blocks.summary import leaves
from speed import kernels

ROW_LENGTH = 512
"""Numbers in a row of a kernel's matrix, at most: some of them stay in the fastest cache."""

Step = Callable[[Tensor], Tensor]


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

    @property
    def is_training(self) -> bool:
        """Whether batch norm takes the batch's statistics, and dropout drops."""
        return any(layer.training for layer in (self.batch_norm, self.dropout) if layer)


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
    while training: 8 bits of precision, half the memory. Weights, statistics, sums, the head and
    all evaluation stay in float32. Dropout masks come from a generator of their own kind, seeded
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
        if isinstance(layer, nn.Conv2d):
            while remaining and (place := next_place(remaining[0], found)):
                found[place] = remaining.pop(0)
        # mypy cannot know that the places fit the layers' types.
        groups.append((layer, Followers(**found) if found else None))  # type: ignore[arg-type]
    return groups


def next_place(layer: nn.Module, found: dict[str, nn.Module]) -> str | None:
    """The place of a layer among the followers, if it may come after those found so far."""
    places = list(Followers.__dataclass_fields__)
    is_small_pool = not isinstance(layer, nn.MaxPool2d) or layer.kernel_size == layer.stride == 2
    latest = max((places.index(place) for place in found), default=-1)
    for place in ORDER.get(type(layer), []):
        if places.index(place) > latest and is_small_pool:
            # Without batch norm there is one ReLU: it makes no difference where it stands.
            return place
    return None


def in_float32(layer: nn.Module) -> Step:
    """A layer as it is, given what the fused steps before it computed."""
    return lambda values: layer(values.float())


def convolution_step(
    convolution: nn.Conv2d, followers: Followers, training_dtype: torch.dtype
) -> Step:
    """A convolution and what follows it."""

    def step(values: Tensor) -> Tensor:
        dtype = training_dtype if convolution.training else torch.float32
        bias = convolution.bias
        values = functional.conv2d(
            values.to(dtype),
            convolution.weight.to(dtype),
            None if bias is None else bias.to(dtype),
            stride=convolution.stride,
            padding=convolution.padding,
        )
        norm = followers.batch_norm
        parameters = (norm.weight, norm.bias) if norm else (None, None)
        finished: Tensor = Finish.apply(values, *parameters, followers)
        return finished

    return step


@dataclass(frozen=True)
class Moments:
    """Mean and variance of the values that batch norm sees, for each channel."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


class Mask(NamedTuple):
    """Which activations dropout keeps: those whose random number is at least the threshold."""

    key: tuple[np.uint32, np.uint32]
    threshold: np.uint32
    keep_scale: np.float32


class Finish(torch.autograd.Function):
    """What follows a convolution, with its gradient."""

    @staticmethod
    def forward(
        context: Any,
        values: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        followers: Followers,
    ) -> Tensor:
        """Values (batch, channels, H, W) -> activations, of half the height and width if pooled."""
        values = values.contiguous(memory_format=torch.channels_last)
        batch_size, num_channels, height, width = values.shape
        norm = followers.batch_norm
        moments = None
        if norm and norm.training:
            moments = batch_moments(values, followers.floor)
            update_running_statistics(norm, moments, batch_size * height * width)
        mask = draw_mask(followers.dropout)
        settings = (followers.floor, followers.floor_after, *mask)
        per_channel = np.zeros((4, num_channels), np.float32)
        per_channel[:2] = scale_and_shift(norm, moments, num_channels)
        if followers.max_pool:
            out_shape = (batch_size, num_channels, height // 2, width // 2)
            out, winners, choice = (
                torch.empty(out_shape, dtype=dtype, memory_format=torch.channels_last)
                for dtype in (values.dtype, values.dtype, torch.uint8)
            )
            kernels.pool(
                image_rows(values), image_rows(out), image_rows(winners), image_rows(choice),
                height, num_channels, np.tile(per_channel, width // 2), *settings,
            )  # fmt: skip
            context.save_for_backward(values, winners, choice)
        else:
            out = torch.empty_like(values)
            rows = pixel_rows(values)
            num_pixels = rows.shape[1] // num_channels
            kernels.finish(rows, pixel_rows(out), np.tile(per_channel, num_pixels), *settings)
            context.save_for_backward(values)
        context.followers, context.mask, context.moments = followers, mask, moments
        context.per_channel = per_channel
        return out

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients with respect to the values, gamma and beta."""
        values, *kept = context.saved_tensors
        [gradient] = gradients
        gradient = gradient.to(values.dtype).contiguous(memory_format=torch.channels_last)
        followers, mask, per_channel = context.followers, context.mask, context.per_channel
        num_channels, height = values.shape[1:3]
        settings = (followers.floor, followers.floor_after, *mask)
        if followers.max_pool:
            gradient_rows, rows = image_rows(gradient), image_rows(values)
            winners, choice = (image_rows(tensor) for tensor in kept)
        else:
            gradient_rows, rows = pixel_rows(gradient), pixel_rows(values)
        num_pixels = rows.shape[1] // num_channels

        gamma_gradient = beta_gradient = None
        if followers.batch_norm:
            if followers.max_pool:
                sums = kernels.pool_gradient_sums(gradient_rows, winners, choice, mask.keep_scale)
            else:
                sums = kernels.gradient_sums(
                    gradient_rows, rows, np.tile(per_channel, num_pixels), *settings
                )
            per_channel[2:], gamma_gradient, beta_gradient = batch_norm_gradients(
                followers.batch_norm,
                context.moments,
                sum_by_channel(sums, num_channels),
                values.numel() // num_channels,
            )
        values_gradient = torch.empty_like(values)
        tiled = np.tile(per_channel, num_pixels)
        if followers.max_pool:
            kernels.pool_backward(
                gradient_rows, rows, choice, image_rows(values_gradient), height, num_channels,
                tiled, followers.floor, mask.keep_scale,
            )  # fmt: skip
        else:
            kernels.finish_backward(
                gradient_rows, rows, pixel_rows(values_gradient), tiled, *settings
            )
        return values_gradient, gamma_gradient, beta_gradient, None


def as_array(tensor: Tensor) -> NDArray[Any]:
    """A tensor's memory as a flat array, channels last; bfloat16 as its bits."""
    tensor = tensor.detach().permute(0, 2, 3, 1).reshape(-1)
    array: NDArray[Any] = (
        tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
    ).numpy()
    return array


def image_rows(tensor: Tensor) -> NDArray[Any]:
    """Activations as a matrix with a row of an image in each row."""
    _, num_channels, _, width = tensor.shape
    return as_array(tensor).reshape(-1, width * num_channels)


def pixel_rows(tensor: Tensor) -> NDArray[Any]:
    """Activations as a matrix with a number of whole pixels in each row."""
    batch_size, num_channels, height, width = tensor.shape
    num_pixels = batch_size * height * width
    most = max(1, ROW_LENGTH // num_channels)
    in_a_row = next(number for number in range(most, 0, -1) if num_pixels % number == 0)
    return as_array(tensor).reshape(-1, in_a_row * num_channels)


def sum_by_channel(sums: NDArray[np.float64], num_channels: int) -> NDArray[np.float64]:
    """Sums over a row's columns that belong to the same channel."""
    totals: NDArray[np.float64] = sums.reshape(len(sums), -1, num_channels).sum(axis=1)
    return totals


def batch_moments(values: Tensor, floor: np.float32) -> Moments:
    """Mean and (biased) variance over the batch and the image, for each channel."""
    num_channels = values.shape[1]
    rows = pixel_rows(values)
    # The first pixel of the batch: it has the right order of magnitude.
    origin = np.maximum(values[0, :, 0, 0].float().numpy(), floor)
    sums = kernels.moments(rows, floor, np.tile(origin, rows.shape[1] // num_channels))
    mean, mean_square = sum_by_channel(sums, num_channels) / (values.numel() // num_channels)
    return Moments(mean + origin, np.maximum(mean_square - mean**2, 0))


def update_running_statistics(norm: nn.BatchNorm2d, moments: Moments, count: int) -> None:
    """The averages over training that evaluation uses, as PyTorch updates them."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    unbiased = moments.variance * (count / (count - 1))
    for running, batch in ((norm.running_mean, moments.mean), (norm.running_var, unbiased)):
        running.lerp_(torch.from_numpy(batch).to(running.dtype), norm.momentum)
    norm.num_batches_tracked.add_(1)


def scale_and_shift(
    norm: nn.BatchNorm2d | None, moments: Moments | None, num_channels: int
) -> NDArray[np.float64]:
    """(SCALE, SHIFT): batch norm as a scale and a shift of each channel.

    Ioffe and Szegedy (2015), algorithm 1.
    """
    if norm is None:
        return np.stack([np.ones(num_channels), np.zeros(num_channels)])
    if moments is None:  # Evaluation.
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = norm.running_mean.double().numpy(), norm.running_var.double().numpy()
    else:
        mean, variance = moments.mean, moments.variance
    scale = norm.weight.detach().double().numpy() / np.sqrt(variance + norm.eps)
    shift = norm.bias.detach().double().numpy() - scale * mean
    return np.stack([scale, shift])


def batch_norm_gradients(
    norm: nn.BatchNorm2d, moments: Moments, sums: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], Tensor, Tensor]:
    """From the sums of dz and of dz * cut: (OFFSET, SLOPE) for the second pass, dgamma, dbeta.

    The gradient through the batch's own mean and variance is that of Ioffe and Szegedy (2015,
    section 3), with the terms ordered by power of the value:
    d cut = scale * (dz - mean(dz) - x * mean(dz * x)), where x = (cut - mean) / deviation.
    """
    dz_sum, product_sum = sums
    inverse_deviation = 1 / np.sqrt(moments.variance + norm.eps)
    gamma_gradient = (product_sum - moments.mean * dz_sum) * inverse_deviation
    scale = norm.weight.detach().double().numpy() * inverse_deviation
    slope = scale * inverse_deviation * gamma_gradient / count
    offset = scale * dz_sum / count - slope * moments.mean
    return (
        np.stack([offset, slope]),
        torch.from_numpy(gamma_gradient).to(norm.weight.dtype),
        torch.from_numpy(dz_sum).to(norm.bias.dtype),
    )


def draw_mask(dropout: nn.Dropout | None) -> Mask:
    """A new dropout mask, from PyTorch's global generator."""
    if dropout is None or not dropout.training:
        return Mask((np.uint32(0), np.uint32(0)), np.uint32(0), np.float32(1))
    word0, word1 = torch.randint(2**32, (2,)).numpy().astype(np.uint32)
    return Mask((word0, word1), np.uint32(dropout.p * 2**32), np.float32(1 / (1 - dropout.p)))
