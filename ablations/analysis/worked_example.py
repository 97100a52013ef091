"""A paired difference and an interaction, with every intermediate number, for a class to follow."""

from collections.abc import Mapping
from math import sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from ablations.analysis.statistics import Estimate, estimate

BySeed = Mapping[int, float]
"""Accuracies in percent, by seed."""


class PairedSteps(NamedTuple):
    """Each number on the way from correct test images to a 95 % interval, in images."""

    differences: dict[int, int]
    """Variant minus target, by seed."""
    mean: float
    squares: float
    """Sum of squared deviations from the mean."""
    deviation: float
    """Sample standard deviation, with n - 1 in the denominator."""
    standard_error: float
    t_quantile: float
    interval_95: tuple[float, float]
    unpaired_standard_error: float
    """Of two independent samples with the same standard deviations."""


class PairInteraction(NamedTuple):
    """What the first of two ingredients adds to the accuracy, in percentage points."""

    with_other: Estimate
    without_other: Estimate
    interaction: Estimate
    """Half of the first minus the second."""


def paired_steps(variant: Mapping[int, int], target: Mapping[int, int]) -> PairedSteps:
    """The steps for the seeds that both have.

    Raises:
        ValueError: fewer than two seeds are shared.
    """
    from scipy import stats

    seeds = sorted(variant.keys() & target.keys())
    if len(seeds) < 2:
        raise ValueError(f"{len(seeds)} shared seeds: an interval needs at least 2")
    differences = {seed: variant[seed] - target[seed] for seed in seeds}
    mean, deviation = fmean(differences.values()), stdev(differences.values())
    error = deviation / sqrt(len(seeds))
    quantile = float(stats.t.ppf(0.975, len(seeds) - 1))
    spreads = [stdev(correct[seed] for seed in seeds) for correct in (variant, target)]
    return PairedSteps(
        differences=differences,
        mean=mean,
        squares=sum((difference - mean) ** 2 for difference in differences.values()),
        deviation=deviation,
        standard_error=error,
        t_quantile=quantile,
        interval_95=(mean - quantile * error, mean + quantile * error),
        unpaired_standard_error=sqrt(sum(spread**2 for spread in spreads) / len(seeds)),
    )


def pair_interaction(
    both: BySeed, without_one: BySeed, without_other: BySeed, neither: BySeed
) -> PairInteraction:
    """The interaction of two ingredients over the seeds that all four networks have."""
    seeds = sorted(both.keys() & without_one.keys() & without_other.keys() & neither.keys())
    beside = {seed: both[seed] - without_one[seed] for seed in seeds}
    alone = {seed: without_other[seed] - neither[seed] for seed in seeds}
    half = {seed: (beside[seed] - alone[seed]) / 2 for seed in seeds}
    return PairInteraction(estimate(beside), estimate(alone), estimate(half))
