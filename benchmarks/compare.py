"""This project beside what people usually write: `make bench`, or alone

    python -m benchmarks.compare

All contenders train the same network by the same recipe, in turn, for some rounds: the usual
PyTorch loop, the same tuned, PyTorch Lightning, one run of this project, and studies of it that
have every core.
`contenders.py` says what is counted. Ratios are taken within a round, so that a machine that slows
down meanwhile slows both sides of each.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

import click
import joblib
import msgspec
from rich.console import Console
from rich.table import Table

from ablations.catalogue.experiment import DATASET_NAMES
from ablations.catalogue.presets import choose_preset
from ablations.commands.options import clear_errors
from ablations.data.datasets import load_dataset, resolve_dataset
from ablations.records.atomic_io import write_json
from ablations.records.run import Environment
from ablations.runner.progress import print_line
from ablations.words import plural
from benchmarks.contenders import (
    Contender,
    ContenderFailed,
    Measurement,
    Plan,
    baseline_command,
    measure,
    project_command,
    read_baseline,
    read_study,
)
from benchmarks.measurements import Spread, spread
from speed.arithmetic import choose_arithmetic

DEFAULT_OUT = Path("runs/bench/comparison.json")
REFERENCE_NAME = "dataloader"
"""The contender that the others are compared with."""
TUNED_NAME = "dataloader-tuned"
"""The best that was found for the same loop; the others are compared with it too."""
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "pillow")


class Row(msgspec.Struct, frozen=True):
    """A contender over all rounds."""

    contender: str
    title: str
    images_per_second: Spread
    images_per_second_from_launch: Spread
    ratio: Spread
    """Of its images a second to the usual PyTorch loop's in the same round."""
    ratio_to_tuned: Spread
    """The same beside the tuned PyTorch loop."""
    ratio_from_launch: Spread
    peak_memory_mib: float | None
    """The most of all rounds; None where it was not measured."""
    peak_device_memory_mib: float | None
    last_accuracy_pct: float
    """The median of the rounds."""


class Comparison(msgspec.Struct, frozen=True):
    """Everything that was measured, and where."""

    rows: list[Row]
    plan: Plan
    measurements: list[Measurement]
    environment: Environment
    num_usable_cores: int
    package_versions: dict[str, str]
    measured_at: str
    """In UTC, as ISO 8601."""


def all_contenders(plan: Plan) -> list[Contender]:
    """Those of a comparison, the one that the others are compared with first."""
    runs = plural(plan.num_study_runs, "run")
    arithmetic = choose_arithmetic("auto", plan.device)
    return [
        Contender(
            REFERENCE_NAME,
            "usual PyTorch loop",
            partial(baseline_command, "dataloader", "--untuned"),
            read_baseline,
        ),
        Contender(
            "dataloader-tuned",
            "the same, tuned for this machine",
            partial(baseline_command, "dataloader"),
            read_baseline,
        ),
        Contender(
            "lightning",
            "PyTorch Lightning, tuned alike",
            partial(baseline_command, "lightning"),
            read_baseline,
        ),
        Contender(
            "one-run",
            f"this project, one run, {arithmetic}",
            partial(project_command, 1, 1, "auto"),
            read_study,
        ),
        Contender(
            "study",
            f"this project, a study of {runs}, {arithmetic}",
            partial(project_command, plan.num_study_runs, None, "auto"),
            read_study,
        ),
        *(
            Contender(
                f"study-{other}",
                f"this project, a study of {runs}, {other}",
                partial(project_command, plan.num_study_runs, None, other),
                read_study,
            )
            # The baselines compute in float32: how much of the ratio is precision?
            for other in (("float32",) if arithmetic == "bfloat16" else ())
        ),
    ]


