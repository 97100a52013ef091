"""How time and memory grow with runs, batch size and width, and the floor under them:

    python -m benchmarks.scaling --out docs/performance/scaling.json

`study_times.py` times whole studies, `steps.py` training steps, `floor.py` the processor.
`performance.py` makes a document of what is written here.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import joblib
from rich.console import Console

from ablations.catalogue.experiment import DATASET_NAMES
from ablations.commands.options import clear_errors
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset, resolve_dataset
from ablations.records.atomic_io import write_json
from ablations.runner.progress import print_line
from ablations.runner.scheduler import WorkerSetup
from ablations.words import duration, plural
from benchmarks.measurements import Scaling, StepSpeed
from mnist_blocks import TARGET
from speed.arithmetic import Arithmetic, choose_arithmetic, has_bfloat16_instructions

DEFAULT_OUT = Path("runs/bench/scaling.json")


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    nums_runs: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    num_train_images: int = 3000
    """Of each run of a study."""
    num_study_rounds: int = 3
    batch_sizes: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    width_factors: tuple[float, ...] = (0.5, 1, 2, 4)
    batch_size_of_widths: int = 128
    num_images: int = 6144
    """Of each training speed in each round; a multiple of every batch size."""
    num_rounds: int = 5


QUICK = Plan(
    nums_runs=(1, 2),
    num_train_images=128,
    num_study_rounds=1,
    batch_sizes=(32,),
    width_factors=(1,),
    batch_size_of_widths=64,
    num_images=64,
    num_rounds=1,
)
"""Every step of the code once. Its numbers mean nothing."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--dataset", "name", type=click.Choice(DATASET_NAMES), default="mnist")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--device",
    type=click.Choice(["cpu"]),
    default="cpu",
    help="Groups of seeds on a GPU have a benchmark of their own.",
)
@click.option("--quick", is_flag=True, help="Only to see that everything works.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=DEFAULT_OUT, show_default=True, help="JSON."
)
@clear_errors
def main(name: str, data_dir: Path | None, device: str, quick: bool, out: Path) -> None:
    """Measure how time and memory grow with runs, batch size and width.

    Takes some minutes; leave the machine alone meanwhile.

    \b
    Examples:
      python -m benchmarks.scaling --out docs/performance/scaling.json
      python -m benchmarks.scaling --dataset digits --quick
    """
    console = Console()
    name, folder = resolve_dataset(name, data_dir, log=lambda line: print_line(console, line))
    write_json(out, measure_scaling(name, folder, device, QUICK if quick else Plan(), console))
    print_line(console, f"All figures: {out}")


def measure_scaling(
    name: str, folder: Path | None, device: str, plan: Plan, console: Console
) -> Scaling:
    """Measure everything that the plan asks for."""
    import torch

    from ablations.runner.run_one import describe_environment, utc_now
    from ablations.version import source_commit
    from benchmarks.floor import measure_floor
    from benchmarks.steps import one_thread
    from benchmarks.study_times import OneStudy, measure_study_times

    dataset = load_dataset(name, folder)
    arithmetic = choose_arithmetic("auto", device)
    setup = WorkerSetup(name, folder, device, arithmetic, source_commit())
    started = time.perf_counter()

    def tell(line: str) -> None:
        print_line(console, f"{duration(time.perf_counter() - started):>6}: {line}")

    def tell_study(num_runs: int, study: OneStudy) -> None:
        tell(
            f"{plural(num_runs, 'run')} in {study.wall_seconds:.1f} s, of which "
            f"{study.startup_seconds:.1f} s before the first epoch"
        )

    with one_thread():
        floor = measure_floor(plan == QUICK)
        for rate in floor.rates:
            tell(f"{rate.name}: {rate.value:,.0f} {rate.unit}, {rate.size}")
        study_times = measure_study_times(
            dataset, setup, plan.nums_runs, plan.num_train_images, plan.num_study_rounds, tell_study
        )
        batch_sizes, widths = measure_step_speeds(dataset, folder, plan, tell)
        return Scaling(
            environment=describe_environment(torch.device(device), arithmetic),
            num_usable_cores=joblib.cpu_count(),
            measured_at=utc_now(),
            dataset_name=name,
            is_quick=plan == QUICK,
            num_rounds=plan.num_rounds,
            num_images_a_round=min(plan.num_images, dataset.id.num_train),
            study_times=study_times,
            batch_sizes=batch_sizes,
            widths=widths,
            floor=floor,
        )


def measure_step_speeds(
    dataset: Dataset, folder: Path | None, plan: Plan, tell: Callable[[str], None]
) -> tuple[list[StepSpeed], list[StepSpeed]]:
    """Speed and memory by batch size, and speed by width."""
    from benchmarks.steps import Configuration, measure_memory, measure_steps, step_speeds

    arithmetics: list[Arithmetic] = ["plain", "float32"]
    arithmetics += ["bfloat16"] if has_bfloat16_instructions() else []
    by_batch_size = [
        Configuration(arithmetic, batch_size)
        for arithmetic in arithmetics
        for batch_size in plan.batch_sizes
    ]
    by_width = [
        Configuration(arithmetic, plan.batch_size_of_widths, scaled_channels(factor))
        for arithmetic in arithmetics
        for factor in plan.width_factors
    ]

    def speeds_of(what: str, configurations: Sequence[Configuration]) -> list[list[float]]:
        return measure_steps(
            configurations,
            dataset,
            plan.num_images,
            plan.num_rounds,
            lambda number: tell(f"{what}: round {number} of {plan.num_rounds}"),
        )

    speeds_by_batch_size = speeds_of("batch size", by_batch_size)
    speeds_by_width = speeds_of("width", by_width)
    memory_mib = measure_memory(by_batch_size, dataset.id.name, folder)
    tell("memory")
    return (
        step_speeds(by_batch_size, speeds_by_batch_size, memory_mib),
        step_speeds(by_width, speeds_by_width, [None] * len(by_width)),
    )


def scaled_channels(factor: float) -> tuple[int, ...]:
    """The target's channels, each stage's times the factor."""
    return tuple(round(factor * channels) for channels in TARGET.channels)


if __name__ == "__main__":
    main()
