"""Looks at somebody's own network, and trains it: one process, one task.

`python -m ablations.grading_worker TASK.json` is started by `grading_processes.py`, with a time
limit. It runs the file that the network is in, so whatever that file does happens here. What it
prints goes nowhere; the answer is a file of its own.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ablations.grading import CONCEPTS, Inspection, TrainedSeed
from ablations.records import EpochRecord, write_json
from mnist_blocks import NetworkSpec
from mnist_blocks.network import build_network
from mnist_blocks.spec import NUM_CLASSES
from speed.arithmetic import Arithmetic

BATCH_SIZE = 4


class NetworkError(Exception):
    """The network cannot be used; the message says why, in one line."""


class Task(msgspec.Struct, frozen=True):
    """What one process does: look at a network or, with a seed, train it."""

    file: str
    name: str
    answer_file: str
    seed: int | None
    num_epochs: int
    dataset_name: str
    dataset_folder: str | None
    arithmetic: Arithmetic


class Answer(msgspec.Struct, frozen=True):
    """What came out of a task: one of the first three."""

    problem: str = ""
    inspection: Inspection | None = None
    trained: TrainedSeed | None = None
    epochs_done: int = 0
    """While it is being trained."""
    schema_version: int = 1


def main() -> None:
    """Do the task that is named on the command line, and write the answer."""
    task = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Task)
    answer_file = Path(task.answer_file)
    torch.set_num_threads(1)
    try:
        if task.seed is None:
            answer = Answer(inspection=inspect_network(task))
        else:
            answer = Answer(trained=train_network(task, task.seed, answer_file))
    except NetworkError as error:
        answer = Answer(problem=str(error))
    write_json(answer_file, answer)


def load_network(task: Task) -> nn.Module:
    """The network that a file defines under a name.

    That may be a class of modules or a function, which is called without arguments, a module, or
    a `NetworkSpec`.

    Raises:
        NetworkError: the file or the name is not there, raises, or is none of these.
    """
    path = Path(task.file).resolve()
    with told("importing the file"):
        # Neighbouring files can be imported, as when the file is run by itself.
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise NetworkError(f"{path.name} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    try:
        found = getattr(module, task.name)
    except AttributeError:
        names = [name for name, value in vars(module).items() if is_network_class(value)]
        hint = f"; it has {', '.join(names)}" if names else ""
        raise NetworkError(f"{path.name} has no {task.name}{hint}") from None
    if isinstance(found, NetworkSpec):
        return network_of(found)
    if not isinstance(found, nn.Module) and callable(found):
        with told(f"calling {task.name}() without arguments"):
            found = found()
    if not isinstance(found, nn.Module):
        raise NetworkError(
            f"{task.name} is of type {type(found).__name__}; it must be an nn.Module, a class or function "
            "that gives one without arguments, or a NetworkSpec"
        )
    return found


def network_of(spec: NetworkSpec) -> nn.Module:
    """A network from its spec, which it remembers."""
    network = build_network(spec)
    network.spec = spec  # type: ignore[assignment]
    return network


def is_from_spec(network: nn.Module) -> bool:
    """Whether `network_of` built it."""
    return isinstance(getattr(network, "spec", None), NetworkSpec)


def is_network_class(value: object) -> bool:
    """Whether a name of a file could have been meant."""
    is_class = isinstance(value, type) and issubclass(value, nn.Module)
    return is_class and not value.__module__.startswith("torch")


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Turn whatever goes wrong meanwhile into one line that names it."""
    try:
        yield
    except NetworkError:
        raise
    except SystemExit as error:
        raise NetworkError(f"{doing}: it ends the program (exit {error.code})") from error
    except Exception as error:
        first_line = next(iter(str(error).strip().splitlines()), "")
        raise NetworkError(f"{doing}: {type(error).__name__}: {first_line[:300]}") from error


def inspect_network(task: Task) -> Inspection:
    """Classify a batch in training mode, and see what was computed.

    Raises:
        NetworkError: it raises, or does not give ten finite numbers for each image.
    """
    torch.manual_seed(0)
    network = load_network(task).train()
    images = torch.randn(BATCH_SIZE, 1, 28, 28)
    observer = Observer()
    with told(f"classifying images of shape {tuple(images.shape)} in training mode"), observer:
        logits = network(images)
    check_logits(logits, images)
    with told("a backward pass"):
        if not logits.requires_grad:
            raise NetworkError("nothing can be trained: no output depends on a parameter")
        nn.functional.cross_entropy(logits.float(), torch.arange(BATCH_SIZE)).backward()
    with told("classifying one image in evaluation mode"), torch.inference_mode():
        check_logits(network.eval()(images[:1]), images[:1])
    parameters = list(network.parameters())
    return Inspection(
        parameters=sum(parameter.numel() for parameter in parameters),
        frozen_parameters=sum(p.numel() for p in parameters if not p.requires_grad),
        concepts=[concept for concept in CONCEPTS if concept in observer.found],
        notes=notes_on(network, logits),
    )