def measure_in_rounds(
    contenders: Sequence[Contender],
    num_rounds: int,
    measure_one: Callable[[Contender, int], Measurement],
) -> Iterable[Measurement]:
    """Each contender once a round. Each round begins with another one."""
    for round_number in range(1, num_rounds + 1):
        start = (round_number - 1) % len(contenders)
        for contender in [*contenders[start:], *contenders[:start]]:
            yield measure_one(contender, round_number)


def ratios(
    measurements: Sequence[Measurement],
    name: str,
    figure: Callable[[Measurement], float],
    reference: str = REFERENCE_NAME,
) -> list[float]:
    """A contender's figure divided by the reference's of the same round, for each round."""
    of_reference = {
        measurement.round_number: figure(measurement)
        for measurement in measurements
        if measurement.contender == reference
    }
    return [
        figure(measurement) / of_reference[measurement.round_number]
        for measurement in measurements
        if measurement.contender == name
    ]


def summarise_contender(contender: Contender, measurements: Sequence[Measurement]) -> Row:
    """A contender's row, from all measurements of a comparison."""
    own = [item for item in measurements if item.contender == contender.name]
    memory = [item.peak_memory_mib for item in own if item.peak_memory_mib is not None]
    on_device = [
        item.peak_device_memory_mib for item in own if item.peak_device_memory_mib is not None
    ]

    def while_training(item: Measurement) -> float:
        return item.images_per_second

    def from_launch(item: Measurement) -> float:
        return item.images_per_second_from_launch

    return Row(
        contender=contender.name,
        title=contender.title,
        images_per_second=spread([while_training(item) for item in own]),
        images_per_second_from_launch=spread([from_launch(item) for item in own]),
        ratio=spread(ratios(measurements, contender.name, while_training)),
        ratio_to_tuned=spread(ratios(measurements, contender.name, while_training, TUNED_NAME)),
        ratio_from_launch=spread(ratios(measurements, contender.name, from_launch)),
        peak_memory_mib=max(memory, default=None),
        peak_device_memory_mib=max(on_device, default=None),
        last_accuracy_pct=median(item.last_accuracy_pct for item in own),
    )


def comparison_table(rows: Sequence[Row], num_rounds: int) -> Table:
    """Medians, and the lowest and the highest round in brackets."""
    table = Table(
        title=f"Median of {plural(num_rounds, 'round')} (lowest–highest)", title_justify="left"
    )
    has_gpu = any(row.peak_device_memory_mib is not None for row in rows)
    table.add_column("contender")
    for heading in ["images/s", "ratio", "to the tuned loop", "from launch", "peak memory"]:
        table.add_column(heading, justify="right")
    if has_gpu:
        table.add_column("GPU memory", justify="right")
    table.add_column("last epoch", justify="right")
    for row in rows:
        memory = [row.peak_memory_mib, *([row.peak_device_memory_mib] if has_gpu else [])]
        table.add_row(
            row.title,
            spread_in_words(row.images_per_second, "{:,.0f}"),
            spread_in_words(row.ratio, "{:.2f}"),
            spread_in_words(row.ratio_to_tuned, "{:.2f}"),
            spread_in_words(row.ratio_from_launch, "{:.2f}"),
            *map(memory_in_words, memory),
            f"{row.last_accuracy_pct:.2f} %",
        )
    return table


def spread_in_words(numbers: Spread, form: str) -> str:
    """`4,000 (3,900–4,100)`, each number as `form` has it."""
    low, high = form.format(numbers.low), form.format(numbers.high)
    return f"{form.format(numbers.median)} ({low}–{high})"


def memory_in_words(mib: float | None) -> str:
    """`1,234 MiB`."""
    return "not measured" if mib is None else f"{mib:,.0f} MiB"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--dataset", "name", type=click.Choice(DATASET_NAMES), default="mnist")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--device",
    type=click.Choice(["auto", "cuda", "mps", "cpu"]),
    default="auto",
    help="auto is the first of cuda, mps and cpu that there is.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=2, show_default=True)
