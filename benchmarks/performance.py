"""Makes `docs/performance.md` and its figures, and the last part of `docs/scaling.md`, from the
measurements in `docs/performance`:

    python -m benchmarks.performance        or: make performance

Measures nothing. A part whose measurement is not there says so.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ablations.catalogue.experiment import TARGET_TRAINING
from ablations.commands.options import clear_errors
from ablations.records.atomic_io import Decoded, load_json, write_atomically
from ablations.records.study import load_study
from ablations.words import plural
from benchmarks import performance_words
from benchmarks.compare import Comparison
from benchmarks.floor import training_flop
from benchmarks.measurements import (
    Accuracy,
    Choices,
    GroupTimes,
    Overhead,
    Profile,
    Scaling,
)
from benchmarks.scaling_words import overhead_words
from mnist_blocks import TARGET
from reports.documents.markers import fill_parts
from reports.documents.readme import standalone_svg
from reports.text.wording import decimal, enumerate_words, signed

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "performance.md"
SCALING = REPOSITORY / "docs" / "scaling.md"
MEASUREMENTS = REPOSITORY / "docs" / "performance"
"""A folder of JSON files, beside which the figures are put."""
TEMPLATE = "performance.md"


@dataclass(frozen=True)
class Measured:
    """All that was measured; None for what was not yet."""

    comparison: Comparison | None = None
    choices: Choices | None = None
    profile: Profile | None = None
    accuracy: Accuracy | None = None
    scaling: Scaling | None = None
    gpu: GroupTimes | None = None
    overhead: Overhead | None = None


def read_measured(folder: Path) -> Measured:
    """The measurements of a folder.

    Raises:
        RecordError: a file is there, but not what its name says.
    """

    def read(name: str, kind: type[Decoded]) -> Decoded | None:
        path = folder / name
        return load_json(path, kind) if path.exists() else None

    return Measured(
        comparison=read("comparison.json", Comparison),
        choices=read("choices.json", Choices),
        profile=read("profile.json", Profile),
        accuracy=read("accuracy.json", Accuracy),
        scaling=read("scaling.json", Scaling),
        gpu=read("gpu.json", GroupTimes),
        overhead=read("overhead.json", Overhead),
    )


def render_document(measured: Measured) -> str:
    """The whole document in Markdown. The same measurements give the same text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        # Markdown, not HTML: what is put in comes from this project's own files.
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "decimal": decimal,
        "signed": signed,
        "plural": plural,
        "enumerate_words": enumerate_words,
        "in_words": performance_words.in_words,
        "date": performance_words.date,
    }
    return environment.get_template(TEMPLATE).render(
        measured=measured,
        words=performance_words,
        study=performance_words.full_study(),
        recipe=TARGET_TRAINING,
        flop_of_an_image=training_flop(TARGET),
    )


def fill_scaling(document: str, measured: Measured) -> str:
    """docs/scaling.md with the part that is made from measurements."""
    study = load_study(REPOSITORY / "docs" / "reference")
    run_seconds = median(record.wall_seconds for record in study.records)
    parts = {"overhead": lambda: overhead_words(measured.overhead, run_seconds)}
    return fill_parts(document, lambda name, _: parts[name]())


def draw_figures(measured: Measured) -> dict[str, str]:
    """The figures as SVG files, by name."""
    # Seaborn takes more than a second to import, and the text needs none of it.
    from benchmarks import performance_figures as figures

    drawn = {}
    if measured.comparison:
        drawn["comparison.svg"] = figures.comparison_figure(measured.comparison)
    if measured.profile:
        drawn["profile.svg"] = figures.profile_figure(measured.profile)
    if measured.accuracy:
        drawn["accuracy.svg"] = figures.accuracy_figure(measured.accuracy)
    if measured.scaling:
        drawn["runs.svg"] = figures.runs_figure(measured.scaling)
        drawn["batch-size.svg"] = figures.batch_size_figure(measured.scaling)
        drawn["width.svg"] = figures.width_figure(measured.scaling)
    return {name: standalone_svg(svg) for name, svg in drawn.items()}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--measurements",
    type=click.Path(path_type=Path, file_okay=False),
    default=MEASUREMENTS,
    help="The folder with the JSON files; figures are written there.  [default: docs/performance]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DOCUMENT,
    help="The document.  [default: docs/performance.md]",
)
@click.option(
    "--scaling",
    type=click.Path(path_type=Path, dir_okay=False),
    default=SCALING,
    help="The document of which a part is made.  [default: docs/scaling.md]",
)
@clear_errors
def main(measurements: Path, out: Path, scaling: Path) -> None:
    """Make docs/performance.md, its figures and part of docs/scaling.md from docs/performance."""
    measured = read_measured(measurements)
    figures = draw_figures(measured)
    for name, svg in figures.items():
        write_atomically(measurements / name, svg.encode())
    write_atomically(out, render_document(measured).encode())
    filled = fill_scaling(scaling.read_text(encoding="utf-8"), measured)
    write_atomically(scaling, filled.encode())
    click.echo(f"{out}, with {plural(len(figures), 'figure')}")


if __name__ == "__main__":
    main()
