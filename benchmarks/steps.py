"""Speed and memory of training steps on one thread: batch size and width.

Speeds are measured in this process, all configurations in turn for some rounds, through the
project's own loop. Memory is measured in processes of their own, one for each configuration, since
a process does not give back what an earlier configuration took.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset
from ablations.runner.run_one import use_one_thread
from ablations.training.batches import Images, load_images
from ablations.training.loop import Trainee, prepare_training, train_epoch
from benchmarks.floor import training_flop
from benchmarks.measurements import StepSpeed, spread
from benchmarks.memory import forget_own_peak, own_peak_memory_mib
from mnist_blocks import TARGET
from mnist_blocks.summary import total_multiply_adds
from speed.arithmetic import Arithmetic, keep_freed_memory

CPU = torch.device("cpu")
NUM_STEPS_FOR_MEMORY = 3


@dataclass(frozen=True)
class Configuration:
    """What is measured: the target, but for these."""

    arithmetic: Arithmetic
    batch_size: int
    channels: tuple[int, ...] = TARGET.channels

    def run_spec(self, dataset: Dataset) -> RunSpec:
        """The experiment whose steps are measured."""
        [target] = (ablation for ablation in CATALOGUE if ablation.kind == "target")
        return RunSpec(
            ablation=target.name,
            network=replace(target.network_spec, channels=self.channels),
            training=replace(target.training_spec, batch_size=self.batch_size),
            dataset=dataset.id,
            seed=0,
        )


def measure_steps(
    configurations: Sequence[Configuration],
    dataset: Dataset,
    num_images: int,
    num_rounds: int,
    after_round: Callable[[int], None] = lambda number: None,
) -> list[list[float]]:
    """Images a second of each configuration in each round, on this one thread.

    A round before the first warms up caches and allocators, and compiles what is compiled; it is
    not counted. Each round begins with another configuration.
    """
    keep_freed_memory()
    trainees = [
        prepare_training(one.run_spec(dataset), dataset, CPU, one.arithmetic)
        for one in configurations
    ]
    images = first_images(trainees[0], dataset, num_images)
    speeds: list[list[float]] = [[] for _ in configurations]
    for round_number in range(num_rounds + 1):
        start = round_number % len(trainees)
        for place in [*range(start, len(trainees)), *range(start)]:
            started = time.perf_counter()
            train_epoch(trainees[place], images, epoch=round_number + 1)
            seconds = time.perf_counter() - started
            if round_number > 0:
                speeds[place].append(len(images) / seconds)
        after_round(round_number)
    return speeds


def first_images(trainee: Trainee, dataset: Dataset, num_images: int) -> Images:
    """The first training images."""
    images, _ = load_images(dataset, replace(trainee.recipe, num_train_images=num_images), CPU)
    return images


def step_speeds(
    configurations: Sequence[Configuration],
    speeds: Sequence[Sequence[float]],
    peak_memory_mib: Sequence[float | None],
) -> list[StepSpeed]:
    """What was measured of each configuration, with what its network costs."""
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
    """The most memory that a process takes which does a few steps of each configuration."""
    found = []
    for one in configurations:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as fresh_process:
            found.append(fresh_process.submit(take_steps, one, dataset_name, folder).result())
    return found


def take_steps(one: Configuration, dataset_name: str, folder: Path | None) -> float | None:
    """Do what a worker process does, for a few steps; their peak of this process's memory in MiB."""
    use_one_thread()
    keep_freed_memory()
    dataset = load_dataset(dataset_name, folder)
    trainee = prepare_training(one.run_spec(dataset), dataset, CPU, one.arithmetic)
    images = first_images(trainee, dataset, NUM_STEPS_FOR_MEMORY * one.batch_size)
    forget_own_peak()  # Loading may take more than training.
    train_epoch(trainee, images, epoch=1)
    return own_peak_memory_mib()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread meanwhile."""
    num_threads = torch.get_num_threads()
    use_one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
