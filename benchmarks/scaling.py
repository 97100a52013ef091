"""Time and memory by runs, batch size and width, and the processor's limit:

    python -m benchmarks.scaling --out docs/performance/scaling.json

`steps.py` times training steps, `floor.py` the processor, and this module whole studies.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import joblib
import torch

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.commands.options import clear_errors
from ablations.data.dataset import Dataset
from ablations.records.atomic_io import write_json
from ablations.records.study import plan_runs
from ablations.records.study_spec import StudySpec
from ablations.runner.process_pool import ProcessPool, default_num_jobs
from ablations.runner.run_one import describe_environment, utc_now
from ablations.runner.scheduler import (
    EpochFinished,
    RunFailed,
    RunFinished,
    WorkerSetup,
    execute,
)
from ablations.version import source_commit
from ablations.words import plural
from benchmarks.floor import forward_flop, measure_floor, training_flop
from benchmarks.measurements import Scaling, StepSpeed, StudyTime, StudyTimes, spread
from benchmarks.options import SETTINGS, dataset_options, open_dataset, out_option
from benchmarks.steps import (
    Configuration,
    measure_memory,
    measure_steps,
    one_thread,
    step_speeds,
)
from mnist_blocks import TARGET
from speed.arithmetic import ARITHMETICS, Arithmetic, choose_arithmetic, has_bfloat16_instructions


@dataclass(frozen=True)
class ScalingPlan:
    """How much is measured."""

    nums_runs: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    num_train_images: int = 3000
    """Of each run of a study. Runs are short, so that the start of the processes is visible."""
    num_study_rounds: int = 3
    batch_sizes: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    width_factors: tuple[float, ...] = (0.5, 1, 2, 4)
    batch_size_of_widths: int = 128
    num_images: int = 6144
    """Of each training speed in each round; a multiple of every batch size."""
    num_rounds: int = 5


QUICK = ScalingPlan((1, 2), 128, 1, (32,), (1,), 64, 64, 1)
"""Executes all of the code once. Its numbers mean nothing."""


class StudyFailed(click.ClickException):
    """A run failed, so that the study's time means nothing; the message says why."""


@click.command(context_settings=SETTINGS)
@dataset_options
@click.option("--device", type=click.Choice(["cpu"]), default="cpu", help="GPU: gpu_suite.sh.")
@click.option("--quick", is_flag=True, help="Only check that everything works.")
@out_option("scaling.json")
@clear_errors
def main(dataset_name: str, data_dir: Path | None, device: str, quick: bool, out: Path) -> None:
    """Measure time and memory by runs, batch size and width.

    Takes some minutes. Do not use the machine meanwhile.

    \b
    Examples:
      python -m benchmarks.scaling --out docs/performance/scaling.json
      python -m benchmarks.scaling --dataset digits --quick
    """
    dataset, folder = open_dataset(dataset_name, data_dir)
    write_json(out, measure_scaling(dataset, folder, device, QUICK if quick else ScalingPlan()))
    click.echo(f"All numbers: {out}")


def measure_scaling(
    dataset: Dataset, folder: Path | None, device: str, plan: ScalingPlan
) -> Scaling:
    """Measure everything in the plan."""
    precision = choose_arithmetic("auto", device)
    setup = WorkerSetup(dataset.id.name, folder, device, precision, source_commit())
    with one_thread():
        floor = measure_floor(plan == QUICK)
        for rate in floor.rates:
            click.echo(f"{rate.name}: {rate.value:,.0f} {rate.unit}, {rate.size}")
        study_times = measure_study_times(dataset, setup, plan)
        batch_sizes, widths = measure_step_speeds(dataset, folder, plan)
    return Scaling(
        environment=describe_environment(torch.device(device), precision),
        num_usable_cores=joblib.cpu_count(),
        measured_at=utc_now(),
        dataset_name=dataset.id.name,
        is_quick=plan == QUICK,
        num_rounds=plan.num_rounds,
        num_images_a_round=min(plan.num_images, dataset.id.num_train),
        study_times=study_times,
        batch_sizes=batch_sizes,
        widths=widths,
        floor=floor,
    )


