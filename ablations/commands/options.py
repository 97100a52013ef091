"""Options that commands share, and one-line error messages."""

import difflib
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.designs import DESIGNS
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.catalogue.experiment import DATASET_NAMES
from ablations.catalogue.recipes import RECIPES
from ablations.runner.backends import BACKENDS
from ablations.runner.signals import handle_signals
from ablations.training.seed_groups import Shard
from ablations.words import in_one_line
from speed.arithmetic import ARITHMETICS

MAX_SEEDS = 1_000

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Number(click.FloatRange):
    """A number in a range. Unlike click's own type, it refuses `nan`."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if math.isnan(number := super().convert(value, param, ctx)):
            self.fail(f"'{value}' is not a number", param, ctx)
        return number


def expand_path(text: str) -> Path:
    """A path with `~` replaced, which no shell does after `=`.

    Raises:
        click.BadParameter: it cannot name a file, or results cannot hold its name.
    """
    reason = "cannot be written as UTF-8; rename it"
    try:
        path = Path(text).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):
            str(path.absolute()).encode()
            path.stat()
        return path
    except UnicodeEncodeError:
        pass
    except RuntimeError:
        reason = "there is no such home folder; write the whole path"
    except OSError as error:
        reason = str(error.strerror)
    raise click.BadParameter(f"'{text}': {reason}")


def _is_printed_to(path: Path) -> bool:
    """Whether this file is standard output or standard error."""
    status = path.stat()
    for number in (1, 2):
        with suppress(OSError):  # It may be closed.
            if os.path.samestat(status, os.fstat(number)):
                return True
    return False


class ExpandedPath(click.Path):
    """A path, as `expand_path` reads it. With `writable`, a file can be written there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, after click's own checks."""
        path = expand_path(os.fspath(value))
        super().convert(path, param, ctx)
        if self.writable and path.is_file() and _is_printed_to(path):
            self.fail(f"'{path}': what is printed goes there; name another file", param, ctx)
        if self.writable and (path.is_file() or not path.exists()):
            folder = Path(os.path.realpath(path)).parent
            try:
                tempfile.TemporaryFile(dir=folder).close()
            except OSError as error:
                reason = f"no file can be made in {folder}: {error.strerror}"
                self.fail(f"'{path}': {reason}", param, ctx)
        return path


PATH = ExpandedPath()
FILE = ExpandedPath(dir_okay=False, writable=True)
FOLDER = ExpandedPath(file_okay=False)
NETWORK_SUFFIXES = (".py", ".ipynb")
AT_LEAST_ONE = click.IntRange(min=1)
POINTS = Number(min=0, max=100, min_open=True)
"""Percentage points."""


effects_option = click.option(
    "--effect",
    "effects",
    type=Number(min=0, max=100),
    multiple=True,
    default=(0, 0.05, 0.15, 0.2, 0.3),
    help="Size of an effect, in points; can be repeated.",
)


class GradingCommand(click.Command):
    """Reads `--json`, whose callback replaces the file, before any other option.

    So no error, not even a misspelt option, leaves the grade of an earlier call there.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments, as click reads them."""
        reader = click.Command(
            self.name,
            params=[option for option in self.params if option.name == "json_file"],
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
            add_help_option=False,
        )
        reader.make_context(ctx.info_name, list(args), parent=ctx.parent)
        return super().parse_args(ctx, args)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read seeds as `0-4`, `0,3,7` or both: `0-2,7`."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low, high = int(first), int(last) if dash else int(first)
        except ValueError:
            message = f"'{text}' is not a list of seeds; write 0-4, or 0,3,7"
            raise click.BadParameter(message) from None
        if not 0 <= high - low < MAX_SEEDS:
            raise click.BadParameter(f"'{part}': write the lower seed first, at most 1,000 seeds")
        seeds += range(low, high + 1)
    if len(set(seeds)) != len(seeds):
        raise click.BadParameter(f"'{text}' names a seed twice")
    return tuple(seeds)


def parse_shard(text: str) -> Shard:
    """Read which of several parts of a study's runs to do: `3/8` is the third of eight."""
    number, _, count = text.partition("/")
    try:
        return Shard(int(number), int(count))
    except ValueError:
        raise click.BadParameter(f"'{text}' is not a shard; write 1/8 to 8/8") from None


def parse_ablation(text: str) -> Ablation:
    """Read a name in the catalogue, an ingredient (`gap` is `no-gap`), or several: `a+b`."""
    names = [ablation.name for ablation in CATALOGUE]
    parts = [f"no-{part}" if f"no-{part}" in names else part for part in text.split("+")]
    for part in parts:
        if part not in names:
            close = difflib.get_close_matches(part, names, n=1, cutoff=0.5)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise click.BadParameter(f"unknown ablation '{part}'; {hint}(cli.py list shows all)")
    try:
        return find_ablation("+".join(parts))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def parse_network(text: str) -> tuple[Path, str]:
    """Read a name in a Python file: `my_network.py:MyNet`."""
    file, colon, name = text.rpartition(":")
    if not colon or not name.isidentifier():
        message = f"'{text}': write the file and the name in it: my_network.py:MyNet"
        raise click.BadParameter(message)
    path = expand_path(file)
    if not path.is_file():
        raise click.BadParameter(f"there is no file '{file}'")
    if path.suffix not in NETWORK_SUFFIXES:
        raise click.BadParameter(f"'{file}' is not a Python file or notebook")
    return path, name


