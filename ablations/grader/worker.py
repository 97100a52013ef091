"""Inspects or trains a student's network: one process for one task.

`supervisor.py` starts `python -m ablations.grader.worker TASK`, with the task as JSON. The process
runs the student's file, and sends its messages to standard output, one JSON object per line. The
supervisor ignores other lines, which the student's file prints.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from ablations.catalogue.recipes import RECIPES
from ablations.data.datasets import load_dataset
from ablations.grader.concepts import ConceptObserver, parameters_behind
from ablations.grader.loader import explain_errors, import_network, make_network
from ablations.grader.protocol import (
    MEMORY_LIMIT_GIB,
    Inspection,
    NetworkError,
    NoGradeError,
    TrainedSeed,
    UnknownNameError,
    WorkerMessage,
    WorkerTask,
)
from ablations.training.batches import load_images
from ablations.training.loop import make_trainee, train_epochs
from ablations.training.seeding import derive_seed
from ablations.words import in_one_line
from mnist_blocks.spec import NUM_CLASSES
from speed.arithmetic import keep_freed_memory

Send = Callable[[WorkerMessage], None]


def main() -> None:
    """Carry out the task on the command line."""
    if sys.platform == "linux":  # Other systems do not count all allocations.
        import resource

        _, highest = resource.getrlimit(resource.RLIMIT_DATA)
        limit = MEMORY_LIMIT_GIB * 2**30
        if highest == resource.RLIM_INFINITY or highest > limit:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    torch.set_num_threads(1)
    task = msgspec.json.decode(sys.argv[1], type=WorkerTask)
    _link_neighbours(Path(task.file))
    sys.dont_write_bytecode = True  # Nothing is written beside the student's file.
    _send(WorkerMessage(0))
    _send(carry_out(task, _send))
    os._exit(0)  # Threads and exit handlers of the student's file cannot delay this.


def _link_neighbours(file: Path) -> None:
    """Link the files beside the student's file, which may read them from the current folder.

    The current folder is a temporary one, for what the file writes (see `guard.py`).
    """
    for path in file.parent.iterdir():
        if path.is_file():
            with contextlib.suppress(OSError):  # on a system without links
                Path(path.name).symlink_to(path)


def _send(message: WorkerMessage) -> None:
    """Write a line to standard output, also after an unfinished line of the student's file."""
    os.write(1, b"\n" + msgspec.json.encode(message) + b"\n")


def carry_out(task: WorkerTask, send: Send) -> WorkerMessage:
    """The last message of a task: its result, or why there is none."""
    try:
        if task.seed is None:
            return WorkerMessage(0, inspect_network(task))
        trained = train_student_network(task, task.seed, send)
        return WorkerMessage(trained.num_epochs, trained=trained)
    except (NetworkError, NoGradeError, UnknownNameError) as error:
        return WorkerMessage(0, error=str(error), error_type=type(error).__name__)
    except Exception as error:  # noqa: BLE001 (the data, the machine or a bug, not the network)
        text = f"{type(error).__name__}: {in_one_line(error)}"
        return WorkerMessage(0, error=text, error_type="NoGradeError")


def inspect_network(task: WorkerTask) -> Inspection:
    """Classify a batch of the recipe's size in training mode, and record what is computed.

    Raises:
        UnknownNameError: the file does not define the name.
        NoGradeError: the file gives no network.
        NetworkError: the network raises an exception, returns something else than ten finite
            numbers for each image, or cannot be trained.
    """
    batch_size = RECIPES[task.recipe].batch_size
    found = import_network(task, seed=0)
    # A module of the file has its initial weights from the import.
    is_same_module = isinstance(found, nn.Module) and torch.initial_seed() != 0
    network = make_network(found, task, 0, batch_size)
    with explain_errors("inspecting the network", task.file):
        network.train()
        images = torch.randn(batch_size, 1, 28, 28)
        with explain_errors("classifying images in training mode", task.file):
            with ConceptObserver() as observer:
                logits = network(images)
            _check_logits(logits, tuple(images.shape))
            labels = torch.arange(batch_size) % NUM_CLASSES
            nn.functional.cross_entropy(logits.float(), labels).backward()
        network.eval()
        with explain_errors("classifying images in evaluation mode", task.file), torch.no_grad():
            outputs = network(images), network(images)
        is_random = not torch.allclose(*outputs, rtol=0, atol=0, equal_nan=True)
        parameters = list(network.parameters())
        registered = {id(parameter) for parameter in parameters}
        unregistered = [one for one in parameters_behind(logits) if id(one) not in registered]
        frozen = [one for one in parameters if not one.requires_grad] + unregistered
        is_positive, sums = bool((logits >= 0).all()), logits.float().sum(dim=1)
        is_same = is_same_module
        if parameters and not isinstance(found, nn.Module):
            other_network = make_network(found, task, 1, batch_size)
            is_same = all(map(torch.equal, parameters, other_network.parameters()))
        notes = {
            "the network uses parameters that are not registered, so they are not trained; put layers "
            "in an nn.ModuleList, not in a list": bool(unregistered),
            "the outputs look like probabilities (softmax), so training is slow; return logits, which "
            "the cross-entropy loss expects": is_positive and bool(((sums - 1).abs() < 1e-4).all()),
            "the initial weights are the same for every seed; name a class or a function, and set no "
            "seed in the file": is_same,
            "the outputs for the same images differ in evaluation mode, which costs accuracy; call "
            "functional.dropout with training=self.training": is_random,
        }
        return Inspection(
            parameters=sum(one.numel() for one in (*parameters, *unregistered)),
            frozen_parameters=sum(one.numel() for one in frozen),
            concepts=observer.concepts_of(logits),
            notes=[note for note, is_true in notes.items() if is_true],
            partial_average=observer.partial_average_of(logits),
        )


def _check_logits(logits: object, images_shape: tuple[int, ...]) -> None:
    """Raise NetworkError unless these are ten finite numbers for each image, and trainable."""
    shape = (images_shape[0], NUM_CLASSES)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != shape:
        found = getattr(logits, "shape", type(logits).__name__)
        raise NetworkError(
            f"for images of shape {images_shape} it returns {found}; return a tensor of shape {shape}"
        )
    if not logits.isfinite().all():
        raise NetworkError("it returns infinite numbers or NaN for images with ordinary pixels")
    if not logits.requires_grad:
        raise NetworkError(
            "it cannot be trained, since its outputs depend on no parameter; use layers in forward"
        )


def train_student_network(task: WorkerTask, seed: int, send: Send) -> TrainedSeed:
    """Train the network by the requested recipe and for the requested epochs.

    Raises:
        NetworkError: it raises an exception.
        DataError: the data set cannot be used.
    """
    keep_freed_memory()
    recipe = replace(RECIPES[task.recipe], num_epochs=task.num_epochs)
    folder = Path(task.dataset_folder) if task.dataset_folder else None
    dataset = load_dataset(task.dataset_name, folder)
    device = torch.device("cpu")
    init_seed = derive_seed(seed, "init")
    found = import_network(task, init_seed)
    network = make_network(found, task, init_seed, recipe.batch_size)
    with explain_errors(task.activity, task.file):
        trainee = make_trainee(network, recipe, seed, dataset, device)
        images = load_images(dataset, recipe, device)
        trained = train_epochs(trainee, *images, lambda done: send(WorkerMessage(done.epoch)))
    return TrainedSeed(
        seed, len(trained.epochs), trained.epochs[-1].test_accuracy_pct, trained.has_diverged
    )


if __name__ == "__main__":
    main()