@click.option(
    "--project-epochs",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Of this project's runs: about as long.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--quick", is_flag=True, help="As few training images as `ablate --preset quick`.")
@click.option(
    "--study-runs", type=click.IntRange(min=1), help="Runs of the study.  [default: one a core]"
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=DEFAULT_OUT, show_default=True, help="JSON."
)
@clear_errors
def main(
    name: str,
    data_dir: Path | None,
    device: str,
    epochs: int,
    project_epochs: int,
    rounds: int,
    quick: bool,
    study_runs: int | None,
    out: Path,
) -> None:
    """Compare this project with PyTorch loops, usual and tuned, and with PyTorch Lightning.

    All train the same network by the same recipe. The defaults take about twenty minutes on two
    cores; leave the machine alone meanwhile.

    \b
    Examples:
      python -m benchmarks.compare
      python -m benchmarks.compare --quick --rounds 1
      python -m benchmarks.compare --dataset digits
    """
    from ablations.runner.run_one import choose_device

    if importlib.util.find_spec("pytorch_lightning") is None:
        raise click.ClickException("PyTorch Lightning is missing: pip install -e '.[test]'")
    console = Console()
    try:
        device = choose_device(device)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    name, folder = resolve_dataset(name, data_dir, log=lambda line: print_line(console, line))
    dataset = load_dataset(name, folder).id
    preset = choose_preset("quick" if quick else "full", dataset)
    plan = Plan(
        dataset_name=name,
        num_epochs=epochs,
        is_quick=quick,
        num_train_images=preset.num_train_images or dataset.num_train,
        num_test_images=dataset.num_test,
        device=device,
        num_rounds=rounds,
        num_study_runs=study_runs or joblib.cpu_count(),
        num_project_epochs=project_epochs,
    )
    try:
        comparison = compare(plan, folder, console)
    except ContenderFailed as error:
        raise click.ClickException(str(error)) from error
    write_json(out, comparison)
    console.print(comparison_table(comparison.rows, rounds))
    print_line(console, f"{comparison.environment.device_name}; all figures: {out}")


def compare(plan: Plan, data_dir: Path | None, console: Console) -> Comparison:
    """Run all rounds, and put together what was measured.

    Raises:
        ContenderFailed: a contender failed; nothing is left out of a comparison.
    """
    import torch

    from ablations.runner.run_one import describe_environment, utc_now

    contenders = all_contenders(plan)
    print_line(
        console,
        f"{plural(len(contenders), 'contender')} x {plural(plan.num_rounds, 'round')}, each "
        f"{plural(plan.num_epochs, 'epoch')} (this project's: "
        f"{plan.num_project_epochs or plan.num_epochs}) of {plan.num_train_images:,} images of "
        f"{plan.dataset_name}, tested on {plan.num_test_images:,}, on {plan.device}.",
    )
    measurements: list[Measurement] = []
    with tempfile.TemporaryDirectory() as scratch:

        def measure_one(contender: Contender, round_number: int) -> Measurement:
            folder = Path(scratch) / f"{contender.name}-{round_number}"
            return measure(contender, plan, data_dir, folder, round_number)

        for measurement in measure_in_rounds(contenders, plan.num_rounds, measure_one):
            measurements.append(measurement)
            print_line(
                console,
                f"[{len(measurements)}/{len(contenders) * plan.num_rounds}] round "
                f"{measurement.round_number}, {measurement.contender}: "
                f"{measurement.images_per_second:,.0f} images/s, "
                f"{measurement.last_accuracy_pct:.2f} %",
            )
    return Comparison(
        rows=[summarise_contender(contender, measurements) for contender in contenders],
        plan=plan,
        measurements=measurements,
        # After the last contender, since asking a GPU for its name takes some of its memory.
        environment=describe_environment(
            torch.device(plan.device), choose_arithmetic("auto", plan.device)
        ),
        num_usable_cores=joblib.cpu_count(),
        package_versions={package: version(package) for package in PACKAGES},
        measured_at=utc_now(),
    )


if __name__ == "__main__":
    main()
