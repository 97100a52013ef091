"""Checks a network and prints its grade: `cli.py check`."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from ablations.catalogue.recipes import RecipeName
from ablations.data.datasets import resolve_dataset
from ablations.grader.grade import EXIT_CODES, Grade
from ablations.grader.protocol import WorkerTask
from ablations.grader.supervisor import check_network
from ablations.records.atomic_io import write_json
from ablations.runner.process_pool import default_num_jobs
from ablations.runner.progress import make_console
from ablations.words import VERDICT_SYMBOLS, plural


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
) -> int:
    """Check the network, print its grade, and return the exit code.

    Raises:
        DataError: the data set cannot be used.
        MachineError: the check failed for a reason other than the network.
        UnknownNameError: the file does not define the name.
    """
    console = make_console()
    # `auto` can be the small digits data set elsewhere, on which there is no grade.
    dataset_name = "mnist" if dataset_name == "auto" else dataset_name
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
        )
    try:
        if json_file:
            write_json(json_file, grade)
    finally:
        _print_grade(grade, console)
    if json_file:
        console.print(f"Wrote {json_file}")
    return EXIT_CODES[grade.verdict]


def _print_grade(grade: Grade, console: Console) -> None:
    for requirement in grade.requirements:
        label = f"{VERDICT_SYMBOLS[requirement.verdict]} {requirement.verdict}"
        console.print(f"{label:<12} {requirement.wanted}: {requirement.measured}")
    for note in grade.inspection.notes if grade.inspection else []:
        console.print(f"Note: {note}")
    console.print(f"{grade.network}: {VERDICT_SYMBOLS[grade.verdict]} {grade.verdict}")
