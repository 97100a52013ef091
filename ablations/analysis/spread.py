"""The spread of runs over seeds, shared by the groups of a study: pure functions of numbers.

A group is one network's accuracies, one for each seed. Three to five of them measure a standard
deviation badly, so the variance is pooled over groups:

1. A group that is noisier than all others beyond chance does not enter the pool (`outlying`).
2. How much the pooled variance counts beside a group's own depends on how far groups differ
   (`pool_variance`), as in the moderated t statistic of Smyth 2004.
3. A noisier group keeps its own (`spread_of`).
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from math import sqrt
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

CAUTION = 0.5
"""The pooled variance counts for this share of its estimated weight: benchmarks/validity.py shows that
intervals then hold their level."""
OUTLYING_LEVEL = 0.01
"""Of the F tests that keep a group out of the pool, for all groups of a study together."""
DIGITS = 9
"""Means are rounded to these decimals: accuracies in percent are not exact in binary."""

Name = TypeVar("Name", bound=Hashable)
"""Of a group: one network, with its accuracies, one for each seed."""


class Pool(NamedTuple):
    """The spread over seeds that groups share."""

    standard_deviation: float
    degrees_of_freedom: int
    """Of all groups together; 0 where each has one run, so that there is no spread."""
    weight: float
    """How many degrees of freedom of a group's own the pooled variance counts for. Infinite: groups do
    not differ more than by chance."""
    floor: float
    """The least standard deviation: that of rounding to whole test images."""
    apart: frozenset[Any] = frozenset()
    """Groups that are noisier than the others beyond chance, or failed in every run: each has only its own spread."""
    mixed: frozenset[Any] = frozenset()
    """Groups of which some runs failed and others did not: a mean of two kinds of runs has no interval."""


def resolution_pct(num_test_images: int) -> float:
    """The standard deviation of rounding an accuracy to whole test images, in points."""
    return 100 / num_test_images / sqrt(12)


def variance(values: Sequence[float]) -> float:
    """Of a sample; the library's is exact, and too slow for simulations."""
    mean = fmean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def pool_variance(
    groups: Mapping[Name, Sequence[float]], floor: float = 0.0, num_failed: Mapping[Name, int] = {}
) -> Pool:
    """Pool the variance within groups, and estimate how far it holds for each of them.

    `floor`: the least standard deviation; `num_failed`: the failed runs of the groups that have some.
    """
    mixed = {name for name, number in num_failed.items() if number < len(groups[name])}
    spread = {
        name: (variance(values), len(values) - 1)
        for name, values in groups.items()
        if name not in num_failed and len(values) > 1
    }
    apart = outlying(spread, OUTLYING_LEVEL / max(len(groups), 1))
    shared = [one for name, one in spread.items() if name not in apart]
    total = sum(freedom for _, freedom in shared)
    # Runs that differ by less than rounding show no spread to fit.
    found = [(one, freedom) for one, freedom in shared if one and one >= floor**2]
    measured = sum(freedom for _, freedom in found)
    pooled = sum(freedom * one for one, freedom in found) / measured if found else 0.0
    weight = _pooled_weight(found, pooled) if len(found) > 1 else math.inf
    deviation = round(max(sqrt(pooled), floor), DIGITS)
    apart |= num_failed.keys()
    return Pool(
        deviation, measured or total, round(weight, 6), floor, frozenset(apart), frozenset(mixed)
    )


def _pooled_weight(spread: Sequence[tuple[float, int]], pooled: float) -> float:
    """How many degrees of freedom the pooled variance counts for beside a group's own.

    True variances are taken to vary as a scaled inverse chi-squared distribution, as in Smyth 2004
    (Statistical Applications in Genetics and Molecular Biology 3, article 3). Its degrees of freedom
    follow from the coefficient of variation c of the true variances, which is 2 / (weight - 4) in
    square. That is estimated by moments: measured variances vary by chance, too, by 2 / freedom. Their
    logarithms, which Smyth uses, depend most on the quietest groups, and these do no harm.
    `spread`: variances and degrees of freedom.
    """
    by_chance = fmean(2 / freedom for _, freedom in spread)
    measured = fmean((one / pooled - 1) ** 2 for one, _ in spread)
    # One standard error more than estimated: few groups say little about how far they differ.
    error = sqrt(fmean(4 / freedom**2 * (2 + 12 / freedom) for _, freedom in spread) / len(spread))
    square = (measured - by_chance) / (1 + by_chance) + error
    return CAUTION * (4 + 2 / square) if square > 0 else math.inf


def outlying(spread: Mapping[Name, tuple[float, int]], level: float) -> set[Name]:
    """The groups whose variance exceeds that of all others together at this level (F test), noisiest first.

    Pooled, one such group would make the pooled variance count for little in all others (Phipson et al.
    2016, Annals of Applied Statistics 10, 946-963). `spread`: variances and degrees of freedom.
    """
    from scipy.special import fdtrc

    found: set[Name] = set()
    for name in sorted(spread, key=lambda name: -spread[name][0]):
        rest = [one for other, one in spread.items() if other != name and other not in found]
        freedom = sum(degrees for _, degrees in rest)
        others = sum(degrees * one for one, degrees in rest)
        own, degrees = spread[name]
        if not others or fdtrc(degrees, freedom, own * freedom / others) >= level:
            break
        found.add(name)
    return found


def spread_of(
    name: Name, groups: Mapping[Name, Sequence[float]], pool: Pool
) -> tuple[float, float]:
    """A group's standard deviation and its degrees of freedom.

    The variance is the mean of the pooled one and the group's own, weighted by degrees of freedom. A
    noisier group keeps its own: a mean would be too small for it.
    """
    values = groups[name]
    freedom = len(values) - 1
    own = variance(values) if freedom else 0.0
    if name in pool.apart:
        return round(max(sqrt(own), pool.floor), DIGITS), freedom
    shared = pool.standard_deviation**2
    if math.isfinite(pool.weight) and pool.weight + freedom:
        shared = (pool.weight * shared + freedom * own) / (pool.weight + freedom)
    deviation = max(sqrt(max(own, shared)), pool.floor)
    return round(deviation, DIGITS), min(pool.weight + freedom, pool.degrees_of_freedom)
