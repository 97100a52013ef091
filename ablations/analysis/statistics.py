"""Means over seeds with their intervals, and ratios of times: pure functions of numbers."""

from collections.abc import Mapping, Sequence
from math import exp, log, sqrt
from statistics import fmean, stdev

import msgspec

from ablations.analysis.spread import DIGITS


class Estimate(msgspec.Struct, frozen=True):
    """A quantity measured once for each seed, and its mean."""

    by_seed: dict[int, float]
    mean: float
    standard_deviation: float | None
    """Over seeds (n - 1 in the denominator); None for a single seed."""
    interval_95: tuple[float, float] | None
    """Student's t-interval for the mean over seeds. None for one seed and for values without spread."""


class Ratio(msgspec.Struct, frozen=True):
    """One positive quantity over another, measured in pairs: exponential of the mean and interval of
    the logarithms, so that the inverse ratio has the inverse interval."""

    mean: float
    interval_95: tuple[float, float] | None


def estimate(by_seed: Mapping[int, float]) -> Estimate:
    """Mean over seeds, with its standard deviation and interval."""
    values = list(by_seed.values())
    deviation = stdev(values) if len(values) > 1 else None
    return Estimate(dict(by_seed), fmean(values), deviation, t_interval_95(values))


def t_interval_95(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95 % interval for the mean of independent values; None for fewer than two.

    Also None for values without spread: accuracies come in steps of one image, so a few seeds can
    agree by chance, and an interval without width would claim certainty.
    """
    if len(values) < 2 or max(values) - min(values) < 10**-DIGITS:
        return None
    # scipy takes most of a second to import; most commands need no interval.
    from scipy import stats

    mean, standard_error = fmean(values), stdev(values) / sqrt(len(values))
    low, high = stats.t.interval(0.95, df=len(values) - 1, loc=mean, scale=standard_error)
    return float(low), float(high)


def paired_ratio(variant: Sequence[float], target: Sequence[float]) -> Ratio:
    """Variant over target, both measured in the same rounds."""
    logs = [log(one / other) for one, other in zip(variant, target, strict=True)]
    interval = t_interval_95(logs)
    return Ratio(exp(fmean(logs)), (exp(interval[0]), exp(interval[1])) if interval else None)


def sampling_noise_pct(accuracy_pct: float, num_images: int) -> float:
    """Half the width of the 95 % interval of an accuracy due to the choice of test images alone.

    The normal approximation of the binomial: 0.15 points for 99.4 % of 10,000 images.
    """
    right = min(max(accuracy_pct / 100, 1 / num_images), 1 - 1 / num_images)
    return 196 * sqrt(right * (1 - right) / num_images)