def check_logits(logits: object, images: Tensor) -> None:
    """Raise NetworkError unless a network's answer is ten finite numbers for each image."""
    wanted = (len(images), NUM_CLASSES)
    if not isinstance(logits, Tensor):
        raise NetworkError(f"it returns a {type(logits).__name__}, not a tensor of logits")
    if tuple(logits.shape) != wanted:
        raise NetworkError(
            f"for images of shape {tuple(images.shape)} it returns shape {tuple(logits.shape)}; "
            f"wanted {wanted}"
        )
    if not logits.isfinite().all():
        raise NetworkError("for images of ordinary size it returns numbers that are not finite")


def notes_on(network: nn.Module, logits: Tensor) -> list[str]:
    """What its author should know, though it is no fault."""
    notes = []
    sums = logits.detach().float().sum(dim=1)
    if bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
        notes.append(
            "its outputs look like probabilities (softmax); it is trained with cross entropy, which "
            "takes logits or log-softmax, so it will learn slowly"
        )
    unused = [name for name, parameter in network.named_parameters()
              if parameter.requires_grad and parameter.grad is None]  # fmt: skip
    if unused:
        notes.append(f"parameters that no output depends on: {', '.join(unused[:5])}")
    return notes


class Observer(TorchFunctionMode):
    """Notes which of the assignment's concepts are at work, whatever the layers are called.

    Layers call PyTorch's functions, and so does code without layers: this sees those calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        concept = concept_of(func, args, kwargs, result)
        if concept:
            self.found.add(concept)
        return result


def concept_of(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
) -> str | None:
    """The concept that a call of a PyTorch function is, if any.

    - batch normalisation with the statistics of the batch
    - dropout with a probability above 0, on single activations, channels or features
    - a linear map of vectors (batch, features)
    - an average over all pixels of feature maps, by pooling or as a mean
    """
    name = getattr(func, "__name__", "")
    inputs = args[0] if args else kwargs.get("input")
    if not isinstance(inputs, Tensor):
        return None
    if name == "batch_norm" and func is nn.functional.batch_norm:
        is_training = kwargs.get("training", args[5] if len(args) > 5 else False)
        return "batch normalisation" if is_training else None
    if func in (
        nn.functional.dropout, nn.functional.dropout1d, nn.functional.dropout2d,
        nn.functional.alpha_dropout, nn.functional.feature_alpha_dropout,
    ):  # fmt: skip
        probability = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
        is_training = kwargs.get("training", args[2] if len(args) > 2 else True)
        return "dropout" if is_training and probability > 0 else None
    if func is nn.functional.linear:
        return "a fully connected layer" if inputs.dim() == 2 else None
    if inputs.dim() == 4 and inputs.shape[2] * inputs.shape[3] > 1 and isinstance(result, Tensor):
        is_pooling = name in ("adaptive_avg_pool2d", "avg_pool2d")
        if is_pooling and tuple(result.shape[2:]) == (1, 1):
            return "global average pooling"
        if name == "mean" and result.shape[:2] == inputs.shape[:2]:
            is_reduced = result.numel() == inputs.shape[0] * inputs.shape[1]
            return "global average pooling" if is_reduced else None
    if name == "mean" and inputs.dim() == 3 and tuple(result.shape) == tuple(inputs.shape[:2]):
        return "global average pooling"  # Of pixels that were flattened: (batch, channels, pixels).
    return None


def train_network(task: Task, seed: int, answer_file: Path) -> TrainedSeed:
    """Train the network by the reference recipe, for so many epochs.

    Raises:
        NetworkError: it raises meanwhile.
    """
    from ablations.data import load_dataset
    from ablations.experiment import TARGET_TRAINING
    from ablations.seeding import derive_seed
    from ablations.training import load_images, make_trainee
    from ablations.training import train_network as train_epochs
    from speed.arithmetic import keep_freed_memory

    keep_freed_memory()
    recipe = replace(TARGET_TRAINING, num_epochs=task.num_epochs)
    folder = Path(task.dataset_folder) if task.dataset_folder else None
    dataset = load_dataset(task.dataset_name, folder)
    device = torch.device("cpu")
    torch.manual_seed(derive_seed(seed, "init"))
    network = load_network(task)

    def after_epoch(record: EpochRecord) -> None:
        write_json(answer_file, Answer(epochs_done=record.epoch))

    # Anybody's own module computes itself; a network from a spec may be computed quicker.
    arithmetic = task.arithmetic if is_from_spec(network) else "plain"
    with told(f"training with seed {seed}"):
        trainee = make_trainee(network, recipe, seed, dataset, device, arithmetic)
        trained = train_epochs(trainee, *load_images(dataset, recipe, device), after_epoch)
    return TrainedSeed(
        seed=seed,
        num_epochs=len(trained.epochs),
        accuracy_pct=trained.epochs[-1].test_accuracy_pct,
        has_diverged=trained.has_diverged,
    )


if __name__ == "__main__":
    main()
