"""From a study's folder to the files that are read: report, tables, README."""

from collections.abc import Sequence
from pathlib import Path

from ablations.analysis.summary import Results, results_csv, results_json, summarise
from ablations.inspection.load import load_exhibits
from ablations.records.atomic_io import write_atomically
from ablations.records.study import load_study

TRANSFER_FILE = "transfer.html"
SUMMARY_FILE = "report.md"


def write_report(study_dir: Path) -> Path:
    """Render a study folder's report and tables into it; returns the report's path.

    Raises:
        StudyError: the folder is not a study.
        RecordError: its `study.json` is damaged or of another schema.
    """
    return write_results(summarise(load_study(study_dir)), study_dir)


def write_results(results: Results, study_dir: Path) -> Path:
    """The report, its summary and the tables; returns the report's path."""
    # Jinja and what the figures need take a while to import.
    from reports.documents.readme import summary_page
    from reports.html.page import render_page

    exhibits = load_exhibits(study_dir, results.study)
    write_atomically(study_dir / SUMMARY_FILE, summary_page(results).encode())
    write_atomically(study_dir / "results.csv", results_csv(results).encode())
    write_atomically(study_dir / "results.json", results_json(results))
    path = study_dir / "report.html"
    write_atomically(path, render_page(results, exhibits).encode())
    return path


def write_transfer(studies: Sequence[Results], path: Path) -> None:
    """The page of several studies side by side."""
    from reports.html.replication import render_replication

    write_atomically(path, render_replication(studies).encode())


def write_readme(study_dir: Path, others: Sequence[Path], readme: Path, lesson: Path) -> None:
    """The report and the tables; their numbers into the README and the lesson plan, and the figure
    beside the records.

    Of other studies, on other data: their own reports, the page that sets all side by side
    (`transfer.html` around the study's folder), and what it says into the README.

    Raises:
        StudyError: the folder is not a study.
        RecordError: its `study.json` is damaged or of another schema.
        ValueError: a document does not have the lines that the numbers belong between, or asks for
            something that there is not.
    """
    from reports.documents.lesson import insert_lesson
    from reports.documents.readme import insert_results, standalone_svg
    from reports.figures.effects import difference_figure

    results, *elsewhere = [summarise(load_study(folder)) for folder in (study_dir, *others)]
    for found, folder in zip((results, *elsewhere), (study_dir, *others), strict=True):
        write_results(found, folder)
    if others:
        write_transfer([results, *elsewhere], study_dir.parent / TRANSFER_FILE)
    text = insert_results(readme.read_text(encoding="utf-8"), results, elsewhere)
    write_atomically(readme, text.encode())
    text = insert_lesson(lesson.read_text(encoding="utf-8"), [results, *elsewhere])
    write_atomically(lesson, text.encode())
    figure = difference_figure(results.rows, results.study.spec.margin_pct)
    if figure:
        write_atomically(study_dir / "differences.svg", standalone_svg(figure.svg).encode())
