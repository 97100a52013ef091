"""Whether intervals and verdicts hold their error rate of 5 %, by simulation; writes docs/statistics.md:

    python -m benchmarks.validity                 render the committed results
    python -m benchmarks.validity --studies 4000  simulate first: some minutes on two cores

A simulated study has the target and 15 ablations. Their accuracies are normal, rounded to whole test
images, with the standard deviations over seeds that were measured in a committed study. The analysis is
the product's own.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from math import sqrt
from pathlib import Path
from statistics import NormalDist, stdev
from typing import NamedTuple

import click
import msgspec
import numpy as np

from ablations.analysis.intervals import (
    LEVEL,
    Difference,
    difference,
    dunnett_critical_value,
    family_level,
)
from ablations.analysis.spread import pool_variance, resolution_pct
from ablations.analysis.summary import Results, summarise
from ablations.analysis.verdicts import judge_direction, judge_size, target_seeds
from ablations.records.atomic_io import load_json, write_atomically, write_json
from ablations.records.study import load_study
from benchmarks.options import SETTINGS
from reports.text.templates import make_environment

DOCS = Path(__file__).resolve().parents[1] / "docs"
RESULTS, DOCUMENT = DOCS / "statistics" / "validity.json", DOCS / "statistics.md"
STUDIES = {"MNIST": DOCS / "reference", "Fashion-MNIST": DOCS / "fashion-mnist"}
MARGIN_PCT = 0.1
TARGET_PCT = 99.4
NUM_TEST = 10_000
EFFECTS_PCT = (0.0, 0.05, 0.1, 0.15)
"""True differences of all ablations: zero, within the margin, at the margin, and above it."""
PLANNED_LOOKS = (5, 10, 20, 40)
Runs = Mapping[str, Mapping[int, float]]


class Design(msgspec.Struct, frozen=True):
    """When a simulated study is looked at."""

    looks: tuple[int, ...]
    """Numbers of seeds of every ablation."""
    until_decided: bool = False
    """Only ablations of uncertain size get more seeds."""


class Rate(msgspec.Struct, frozen=True):
    """The share of simulated studies in which something was wrong."""

    spreads: str
    """The committed study whose standard deviations over seeds the networks have, or `equal`."""
    design: Design
    method: str
    """`ours`, or `pooled`: one standard deviation for all networks, as Dunnett's test assumes."""
    effect_pct: float
    missed_pct: float
    """Studies with an interval, at any look, that misses the true difference."""
    false_pct: float
    """Studies with a false verdict at the end."""
    decided_pct: float
    """Ablations of decided size at the end."""
    mean_runs: float


class Validity(msgspec.Struct, frozen=True):
    """All rates, and what the analysis decides in the committed study."""

    num_studies: int
    rates: list[Rate]


class Outcome(NamedTuple):
    """One simulated study, for every true difference."""

    missed: list[bool]
    false: list[bool]
    num_decided: list[int]
    num_runs: int


def measured_spreads(results: Results) -> dict[str, float]:
    """Each network's standard deviation over seeds, in points."""
    return {row.ablation.name: stdev(row.accuracy_pct.by_seed.values()) for row in results.rows}


def analyse(runs: Runs, level: float) -> dict[str, Difference]:
    """Every ablation minus the target, as in a study."""
    groups = {name: list(by_seed.values()) for name, by_seed in runs.items()}
    pool = pool_variance(groups, resolution_pct(NUM_TEST))
    num_seeds = [len(by_seed) for name, by_seed in runs.items() if name != "target"]
    each = family_level(num_seeds, len(runs["target"]), pool.degrees_of_freedom, level)
    return {name: difference(name, "target", runs, pool, each) for name in runs if name != "target"}


def analyse_pooled(runs: Runs, level: float) -> dict[str, Difference]:
    """The same with one standard deviation for all networks (Dunnett 1955)."""
    found = {}
    sizes = {name: len(by_seed) for name, by_seed in runs.items()}
    squares = sum(np.var(list(one.values()), ddof=1) * (len(one) - 1) for one in runs.values())
    freedom = sum(sizes.values()) - len(sizes)
    compared = tuple(sorted(size for name, size in sizes.items() if name != "target"))
    critical = dunnett_critical_value(compared, sizes["target"], freedom, level)
    for name, one in analyse(runs, level).items():
        half = critical * sqrt(squares / freedom * (1 / sizes[name] + 1 / sizes["target"]))
        bounds = (one.mean - half, one.mean + half)
        found[name] = msgspec.structs.replace(one, interval_95=bounds)
    return found


