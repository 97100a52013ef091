"""Detects which of the assignment's concepts a network uses, whatever its layers are called.

Layers call PyTorch's functions, and so does code without layers. An observer records these calls
while a batch is classified, and keeps those that the output depends on.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from ablations.analysis.requirements import CONCEPTS

_MATRIX_PRODUCTS = ("matmul", "__matmul__", "mm", "addmm", "einsum")


class _FunctionCall(NamedTuple):
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Tensor

    def argument(self, position: int, *names: str, default: Any = None) -> Any:
        """An argument, given by position or by one of its names."""
        found = [self.kwargs[name] for name in names if name in self.kwargs]
        return (*found, *self.args[position : position + 1], default)[0]


class ConceptObserver(TorchFunctionMode):
    """Records the concepts that are computed while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.computed: list[tuple[str, Node]] = []
        """Concepts, each with its node in the graph of autograd."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # A result that depends on no parameter, such as the mean of the images, is not a layer's.
        if isinstance(result, Tensor) and result.grad_fn is not None:
            call = _FunctionCall(getattr(func, "__name__", ""), args, kwargs or {}, result)
            for concept, is_used in zip(CONCEPTS, _DETECTORS, strict=True):
                if is_used(call):
                    self.computed.append((concept, result.grad_fn))
        return result

    def concepts_of(self, logits: Tensor) -> list[str]:
        """The concepts that these logits depend on."""
        nodes = _graph_nodes(logits)
        found = {concept for concept, node in self.computed if node in nodes}
        return [concept for concept in CONCEPTS if concept in found]


def parameters_behind(tensor: Tensor) -> list[Tensor]:
    """The trainable tensors that a tensor was computed from."""
    return [node.variable for node in _graph_nodes(tensor) if hasattr(node, "variable")]


def _graph_nodes(tensor: Tensor) -> set[Node]:
    """All nodes of the graph of autograd that a tensor was computed by."""
    found: set[Node] = set()
    waiting = [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [parent for parent, _ in node.next_functions]
    return found


def _is_batch_norm(call: _FunctionCall) -> bool:
    """Batch normalisation with the statistics of the batch."""
    return call.name == "batch_norm" and bool(call.argument(5, "training", default=False))


def _is_dropout(call: _FunctionCall) -> bool:
    """Dropout of activations, channels or features with a probability above 0."""
    is_active = call.argument(2, "training", "train", default=True)
    return "dropout" in call.name and bool(is_active and call.argument(1, "p", default=0.5) > 0)


def _is_fully_connected(call: _FunctionCall) -> bool:
    """A linear map of one vector for each image: (batch, features)."""
    if call.result.dim() < 2 or call.result.shape[1:-1].numel() != 1:
        return False
    if call.name not in _MATRIX_PRODUCTS:
        return call.name == "linear"
    operands: list[Any] = []
    for argument in call.args:
        operands += argument if isinstance(argument, (list, tuple)) else [argument]
    # `_base` is the parameter that a transposed one is a view of.
    return any(
        isinstance(part, nn.Parameter)
        for operand in operands
        for part in (operand, getattr(operand, "_base", None))
    )


def _is_global_average(call: _FunctionCall) -> bool:
    """An average of each channel over all of its pixels, of which there are several.

    Feature maps may be flattened: (batch, channels, pixels). A mean over one side and then over
    the other is found as the second mean.
    """
    inputs = call.argument(0, "input")
    if not isinstance(inputs, Tensor) or not inputs.requires_grad or inputs.shape[2:].numel() <= 1:
        return False
    if call.name in ("adaptive_avg_pool1d", "adaptive_avg_pool2d"):
        return call.result.shape[2:].numel() == 1
    if call.name == "avg_pool2d":
        kernel = call.argument(1, "kernel_size")
        sides = (kernel, kernel) if isinstance(kernel, int) else tuple(kernel)
        return sides == tuple(inputs.shape[2:])
    if call.name == "mean":
        dims = call.argument(1, "dim", "axis", default=()) or ()
        averaged = {dim % inputs.dim() for dim in ([dims] if isinstance(dims, int) else dims)}
        # In maps of (batch, height, width, channels), the pixels are dimensions 1 and 2.
        return averaged in {3: [{2}], 4: [{2, 3}, {1, 2}]}.get(inputs.dim(), [])
    return False


_DETECTORS = (_is_batch_norm, _is_dropout, _is_fully_connected, _is_global_average)
