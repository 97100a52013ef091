"""A paired difference with every intermediate number, for a class to follow."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from ablations.analysis.statistics import paired_difference
from ablations.records.run import RunRecord


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


def difference_after_epoch(
    variant: Sequence[RunRecord], target: Sequence[RunRecord], epoch: int
) -> float | None:
    """The mean difference in test accuracy after an epoch, in points, over the shared seeds.

    None where no seed of both has that epoch, because a run diverged before it.
    """
    variant_pct, target_pct = (
        {
            run.run_spec.seed: run.epochs[epoch - 1].test_accuracy_pct
            for run in runs
            if len(run.epochs) >= epoch
        }
        for runs in (variant, target)
    )
    found = paired_difference(variant_pct, target_pct)
    return found.mean if found else None
