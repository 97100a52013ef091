"""Write a study's reports, README.md and the lesson."""

from collections.abc import Sequence
from pathlib import Path

from ablations.analysis.summary import Results, summarise
from ablations.inspection.load import Exhibits, load_exhibits
from ablations.records.atomic_io import write_atomically
from ablations.records.study import load_study

SUMMARY_FILE = "report.md"


def write_report(study_dir: Path) -> Path:
    """Render a study folder's report and tables into it; returns the report's path.

    Raises:
        StudyError: the folder is not a study.
        RecordError: its `study.json` is damaged or of another schema.
    """
    study = load_study(study_dir)
    return write_results(summarise(study), load_exhibits(study_dir, study), study_dir)


def write_results(
    results: Results, exhibits: Exhibits, study_dir: Path, others: Sequence[Results] = ()
) -> Path:
    """The report, its summary and the tables; returns the report's path.

    `others`: studies that the report compares with this one.
    """
    # Jinja and what the figures need take a while to import.
    from reports.documents.readme import render_summary
    from reports.exports.data import results_csv, results_json
    from reports.html.page import render_page

    write_atomically(study_dir / SUMMARY_FILE, render_summary(results).encode())
    write_atomically(study_dir / "results.csv", results_csv(results).encode())
    write_atomically(study_dir / "results.json", results_json(results))
    path = study_dir / "report.html"
    write_atomically(path, render_page(results, exhibits, others).encode())
    return path


def write_readme(study_dir: Path, others: Sequence[Path], readme: Path, lesson: Path) -> None:
    """README, lesson and figure from the reference study in `study_dir`, and all studies' reports.

    The reference study's report compares it with the others.

    Raises:
        StudyError: a folder is not a study.
        RecordError: a `study.json` is damaged or of another schema.
        ValueError: the lesson asks for an ablation without runs in the reference study.
    """
    from reports.documents.lesson import render_lesson
    from reports.documents.readme import render_readme
    from reports.figures.effects import effects_figure
    from reports.figures.svg import standalone_svg

    folders = [study_dir, *others]
    studies = [summarise(load_study(folder)) for folder in folders]
    for results, folder in zip(studies, folders, strict=True):
        compared = studies[1:] if folder == study_dir else []
        write_results(results, load_exhibits(folder, results.study), folder, compared)
    write_atomically(readme, render_readme(studies[0], studies[1:]).encode())
    write_atomically(lesson, render_lesson(studies).encode())
    figure = effects_figure(studies[0].rows, studies[0].study.spec.margin_pct, "effects")
    if figure:
        write_atomically(study_dir / "differences.svg", standalone_svg(figure).encode())
