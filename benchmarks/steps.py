"""Speed and memory of training steps on one thread, by batch size and width.

Speeds are measured in this process, through the project's training loop. Memory is measured in a
new process for each configuration, since a process does not return what it once used.
"""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset
from ablations.training.batches import Images, load_images
from ablations.training.loop import Trainee, prepare_training, train_epoch
from benchmarks.floor import training_flop
from benchmarks.measurements import StepSpeed, rotated_rounds, spread
from benchmarks.memory import own_peak_memory_mib, reset_own_peak
from mnist_blocks import TARGET
from mnist_blocks.summary import total_multiply_adds
from speed.arithmetic import Arithmetic, keep_freed_memory

CPU = torch.device("cpu")
NUM_STEPS_FOR_MEMORY = 3


@dataclass(frozen=True)
class Configuration:
    """What is measured: the target with these changes."""

    arithmetic: Arithmetic
    batch_size: int
    channels: tuple[int, ...] = TARGET.channels

    def run_spec(self, dataset: Dataset) -> RunSpec:
        """The run whose steps are measured."""
        target = find_ablation("target")
        return RunSpec(
            ablation=target.name,
            network=replace(target.network_spec, channels=self.channels),
            training=replace(target.training_spec("published"), batch_size=self.batch_size),
            dataset=dataset.id,
            seed=0,
        )

    def prepare(self, dataset: Dataset, num_images: int) -> tuple[Trainee, Images]:
        """A network that is ready to train, and the first training images."""
        trainee = prepare_training(self.run_spec(dataset), dataset, CPU, self.arithmetic)
        recipe = replace(trainee.recipe, num_train_images=num_images)
        return trainee, load_images(dataset, recipe, CPU)[0]


def measure_steps(
    configurations: Sequence[Configuration], dataset: Dataset, num_images: int, num_rounds: int
) -> list[list[float]]:
    """Images per second of each configuration in each round, on this thread.

    An additional first round, which warms up and compiles, is not counted.
    """
    keep_freed_memory()
    prepared = [one.prepare(dataset, num_images) for one in configurations]
    speeds: list[list[float]] = [[] for _ in configurations]
    for round_number, index in rotated_rounds(range(len(prepared)), num_rounds + 1):
        trainee, images = prepared[index]
        started = time.perf_counter()
        train_epoch(trainee, images, epoch=round_number)
        seconds = time.perf_counter() - started
        if round_number > 1:
            speeds[index].append(len(images) / seconds)
            click.echo(f"round {round_number - 1} of {num_rounds}: {configurations[index]}")
    return speeds


def step_speeds(
    configurations: Sequence[Configuration],
    speeds: Sequence[Sequence[float]],
    peak_memory_mib: Sequence[float | None],
) -> list[StepSpeed]:
    """The measurements of each configuration, with the cost of its network."""
    return [
        StepSpeed(
            arithmetic=one.arithmetic,
            batch_size=one.batch_size,
            channels=one.channels,
            multiply_adds=total_multiply_adds(replace(TARGET, channels=one.channels)),
            training_flop=training_flop(replace(TARGET, channels=one.channels)),
            images_per_second=spread(by_round),
            peak_memory_mib=memory,
        )
        for one, by_round, memory in zip(configurations, speeds, peak_memory_mib, strict=True)
    ]


def measure_memory(
    configurations: Sequence[Configuration], dataset_name: str, folder: Path | None
) -> list[float | None]:
    """Peak memory of a new process that does some steps, for each configuration."""
    found = []
    for one in configurations:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as new_process:
            found.append(new_process.submit(peak_of_steps, one, dataset_name, folder).result())
    return found


def peak_of_steps(one: Configuration, dataset_name: str, folder: Path | None) -> float | None:
    """This process's peak memory in MiB during a few steps, as a worker does them."""
    torch.set_num_threads(1)
    keep_freed_memory()
    num_images = NUM_STEPS_FOR_MEMORY * one.batch_size
    trainee, images = one.prepare(load_dataset(dataset_name, folder), num_images)
    reset_own_peak()  # Loading can take more than training.
    train_epoch(trainee, images, epoch=1)
    return own_peak_memory_mib()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread meanwhile."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
