"""Looks at somebody's own network, and trains it: one process, one task.

`python -m ablations.grader.worker TASK.json` is started by `supervisor.py`, with a time
limit. It runs the file that the network is in, so whatever that file does happens here. What it
prints goes nowhere; the answer is a file of its own.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from ablations.data.datasets import DataError
from ablations.grader.concepts import Observer, used_parameters
from ablations.grader.grade import Inspection, TrainedSeed
from ablations.grader.loader import load_network, told
from ablations.grader.protocol import (
    ERRORS,
    NOT_WRITTEN,
    Answer,
    MachineError,
    NetworkError,
    Task,
)
from ablations.records.atomic_io import write_json
from ablations.training.epoch import EpochRecord
from mnist_blocks.spec import NUM_CLASSES

BATCH_SIZE = 4


def main() -> None:
    """Do the task that is named on the command line, and write the answer."""
    task = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Task)
    answer_file = Path(task.answer_file)
    torch.set_num_threads(1)
    try:
        if task.seed is None:
            answer = Answer(inspection=inspect_network(task))
        else:
            answer = Answer(trained=train_network(task, task.seed))
    except (NetworkError, MachineError, DataError, OSError) as error:
        kinds = [kind for kind, error_type in ERRORS.items() if type(error) is error_type]
        answer = Answer(problem=str(error), problem_kind=kinds[0] if kinds else "machine")
    try:
        write_json(answer_file, answer)
    except OSError:
        sys.exit(NOT_WRITTEN)


def inspect_network(task: Task) -> Inspection:
    """Classify a batch in training mode, and see what was computed.

    Raises:
        NetworkError: it raises, or does not give ten finite numbers for each image.
    """
    network = load_network(task, seed=0).train()
    is_seeded = not has_the_same_weights(network, load_network(task, seed=1))
    images = torch.randn(BATCH_SIZE, 1, 28, 28)
    observer = Observer()
    doing = f"classifying images of shape {tuple(images.shape)} in training mode"
    note_progress(task, Answer(doing=doing))
    with told(doing, task.file), observer:
        logits = network(images)
    check_logits(logits, images)
    if not list(network.parameters()):
        raise NetworkError(
            "it has no parameters of its own: layers in a list belong into an nn.ModuleList"
        )
    if not logits.requires_grad:
        raise NetworkError("nothing can be trained: no output depends on a parameter")
    with told("a backward pass", task.file):
        nn.functional.cross_entropy(logits.float(), torch.arange(BATCH_SIZE)).backward()
    registered = {id(parameter) for parameter in network.parameters()}
    unregistered = [one for one in used_parameters(logits) if id(one) not in registered]
    notes = notes_on(network, logits, unregistered)
    if not is_seeded:
        notes.append(
            "its initial weights are the same for every seed, so that trainings differ in the order "
            "of images and in dropout only: name a class or a function, and set no seed in the file"
        )
    if is_random_in_evaluation(network, images):
        notes.append(
            "its outputs for the same images differ in evaluation mode, which costs accuracy: "
            "functional.dropout needs training=self.training"
        )
    try:
        with told("one image alone cannot be classified", task.file), torch.inference_mode():
            check_logits(network.eval()(images[:1]), images[:1])
    except NetworkError as error:
        notes.append(str(error))
    parameters = [*network.parameters(), *unregistered]
    frozen = [one for one in network.parameters() if not one.requires_grad]
    return Inspection(
        parameters=sum(one.numel() for one in parameters),
        frozen_parameters=sum(one.numel() for one in (*frozen, *unregistered)),
        concepts=observer.at_work(logits),
        notes=notes,
    )


@torch.inference_mode()
def is_random_in_evaluation(network: nn.Module, images: Tensor) -> bool:
    """Whether two passes over the same images give different answers; false where it raises."""
    network.eval()
    try:
        first, second = network(images), network(images)
        return not torch.equal(first, second) and not bool(first.isnan().any())
    except Exception:  # noqa: BLE001 (the network's own, which is told of elsewhere)
        return False


def note_progress(task: Task, answer: Answer) -> None:
    """Write how far the task is.

    Raises:
        MachineError: that cannot be written.
    """
    if not task.answer_file:
        return
    try:
        write_json(Path(task.answer_file), answer)
    except OSError as error:
        raise MachineError(f"{task.answer_file}: {error.strerror}") from error


def has_the_same_weights(network: nn.Module, other: nn.Module) -> bool:
    """Whether two networks start alike; false where a layer has yet to find out its sizes."""
    pairs = list(zip(network.parameters(), other.parameters(), strict=False))
    return bool(pairs) and all(
        not isinstance(one, UninitializedParameter) and torch.equal(one, two) for one, two in pairs
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


def notes_on(network: nn.Module, logits: Tensor, unregistered: Sequence[Tensor]) -> list[str]:
    """What its author should know."""
    notes = []
    if unregistered:
        notes.append(
            f"{sum(one.numel() for one in unregistered):,} parameters are used but not its own, so "
            "they are never trained: layers in a list belong into an nn.ModuleList"
        )
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


def train_network(task: Task, seed: int) -> TrainedSeed:
    """Train the network by the reference recipe, for so many epochs.

    Raises:
        NetworkError: it raises meanwhile.
    """
    from ablations.catalogue.experiment import TARGET_TRAINING
    from ablations.data.datasets import load_dataset
    from ablations.training.batches import load_images
    from ablations.training.loop import make_trainee, train_epochs
    from ablations.training.seeding import derive_seed
    from speed.arithmetic import keep_freed_memory

    keep_freed_memory()
    recipe = replace(TARGET_TRAINING, num_epochs=task.num_epochs)
    folder = Path(task.dataset_folder) if task.dataset_folder else None
    dataset = load_dataset(task.dataset_name, folder)
    device = torch.device("cpu")
    network = load_network(task, derive_seed(seed, "init"))

    def after_epoch(record: EpochRecord) -> None:
        note_progress(task, Answer(epochs_done=record.epoch))

    with told(f"training with seed {seed}", task.file):
        # Layers that find their sizes out by themselves do so with their first images.
        network(torch.zeros(BATCH_SIZE, 1, 28, 28))
        trainee = make_trainee(network, recipe, seed, dataset, device)
        trained = train_epochs(trainee, *load_images(dataset, recipe, device), after_epoch)
    return TrainedSeed(
        seed=seed,
        num_epochs=len(trained.epochs),
        accuracy_pct=trained.epochs[-1].test_accuracy_pct,
        has_diverged=trained.has_diverged,
    )


if __name__ == "__main__":
    main()
