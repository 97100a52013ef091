"""Training seeds in groups that fit into a device's memory."""

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.training.epoch import EpochRecord
from ablations.training.loop import TrainedNetwork
from ablations.training.replicas import train_replicas
from ablations.training.seed_groups import even_parts

Result = TypeVar("Result")


def train_as_fits(
    run_specs: Sequence[RunSpec],
    dataset: Dataset,
    device: torch.device,
    after_epoch: Callable[[RunSpec, EpochRecord], None] = lambda run_spec, record: None,
) -> Iterator[list[tuple[RunSpec, TrainedNetwork]]]:
    """Train runs that differ only in their seeds, in groups that fit into the device's memory.

    Yields each group as it ends. All runs are tried as one group. A group that runs out of memory
    starts again with half as many replicas, and later groups are no larger.
    """
    waiting = list(run_specs)

    def train_some(num_replicas: int) -> list[tuple[RunSpec, TrainedNetwork]]:
        part = even_parts(waiting, num_replicas)[0]
        return list(zip(part, train_replicas(part, dataset, device, after_epoch), strict=True))

    num_replicas = len(run_specs)
    while waiting:
        trained = halve_until_it_fits(train_some, min(num_replicas, len(waiting)), device)
        release_memory(device)
        yield trained
        num_replicas = len(trained)
        waiting = waiting[num_replicas:]


def halve_until_it_fits(
    train: Callable[[int], Result], num_replicas: int, device: torch.device
) -> Result:
    """The result of `train` for a number of replicas, halved each time that memory runs out.

    Raises:
        torch.cuda.OutOfMemoryError: even one replica does not fit.
    """
    while True:
        try:
            return train(num_replicas)
        except RuntimeError as error:
            if num_replicas == 1 or not is_out_of_memory(error):
                raise
        # After `except`: until its end, the error holds the tensors of its frames.
        release_memory(device)
        num_replicas //= 2


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out; that error may be the context of one that a CUDA graph's capture raised."""
    kind = torch.cuda.OutOfMemoryError
    return isinstance(error, kind) or isinstance(error.__context__, kind)


def release_memory(device: torch.device) -> None:
    """Free the memory of a finished group."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
