"""A trained network as a list of inference steps, with batch norm folded into convolutions.

At inference dropout does nothing, and batch norm multiplies and shifts each channel by constants.
A convolution before it can do that with other weights. The report page runs these steps in the
browser (`reports/html/static/network.js`).
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from mnist_blocks.spec import IMAGE_SIZE
from mnist_blocks.summary import leaves, window

NO_WEIGHTS = torch.empty(0)


@dataclass(frozen=True, eq=False)
class FoldedLayer:
    """One step: from (in_channels, in_side, in_side) to (out_channels, out_side, out_side).

    A vector of features has side 1.
    """

    kind: Literal["conv", "scale", "relu", "maxpool", "mean", "linear"]
    """"scale" multiplies and shifts each channel, "mean" averages each over the image."""
    name: str
    """Dotted name of the network's layer, such as `stage1.block2.conv`."""
    in_channels: int
    in_side: int
    out_channels: int
    out_side: int
    kernel: int = 1
    """Side of the window that one output is computed from."""
    stride: int = 1
    padding: int = 0
    """Rows and columns of zeros on each side of the input."""
    weight: Tensor = NO_WEIGHTS
    """(out, in, kernel, kernel) of "conv", (channels,) of "scale", (out, in) of "linear"."""
    bias: Tensor = NO_WEIGHTS
    """(out,); zeros where a convolution has none."""


def fold(network: nn.Sequential, dtype: torch.dtype = torch.float32) -> list[FoldedLayer]:
    """The steps that compute what a network from `build_network` computes in `eval()` mode.

    Batch norm is folded into the convolution before it if both are in one block. Elsewhere it is a
    step of its own: after a ReLU, which is not linear, and before a convolution, whose zero padding
    it does not shift. Weights are computed in float64 and rounded once, to `dtype`.

    Raises:
        ValueError: the network has a layer that `build_network` never makes.
    """
    steps: list[FoldedLayer] = []
    channels, side = 1, IMAGE_SIZE
    for name, layer in leaves(network):
        if isinstance(layer, nn.Dropout):
            continue
        if isinstance(layer, nn.Flatten):
            # Nothing to compute: the numbers are already in this order.
            channels, side = channels * side**2, 1
            continue
        step = _make_step(name, layer, channels, side)
        # Layers of different blocks could be merged too, but would change a stage's feature maps.
        block = name.rpartition(".")[0]
        if step.kind == "scale" and steps and steps[-1].name == f"{block}.conv":
            # s (w * x + b) + t = (s w) * x + (s b + t)
            conv, scale = steps.pop(), step
            weight = conv.weight * scale.weight[:, None, None, None]
            step = replace(conv, weight=weight, bias=conv.bias * scale.weight + scale.bias)
        channels, side = step.out_channels, step.out_side
        steps.append(step)
    return [replace(step, weight=step.weight.to(dtype), bias=step.bias.to(dtype)) for step in steps]


def _make_step(name: str, layer: nn.Module, channels: int, side: int) -> FoldedLayer:
    """One layer as a step, for an input with this number of channels and this side."""
    step = FoldedLayer("relu", name, channels, side, channels, side)
    if isinstance(layer, nn.ReLU):
        return step
    if isinstance(layer, nn.BatchNorm2d):
        weight, bias = _batch_norm_as_scale(layer)
        return replace(step, kind="scale", weight=weight, bias=bias)
    if isinstance(layer, nn.Linear):
        weight, bias = _weight_and_bias(layer)
        return replace(step, kind="linear", weight=weight, bias=bias, out_channels=len(bias))
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return replace(step, kind="mean", out_side=1, kernel=side, stride=side)
    if isinstance(layer, nn.MaxPool2d | nn.Conv2d):
        kernel, stride = window(layer, torch.empty(0))
        padding = int(layer.padding[0]) if isinstance(layer, nn.Conv2d) else 0
        out_side = (side + 2 * padding - kernel) // stride + 1
        step = replace(step, out_side=out_side, kernel=kernel, stride=stride, padding=padding)
        if isinstance(layer, nn.MaxPool2d):
            return replace(step, kind="maxpool")
        weight, bias = _weight_and_bias(layer)
        return replace(step, kind="conv", out_channels=len(bias), weight=weight, bias=bias)
    raise ValueError(f"layer {name}: {type(layer).__name__} is not a layer of `build_network`")


def _batch_norm_as_scale(layer: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Each channel's scale and shift, in float64.

    With running statistics batch norm is linear (Ioffe and Szegedy, 2015, arXiv:1502.03167,
    algorithm 2, line 11):

        gamma * (x - mean) / sqrt(variance + epsilon) + beta  =  weight * x + bias
        where  weight = gamma / sqrt(variance + epsilon)  and  bias = beta - weight * mean.
    """
    assert layer.running_mean is not None and layer.running_var is not None
    gamma, beta = layer.weight.detach().double(), layer.bias.detach().double()
    weight = gamma / (layer.running_var.double() + layer.eps).sqrt()
    return weight, beta - weight * layer.running_mean.double()


def _weight_and_bias(layer: nn.Conv2d | nn.Linear) -> tuple[Tensor, Tensor]:
    """In float64; the bias is zeros if the layer has none."""
    weight = layer.weight.detach().double()
    if layer.bias is None:
        return weight, weight.new_zeros(len(weight))
    return weight, layer.bias.detach().double()
