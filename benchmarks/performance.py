"""Render `docs/performance.md`, its figures, and the measured part of `docs/scaling.md`:

    python -m benchmarks.performance        or: make performance

Measures nothing. A part without measurements says so.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from ablations.catalogue.entries import ENTRIES
from ablations.catalogue.presets import FULL
from ablations.catalogue.recipes import PUBLISHED
from ablations.commands.options import clear_errors
from ablations.records.atomic_io import Decoded, load_json, write_atomically
from ablations.records.study import load_study
from ablations.words import plural
from benchmarks import derived
from benchmarks.floor import training_flop
from benchmarks.measurements import (
    Accuracy,
    Choices,
    Comparison,
    GroupTimes,
    Overhead,
    Profile,
    Scaling,
)
from benchmarks.options import SETTINGS
from mnist_blocks import TARGET
from reports.figures.svg import standalone_svg
from reports.text.templates import make_environment

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "performance.md"
SCALING = REPOSITORY / "docs" / "scaling.md"
MEASUREMENTS = REPOSITORY / "docs" / "performance"
"""The JSON files, and the figures made from them."""


@dataclass(frozen=True)
class Measured:
    """All measurements; None for what is missing."""

    comparison: Comparison | None = None
    choices: Choices | None = None
    profile: Profile | None = None
    accuracy: Accuracy | None = None
    scaling: Scaling | None = None
    gpu: GroupTimes | None = None
    overhead: Overhead | None = None


def read_measured(folder: Path) -> Measured:
    """The measurements in a folder.

    Raises:
        RecordError: a file is damaged.
    """

    def read(name: str, kind: type[Decoded]) -> Decoded | None:
        path = folder / f"{name}.json"
        return load_json(path, kind) if path.exists() else None

    return Measured(
        comparison=read("comparison", Comparison),
        choices=read("choices", Choices),
        profile=read("profile", Profile),
        accuracy=read("accuracy", Accuracy),
        scaling=read("scaling", Scaling),
        gpu=read("gpu", GroupTimes),
        overhead=read("overhead", Overhead),
    )


def render_document(measured: Measured) -> str:
    """`docs/performance.md`. The same measurements give the same text."""
    return _render(
        "performance.md",
        measured=measured,
        num_variants=len(ENTRIES),
        preset=FULL,
        study_images=derived.full_study_images(),
        recipe=PUBLISHED,
        flop_of_an_image=training_flop(TARGET),
    )


def fill_scaling(document: str, measured: Measured) -> str:
    """`docs/scaling.md` with its measured part, which two comment lines enclose.

    Raises:
        ValueError: the document lacks these lines.
    """
    study = load_study(REPOSITORY / "docs" / "reference")
    run_seconds = median(record.wall_seconds for record in study.records)
    text = render_overhead(measured.overhead, run_seconds)
    found = re.fullmatch(r"(.*<!-- begin: [^\n]*\n).*(<!-- end -->.*)", document, re.DOTALL)
    if not found:
        raise ValueError(f"{SCALING} needs the lines '<!-- begin: overhead -->' and '<!-- end -->'")
    return found[1] + text + found[2]


def render_overhead(overhead: Overhead | None, run_seconds: float) -> str:
    """The cost of a run beyond its training, given the seconds of a run on one core."""
    return _render("overhead.md", overhead=overhead, run_seconds=run_seconds)


def _render(template: str, **values: object) -> str:
    environment = make_environment("benchmarks", is_html=False)
    return environment.get_template(template).render(derived=derived, **values)


def draw_figures(measured: Measured) -> dict[str, str]:
    """The figures as SVG files, by name."""
    # Seaborn takes more than a second to import, and the text does not need it.
    from benchmarks import figures

    drawn = {}
    if measured.comparison:
        drawn["comparison.svg"] = figures.comparison_figure(measured.comparison)
    if measured.scaling:
        drawn["runs.svg"] = figures.runs_figure(measured.scaling)
        drawn["batch-size.svg"] = figures.batch_size_figure(measured.scaling)
        drawn["width.svg"] = figures.width_figure(measured.scaling)
    return {name: standalone_svg(svg) for name, svg in drawn.items()}


@click.command(context_settings=SETTINGS)
@click.option(
    "--measurements",
    type=click.Path(path_type=Path, file_okay=False),
    default=MEASUREMENTS,
    help="The folder with the JSON files; figures are written there.  [default: docs/performance]",
)
@click.option("--out", type=click.Path(path_type=Path), default=DOCUMENT)
@click.option("--scaling", type=click.Path(path_type=Path), default=SCALING)
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
