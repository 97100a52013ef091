"""Time of a run on a GPU: alone, and with others as one network. See `gpu_suite.sh`.

    python -m benchmarks.gpu_targets single   --out FOLDER    one run of 20 epochs, warm
    python -m benchmarks.gpu_targets seeds    --out FOLDER    ten seeds as one network
    python -m benchmarks.gpu_targets replicas --out FOLDER    1, 2, 4, ... 64 seeds as one network
    python -m benchmarks.gpu_targets math     --out FOLDER    float32, TF32, and cuDNN's heuristics

Each writes FOLDER/<part>.json. All of it also runs on a CPU, where the numbers mean nothing.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import click
import torch

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.commands.options import clear_errors
from ablations.data.dataset import Dataset
from ablations.records.atomic_io import write_json
from ablations.records.study import plan_runs
from ablations.records.study_spec import StudySpec
from ablations.runner.run_one import describe_environment, utc_now
from ablations.training import replicas as group_training
from ablations.training.gpu_memory import is_out_of_memory, release_memory
from ablations.training.replicas import train_replicas
from benchmarks.measurements import GroupTime, GroupTimes
from benchmarks.options import SETTINGS, dataset_options, device_option, open_dataset, open_device
from speed.gpu.capture import use_plain_float32

MATH_OPTIONS: dict[str, dict[str, bool]] = {
    "float32": {},
    "float32, cuDNN's heuristics": {"tries_algorithms": False},
    "TF32": {"allow_tf32": True},
    "TF32, cuDNN's heuristics": {"allow_tf32": True, "tries_algorithms": False},
}
"""Options of `use_plain_float32`."""
PARTS = {
    "single": [(1, "float32")] * 3,
    "seeds": [(10, "float32")],
    "replicas": [(num_seeds, "float32") for num_seeds in (1, 2, 4, 8, 16, 32, 64)],
    "math": [(num_seeds, math) for math in MATH_OPTIONS for num_seeds in (1, 10)],
}
"""The groups of each part: the number of seeds, and a key of `MATH_OPTIONS`."""
SHORT_PARTS = {"replicas", "math"}
"""At most three epochs."""


def target_run_specs(dataset: Dataset, num_seeds: int, num_epochs: int) -> list[RunSpec]:
    """The target with seeds 0, 1, ..."""
    spec = StudySpec(dataset.id, dataset.title, num_epochs, None, "cuda")
    return plan_runs(spec, [find_ablation("target")], range(num_seeds))


def time_group(
    run_specs: Sequence[RunSpec], dataset: Dataset, device: torch.device, math: str = "float32"
) -> GroupTime:
    """Train a group from start to end, and measure it."""
    release_memory(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize()
    started = time.perf_counter()
    configure = partial(use_plain_float32, **MATH_OPTIONS[math])
    try:
        with patch.object(group_training, "use_plain_float32", configure):
            trained = train_replicas(run_specs, dataset, device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return GroupTime(len(run_specs), "out of memory", math)
    seconds = time.perf_counter() - started
    epochs = [result.epochs for result in trained]
    return GroupTime(
        num_replicas=len(run_specs),
        status="trained",
        math=math,
        num_epochs=len(epochs[0]),
        group_seconds=seconds,
        seconds_per_run=seconds / len(run_specs),
        last_epoch_seconds_per_run=epochs[0][-1].seconds,
        peak_memory_bytes=torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0,
        accuracy_pct_by_epoch=[[epoch.test_accuracy_pct for epoch in run] for run in epochs],
    )


def _warm_up(dataset: Dataset, device: torch.device) -> None:
    """Load the GPU's libraries and kernels with a short run."""
    [run_spec] = target_run_specs(dataset, 1, num_epochs=1)
    recipe = replace(run_spec.training, num_train_images=min(5000, dataset.id.num_train))
    train_replicas([replace(run_spec, training=recipe)], dataset, device)


def measure_part(
    part: str, dataset: Dataset, device: torch.device, num_epochs: int
) -> list[GroupTime]:
    """Time each group of a part."""
    num_epochs = min(3, num_epochs) if part in SHORT_PARTS else num_epochs
    return [
        time_group(target_run_specs(dataset, num_seeds, num_epochs), dataset, device, math)
        for num_seeds, math in PARTS[part]
    ]


@click.command(context_settings=SETTINGS)
@click.argument("part", type=click.Choice(list(PARTS)))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@device_option
@dataset_options
@click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True)
@clear_errors
def main(
    part: str, out: Path, device_name: str, dataset_name: str, data_dir: Path | None, epochs: int
) -> None:
    """Measure PART and write OUT/PART.json."""
    device = open_device(device_name)
    dataset, _ = open_dataset(dataset_name, data_dir)
    _warm_up(dataset, device)
    times = measure_part(part, dataset, device, epochs)
    for found in times:
        click.echo(
            f"{part}: {found.num_replicas} together ({found.math}), {found.num_epochs} epochs, "
            f"{found.status}: {found.seconds_per_run:.2f} s per run, last epoch "
            f"{found.last_epoch_seconds_per_run:.3f} s, {found.peak_memory_bytes / 2**20:,.0f} MiB"
        )
    what = f"{part}: the target on {dataset.title}"
    write_json(
        out / f"{part}.json", GroupTimes(what, utc_now(), describe_environment(device), times)
    )


if __name__ == "__main__":
    main()
