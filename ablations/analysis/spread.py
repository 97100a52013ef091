"""The spread of runs over seeds, shared by the groups of a study: pure functions of numbers.

A group is one network's accuracies, one for each seed. Three to five of them measure a standard
deviation badly, so the variance is pooled over groups:

1. A group that is noisier than all others beyond chance does not enter the pool (`outlying`).
2. How much the pooled variance counts beside a group's own depends on how far groups differ
   (`pool_variance`; Smyth 2004).
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
    pooled = sqrt(sum(freedom * one for one, freedom in found) / measured) if found else 0.0
    weight = math.inf
    if len(found) > 1:
        pooled, weight = _moderate(found, pooled)
    deviation = round(max(pooled, floor), DIGITS)
    apart |= num_failed.keys()
    return Pool(
        deviation, measured or total, round(weight, 6), floor, frozenset(apart), frozenset(mixed)
    )


def _moderate(spread: Sequence[tuple[float, int]], pooled: float) -> tuple[float, float]:
    """The standard deviation that groups share, and how many degrees of freedom it counts for.

    The groups' true variances are taken to vary as a scaled inverse chi-squared distribution, which is
    fitted to the logarithms of the measured ones (Smyth 2004, Statistical Applications in Genetics
    and Molecular Biology 3, article 3, section 6.2). If they vary no more than by chance, it is the
    usual pooled one. `spread`: variances and degrees of freedom.
    """
    # scipy takes most of a second to import; most commands need no interval.
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    def half_weight(excess: float) -> float:
        """Half of the weight at which true variances explain this excess over chance."""
        if excess <= polygamma(1, 1e6):
            return math.inf
        return float(brentq(lambda half: polygamma(1, half) - excess, 1e-4, 1e6))

    logarithms = [
        math.log(one) - digamma(freedom / 2) + math.log(freedom / 2) for one, freedom in spread
    ]
    differ = variance(logarithms)
    by_chance = fmean(polygamma(1, freedom / 2) for _, freedom in spread)
    half = half_weight(differ - by_chance)
    if math.isfinite(half):
        pooled = sqrt(math.exp(fmean(logarithms) + digamma(half) - math.log(half)))
    # How much they differ is estimated, too: add the standard error of a normal sample's variance.
    error = differ * sqrt(2 / (len(spread) - 1))
    return pooled, CAUTION * 2 * half_weight(differ + error - by_chance)


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
