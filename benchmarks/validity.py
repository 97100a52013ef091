"""Whether intervals and verdicts hold their error rate of 5 %, by simulation; writes docs/statistics.md:

    python -m benchmarks.validity                 render the committed results
    python -m benchmarks.validity --studies 4000  simulate first: some minutes on two cores

A simulated study (`simulation.py`) has the target and 15 ablations, with the standard deviations over
seeds that were measured in a committed study.
"""

from functools import partial
from itertools import product
from math import sqrt
from pathlib import Path
from statistics import NormalDist, stdev

import click
import msgspec
import numpy as np

from ablations.analysis.intervals import (
    LEVEL,
)
from ablations.analysis.summary import Results, summarise
from ablations.records.atomic_io import load_json, write_atomically, write_json
from ablations.records.study import load_study
from benchmarks.options import SETTINGS
from benchmarks.simulation import EFFECTS_PCT, MARGIN_PCT, METHODS, Design, Rate, simulate
from reports.text.templates import make_environment

DOCS = Path(__file__).resolve().parents[1] / "docs"
RESULTS, DOCUMENT = DOCS / "statistics" / "validity.json", DOCS / "statistics.md"
STUDIES = {"MNIST": DOCS / "reference", "Fashion-MNIST": DOCS / "fashion-mnist"}
PLANNED_LOOKS = (5, 10, 20, 40)


class Validity(msgspec.Struct, frozen=True):
    """All rates, and what the analysis decides in the committed study."""

    num_studies: int
    rates: list[Rate]


def measured_spreads(results: Results) -> dict[str, float]:
    """Each network's standard deviation over seeds, in points."""
    return {row.ablation.name: stdev(row.accuracy_pct.by_seed.values()) for row in results.rows}


def all_spreads() -> dict[str, dict[str, float]]:
    """Those of the committed studies, and equal ones, all with the typical value of the first.

    The margin is for that study; the other has more difficult images, and so larger spreads.
    """
    measured = {
        name: measured_spreads(summarise(load_study(folder))) for name, folder in STUDIES.items()
    }
    first = next(iter(measured.values()))
    typical_pct = float(np.median(list(first.values())))
    scaled = {
        name: {
            one: float(deviation * typical_pct / np.median(list(spreads.values())))
            for one, deviation in spreads.items()
        }
        for name, spreads in measured.items()
    }
    return {**scaled, "equal": dict.fromkeys(first, typical_pct)}


def simulate_all(num_studies: int) -> Validity:
    """Every design, with unequal spreads and equal ones."""
    rates = []
    designs = [Design((number,)) for number in (3, 5, 20)]
    planned = [Design(PLANNED_LOOKS), Design(PLANNED_LOOKS, until_decided=True)]
    for (name, spreads), method in product(all_spreads().items(), METHODS):
        for design in designs + (planned if method == "ours" else []):
            rates += simulate(num_studies, spreads, name, design, method)
            click.echo(f"{name}, {method}, {design}: {[one.missed_pct for one in rates[-4:]]}")
    return Validity(num_studies, rates)


def decided_before(results: Results) -> list[str]:
    """The ablations beyond or within the margin by the former analysis, whose intervals were not shown.

    Paired t-tests against both edges of the margin, each family corrected by Holm's method.
    """
    from scipy import stats
    from statsmodels.stats.multitest import multipletests

    assert results.target
    target = results.target.accuracy_pct.by_seed
    beyond, within, names = [], [], []
    for row in results.rows:
        accuracies = row.accuracy_pct.by_seed
        paired = [accuracies[seed] - target[seed] for seed in accuracies.keys() & target.keys()]
        if row.verdict and len(paired) > 1:
            below, above = (
                stats.ttest_1samp(paired, edge * MARGIN_PCT, alternative=side).pvalue
                for edge, side in ((-1, "less"), (1, "greater"))
            )
            names.append(row.ablation.name)
            beyond.append(min(1.0, 2 * min(below, above)))
            within.append(max(1 - below, 1 - above))
    rejected = [multipletests(p, LEVEL, "holm")[0] for p in (beyond, within)]
    return [name for name, *is_decided in zip(names, *rejected, strict=True) if any(is_decided)]


def error_pct(rate_pct: float, num_studies: int) -> float:
    """Half of the 95 % interval of a simulated rate."""
    share = max(rate_pct / 100, 1 / num_studies)
    return 100 * NormalDist().inv_cdf(0.975) * sqrt(share * (1 - share) / num_studies)


def render_document(validity: Validity) -> str:
    """docs/statistics.md."""
    studies = {name: summarise(load_study(folder)) for name, folder in STUDIES.items()}
    template = make_environment("benchmarks", is_html=False).get_template("statistics.md")
    return template.render(
        validity=validity,
        studies=studies,
        before=decided_before(studies["MNIST"]),
        margin_pct=MARGIN_PCT,
        effects_pct=EFFECTS_PCT,
        looks=PLANNED_LOOKS,
        error_pct=partial(error_pct, num_studies=validity.num_studies),
    )


@click.command(context_settings=SETTINGS)
@click.option("--studies", "num_studies", type=click.IntRange(min=1), help="Simulate so many.")
def main(num_studies: int | None) -> None:
    """Render docs/statistics.md from docs/statistics/validity.json, or simulate first."""
    if num_studies:
        RESULTS.parent.mkdir(exist_ok=True)
        write_json(RESULTS, simulate_all(num_studies))
    validity = load_json(RESULTS, Validity)
    write_atomically(DOCUMENT, render_document(validity).encode())
    click.echo(f"{DOCUMENT}: {len(validity.rates)} rates of {validity.num_studies:,} studies each")


if __name__ == "__main__":
    main()
