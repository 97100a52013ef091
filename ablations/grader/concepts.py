"""Detects which of the assignment's concepts a network uses, whatever its layers are called.

Layers call PyTorch's functions, and so does code without layers. An observer records these calls
while a batch is classified, and keeps those that the output depends on. Global average pooling has
many spellings, so it is detected by its values: one for each channel, equal to its mean.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from ablations.analysis.requirements import CONCEPTS

_PIXELS: dict[int, list[tuple[int, ...]]] = {3: [(2,)], 4: [(2, 3), (1, 2)], 5: [(2, 3, 4)]}
"""Which dimensions of feature maps may be those of pixels, by their number."""
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


class _FeatureMaps(NamedTuple):
    """What the global average pooling of feature maps returns, whatever computes it."""

    means: Tensor
    """Of each image and channel, in one dimension."""
    tolerance: float
    part: str
    """Of a crop: `an average of 3x3 of a 5x5 map`; empty for whole maps."""


class ConceptObserver(TorchFunctionMode):
    """Records the concepts that are computed while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.computed: list[tuple[str, Node]] = []
        """Concepts and averages of a part of the pixels, each with its node in the graph of autograd."""
        self._maps: list[_FeatureMaps] = []
        self._seen: set[tuple[Node, int]] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        # What a function of the student's own computed is seen when it is used.
        self._look_at(args)
        result = func(*args, **(kwargs or {}))
        self._look_at(result)
        # A result that depends on no parameter, such as the mean of the images, is not a layer's.
        if isinstance(result, Tensor) and result.grad_fn is not None:
            call = _FunctionCall(getattr(func, "__name__", ""), args, kwargs or {}, result)
            self.computed += [
                (concept, result.grad_fn)
                for concept, is_used in _DETECTORS.items()
                if is_used(call)
            ]
            # Where values do not decide, such as those of a layer that begins with zeros.
            if all(node is not result.grad_fn for _, node in self.computed):
                name = _average_pooling(call)
                self.computed += [(name, result.grad_fn)] if name else []
        return result

    def _look_at(self, value: object) -> None:
        """Record feature maps, and what equals the mean of recorded ones."""
        if isinstance(value, (list, tuple)):
            for item in value:
                self._look_at(item)
        if not isinstance(value, Tensor) or value.grad_fn is None:
            return
        key = value.grad_fn, value.output_nr
        if key in self._seen or not value.is_floating_point():
            return
        self._seen.add(key)
        values = value.detach().double()
        for maps in self._matching(values.flatten()):
            self.computed.append((maps.part or GLOBAL_AVERAGE, value.grad_fn))
        for maps in _feature_maps(value, values):
            # A copy of a crop has the same means.
            parts = [other.part for other in self._matching(maps.means)]
            self._maps.append(maps._replace(part=maps.part or next(filter(None, parts), "")))

    def _matching(self, means: Tensor) -> list[_FeatureMaps]:
        """The recorded maps with these means."""
        same_size = (maps for maps in self._maps if maps.means.numel() == means.numel())
        return [
            maps for maps in same_size if bool((maps.means - means).abs().max() <= maps.tolerance)
        ]

    def concepts_of(self, logits: Tensor) -> list[str]:
        """The concepts that these logits depend on."""
        found = self._used_by(logits)
        return [concept for concept in CONCEPTS if concept in found]

    def partial_average_of(self, logits: Tensor) -> str:
        """Where these logits depend on no global average pooling, an average that is not global."""
        found = self._used_by(logits)
        parts = [name for name in found if name not in CONCEPTS]
        return parts[-1] if parts and GLOBAL_AVERAGE not in found else ""

    def _used_by(self, logits: Tensor) -> list[str]:
        nodes = _graph_nodes(logits)
        return [name for name, node in self.computed if node in nodes]


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


def _average_pooling(call: _FunctionCall) -> str:
    """Of an average pooling: its concept or, if it is not global, what it averages."""
    maps = call.argument(0, "input")
    if "avg_pool" not in call.name or not isinstance(maps, Tensor):
        return ""
    sides, left = list(maps.shape[2:]), call.result.shape[2:]
    if left.numel() > 1:
        return f"average pooling of a {_by(sides)} map to {_by(left)}"
    size: Any = call.argument(1, "kernel_size") if "adaptive" not in call.name else sides
    kernel = [size] if isinstance(size, int) else list(size)
    kernel *= len(sides) // len(kernel)
    return GLOBAL_AVERAGE if kernel == sides else _part(kernel, sides)


def _part(sides: Sequence[int], whole: Sequence[int]) -> str:
    return f"an average of {_by(sides)} of a {_by(whole)} map"


def _by(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))


def _feature_maps(tensor: Tensor, values: Tensor) -> Iterator[_FeatureMaps]:
    """What a tensor's means are if it holds feature maps of several pixels.

    Maps are (batch, channels, height, width), (batch, channels, pixels) or (batch, height, width,
    channels). A slice of larger maps is a crop, whose mean is not global.
    """
    for dims in _PIXELS.get(tensor.dim(), []):
        sides = [tensor.shape[dim] for dim in dims]
        means, scale = values.mean(dims), float(values.abs().mean())
        tolerance = scale * max(1e-5, 2 * torch.finfo(tensor.dtype).eps)
        # Where all pixels or all images are the same, other operations have the same result.
        others = values - values.mean(dims, keepdim=True), means - means.mean(0)
        if all(bool(one.abs().amax() > 4 * tolerance) for one in others):
            base, part = tensor._base, ""
            if base is not None and base.numel() > tensor.numel():
                whole = base.shape[2:]
                if whole.numel() != math.prod(sides):
                    part = _part(sides, whole)
            yield _FeatureMaps(means.flatten(), tolerance, part)


_DETECTORS = {
    "batch normalisation": _is_batch_norm,
    "dropout": _is_dropout,
    "a fully connected layer": _is_fully_connected,
}
GLOBAL_AVERAGE = "global average pooling"
