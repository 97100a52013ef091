"""This project against baselines, part of `make bench`: `python -m benchmarks.compare`

All methods train the same network by the same recipe, in turn, for several rounds. `methods.py`
defines them and what is counted. Ratios are taken within a round, so that a change in the machine's
speed affects both sides of a ratio.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import click
import joblib
import torch

from ablations.catalogue.presets import choose_preset
from ablations.commands.options import clear_errors
from ablations.records.atomic_io import write_json
from ablations.runner.run_one import describe_environment, utc_now
from ablations.words import plural
from benchmarks.measurements import (
    Comparison,
    Measurement,
    Plan,
    Row,
    rotated_rounds,
    spread,
)
from benchmarks.methods import (
    BASELINE_NAME,
    TUNED_BASELINE_NAME,
    Method,
    all_methods,
    measure,
)
from benchmarks.options import (
    SETTINGS,
    dataset_options,
    device_option,
    open_dataset,
    open_device,
    out_option,
    rounds_option,
)
from benchmarks.time_to_accuracy import times_to_accuracy
from speed.arithmetic import choose_arithmetic

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "pillow")


def ratios(
    measurements: Iterable[Measurement],
    name: str,
    value: Callable[[Measurement], float],
    baseline: str = BASELINE_NAME,
) -> list[float]:
    """A method's value divided by the baseline's in the same round, for each round."""
    by_method: dict[str, dict[int, float]] = {}
    for item in measurements:
        by_method.setdefault(item.method, {})[item.round_number] = value(item)
    return [one / by_method[baseline][number] for number, one in by_method[name].items()]


def summarise_method(method: Method, measurements: Sequence[Measurement]) -> Row:
    """A method's row, from all measurements of a comparison."""
    own = [item for item in measurements if item.method == method.name]
    memory = [item.peak_memory_mib for item in own if item.peak_memory_mib is not None]

    def speed(item: Measurement) -> float:
        return item.images_per_second

    def speed_from_launch(item: Measurement) -> float:
        return item.images_per_second_from_launch

    return Row(
        method=method.name,
        title=method.title,
        images_per_second=spread([speed(item) for item in own]),
        images_per_second_from_launch=spread([speed_from_launch(item) for item in own]),
        ratio=spread(ratios(measurements, method.name, speed)),
        ratio_to_tuned=spread(ratios(measurements, method.name, speed, TUNED_BASELINE_NAME)),
        ratio_from_launch=spread(ratios(measurements, method.name, speed_from_launch)),
        peak_memory_mib=max(memory, default=None),
        last_accuracy_pct=median(item.last_accuracy_pct for item in own),
    )


@click.command(context_settings=SETTINGS)
@dataset_options
@device_option
@click.option("--epochs", type=click.IntRange(min=1), default=2, show_default=True)
@click.option(
    "--project-epochs",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Epochs of this project's runs, so that they take about as long as a baseline's.",
)
@rounds_option(3)
@click.option("--quick", is_flag=True, help="As few training images as `ablate --preset quick`.")
@click.option(
    "--study-runs", type=click.IntRange(min=1), help="Runs of the study.  [default: one per core]"
)
@out_option("comparison.json")
@clear_errors
def main(
    dataset_name: str,
    data_dir: Path | None,
    device_name: str,
    epochs: int,
    project_epochs: int,
    num_rounds: int,
    quick: bool,
    study_runs: int | None,
    out: Path,
) -> None:
    """Compare this project with plain and tuned PyTorch loops and with PyTorch Lightning.

    The defaults take about twenty minutes on two cores. Do not use the machine meanwhile.

    \b
    Examples:
      python -m benchmarks.compare
      python -m benchmarks.compare --quick --rounds 1
      python -m benchmarks.compare --dataset digits
    """
    if find_spec("pytorch_lightning") is None:
        raise click.ClickException("PyTorch Lightning is missing: pip install -e '.[test]'")
    device = open_device(device_name)
    dataset, folder = open_dataset(dataset_name, data_dir)
    preset = choose_preset("quick" if quick else "full", dataset.id, "published")
    plan = Plan(
        dataset_name=dataset.id.name,
        num_epochs=epochs,
        is_quick=quick,
        num_train_images=preset.num_train_images or dataset.id.num_train,
        num_test_images=dataset.id.num_test,
        device=device.type,
        num_rounds=num_rounds,
        num_study_runs=study_runs or joblib.cpu_count(),
        num_project_epochs=project_epochs,
    )
    comparison = compare(plan, folder)
    write_json(out, comparison)
    for row in comparison.rows:
        click.echo(
            f"{row.title}: {row.images_per_second.text()} images/s, {row.ratio.text(2)} times the "
            f"baseline, {row.last_accuracy_pct:.2f} %"
        )
    for found in times_to_accuracy(comparison):
        click.echo(
            f"99.4 % after {plural(found.num_epochs, 'epoch')}, {found.seconds:,.0f} s a run: "
            f"{found.title} ({found.speedup:.1f} times as fast)"
        )
    click.echo(f"{comparison.environment.device_name}; all numbers: {out}")


def compare(plan: Plan, data_dir: Path | None) -> Comparison:
    """Run all rounds and summarise the measurements.

    Raises:
        MethodFailed: a method failed; a comparison never leaves one out.
    """
    methods = all_methods(plan)
    measurements: list[Measurement] = []
    with tempfile.TemporaryDirectory() as scratch:
        for round_number, method in rotated_rounds(methods, plan.num_rounds):
            folder = Path(scratch) / f"{method.name}-{round_number}"
            found = measure(method, plan, data_dir, folder, round_number)
            measurements.append(found)
            click.echo(
                f"[{len(measurements)}/{len(methods) * plan.num_rounds}] {method.title}: "
                f"{found.images_per_second:,.0f} images/s, {found.last_accuracy_pct:.2f} %"
            )
    precision = choose_arithmetic("auto", plan.device)
    return Comparison(
        rows=[summarise_method(method, measurements) for method in methods],
        plan=plan,
        measurements=measurements,
        # After the last method, since asking a GPU for its name takes some of its memory.
        environment=describe_environment(torch.device(plan.device), precision),
        num_usable_cores=joblib.cpu_count(),
        package_versions={package: version(package) for package in PACKAGES},
        measured_at=utc_now(),
    )


if __name__ == "__main__":
    main()
