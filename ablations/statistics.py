"""What the numbers of several runs mean. Pure functions of numbers; nothing is drawn at random."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """The same quantity measured once for each seed."""

    by_seed: dict[int, float]
    mean: float
    standard_deviation: float | None
    """Over seeds (n - 1 in the denominator); None for a single seed."""


class PairedDifference(msgspec.Struct, frozen=True):
    """A variant minus the target, seed by seed: what both share of a seed's luck cancels."""

    by_seed: dict[int, float]
    mean: float
    interval_95: tuple[float, float] | None
    """Student's t-interval for the mean difference over seeds. None for a single seed, which says
    nothing about other seeds, and for differences without any spread."""


def spread(by_seed: Mapping[int, float]) -> Spread:
    """Mean and standard deviation over seeds."""
    values = list(by_seed.values())
    return Spread(dict(by_seed), fmean(values), stdev(values) if len(values) > 1 else None)


def paired_difference(
    variant: Mapping[int, float], target: Mapping[int, float]
) -> PairedDifference | None:
    """Variant minus target over the seeds that both have; None when there is no such seed."""
    seeds = sorted(variant.keys() & target.keys())
    if not seeds:
        return None
    differences = {seed: variant[seed] - target[seed] for seed in seeds}
    values = list(differences.values())
    return PairedDifference(differences, fmean(values), t_interval_95(values))


def t_interval_95(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95 % interval for the mean of independent values; None for fewer than two.

    Also None for values without spread: accuracies come in steps of one image, so that two or
    three seeds can agree by chance, and an interval of no width would claim certainty.
    """
    if len(values) < 2 or max(values) - min(values) < 1e-9:
        return None
    # scipy takes most of a second to import, and most commands need no interval.
    from scipy import stats

    mean, standard_error = fmean(values), stdev(values) / len(values) ** 0.5
    low, high = stats.t.interval(0.95, df=len(values) - 1, loc=mean, scale=standard_error)
    return float(low), float(high)


def sampling_noise_pct(accuracy_pct: float, num_images: int) -> float:
    """Half the width of the 95 % interval that the choice of test images alone gives an accuracy.

    The normal approximation of the binomial: 0.15 points for 99.4 % of 10,000 images.
    """
    right = min(max(accuracy_pct / 100, 1 / num_images), 1 - 1 / num_images)
    return 196 * sqrt(right * (1 - right) / num_images)
