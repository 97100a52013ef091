"""Estimates and tests of differences between runs: pure functions of numbers.

Every comparison is paired: a variant and the target share a seed, and with it the order of images,
the augmentation and the initial weights of the layers that both have, so that common effects of the
seed cancel (Box, Hunter and Hunter, Statistics for Experimenters, chapter 3). Seeds are the sample:
intervals and tests concern the recipes over all seeds, on this test set.
"""

from collections.abc import Mapping, Sequence
from math import exp, log, sqrt
from statistics import fmean, stdev

import msgspec

EXACT_UP_TO = 2**16
"""All sign patterns of up to 16 seeds; of more seeds, this many are drawn."""
DIGITS = 9
"""Differences are rounded to these decimals, so that equal ones compare equal: accuracies in percent
are not exact in binary."""


class Estimate(msgspec.Struct, frozen=True):
    """A quantity measured once for each seed, and its mean."""

    by_seed: dict[int, float]
    mean: float
    standard_deviation: float | None
    """Over seeds (n - 1 in the denominator); None for a single seed."""
    interval_95: tuple[float, float] | None
    """Student's t-interval for the mean over seeds. None for one seed and for values without spread."""


class PairedDifference(Estimate, frozen=True):
    """A variant minus the target, seed by seed, and the tests of its mean against zero."""

    cohens_d_z: float | None
    """Mean over standard deviation of the differences (Cohen 1988, section 2.3.5). None where there
    is no interval."""
    share_above: float
    """Share of seeds at which the variant's number is larger; ties count half."""
    t_test_p: float | None
    """Two-sided paired t-test. None where there is no interval."""
    sign_flip_p: float | None
    """Two-sided permutation test over the signs of the differences, exact up to 16 seeds (Fisher
    1935, section 21)."""
    sign_flip_floor: float | None
    """The smallest value that `sign_flip_p` can have with this number of seeds."""


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


def paired_difference(
    variant: Mapping[int, float], target: Mapping[int, float]
) -> PairedDifference | None:
    """Variant minus target over the seeds that both have; None when there is no such seed."""
    seeds = sorted(variant.keys() & target.keys())
    if not seeds:
        return None
    differences = {seed: variant[seed] - target[seed] for seed in seeds}
    values = [round(value, DIGITS) for value in differences.values()]
    mean, has_spread = fmean(differences.values()), len(set(values)) > 1
    num_patterns = min(2 ** len(seeds), EXACT_UP_TO + 1)
    return PairedDifference(
        by_seed=differences,
        mean=mean,
        standard_deviation=stdev(values) if len(values) > 1 else None,
        interval_95=t_interval_95(values),
        cohens_d_z=mean / stdev(values) if has_spread else None,
        share_above=fmean((value > 0) + (value == 0) / 2 for value in values),
        t_test_p=t_test_p(values) if has_spread else None,
        sign_flip_p=sign_flip_p(values) if len(values) > 1 else None,
        sign_flip_floor=2 / num_patterns if len(values) > 1 else None,
    )


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


def t_test_p(values: Sequence[float], mean: float = 0.0, alternative: str = "two-sided") -> float:
    """One-sample t-test of values with spread; `alternative` is `two-sided`, `less` or `greater`."""
    from scipy import stats

    return float(stats.ttest_1samp(values, mean, alternative=alternative).pvalue)


def sign_flip_p(values: Sequence[float]) -> float:
    """The two-sided permutation test over the signs of differences; exact up to 16 of them.

    Of more, 65,536 sign patterns are drawn from a generator with a fixed seed.
    """
    import numpy as np
    from scipy import stats

    if not any(values):
        return 1.0
    # Sums of whole numbers are exact, so that equal sums compare equal.
    whole = np.rint(np.asarray(values) * 10**DIGITS)
    test = stats.permutation_test(
        (whole,), np.sum, permutation_type="samples", vectorized=True,
        n_resamples=EXACT_UP_TO, rng=np.random.default_rng(0),
    )  # fmt: skip
    return min(float(test.pvalue), 1.0)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm-adjusted p-values (1979): reject below 0.05 for a family-wise error rate of 5 %."""
    # statsmodels' multipletests collects garbage at each call: 0.3 s where torch is loaded.
    corrected, least = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = least
    return {name: corrected[name] for name in p_values}


def mcnemar_p(one_wrong: Sequence[int], other_wrong: Sequence[int]) -> float:
    """McNemar's exact test of two networks from the test images that each gets wrong (1947).

    It compares two trained networks on these images, not two recipes over seeds.
    """
    from scipy import stats

    only_one = len(set(one_wrong) - set(other_wrong))
    only_other = len(set(other_wrong) - set(one_wrong))
    if only_one + only_other == 0:
        return 1.0
    return float(stats.binomtest(only_one, only_one + only_other).pvalue)


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
