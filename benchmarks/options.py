"""Options and helpers that the benchmark commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

from ablations.catalogue.experiment import DATASET_NAMES
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset, resolve_dataset
from ablations.runner.run_one import choose_device

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

device_option = click.option(
    "--device",
    "device_name",
    type=click.Choice(["auto", "cuda", "mps", "cpu"]),
    default="auto",
    help="auto is the first available of cuda, mps and cpu.",
)


def dataset_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--dataset` and `--data-dir`."""
    command = click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False))(command)
    choice = click.Choice(["auto", *DATASET_NAMES])
    return click.option("--dataset", "dataset_name", type=choice, default="mnist")(command)


def rounds_option(default: int) -> Callable[..., Any]:
    """`--rounds`."""
    return click.option(
        "--rounds", "num_rounds", type=click.IntRange(min=1), default=default, show_default=True
    )


def out_option(file_name: str) -> Callable[..., Any]:
    """`--out`, by default a file in `runs/bench`."""
    default = Path("runs/bench") / file_name
    kind = click.Path(path_type=Path)
    return click.option("--out", type=kind, default=default, show_default=True, help="JSON file.")


def open_dataset(name: str, data_dir: Path | None) -> tuple[Dataset, Path | None]:
    """A data set and the folder with its files.

    Raises:
        DataError: it cannot be found or downloaded.
    """
    name, folder = resolve_dataset(name, data_dir)
    return load_dataset(name, folder), folder


def open_device(name: str) -> torch.device:
    """The device of `--device`.

    Raises:
        ClickException: this machine does not have it.
    """
    try:
        return torch.device(choose_device(name))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