def clear_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print errors that a user can fix as one line. Other errors keep their traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from ablations.data.datasets import DataError
        from ablations.records.atomic_io import RecordError
        from ablations.records.study_spec import StudyError
        from ablations.runner.scheduler import ClusterError

        try:
            with handle_signals():
                return command(*args, **kwargs)
        except (ClusterError, DataError, OSError, RecordError, StudyError) as error:
            raise click.ClickException(in_one_line(error)) from error

    return wrapped


def choice_option(names: str, values: Sequence[str], text: str) -> Decorator:
    """An option with a few values. The first is the default. `names` is as `--design design`."""
    return click.option(*names.split(), type=click.Choice(values), default=values[0], help=text)


def seeds_option(text: str, default: str | None = None) -> Decorator:
    """The option `--seeds`."""
    return click.option("--seeds", type=parse_seeds, metavar="SEEDS", default=default, help=text)


dataset_option = choice_option(
    "--dataset dataset_name",
    ("auto", *DATASET_NAMES),
    "auto: MNIST; for ablate, if MNIST is not available, small bundled digits, with a warning.",
)
recipe_option = choice_option(
    "--recipe recipe",
    tuple(RECIPES),
    "How networks are trained. tuned: chosen on held-out training images (see "
    "docs/tuning.md). published: the assignment's notebook.",
)
data_dir_option = click.option(
    "--data-dir",
    type=FOLDER,
    help="Folder to search first for the data set's files, before $MNIST_DATA_DIR, data/ and, for "
    "MNIST, ../shared/mnist. ablate and check download missing files; data does with --fetch.",
)

_ABLATE_OPTIONS = (
    click.argument("names", nargs=-1, type=parse_ablation, metavar="[NAME]..."),
    click.option("--all", "all_ablations", is_flag=True, help="All ablations of the catalogue."),
    choice_option(
        "--design design",
        DESIGNS,
        "Which networks to compare. leave-one-out: the target, and the target without each "
        "ingredient. add-one-in: the network without any of the ingredients, and with each one "
        "alone. ladder: the ingredients removed one after another. factorial: every combination of "
        "up to 8 ingredients. Without names, the last three use the assignment's four concepts.",
    ),
    recipe_option,
    click.option(
        "--retuned",
        "with_retuned",
        is_flag=True,
        help="With --all: also the four concepts with recipes that were searched without them.",
    ),
    seeds_option(
        "Seeds to run, such as 0-4, 0,3,7 or 0-2,7: one look. [default: the first of the planned looks]"
    ),
    click.option(
        "--until-decided",
        is_flag=True,
        help="Go on with the planned looks (5, 10, 20 and 40 seeds): add seeds to the target and to "
        "the ablations that are not decided.",
    ),
    click.option("--epochs", "num_epochs", type=AT_LEAST_ONE, help="Epochs of training."),
    choice_option(
        "--preset preset_name",
        ("full", "quick"),
        "Defaults. full: all epochs of the recipe, 5 seeds, more of the target. quick, for a first look: 9,000 training images, 3 "
        "epochs, 2 seeds; a smaller data set is used whole, for all epochs; without names, all "
        "ablations.",
    ),
    dataset_option,
    data_dir_option,
    choice_option(
        "--device device_name",
        ("auto", "cuda", "mps", "cpu"),
        "auto: the first of cuda, mps and cpu that is available.",
    ),
    choice_option(
        "--arithmetic arithmetic_name",
        ("auto", *ARITHMETICS),
        "Kernels and precision. plain: PyTorch's layers in float32. float32, bfloat16: this "
        "project's compiled CPU kernels in that precision. auto: the fastest on this machine (see docs/performance.md).",
    ),
    click.option(
        "--jobs", "num_jobs", type=AT_LEAST_ONE, help="Runs at a time. [default: cores; on a GPU 1]"
    ),
    choice_option(
        "--backend backend",
        BACKENDS,
        "Run in processes on this machine, or on a Ray cluster (see docs/scaling.md).",
    ),
    click.option("--ray-address", help="auto, or HOST:PORT. [default: start Ray on this machine]"),
    click.option(
        "--gpus-per-task",
        type=Number(min=0, max=1, min_open=True),
        default=1.0,
        help="On a Ray cluster: with 0.5, two tasks share a GPU.",
    ),
    click.option(
        "--shard",
        type=parse_shard,
        metavar="I/N",
        help="Train only part I of N of the runs, in a separate folder; see `merge` and docs/scaling.md.",
    ),
    click.option(
        "--out",
        "study_dir",
        type=PATH,
        help="Study folder. Runs that it contains are not run again. [default: a folder in runs/]",
    ),
    click.option(
        "--margin",
        "margin_pct",
        type=POINTS,
        help="Equivalence margin in points of accuracy, fixed for a study folder. [default: 0.1]",
    ),
    click.option(
        "--dry-run", "is_dry_run", is_flag=True, help="Print runs and duration, then stop."
    ),
    click.option("--fail-fast", "stops_at_failure", is_flag=True, help="Stop when a run fails."),
)


def ablate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `cli.py ablate` to a command."""
    for option in reversed(_ABLATE_OPTIONS):
        command = option(command)
    return command
