"""What commands share: what a user types, and mistakes told in one line."""

import difflib
import math
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.catalogue.experiment import DATASET_NAMES
from ablations.training.seed_groups import Shard
from ablations.words import in_one_line


class SeedList(click.ParamType[tuple[int, ...]]):
    """Seeds as `0-4`, `0,3,7` or both: `0-2,7`."""

    name = "seeds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        seeds: list[int] = []
        for part in value.split(","):
            first, dash, last = part.strip().partition("-")
            try:
                low, high = int(first), int(last) if dash else int(first)
            except ValueError:
                self.fail(f"'{value}' is not a list of seeds; write 0-4, or 0,3,7", param, ctx)
            if low > high:
                self.fail(f"'{part}' runs backwards; write {high}-{low}", param, ctx)
            if high - low >= 1000:
                self.fail(f"'{part}' is {high - low + 1:,} seeds; at most 1,000", param, ctx)
            seeds += range(low, high + 1)
        if len(set(seeds)) != len(seeds):
            self.fail(f"'{value}' names a seed twice", param, ctx)
        return tuple(seeds)


class ShardOf(click.ParamType[Shard]):
    """One of several equal parts of a study's runs: `3/8` is the third of eight."""

    name = "shard"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Shard:
        if isinstance(value, Shard):
            return value
        number, _, count = value.partition("/")
        try:
            return Shard(int(number), int(count))
        except ValueError:
            self.fail(f"'{value}' is no part of a whole; write 1/8 to 8/8", param, ctx)


class AblationName(click.ParamType[Ablation]):
    """A name in the catalogue, that of an ingredient (`gap` is `no-gap`), or several: `a+b`."""

    name = "ablation"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Ablation:
        if isinstance(value, Ablation):
            return value
        names = [ablation.name for ablation in CATALOGUE]
        parts = []
        for part in value.split("+"):
            part = f"no-{part}" if f"no-{part}" in names else part
            if part not in names:
                close = difflib.get_close_matches(part, names, n=1, cutoff=0.5)
                hint = f"did you mean '{close[0]}'? " if close else ""
                self.fail(f"unknown ablation '{part}'; {hint}(cli.py list shows all)", param, ctx)
            parts.append(part)
        try:
            return find_ablation("+".join(parts))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def a_number(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Refuse `nan`, which is in every range."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is not a number")
    return value


def clear_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the errors that a user can mend into one line; a bug keeps its traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from ablations.data.datasets import DataError
        from ablations.records.atomic_io import RecordError
        from ablations.records.study_spec import StudyError
        from ablations.runner.ray_cluster import ClusterError

        try:
            return command(*args, **kwargs)
        except (ClusterError, DataError, RecordError, StudyError) as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.ClickException(in_one_line(error)) from error

    return wrapped


dataset_option = click.option(
    "--dataset",
    type=click.Choice(["auto", *DATASET_NAMES]),
    default="auto",
    show_default=True,
    help="auto is MNIST, and where it cannot be had small bundled digits (which it says loudly).",
)
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with the data set's files; otherwise $MNIST_DATA_DIR, data/ and ../shared/mnist "
    "are searched, then the files are downloaded.",
)
