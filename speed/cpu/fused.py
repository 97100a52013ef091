"""A network's forward and backward pass on a CPU, convolutions and all between them by Numba.

`fuse(network)` returns a function that computes what the network computes. It uses the network's
own layers for their weights, settings and running statistics, so training it trains the network.
What a layer does stands in `fused_layer.py`; here is what PyTorch's autograd is told.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mnist_blocks.summary import leaves
from speed.cpu.activations import Activations
from speed.cpu.epilogues import group_layers
from speed.cpu.fused_layer import NOT_HERE, FusedLayer, Saved

Step = Callable[[Tensor], Tensor]


def fuse(
    network: nn.Sequential, training_dtype: torch.dtype = torch.float32
) -> Callable[[Float[Tensor, "batch 1 28 28"]], Float[Tensor, "batch 10"]]:
    """A function that classifies as `network` does, in its training or its evaluation mode.

    With `training_dtype=torch.bfloat16`, activations and their gradients are kept in bfloat16
    while training: 8 bits of precision, half the memory. Convolutions use their weights, and give
    their inputs' gradients, rounded to it; the weights that the optimiser changes and their
    gradients, statistics, sums, the head and all evaluation stay in float32. Dropout masks come
    from a generator of their own kind, seeded from PyTorch's global one.
    """
    groups = group_layers([layer for _, layer in leaves(network)])
    steps: list[Step] = []
    for are_fused, neighbours in groupby(groups, key=lambda group: group[1] is not None):
        if are_fused:
            chain = [FusedLayer(*group) for group in neighbours]  # type: ignore[arg-type]
            steps.append(chain_step(chain, training_dtype))
        else:
            steps += [in_float32(layer) for layer, _ in neighbours]

    def classify(images: Tensor) -> Tensor:
        for step in steps:
            images = step(images)
        return images

    return classify


def in_float32(layer: nn.Module) -> Step:
    """A layer as it is, given what the fused steps before it computed."""
    return lambda values: layer(values.float())


def chain_step(chain: Sequence[FusedLayer], dtype: torch.dtype) -> Step:
    """Fused layers, one after another; `dtype` is that of activations while training."""

    def step(inputs: Tensor) -> Tensor:
        inputs = inputs.to(dtype if chain[0].convolution.training else torch.float32)
        parameters = [parameter for layer in chain for parameter in layer.parameters]
        finished: Tensor = FusedChain.apply(inputs, chain, torch.is_grad_enabled(), *parameters)
        return finished

    return step


class FusedChain(torch.autograd.Function):
    """Fused layers, one after another, with their gradients."""

    @staticmethod
    def forward(
        context: Any,
        inputs: Tensor,
        chain: Sequence[FusedLayer],
        has_gradients: bool,
        *parameters: Tensor | None,
    ) -> Tensor:
        """Inputs (batch, channels, H, W) -> activations of the last layer, in the same dtype."""
        activations = Activations.of(inputs)
        passes = []
        for layer in chain:
            activations, kept = layer.forward(activations)
            if has_gradients:
                passes.append(kept)
        context.save_for_backward(*(tensor for kept in passes for tensor in kept.tensors))
        context.chain = chain
        context.passes = [kept._replace(tensors=NOT_HERE) for kept in passes]
        return activations.as_tensor()

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients with respect to the inputs and the parameters of each layer.

        Called again with `retain_graph`, it gives the same.

        Raises:
            RuntimeError: the forward pass was in evaluation mode.
        """
        tensors = list(context.saved_tensors)
        dtype = torch.bfloat16 if tensors[0].dtype == torch.uint16 else torch.float32
        gradient = Activations.of(gradients[0].to(dtype))
        of_parameters: list[Tensor | None] = []
        last = len(context.chain) - 1
        for number, layer in enumerate(reversed(context.chain)):
            kept = context.passes[last - number]
            first = len(tensors) - len(Saved._fields)
            kept, tensors = kept._replace(tensors=Saved(*tensors[first:])), tensors[:first]
            needs_inputs = number < last or context.needs_input_grad[0]
            gradient, layer_gradients = layer.backward(kept, gradient, needs_inputs)
            of_parameters[:0] = layer_gradients
        return gradient.as_tensor() if needs_inputs else None, None, None, *of_parameters
