"""Each layer's output shape, cost and receptive field."""

from dataclasses import dataclass
from functools import cache
from math import prod

import torch
from torch import Tensor, nn

from mnist_blocks.network import build_network
from mnist_blocks.spec import IMAGE_SIZE, NetworkSpec


@dataclass(frozen=True)
class LayerRow:
    """One layer of the table. All counts are for one image."""

    name: str
    """Where the layer is, such as `stage1.block2.conv`."""
    description: str
    """Such as `conv 3x3, 8 -> 8`."""
    output_shape: tuple[int, ...]
    """(channels, height, width) or (features,)."""
    parameters: int
    """Trainable numbers."""
    multiply_adds: int
    """Multiplications with an addition, in convolutions and linear layers only."""
    receptive_field: int
    """Side, in input pixels, of the square that one output value depends on. Above 28 it extends
    into the padding."""


@cache
@torch.inference_mode()
def layer_table(spec: NetworkSpec) -> tuple[LayerRow, ...]:
    """The layers of a network in order, each with its output shape, cost and receptive field.

    The network is built on torch's `meta` device, which draws no weights, so that a table does not
    change the random numbers of training. Then it classifies one image with uninitialised weights.

    Receptive field r and the distance j of neighbouring outputs follow r += (k - 1) j, then
    j *= s, for kernel side k and stride s (Araujo et al., "Computing receptive fields of convolutional neural networks",
    Distill 2019).
    """
    with torch.device("meta"):
        network = build_network(spec).eval()
    network.to_empty(device="cpu")
    activations = torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE)
    rows = []
    receptive_field, jump = 1, 1
    for name, layer in leaves(network):
        inputs, activations = activations, layer(activations)
        kernel_size, stride = window(layer, inputs)
        receptive_field += (kernel_size - 1) * jump
        jump *= stride
        rows.append(
            LayerRow(
                name=name,
                description=describe(layer),
                output_shape=tuple(activations.shape[1:]),
                parameters=count_parameters(layer),
                multiply_adds=_count_multiply_adds(layer, activations),
                receptive_field=receptive_field,
            )
        )
    return tuple(rows)


def count_parameters(module: nn.Module) -> int:
    """Number of trainable parameters of a module; running statistics do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


def total_multiply_adds(spec: NetworkSpec) -> int:
    """Multiply-adds of one image's forward pass."""
    return sum(row.multiply_adds for row in layer_table(spec))


def leaves(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers that contain no other layers, with their dotted names, in order."""
    return [
        (name, module) for name, module in network.named_modules() if not list(module.children())
    ]


def window(layer: nn.Module, inputs: Tensor) -> tuple[int, int]:
    """(kernel side, stride) of a layer; (1, 1) for a layer that works pixel by pixel."""
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size[0], layer.stride[0]
    if isinstance(layer, nn.MaxPool2d):
        assert isinstance(layer.kernel_size, int)  # torch also allows a pair; `stage` has one side
        return layer.kernel_size, layer.kernel_size
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return inputs.shape[-1], inputs.shape[-1]
    if isinstance(layer, nn.Flatten) and inputs.ndim == 4:
        # The linear layer after it sees the whole feature map.
        return inputs.shape[-1], inputs.shape[-1]
    return 1, 1


def _count_multiply_adds(layer: nn.Module, outputs: Tensor) -> int:
    """Multiply-adds for one image: outputs times the weights that each output uses."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        return prod(outputs.shape[1:]) * prod(layer.weight.shape[1:])
    return 0


def describe(layer: nn.Module) -> str:
    """A short description of a layer, as in the assignment's table."""
    if isinstance(layer, nn.Conv2d):
        side, stride = layer.kernel_size[0], layer.stride[0]
        words = f"conv {side}x{side}, {layer.in_channels} -> {layer.out_channels}"
        words += f", stride {stride}" if stride > 1 else ""
        return words + ("" if layer.bias is not None else ", no bias")
    if isinstance(layer, nn.BatchNorm2d):
        return f"batch norm {layer.num_features}"
    if isinstance(layer, nn.MaxPool2d):
        return f"max pool {layer.kernel_size}"
    if isinstance(layer, nn.Dropout):
        return f"dropout {layer.p:g}"
    if isinstance(layer, nn.Linear):
        return f"linear {layer.in_features} -> {layer.out_features}"
    names = {nn.ReLU: "ReLU", nn.AdaptiveAvgPool2d: "global average pool", nn.Flatten: "flatten"}
    return names.get(type(layer), type(layer).__name__)
