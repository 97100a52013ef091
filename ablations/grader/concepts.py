"""Which of the assignment's concepts are at work in a network, whatever its layers are called.

Layers call PyTorch's functions, and so does code without layers: an observer sees those calls
while a batch is classified, and counts the ones that the answer depends on.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, dropout, nn
from torch.autograd.graph import Node
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ablations.analysis.requirements import CONCEPTS

BATCH_NORM, DROPOUT, FULLY_CONNECTED, POOLING = CONCEPTS
DROPOUTS = (
    dropout,
    functional.dropout,
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    functional.alpha_dropout,
    functional.feature_alpha_dropout,
)
MATRIX_PRODUCTS = ("matmul", "__matmul__", "mm", "addmm")


class Observer(TorchFunctionMode):
    """Notes the concepts that are computed while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[str, Node]] = []
        """Each concept that was computed, and its place in what autograd remembers."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        # What does not depend on a parameter, such as the mean of the images, is no layer's work.
        if isinstance(result, Tensor) and result.grad_fn is not None:
            concept = concept_of(func, args, kwargs, result)
            if concept:
                self.steps.append((concept, result.grad_fn))
        return result

    def at_work(self, logits: Tensor) -> list[str]:
        """The concepts that these logits depend on."""
        nodes = ancestors(logits)
        found = {concept for concept, node in self.steps if node in nodes}
        return [concept for concept in CONCEPTS if concept in found]


def ancestors(tensor: Tensor) -> set[Node]:
    """All steps that a tensor was computed by, as autograd remembers them."""
    found: set[Node] = set()
    waiting = [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [before for before, _ in node.next_functions]
    return found


def used_parameters(tensor: Tensor) -> list[Tensor]:
    """The trainable tensors that a tensor was computed from."""
    return [node.variable for node in ancestors(tensor) if hasattr(node, "variable")]


def concept_of(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor
) -> str | None:
    """The concept that a call of a PyTorch function is, if any.

    - batch normalisation with the statistics of the batch
    - dropout with a probability above 0, of single activations, channels or features
    - a linear map of vectors (batch, features)
    - an average over all pixels of feature maps, by pooling or as a mean
    """
    name = getattr(func, "__name__", "")
    if func is functional.batch_norm:
        is_training = argument(args, kwargs, 5, "training", default=False)
        return BATCH_NORM if is_training else None
    if func in DROPOUTS:
        probability = argument(args, kwargs, 1, "p", default=0.5)
        is_training = argument(args, kwargs, 2, "training", "train", default=True)
        return DROPOUT if probability > 0 and is_training else None
    if func is functional.linear:
        return FULLY_CONNECTED if is_of_vectors(result) else None
    if name in MATRIX_PRODUCTS:
        return FULLY_CONNECTED if is_of_vectors(result) and has_weight(args) else None
    if name == "einsum":
        operands = args[1] if isinstance(args[1], (list, tuple)) else args[1:]
        return FULLY_CONNECTED if is_of_vectors(result) and has_weight(tuple(operands)) else None
    inputs = args[0] if args else kwargs.get("input")
    if isinstance(inputs, Tensor) and inputs.requires_grad:
        return POOLING if is_global_average(name, inputs, args, kwargs, result) else None
    return None


def argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], position: int, *names: str, default: Any
) -> Any:
    """An argument of a call, given by position or by one of its names."""
    found = [kwargs[name] for name in names if name in kwargs]
    return found[0] if found else args[position] if len(args) > position else default


def is_of_vectors(result: Tensor) -> bool:
    """Whether a linear map was of one vector for each image: (batch, features)."""
    return result.dim() >= 2 and result.shape[1:-1].numel() == 1


def has_weight(operands: tuple[Any, ...]) -> bool:
    """Whether one of a product's operands is a parameter, perhaps transposed."""
    tensors = [operand for operand in operands if isinstance(operand, Tensor)]
    return any(isinstance(part, nn.Parameter) for t in tensors for part in (t, t._base))


def is_global_average(
    name: str, inputs: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor
) -> bool:
    """Whether a call averages each channel over all of its pixels, of which there are several.

    Pixels that were flattened, (batch, channels, pixels), are pixels too, and a mean over one side
    after the other is one over both.
    """
    if inputs.shape[2:].numel() <= 1:
        return False
    if name == "adaptive_avg_pool2d" or name == "adaptive_avg_pool1d":
        return result.shape[2:].numel() == 1
    if name == "avg_pool2d":
        kernel = argument(args, kwargs, 1, "kernel_size", default=0)
        sides = (kernel, kernel) if isinstance(kernel, int) else tuple(kernel)
        return sides == tuple(inputs.shape[2:])
    if name != "mean":
        return False
    dims = argument(args, kwargs, 1, "dim", "axis", default=())
    dims = {dim % inputs.dim() for dim in ([dims] if isinstance(dims, int) else dims or ())}
    wanted = {3: [{2}], 4: [{2, 3}, {1, 2}]}
    return dims in wanted.get(inputs.dim(), [])
