"""How long a run takes on a GPU: alone, and with others as one network. See `gpu_suite.sh`.

    python -m benchmarks.gpu_targets single   --out FOLDER    one run of 20 epochs, warm
    python -m benchmarks.gpu_targets seeds    --out FOLDER    ten seeds as one network
    python -m benchmarks.gpu_targets replicas --out FOLDER    1, 2, 4, ... 64 seeds as one network
    python -m benchmarks.gpu_targets math     --out FOLDER    float32, TF32, and cuDNN's heuristics

Each leaves FOLDER/<part>.json. All of it also runs on a CPU, where the numbers mean nothing.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import click
import msgspec
import torch

from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.experiment import DATASET_NAMES, RunSpec
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset, resolve_dataset
from ablations.records.atomic_io import write_json
from ablations.records.run import Environment
from ablations.records.study import plan_runs
from ablations.records.study_spec import StudySpec
from ablations.runner.run_one import choose_device, describe_environment, utc_now
from ablations.training.epoch import EpochRecord
from ablations.training.gpu_memory import bytes_per_replica, release_memory
from ablations.training.replicas import train_replicas
from speed.gpu.capture import use_plain_float32

REPLICA_COUNTS = (1, 2, 4, 8, 16, 32, 64)


class GroupTime(msgspec.Struct, frozen=True):
    """What it took to train some seeds as one network."""

    num_replicas: int
    status: Literal["trained", "out of memory"]
    math: str = "float32"
    num_epochs: int = 0
    group_seconds: float = 0.0
    """From initial weights to the last test, the recording of the steps included."""
    seconds_per_run: float = 0.0
    """The group's seconds divided by the number of seeds."""
    last_epoch_seconds_per_run: float = 0.0
    """The same for the last epoch alone, in which nothing is recorded any more."""
    peak_memory_bytes: int = 0
    """Most memory that PyTorch held at a time, that of recorded steps included; 0 without a GPU."""
    estimated_memory_bytes: int = 0
    """What `choose_num_replicas` reckons with."""
    accuracy_pct_by_epoch: list[list[float]] = []
    """For each seed, its test accuracy after each epoch."""


class Measurements(msgspec.Struct, frozen=True):
    """A file of measurements, and where they were made."""

    what: str
    measured_at: str
    environment: Environment
    times: list[GroupTime]


def seeds_of_the_target(dataset: Dataset, num_seeds: int, num_epochs: int) -> list[RunSpec]:
    """The reference experiment with seeds 0, 1, ..."""
    spec = StudySpec(dataset.id, dataset.title, num_epochs, None, "cuda")
    return plan_runs(spec, CATALOGUE[:1], range(num_seeds))


def time_group(
    run_specs: Sequence[RunSpec], dataset: Dataset, device: torch.device, math: str = "float32"
) -> GroupTime:
    """Train a group from start to end, and measure it."""
    release_memory(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize()
    started = time.perf_counter()
    try:
        trained = train_replicas(run_specs, dataset, device)
    except torch.cuda.OutOfMemoryError:
        return GroupTime(len(run_specs), "out of memory", math)
    seconds = time.perf_counter() - started
    epochs: list[list[EpochRecord]] = [result.epochs for result in trained]
    return GroupTime(
        num_replicas=len(run_specs),
        status="trained",
        math=math,
        num_epochs=len(epochs[0]),
        group_seconds=seconds,
        seconds_per_run=seconds / len(run_specs),
        last_epoch_seconds_per_run=epochs[0][-1].seconds,
        peak_memory_bytes=(torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0),
        estimated_memory_bytes=len(run_specs) * bytes_per_replica(run_specs[0]),
        accuracy_pct_by_epoch=[[epoch.test_accuracy_pct for epoch in run] for run in epochs],
    )


def warm_up(dataset: Dataset, device: torch.device) -> None:
    """Load the GPU's libraries and kernels: a short run, whose time nobody takes."""
    [run_spec] = seeds_of_the_target(dataset, 1, num_epochs=1)
    recipe = replace(run_spec.training, num_train_images=min(5000, dataset.id.num_train))
    train_replicas([replace(run_spec, training=recipe)], dataset, device)


def single(dataset: Dataset, device: torch.device, num_epochs: int) -> list[GroupTime]:
    """One run by itself, three times over."""
    run_specs = seeds_of_the_target(dataset, 1, num_epochs)
    return [time_group(run_specs, dataset, device) for _ in range(3)]


def seeds(dataset: Dataset, device: torch.device, num_epochs: int) -> list[GroupTime]:
    """Ten seeds as one network."""
    return [time_group(seeds_of_the_target(dataset, 10, num_epochs), dataset, device)]


def replicas(
    dataset: Dataset,
    device: torch.device,
    num_epochs: int,
    counts: Sequence[int] = REPLICA_COUNTS,
) -> list[GroupTime]:
    """More and more seeds as one network, for at most three epochs each."""
    return [
        time_group(seeds_of_the_target(dataset, count, min(3, num_epochs)), dataset, device)
        for count in counts
    ]


def math(
    dataset: Dataset, device: torch.device, num_epochs: int, counts: Sequence[int] = (1, 10)
) -> list[GroupTime]:
    """What plain float32 and the trying out of algorithms cost, for at most three epochs each."""
    variants = {
        "float32": {},
        "float32, cuDNN's heuristics": {"tries_algorithms": False},
        "TF32": {"allow_tf32": True},
        "TF32, cuDNN's heuristics": {"allow_tf32": True, "tries_algorithms": False},
    }
    times = []
    for name, options in variants.items():
        configure = partial(use_plain_float32, **options)
        with patch("ablations.training.replicas.use_plain_float32", configure):
            for count in counts:
                run_specs = seeds_of_the_target(dataset, count, min(3, num_epochs))
                times.append(time_group(run_specs, dataset, device, name))
    return times


PARTS = {"single": single, "seeds": seeds, "replicas": replicas, "math": math}


@click.command()
@click.argument("part", type=click.Choice(list(PARTS)))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--device", default="cuda", show_default=True)
@click.option("--dataset", type=click.Choice(["auto", *DATASET_NAMES]), default="auto")
@click.option("--data-dir", type=click.Path(path_type=Path))
@click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True)
def main(
    part: str, out: Path, device: str, dataset: str, data_dir: Path | None, epochs: int
) -> None:
    """Measure PART and write it to OUT/PART.json."""
    try:
        torch_device = torch.device(choose_device(device))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    name, folder = resolve_dataset(dataset, data_dir, log=click.echo)
    images = load_dataset(name, folder)
    warm_up(images, torch_device)
    times = PARTS[part](images, torch_device, epochs)
    for measured in times:
        click.echo(
            f"{part}: {measured.num_replicas} together ({measured.math}), "
            f"{measured.num_epochs} epochs, {measured.status}: "
            f"{measured.seconds_per_run:.2f} s a run, "
            f"{measured.last_epoch_seconds_per_run:.3f} s the last epoch, "
            f"{measured.peak_memory_bytes / 2**20:,.0f} MiB"
        )
    found = Measurements(
        f"{part}: the target on {images.title}",
        utc_now(),
        describe_environment(torch_device),
        times,
    )
    write_json(out / f"{part}.json", found)


if __name__ == "__main__":
    main()
