"""A network computed by fused layers: `fuse(network)` returns a function that gives its logits.

The function uses the network's own layers for their weights, settings and running statistics, so
training it trains the network. `fused_layer.py` computes a layer; this module connects layers to
PyTorch's autograd.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mnist_blocks.summary import leaves
from speed.cpu.activations import ActivationRows
from speed.cpu.epilogues import group_layers
from speed.cpu.fused_layer import FusedLayer, SavedTensors

Step = Callable[[Tensor], Tensor]


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
        _fused_step(FusedLayer(layer, epilogue), training_dtype)  # type: ignore[arg-type]
        if epilogue
        else _in_float32(layer)
        for layer, epilogue in group_layers([layer for _, layer in leaves(network)])
    ]

    def classify(images: Tensor) -> Tensor:
        for step in steps:
            images = step(images)
        return images

    return classify


def _in_float32(layer: nn.Module) -> Step:
    """A layer that is not fused."""
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
        activations, tensors, context.state = layer.forward(ActivationRows.of(inputs))
        context.layer = layer
        context.save_for_backward(*tensors)
        return activations.as_tensor()

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_inputs, of_parameters = context.layer.backward(
            SavedTensors(*context.saved_tensors),
            context.state,
            ActivationRows.of(gradient),
            needs_inputs=context.needs_input_grad[0],
        )
        return of_inputs.as_tensor() if of_inputs else None, None, *of_parameters
