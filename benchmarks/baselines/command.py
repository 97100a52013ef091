"""The command line that both baselines have."""

from collections.abc import Callable
from pathlib import Path

import click
import joblib
import torch

from ablations.catalogue.experiment import DATASET_NAMES
from ablations.commands.options import clear_errors
from ablations.data.datasets import load_dataset, resolve_dataset
from ablations.records.atomic_io import write_json
from ablations.runner.run_one import choose_device
from benchmarks.baselines.recipe import BaselineResult, default_num_workers


def baseline_command(train: Callable[..., BaselineResult]) -> click.Command:
    """A command that trains once with `train`, prints every epoch, and writes the result."""

    @click.command(context_settings={"help_option_names": ["-h", "--help"]})
    @click.option("--dataset", "name", type=click.Choice(DATASET_NAMES), default="mnist")
    @click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False))
    @click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True)
    @click.option("--train-images", type=click.IntRange(min=2), help="[default: all]")
    @click.option("--device", type=click.Choice(["auto", "cuda", "mps", "cpu"]), default="auto")
    @click.option("--seed", type=int, default=0, show_default=True)
    @click.option(
        "--workers",
        type=click.IntRange(min=0),
        help="Loading processes; on a CPU the other cores compute.  [default: half the cores; all with cuda]",
    )
    @click.option("--untuned", is_flag=True, help="As it is usually written: see recipe.py.")
    @click.option("--out", type=click.Path(path_type=Path), help="Write the result as JSON.")
    @clear_errors
    def command(
        name: str,
        data_dir: Path | None,
        epochs: int,
        train_images: int | None,
        device: str,
        seed: int,
        workers: int | None,
        untuned: bool,
        out: Path | None,
    ) -> None:
        """Train the target network once by the reference recipe."""
        dataset = load_dataset(*resolve_dataset(name, data_dir, log=click.echo))
        try:
            torch_device = torch.device(choose_device(device))
        except ValueError as error:
            raise click.ClickException(str(error)) from error
        workers = default_num_workers(torch_device, not untuned) if workers is None else workers
        if torch_device.type == "cpu" and not untuned:
            torch.set_num_threads(max(1, joblib.cpu_count() - workers))
        result = train(
            dataset, torch_device, epochs, train_images, seed, workers, is_tuned=not untuned
        )
        for epoch in result.epochs:
            click.echo(
                f"epoch {epoch.epoch}: {epoch.test_accuracy_pct:.2f} % of the test images, "
                f"{epoch.seconds:.1f} s"
            )
        if out:
            write_json(out, result)

    return command