METHODS = {"ours": analyse, "pooled": analyse_pooled}


def is_false(interval: tuple[float, float], effect_pct: float) -> bool:
    """Whether an interval gives a verdict that contradicts the true difference."""
    direction, size = judge_direction(interval), judge_size(interval, MARGIN_PCT)
    wrong_direction = {"hurts": effect_pct >= 0, "helps": effect_pct <= 0}.get(direction, False)
    wrong_size = {
        "above": abs(effect_pct) <= MARGIN_PCT,
        "below": abs(effect_pct) >= MARGIN_PCT,
    }.get(size, False)
    return wrong_direction or wrong_size


def simulate_study(
    seed: int, spreads: Mapping[str, float], design: Design, method: str, effects: Sequence[float]
) -> Outcome:
    """One study. A fixed number of seeds does not depend on effects, so they share its runs."""
    chance = np.random.default_rng([7, seed])
    runs: dict[str, dict[int, float]] = {name: {} for name in spreads}
    compared = [name for name in spreads if name != "target"]
    # The first effect is in the accuracies; others shift the intervals.
    truth = effects[0]
    level = LEVEL / len(design.looks)
    missed, opened = False, compared
    found: dict[str, Difference] = {}

    def extend(name: str, num_seeds: int) -> None:
        mean = TARGET_PCT + (truth if name != "target" else 0)
        while len(runs[name]) < num_seeds:
            runs[name][len(runs[name])] = round(float(chance.normal(mean, spreads[name])), 2)

    while opened:
        nexts = {
            name: min(look for look in design.looks if look > len(runs[name])) for name in opened
        }
        for name, look in nexts.items():
            extend(name, look)
        is_planned = len(design.looks) > 1
        look = max(nexts.values())
        extend("target", target_seeds(look, len(opened)) if is_planned else look)
        found = METHODS[method](runs, level)
        missed |= not all(contains(one, truth) for one in found.values())
        opened = [
            name
            for name, one in found.items()
            if len(runs[name]) < design.looks[-1]
            and one.interval_95
            and (not design.until_decided or judge_size(one.interval_95, MARGIN_PCT) == "uncertain")
        ]
    intervals = [[shifted(one, effect - truth) for one in found.values()] for effect in effects]
    return Outcome(
        [missed] * len(effects),
        [
            any(is_false(one, effect) for one in of_effect)
            for effect, of_effect in zip(effects, intervals, strict=True)
        ],
        [
            sum(judge_size(one, MARGIN_PCT) != "uncertain" for one in of_effect)
            for of_effect in intervals
        ],
        sum(map(len, runs.values())),
    )


def shifted(one: Difference, by_pct: float) -> tuple[float, float]:
    """The interval, had the true difference been larger."""
    assert one.interval_95
    low, high = one.interval_95
    return low + by_pct, high + by_pct


def contains(one: Difference, truth: float) -> bool:
    """Whether the interval contains the true difference."""
    low, high = shifted(one, 0)
    return low <= truth <= high


def simulate(
    num_studies: int,
    spreads: Mapping[str, float],
    spreads_name: str,
    design: Design,
    method: str = "ours",
) -> list[Rate]:
    """The rates of one design, for every effect."""
    rates = []
    together = [(effect,) for effect in EFFECTS_PCT] if design.until_decided else [EFFECTS_PCT]
    for effects in together:
        work = partial(
            simulate_study, spreads=spreads, design=design, method=method, effects=effects
        )
        with ProcessPoolExecutor() as pool:
            found = list(pool.map(work, range(num_studies), chunksize=25))
        for index, effect in enumerate(effects):
            decided = sum(one.num_decided[index] for one in found)
            rates.append(
                Rate(
                    spreads_name,
                    design,
                    method,
                    effect,
                    100 * sum(one.missed[index] for one in found) / num_studies,
                    100 * sum(one.false[index] for one in found) / num_studies,
                    100 * decided / num_studies / (len(spreads) - 1),
                    sum(one.num_runs for one in found) / num_studies,
                )
            )
    return rates


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
