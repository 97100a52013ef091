"""A network computed by fused layers: `fuse(network)` returns a function that gives its logits.

The function uses the network's own layers for their weights, settings and running statistics, so
training it trains the network. `fused_layer.py` computes a layer; this module connects layers to
PyTorch's autograd.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mnist_blocks.summary import leaves
from speed.cpu.fused_layer import Activations, ForwardState, FusedLayer, as_rows, as_tensor

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

    The network keeps its parameters: training may change their values, but not where they are.
    Kernels get the channels last in memory.
    """
    network.to(memory_format=torch.channels_last)
    layers = group_layers([layer for _, layer in leaves(network)])
    steps: list[Step] = []
    for is_fused, group in groupby(layers, lambda layer: isinstance(layer, FusedLayer)):
        if is_fused:
            steps.append(_fused_step(list(group), training_dtype))  # type: ignore[arg-type]
        else:
            steps += [_in_float32(layer) for layer in group]  # type: ignore[arg-type]

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


def _fused_step(layers: Sequence[FusedLayer], training_dtype: torch.dtype) -> Step:
    """Neighbouring fused layers as one step of autograd: each has a cost of its own in time."""
    parameters = [one for layer in layers for one in layer.parameters]
    tensors = [one for one in parameters if one is not None]
    addresses = [one.data_ptr() for one in tensors]

    def step(inputs: Tensor) -> Tensor:
        if addresses != [one.data_ptr() for one in tensors]:
            raise RuntimeError("the network was moved after `fuse`; call it again")
        is_training = layers[0].convolution.training
        inputs = inputs.to(training_dtype if is_training else torch.float32)
        if not torch.is_grad_enabled():
            return as_tensor(_forward(layers, inputs, lambda state: None))
        activations: Tensor = _FusedFunction.apply(inputs, layers, *parameters)
        return activations

    return step


def _forward(
    layers: Sequence[FusedLayer], inputs: Tensor, keep: Callable[[ForwardState], None]
) -> Activations:
    activations = Activations(as_rows(inputs), tuple(inputs.shape))
    for layer in layers:
        activations, state = layer.forward(activations)
        keep(state)
    return activations


class _FusedFunction(torch.autograd.Function):
    """Fused layers with their gradients. Shapes: (batch, channels, H, W), in one number format."""

    @staticmethod
    def forward(
        context: Any, inputs: Tensor, layers: Sequence[FusedLayer], *parameters: Tensor | None
    ) -> Tensor:
        context.layers, context.states = layers, list[ForwardState]()
        # So that autograd raises an error if one is changed before the backward pass.
        context.save_for_backward(inputs, *parameters)
        return as_tensor(_forward(layers, inputs, context.states.append))

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, *_ = context.saved_tensors
        rows, of_parameters = as_rows(gradient), list[Tensor | None]()
        for number, layer in reversed(list(enumerate(context.layers))):
            needs_inputs = number > 0 or context.needs_input_grad[0]
            of_inputs, of_layer = layer.backward(context.states[number], rows, needs_inputs)
            rows, of_parameters = of_inputs, of_layer + of_parameters
        of_inputs = as_tensor(Activations(rows, inputs.shape)) if rows is not None else None
        return of_inputs, None, *of_parameters
