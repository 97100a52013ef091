"""How many replicas fit into a device's memory, and training them in groups of that size."""

import gc
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import TypeVar

import torch

from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.training.epoch import EpochRecord
from ablations.training.loop import TrainedNetwork
from ablations.training.replicas import STEPS_PER_CHUNK, dropout_shapes, train_replicas
from ablations.training.seed_groups import even_parts
from mnist_blocks.spec import IMAGE_SIZE
from mnist_blocks.summary import layer_table

Result = TypeVar("Result")


def train_as_fits(
    run_specs: Sequence[RunSpec],
    dataset: Dataset,
    device: torch.device,
    after_epoch: Callable[[RunSpec, EpochRecord], None] = lambda run_spec, record: None,
) -> Iterator[list[tuple[RunSpec, TrainedNetwork]]]:
    """Train runs that differ only in their seeds, in groups that fit into the device's memory.

    Yields each group as it ends. A group that runs out of memory starts again with half as many
    replicas, and later groups are no larger.
    """
    waiting = list(run_specs)

    def train_some(num_replicas: int) -> list[tuple[RunSpec, TrainedNetwork]]:
        part = even_parts(waiting, num_replicas)[0]
        return list(zip(part, train_replicas(part, dataset, device, after_epoch), strict=True))

    num_replicas = choose_num_replicas(run_specs[0], len(run_specs), device)
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
    """Whether memory ran out. During capture, the capture's own error follows the first one."""
    kind = torch.cuda.OutOfMemoryError
    return isinstance(error, kind) or isinstance(error.__context__, kind)


def choose_num_replicas(run_spec: RunSpec, num_wanted: int, device: torch.device) -> int:
    """How many replicas, at most `num_wanted`, fit into a GPU's free memory.

    A fifth of the memory is reserved for libraries and fragmentation.
    """
    if device.type != "cuda":
        return num_wanted
    num_free_bytes, _ = torch.cuda.mem_get_info(device)
    num_that_fit = int(0.8 * num_free_bytes) // bytes_per_replica(run_spec)
    return max(1, min(num_wanted, num_that_fit))


def bytes_per_replica(run_spec: RunSpec) -> int:
    """An estimate of the memory that a replica takes in training.

    Every layer's output is kept for the backward pass, and gradients and work space take as much
    again. A chunk holds a float for each pixel, and its augmentation creates six more (zoomed,
    chosen, two coordinates, rotated, scaled).
    """
    batch_size = run_spec.training.batch_size
    outputs = sum(prod(row.output_shape) for row in layer_table(run_spec.network))
    masks = sum(prod(shape) for shape in dropout_shapes(run_spec).values())
    bytes_per_float = 4
    step = 2 * bytes_per_float * outputs * batch_size
    chunk = STEPS_PER_CHUNK * batch_size * (7 * bytes_per_float * IMAGE_SIZE**2 + masks)
    return step + chunk


def release_memory(device: torch.device) -> None:
    """Free the memory of a finished group."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
