"""The verdict on each ablation of a study: pure functions of paired differences.

"Not significant" does not mean "no effect". So an equivalence margin is fixed beforehand, and three
questions are asked of the mean difference over seeds:

- Is it beyond the margin?  The 95 % interval lies outside of it.              -> matters
- Is it within the margin?  Two one-sided t-tests (Schuirmann 1987);
  and is it zero?           the paired t-test rejects that,                    -> real but small
                            or does not.                                       -> negligible
- Neither: inconclusive at this number of seeds.                               -> undecided

The p-values of each question are Holm-adjusted over the ablations of the study: with fifteen of
them, one interval just outside the margin is not enough.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean, stdev
from typing import Literal

import msgspec

from ablations.analysis.statistics import DIGITS, PairedDifference, holm, t_test_p

LEVEL = 0.05
POWER = 0.8
MOST_SEEDS = 1000

VerdictKind = Literal["matters", "real but small", "negligible", "undecided", "one seed"]
Effect = Literal["hurts", "helps", "unclear"]


class Verdict(msgspec.Struct, frozen=True):
    """What a study concludes of one ablation."""

    kind: VerdictKind
    """`one seed` is inconclusive, too."""
    effect: Effect
    """What removing the ingredient does to the accuracy; `unclear` unless Holm-adjusted p < 0.05."""
    beyond_margin_p: float | None
    """All three are Holm-adjusted. None for one seed, and for differences without spread."""
    differs_p: float | None
    within_margin_p: float | None
    more_seeds: int | None = None
    """Undecided: about how many more seeds would decide it in 80 % of studies with this mean and
    spread. None above 1,000, and for other verdicts."""


def decide_verdicts(
    differences: Mapping[str, PairedDifference], margin_pct: float
) -> dict[str, Verdict]:
    """The verdict on each ablation of a study. A positive difference is a better accuracy.

    Raises:
        ValueError: the margin is not positive.
    """
    if not margin_pct > 0:
        raise ValueError(f"margin {margin_pct}: needs a positive number of points")
    values = {
        name: [round(value, DIGITS) for value in difference.by_seed.values()]
        for name, difference in differences.items()
        if difference.interval_95
    }
    # Ablations that cannot be tested yet count as comparisons, too: more seeds must not change the
    # number of comparisons.
    untested = dict.fromkeys(differences, 1.0)

    def adjusted(p_value: Callable[[Sequence[float]], float]) -> dict[str, float]:
        return holm(untested | {name: p_value(found) for name, found in values.items()})

    beyond = adjusted(partial(beyond_margin_p, margin=margin_pct))
    differs = adjusted(t_test_p)
    within = adjusted(partial(within_margin_p, margin=margin_pct))
    verdicts = {}
    for name, difference in differences.items():
        if name not in values:
            kind: VerdictKind = "one seed" if len(difference.by_seed) == 1 else "undecided"
            verdicts[name] = Verdict(kind, "unclear", None, None, None)
            continue
        is_significant = differs[name] < LEVEL
        more_seeds = None
        if beyond[name] < LEVEL:
            kind = "matters"
        elif within[name] < LEVEL:
            kind = "real but small" if is_significant else "negligible"
        else:
            kind = "undecided"
            needed = seeds_to_decide(values[name], margin_pct, len(differences))
            more_seeds = None if needed is None else max(1, needed - len(values[name]))
        effect: Effect = "unclear"
        if is_significant:
            effect = "hurts" if difference.mean < 0 else "helps"
        verdicts[name] = Verdict(
            kind, effect, beyond[name], differs[name], within[name], more_seeds
        )
    return verdicts


def beyond_margin_p(values: Sequence[float], margin: float) -> float:
    """Two-sided: below 5 % where the 95 % interval lies outside the margin."""
    side, alternative = (margin, "greater") if fmean(values) > 0 else (-margin, "less")
    return min(1.0, 2 * t_test_p(values, side, alternative))


def within_margin_p(values: Sequence[float], margin: float) -> float:
    """Two one-sided tests: below 5 % where the 90 % interval lies inside the margin."""
    return max(t_test_p(values, -margin, "greater"), t_test_p(values, margin, "less"))


def seeds_to_decide(values: Sequence[float], margin: float, num_compared: int) -> int | None:
    """How many seeds in all would lead to a verdict in 80 % of studies; None above 1,000.

    The true mean and spread are taken to be those of the values. The level is divided by the number
    of comparisons, as Holm does for the first of them.
    """
    mean, deviation = abs(fmean(values)), stdev(values)
    level = LEVEL / num_compared
    if mean > margin:
        beyond = (mean - margin) / deviation
        return _smallest_sample(lambda size: _one_sided_power(beyond, size, level / 2))
    near, far = (margin - mean) / deviation, (margin + mean) / deviation
    return _smallest_sample(
        lambda size: _one_sided_power(near, size, level) + _one_sided_power(far, size, level) - 1
    )


def seeds_to_detect(
    effect: float, deviation: float, power: float = POWER, num_compared: int = 1
) -> int | None:
    """How many seeds detect a difference of this size, two-sided at 5 %; None above 1,000.

    `deviation` is the standard deviation of the paired differences; the level is divided by the
    number of comparisons.
    """
    level = LEVEL / 2 / num_compared
    return _smallest_sample(
        lambda size: _one_sided_power(abs(effect) / deviation, size, level), power
    )


def _one_sided_power(effect_size: float, size: int, level: float) -> float:
    """Power of a one-sided t-test for a mean of so many standard deviations."""
    from statsmodels.stats.power import TTestPower

    power = float(TTestPower().power(effect_size, size, level, alternative="larger"))
    # statsmodels returns NaN far in the tails, where the power is 1.
    return power if math.isfinite(power) else 1.0


def _smallest_sample(power_of: Callable[[int], float], power: float = POWER) -> int | None:
    """The smallest number of seeds, up to 1,000, with the power; power grows with seeds."""
    if power_of(MOST_SEEDS) < power:
        return None
    sizes = range(2, MOST_SEEDS + 1)
    return sizes[bisect_left(sizes, power, key=power_of)]
