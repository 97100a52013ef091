"""Checks a network and says what was found: what `cli.py check` does."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ablations.analysis.requirements import GUESSING_PCT, HARDLY_LEARNT_PCT, RequirementVerdict
from ablations.data.datasets import resolve_dataset
from ablations.grader.grade import EXIT_CODES, Grade
from ablations.grader.supervisor import CheckRequest, check_network
from ablations.records.atomic_io import write_json
from ablations.runner.process_pool import default_num_jobs
from ablations.runner.progress import print_line
from ablations.words import VERDICT_SYMBOLS, plural


def check_and_tell(
    file: Path,
    name: str,
    seeds: Sequence[int],
    num_epochs: int,
    seconds_limit: float,
    num_jobs: int | None,
    dataset_name: str,
    data_dir: Path | None,
    json_file: Path | None,
) -> int:
    """Check the network, print its grade, and return the exit code.

    Raises:
        DataError: the data set cannot be used.
        UnknownNameError: the file has no such name.
    """
    console = Console()
    found_name, folder = resolve_dataset(
        # Never the small digits that stand in for MNIST elsewhere: no grade can be given on them.
        "mnist" if dataset_name == "auto" else dataset_name,
        data_dir,
        say=lambda line: print_line(console, line),
    )
    request = CheckRequest(
        file, name, seeds, num_epochs, found_name, folder, num_jobs or default_num_jobs("cpu"),
        seconds_limit,
    )  # fmt: skip
    print_line(
        console,
        f"{file} is run now, in processes of its own: looked at, then trained on {found_name}, "
        f"{plural(len(seeds), 'time')} for {plural(num_epochs, 'epoch')}.",
    )
    columns = (TextColumn("epochs"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("epochs", total=num_epochs * len(seeds))
        grade = check_network(request, lambda done: progress.update(task, completed=done))
    tell(grade, console)
    if json_file:
        write_json(json_file, grade)
        print_line(console, f"Written: {json_file}")
    return EXIT_CODES[grade.verdict]


def tell(grade: Grade, console: Console) -> None:
    """Print a grade, a line for each requirement."""
    if grade.problem and not grade.inspection:
        print_line(console, f"Problem: {grade.problem}")
        print_line(console, f"{grade.network}: {verdict_text(grade.verdict)}; nothing was measured")
        return
    for requirement in grade.requirements:
        verdict = verdict_text(requirement.verdict)
        print_line(console, f"{verdict:<12} {requirement.wanted}: {requirement.measured}")
    for note in grade.inspection.notes if grade.inspection else []:
        print_line(console, f"Note: {note}")
    if grade.accuracy_pct and grade.accuracy_pct.mean < HARDLY_LEARNT_PCT:
        print_line(
            console,
            f"Note: guessing among ten classes is right in {GUESSING_PCT:.0f} %, so it has hardly learnt "
            "anything: it needs more epochs or images, or cannot learn",
        )
    print_line(console, f"{grade.network}: {verdict_text(grade.verdict)}")


def verdict_text(verdict: RequirementVerdict) -> str:
    """`✓ pass`."""
    return f"{VERDICT_SYMBOLS[verdict]} {verdict}"