def measure_study_times(dataset: Dataset, setup: WorkerSetup, plan: ScalingPlan) -> StudyTimes:
    """Time studies of each number of runs with the default number of workers, in rounds.

    An untimed study of one run comes first, since a machine's first run compiles the kernels.

    Raises:
        StudyFailed: a run failed.
    """
    num_train_images = min(plan.num_train_images, dataset.id.num_train)
    spec = StudySpec(dataset.id, dataset.title, 1, num_train_images, setup.device)
    target = [find_ablation("target")]
    times: dict[int, list[tuple[float, float]]] = {num_runs: [] for num_runs in plan.nums_runs}
    time_study(plan_runs(spec, target, [0]), setup)
    for _ in range(plan.num_study_rounds):
        for num_runs, found in times.items():
            found.append(time_study(plan_runs(spec, target, range(num_runs)), setup))
            wall_seconds, startup_seconds = found[-1]
            click.echo(
                f"{plural(num_runs, 'run')} in {wall_seconds:.1f} s, of which "
                f"{startup_seconds:.1f} s before the first epoch"
            )
    return StudyTimes(
        arithmetic=setup.arithmetic,
        num_rounds=plan.num_study_rounds,
        num_train_images=num_train_images,
        num_test_images=dataset.id.num_test,
        training_flop_of_a_run=num_train_images * training_flop(TARGET),
        test_flop_of_a_run=dataset.id.num_test * forward_flop(TARGET),
        by_num_runs=[
            StudyTime(
                num_runs=num_runs,
                num_jobs=min(num_runs, default_num_jobs(setup.device)),
                wall_seconds=spread([wall for wall, _ in found]),
                startup_seconds=spread([startup for _, startup in found]),
            )
            for num_runs, found in times.items()
        ],
    )


def time_study(run_specs: Sequence[RunSpec], setup: WorkerSetup) -> tuple[float, float]:
    """Seconds of a whole study, and of its part before the first epoch.

    Raises:
        StudyFailed: a run failed.
    """
    started = time.perf_counter()
    startup_seconds: float | None = None
    finished = started
    for event in execute(run_specs, ProcessPool(setup, default_num_jobs(setup.device))):
        if isinstance(event, RunFailed):
            raise StudyFailed(f"{event.reason}\n{event.details}".strip())
        if isinstance(event, EpochFinished) and startup_seconds is None:
            startup_seconds = time.perf_counter() - started - event.epoch.seconds
        if isinstance(event, RunFinished):
            finished = time.perf_counter()
    assert startup_seconds is not None
    return finished - started, startup_seconds


def measure_step_speeds(
    dataset: Dataset, folder: Path | None, plan: ScalingPlan
) -> tuple[list[StepSpeed], list[StepSpeed]]:
    """Speed and memory by batch size, and speed by width."""
    precisions = available_precisions()
    by_batch_size = [
        Configuration(precision, batch_size)
        for precision in precisions
        for batch_size in plan.batch_sizes
    ]
    by_width = [
        Configuration(precision, plan.batch_size_of_widths, scaled_channels(factor))
        for precision in precisions
        for factor in plan.width_factors
    ]
    speeds = [
        measure_steps(configurations, dataset, plan.num_images, plan.num_rounds)
        for configurations in (by_batch_size, by_width)
    ]
    memory_mib = measure_memory(by_batch_size, dataset.id.name, folder)
    return (
        step_speeds(by_batch_size, speeds[0], memory_mib),
        step_speeds(by_width, speeds[1], [None] * len(by_width)),
    )


def available_precisions() -> list[Arithmetic]:
    """The precisions that this processor has instructions for."""
    return [one for one in ARITHMETICS if one != "bfloat16" or has_bfloat16_instructions()]


def scaled_channels(factor: float) -> tuple[int, ...]:
    """The target's channels times the factor."""
    return tuple(round(factor * channels) for channels in TARGET.channels)


if __name__ == "__main__":
    main()
