"""Checks a network and prints its grade: `cli.py check`."""

import traceback
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from ablations.catalogue.recipes import RecipeName
from ablations.commands.options import NETWORK_SUFFIXES
from ablations.data.datasets import DataError, resolve_dataset
from ablations.grader.grade import EXIT_CODES, Grade
from ablations.grader.protocol import NoGradeError, UnknownNameError, WorkerTask
from ablations.grader.supervisor import check_network
from ablations.records.atomic_io import write_json
from ablations.runner.process_pool import default_num_jobs
from ablations.runner.progress import make_console
from ablations.words import VERDICT_SYMBOLS, first_line, in_one_line, plural

MISUSED_EXIT_CODE = 2


def replace_grade(json_file: Path) -> None:
    """Replace the grade of an earlier call, which must not be taken for this one's.

    Raises:
        BadParameter: the file cannot be written, or is a network's.
    """
    if json_file.suffix in NETWORK_SUFFIXES:
        raise click.BadParameter(f"'{json_file}' is the file of a network")
    if json_file.exists() and not json_file.is_file():
        return  # A pipe or a device would keep both.
    try:
        write_json(json_file, Grade("", "", 0, "no grade", [], "the check has not ended"))
    except OSError as error:
        raise click.BadParameter(in_one_line(error)) from error


def check_and_print(
    file: Path,
    name: str,
    seeds: Sequence[int],
    num_epochs: int,
    recipe: RecipeName,
    limit_seconds: float,
    num_jobs: int | None,
    dataset_name: str,
    data_dir: Path | None,
    json_file: Path | None,
    wording: str,
) -> int:
    """Check the network, write its grade, print it, and return the exit code."""
    console = make_console()
    # `auto` can be the small digits data set elsewhere, on which there is no grade.
    dataset_name = "mnist" if dataset_name == "auto" else dataset_name
    grade = Grade(f"{file.name}:{name}", dataset_name, num_epochs, "no grade", [])
    problem, exit_code = "", None
    try:
        found_name, folder = resolve_dataset(dataset_name, data_dir, log=console.print)
        task = WorkerTask(
            str(file.resolve()),
            name,
            num_epochs,
            recipe,
            found_name,
            str(folder.resolve()) if folder else None,
        )
        console.print(
            f"Running {file} in separate processes: one inspection, then {plural(len(seeds), 'training')} "
            f"on {found_name} for {plural(num_epochs, 'epoch')} by the {recipe} recipe."
        )
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("epochs", total=num_epochs * len(seeds))
            grade = check_network(
                task,
                seeds,
                num_jobs or default_num_jobs("cpu"),
                limit_seconds,
                lambda num_epochs_done: progress.update(bar, completed=num_epochs_done),
                wording,
            )
    except UnknownNameError as error:
        problem, exit_code = str(error), MISUSED_EXIT_CODE
    except (DataError, NoGradeError, OSError) as error:
        problem = in_one_line(error)
    except Exception as error:  # noqa: BLE001 (a bug: Python's own exit code, 1, would mean "fail")
        traceback.print_exc()
        problem = first_line(error)
    if problem:
        grade = msgspec.structs.replace(grade, problem=problem)
    if json_file:
        try:
            write_json(json_file, grade)
        except OSError as error:
            exit_code = EXIT_CODES["no grade"]
            click.echo(f"Error: {in_one_line(error)}", err=True)
    _print_grade(grade, console)
    return exit_code or EXIT_CODES[grade.verdict]


def _print_grade(grade: Grade, console: Console) -> None:
    for requirement in grade.requirements:
        label = f"{VERDICT_SYMBOLS[requirement.verdict]} {requirement.verdict}"
        console.print(f"{label:<12} {requirement.wanted}: {requirement.measured}")
    for note in grade.inspection.notes if grade.inspection else []:
        console.print(f"Note: {note}")
    if grade.verdict == "no grade":
        click.echo(f"{grade.network}: no grade: {grade.problem}", err=True)
    else:
        console.print(f"{grade.network}: {VERDICT_SYMBOLS[grade.verdict]} {grade.verdict}")
