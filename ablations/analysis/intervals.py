"""Differences between groups of runs, with intervals that hold together: pure functions of numbers.

A group is one network's accuracies, one for each seed. Seeds are independent replicates, and groups
are never paired by seed: two networks with one seed share initial weights and the order of images,
but training amplifies every difference, and the committed studies show no correlation that can be
told from zero (`seed_correlation`; docs/statistics.md). If there were a positive one, the intervals
would be wider than necessary, never too narrow.

1. The variance over seeds is pooled over the groups (`analysis/spread.py`).
2. A contrast of means has a standard error and a critical value that follow from it (`contrast`).
3. The intervals of all comparisons with the target hold together (`family_level`; Dunnett 1955). Each
   has the same level, with its own degrees of freedom (as in Hasler and Hothorn 2008).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from math import sqrt
from statistics import fmean

import msgspec

from ablations.analysis.spread import DIGITS, Name, Pool, spread_of

LEVEL = 0.05
MIN_SEEDS = 3
"""Of each side; fewer support no interval."""


class Effect(msgspec.Struct, frozen=True):
    """A sum of group means with coefficients, such as a difference."""

    mean: float
    num_seeds: tuple[int, ...]
    """Of each group."""
    standard_error: float | None
    """None without any spread."""
    critical_value: float | None
    """Half of the interval's width, in standard errors."""
    interval_95: tuple[float, float] | None


class Difference(Effect, frozen=True):
    """The mean of one group minus that of another; no interval for fewer than three seeds of either."""

    by_seed: dict[int, float]
    """The first group's value at each seed, minus the other's mean."""
    spreads: tuple[float, float]
    """The standard deviations of both that the interval is made from."""
    new_images_interval_95: tuple[float, float] | None = None
    """For other test images of the same kind, too; None where the wrong images are unknown."""


def contrast(
    coefficients: Mapping[Name, float],
    groups: Mapping[Name, Sequence[float]],
    pool: Pool,
    level: float = LEVEL,
) -> Effect:
    """A sum of group means with coefficients, with its interval at this two-sided level.

    Where degrees of freedom differ, the critical value is the mean of Student's for each group, weighted
    by their parts in the variance (Cochran and Cox 1957, Experimental Designs, section 4.14): on the
    safe side, which Welch's approximation is not for few seeds and small levels.
    """
    mean = round(sum(one * fmean(groups[name]) for name, one in coefficients.items()), DIGITS)
    num_seeds = tuple(len(groups[name]) for name in coefficients)
    parts = []
    for name, weight in coefficients.items():
        deviation, freedom = spread_of(name, groups, pool)
        parts.append((weight**2 * deviation**2 / len(groups[name]), freedom))
    total = sum(part for part, _ in parts)
    is_mixed = not pool.mixed.isdisjoint(coefficients)
    if is_mixed or not total or not all(freedom for _, freedom in parts):
        return Effect(mean, num_seeds, None, None, None)
    critical = sum(part * t_critical_value(level, freedom) for part, freedom in parts) / total
    critical, error = round(critical, 6), sqrt(total)
    # Two seeds say too little about a network's spread.
    bounds = around(mean, critical * error) if min(num_seeds) >= MIN_SEEDS else None
    return Effect(mean, num_seeds, error, critical, bounds)


def t_critical_value(level: float, degrees_of_freedom: float) -> float:
    """Of Student's distribution, two-sided; rounded, so that every machine finds the same."""
    from scipy.special import stdtrit

    return round(float(stdtrit(degrees_of_freedom, 1 - level / 2)), 6)


def difference(
    one: Name,
    other: Name,
    runs: Mapping[Name, Mapping[int, float]],
    pool: Pool,
    level: float = LEVEL,
) -> Difference:
    """One group minus another, with the interval of this two-sided level. `runs`: accuracies by seed."""
    groups = {name: list(runs[name].values()) for name in (one, other)}
    found = contrast({one: 1.0, other: -1.0}, groups, pool, level)
    reference = fmean(groups[other])
    return Difference(
        found.mean,
        found.num_seeds,
        found.standard_error,
        found.critical_value,
        found.interval_95,
        {seed: round(value - reference, DIGITS) for seed, value in sorted(runs[one].items())},
        (spread_of(one, groups, pool)[0], spread_of(other, groups, pool)[0]),
    )


def around(mean: float, half_width: float) -> tuple[float, float]:
    """The interval with this middle."""
    return mean - half_width, mean + half_width


def single_difference(
    one: Mapping[int, float], other: Mapping[int, float], num_failed: Sequence[int] = (0, 0)
) -> Difference:
    """One group minus another, each with its own variance, for itself."""
    runs = {"one": one, "other": other}
    counts = zip(runs, num_failed, strict=True)
    mixed = frozenset(name for name, number in counts if 0 < number < len(runs[name]))
    return difference("one", "other", runs, Pool(0.0, 0, 0.0, 0.0, frozenset(runs), mixed))


