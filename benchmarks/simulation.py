"""Simulated studies, for `validity.py`: how often intervals and verdicts are wrong.

Accuracies are normal, rounded to whole test images, with a standard deviation over seeds for each
network. The analysis is the product's own.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import sqrt
from typing import NamedTuple

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
from ablations.analysis.verdicts import judge_direction, judge_size, target_seeds

MARGIN_PCT = 0.1
TARGET_PCT = 99.4
NUM_TEST = 10_000
EFFECTS_PCT = (0.0, 0.05, 0.1, 0.15)
"""True differences of all ablations: zero, within the margin, at the margin, and above it."""
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


class Outcome(NamedTuple):
    """One simulated study, for every true difference."""

    missed: list[bool]
    false: list[bool]
    num_decided: list[int]
    num_runs: int


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
