"""The command line of both baselines."""

from collections.abc import Callable
from pathlib import Path

import click
import joblib
import torch

from ablations.commands.options import clear_errors
from ablations.records.atomic_io import write_json
from benchmarks.baselines.recipe import BaselineResult, default_num_workers
from benchmarks.options import (
    SETTINGS,
    dataset_options,
    device_option,
    open_dataset,
    open_device,
)


def baseline_command(train: Callable[..., BaselineResult]) -> click.Command:
    """A command that trains once with `train`, prints every epoch, and writes the result."""

    @click.command(context_settings=SETTINGS)
    @dataset_options
    @click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True)
    @click.option("--train-images", type=click.IntRange(min=2), help="[default: all]")
    @device_option
    @click.option("--seed", type=int, default=0, show_default=True)
    @click.option(
        "--workers",
        type=click.IntRange(min=0),
        help="Loading processes; on a CPU the other cores compute.  [default: half the cores; all with cuda]",
    )
    @click.option("--untuned", is_flag=True, help="Without the tuning described in recipe.py.")
    @click.option("--out", type=click.Path(path_type=Path), help="Write the result as JSON.")
    @clear_errors
    def command(
        dataset_name: str,
        data_dir: Path | None,
        epochs: int,
        train_images: int | None,
        device_name: str,
        seed: int,
        workers: int | None,
        untuned: bool,
        out: Path | None,
    ) -> None:
        """Train the target network once by the reference recipe."""
        dataset, _ = open_dataset(dataset_name, data_dir)
        device = open_device(device_name)
        workers = default_num_workers(device, not untuned) if workers is None else workers
        if device.type == "cpu" and not untuned:
            torch.set_num_threads(max(1, joblib.cpu_count() - workers))
        result = train(dataset, device, epochs, train_images, seed, workers, is_tuned=not untuned)
        for epoch in result.epochs:
            click.echo(
                f"epoch {epoch.epoch}: {epoch.test_accuracy_pct:.2f} % of the test images, "
                f"{epoch.seconds:.1f} s"
            )
        if out:
            write_json(out, result)

    return command
