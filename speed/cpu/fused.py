"""A network computed by fused layers: `fuse(network)` returns a function that gives its logits.

The function uses the network's own layers for their weights, settings and running statistics, so
training it trains the network. `fused_layer.py` computes a layer; this module connects layers to
PyTorch's autograd.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mnist_blocks.summary import leaves
from speed.cpu.fused_layer import FusedLayer, SavedTensors

Step = Callable[[Tensor], Tensor]
EPILOGUE = {
    "relu_before": nn.ReLU,
    "batch_norm": nn.BatchNorm2d,
    "relu_after": nn.ReLU,
    "max_pool": nn.MaxPool2d,
    "dropout": nn.Dropout,
}
"""The layers that are fused with the convolution before them: fields of `FusedLayer`, in order."""


def fuse(
    network: nn.Sequential, training_dtype: torch.dtype = torch.float32
) -> Callable[[Float[Tensor, "batch 1 28 28"]], Float[Tensor, "batch 10"]]:
    """A function that computes what `network` computes, in its training or its evaluation mode.

    With `training_dtype=torch.bfloat16`, activations and their gradients are kept in bfloat16
    while training: 8 bits of precision, half the memory. Convolutions round their weights and
    their inputs' gradients to it. The weights that the optimiser changes and their gradients,
    statistics, sums, the head and all evaluation stay in float32. Dropout masks come from a
    generator of their own, seeded from PyTorch's global one.
    """
    steps = [
        _fused_step(layer, training_dtype) if isinstance(layer, FusedLayer) else _in_float32(layer)
        for layer in group_layers([layer for _, layer in leaves(network)])
    ]

    def classify(images: Tensor) -> Tensor:
        for step in steps:
            images = step(images)
        return images

    return classify


def group_layers(layers: Sequence[nn.Module]) -> list[nn.Module | FusedLayer]:
    """Each convolution with the layers after it that can be fused; other layers by themselves."""
    groups: list[nn.Module | FusedLayer] = []
    remaining = list(layers)
    while remaining:
        layer = remaining.pop(0)
        found: dict[str, Any] = {}
        if isinstance(layer, nn.Conv2d) and _has_supported_settings(layer):
            # Without batch norm it makes no difference which of its fields a ReLU fills.
            for field, kind in EPILOGUE.items():
                is_next = bool(remaining) and type(remaining[0]) is kind
                if is_next and _has_supported_settings(remaining[0]):
                    found[field] = remaining.pop(0)
        groups.append(FusedLayer(layer, **found) if found else layer)  # type: ignore[arg-type]
    return groups


def _has_supported_settings(layer: nn.Module) -> bool:
    """Whether the kernels do all that a layer does; a layer with other settings is not fused."""
    match layer:
        case nn.Conv2d():
            is_plain = layer.groups == 1 and layer.dilation == (1, 1)
            return is_plain and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        case nn.BatchNorm2d():
            return layer.affine and layer.track_running_stats and layer.momentum is not None
        case nn.MaxPool2d():
            is_2x2 = layer.kernel_size == layer.stride == 2
            return is_2x2 and layer.padding == 0 and layer.dilation == 1 and not layer.ceil_mode
    return True


def _in_float32(layer: nn.Module) -> Step:
    return lambda values: layer(values.float())


def _fused_step(layer: FusedLayer, training_dtype: torch.dtype) -> Step:
    def step(inputs: Tensor) -> Tensor:
        inputs = inputs.to(training_dtype if layer.convolution.training else torch.float32)
        activations: Tensor = _FusedFunction.apply(inputs, layer, *layer.parameters)
        return activations

    return step


class _FusedFunction(torch.autograd.Function):
    """A fused layer with its gradients. Shapes: (batch, channels, H, W), in one number format."""

    @staticmethod
    def forward(
        context: Any, inputs: Tensor, layer: FusedLayer, *parameters: Tensor | None
    ) -> Tensor:
        activations, tensors, context.state = layer.forward(inputs)
        context.layer = layer
        context.save_for_backward(*tensors)
        return activations

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_inputs, of_parameters = context.layer.backward(
            SavedTensors(*context.saved_tensors),
            context.state,
            gradient,
            needs_inputs=context.needs_input_grad[0],
        )
        return of_inputs, None, *of_parameters