def with_new_images(
    found: Difference,
    wrong_by_seed: Mapping[int, Sequence[int]],
    other_wrong_by_seed: Mapping[int, Sequence[int]],
    num_images: int,
) -> Difference:
    """The difference with the interval for other seeds and other test images of the same kind.

    Images and seeds are crossed, so the variances of the mean over images and over seeds add up,
    less that of their interaction, which both contain (Owen 2007, Annals of Applied Statistics 1,
    386-411). Unchanged where a run does not name its wrong images.
    """
    sides = (wrong_by_seed, other_wrong_by_seed)
    if not found.interval_95 or found.num_seeds != tuple(map(len, sides)):
        return found
    assert found.standard_error and found.critical_value
    differences: Counter[int] = Counter()
    interaction = 0.0
    for sign, number, wrong in zip((-1, 1), found.num_seeds, sides, strict=True):
        times_wrong = Counter(image for images in wrong.values() for image in images)
        for image, times in times_wrong.items():
            share = times / number
            differences[image] += sign * share  # type: ignore[assignment]
            interaction += share * (1 - share) / (number - 1)
    mean = sum(differences.values()) / num_images
    squares = sum(one**2 for one in differences.values()) - num_images * mean**2
    of_images = squares / (num_images - 1) - interaction / num_images
    error = sqrt(found.standard_error**2 + 100**2 * max(0.0, of_images) / num_images)
    bounds = around(found.mean, found.critical_value * error)
    return msgspec.structs.replace(found, new_images_interval_95=bounds)


def family_level(
    num_seeds: Sequence[int], num_target_seeds: int, degrees_of_freedom: float, level: float
) -> float:
    """The level of each comparison with the target, so that all intervals hold together at `level`.

    `num_seeds`: of every ablation that is compared; with 0 it counts as independent of the others.
    """
    from scipy.special import stdtr

    critical = dunnett_critical_value(
        tuple(sorted(num_seeds)), num_target_seeds, degrees_of_freedom, level
    )
    return 2 * float(stdtr(degrees_of_freedom, -critical))


@cache
def dunnett_critical_value(
    num_seeds: tuple[int, ...], num_target_seeds: int, degrees_of_freedom: float, level: float
) -> float:
    """The two-sided critical value of comparisons with one target (Dunnett 1955, JASA 50, 1096-1121).

    Given the target's deviation z and the ratio s of the estimated to the true standard deviation,
    the comparisons are independent, so their probability is a product, which is integrated over both.
    """
    import numpy as np
    from scipy.optimize import brentq
    from scipy.special import chdtri, ndtr

    def nodes(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        points, weights = np.polynomial.legendre.leggauss(64)
        return (high - low) / 2 * points + (high + low) / 2, weights

    z, z_weights = nodes(-8.5, 8.5)
    z_weights = z_weights * np.exp(-(z**2) / 2)
    # From the lowest to the highest value with any probability.
    s, s_weights = nodes(
        *(
            sqrt(chdtri(degrees_of_freedom, tail) / degrees_of_freedom)
            for tail in (1 - 1e-13, 1e-13)
        )
    )
    log_density = (degrees_of_freedom - 1) * np.log(s) - degrees_of_freedom * s**2 / 2
    s_weights = s_weights * np.exp(log_density - log_density.max())
    weights = np.outer(z_weights / z_weights.sum(), s_weights / s_weights.sum())

    def beyond(critical: float) -> float:
        """The excess of the probability that all lie within the critical value."""
        inside = np.ones_like(weights)
        for number, times in Counter(num_seeds).items():
            share = number / (number + num_target_seeds)
            middle = sqrt(share / (1 - share)) * z[:, None]
            half = critical * s[None, :] / sqrt(1 - share)
            inside *= (ndtr(middle + half) - ndtr(middle - half)) ** times
        return float((weights * inside).sum()) - (1 - level)

    # One comparison needs less than all of them, and independent ones need less than Bonferroni.
    lowest, highest = (
        t_critical_value(level / count, degrees_of_freedom) for count in (1, len(num_seeds) or 1)
    )
    return round(float(brentq(beyond, 0.99 * lowest, 1.01 * highest)), 6)


def seed_correlation(runs: Mapping[str, Mapping[int, float]]) -> tuple[float, float] | None:
    """The mean correlation of the target and each ablation over their shared seeds; a check only.

    With its standard error if they are independent. None where none has three shared seeds that vary.
    """
    from statistics import correlation

    found, target = [], runs.get("target", {})
    for name, accuracies in runs.items():
        shared = sorted(accuracies.keys() & target.keys())
        sides = [[side[seed] for seed in shared] for side in (accuracies, target)]
        if (
            name != "target"
            and len(shared) >= MIN_SEEDS
            and all(len(set(one)) > 1 for one in sides)
        ):
            found.append((correlation(*sides), 1 / (len(shared) - 1)))
    if not found:
        return None
    return fmean(one for one, _ in found), sqrt(sum(one for _, one in found)) / len(found)
