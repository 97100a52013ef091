"""The verdict on each ablation of a study: pure functions of differences with intervals.

The interval that a report shows is the one that decides. Two questions are asked of it:

- Direction: does it exclude zero?  -> hurts, helps; or no clear effect
- Size: does it lie outside of the equivalence margin, or within it?  -> above, below; or uncertain

All intervals of a study hold together, so both answers may be read off every one of them.

A network of which some runs fail has no interval. Its verdict is on the number of failures: does it
fail more often, or less often, than the target (`judge_failures`; Fisher's exact test)? A failed run
is so much worse than the margin that the size then is above it.

The level of 5 % is divided evenly by the planned looks. Then the intervals of all looks hold together,
whatever is done after a look (repeated confidence intervals; Jennison and Turnbull 1989, Journal of
the Royal Statistical Society B 51, 305-361; with Bonferroni's bound for the levels).
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from math import ceil, comb, sqrt
from statistics import NormalDist
from typing import Literal

import msgspec

from ablations.analysis.intervals import LEVEL, MIN_SEEDS, Difference

POWER = 0.8
MOST_SEEDS = 1000

Direction = Literal["hurts", "helps", "no clear effect"]
"""What removing the ingredient does to the accuracy."""
Size = Literal["above", "below", "uncertain"]
"""The size of the difference, relative to the margin."""


class Verdict(msgspec.Struct, frozen=True):
    """What a study concludes of one ablation."""

    direction: Direction
    size: Size
    is_provisional: bool = False
    """Its number of seeds is none of those that were planned."""
    seeds_to_decide: int | None = None
    """Size uncertain: about how many seeds in all would decide it in 80 % of new studies with this mean
    and spread. None above 1,000, and for other verdicts."""


def decide_verdicts(
    differences: Mapping[str, Difference], margin_pct: float, provisional: Collection[str] = ()
) -> dict[str, Verdict]:
    """The verdict on each ablation whose difference has an interval."""
    sizes = {
        name: judge_size(one.interval_95, margin_pct)
        for name, one in differences.items()
        if one.interval_95
    }
    num_open = list(sizes.values()).count("uncertain")
    verdicts = {}
    for name, size in sizes.items():
        one, needed = differences[name], None
        assert one.interval_95
        if size == "uncertain":
            assert one.critical_value
            needed = seeds_to_decide(
                one.mean, margin_pct, one.spreads, one.critical_value, num_open
            )
        verdicts[name] = Verdict(
            judge_direction(one.interval_95), size, name in provisional, needed
        )
    return verdicts


def judge_failures(
    failed: Sequence[int],
    num_runs: Sequence[int],
    level: float,
    *,
    is_provisional: bool = False,
) -> Verdict | None:
    """The verdict on networks of which some runs fail; None for too few seeds.

    `failed` and `num_runs` are those of the ablation and of the target; `level` is two-sided.
    """
    if min(num_runs) < MIN_SEEDS:
        return None
    more, fewer = (
        tail_of_failures(one, runs)
        for one, runs in ((failed, num_runs), (failed[::-1], num_runs[::-1]))
    )
    if min(more, fewer) >= level / 2:
        needed = None
        if failed[0] / num_runs[0] > failed[1] / num_runs[1]:
            needed = seeds_to_decide_failures(failed, num_runs, level)
        return Verdict("no clear effect", "uncertain", is_provisional, needed)
    return Verdict("hurts" if more < fewer else "helps", "above", is_provisional)


def tail_of_failures(failed: Sequence[int], num_runs: Sequence[int]) -> float:
    """The probability that so many failures of both networks, or more, fall to the first by chance.

    One-sided, by the hypergeometric distribution (Fisher 1935, The Logic of Inductive Inference).
    """
    both, first, every = sum(failed), num_runs[0], sum(num_runs)
    favourable = sum(
        comb(both, number) * comb(every - both, first - number)
        for number in range(failed[0], min(both, first) + 1)
    )
    return favourable / comb(every, first)


def seeds_to_decide_failures(
    failed: Sequence[int], num_runs: Sequence[int], level: float
) -> int | None:
    """How many seeds of each show that the first network fails more often, at these rates of failure."""
    rates = [one / runs for one, runs in zip(failed, num_runs, strict=True)]
    for number in range(MIN_SEEDS, MOST_SEEDS + 1):
        expected = (int(rates[0] * number), ceil(rates[1] * number))
        if tail_of_failures(expected, (number, number)) < level / 2:
            return number
    return None


def judge_direction(interval: tuple[float, float]) -> Direction:
    """Whether an interval excludes zero, and on which side it lies."""
    low, high = interval
    if high < 0:
        return "hurts"
    return "helps" if low > 0 else "no clear effect"


def judge_size(interval: tuple[float, float], margin_pct: float) -> Size:
    """Whether an interval lies outside of the margin, or within it."""
    low, high = interval
    if high < -margin_pct or low > margin_pct:
        return "above"
    return "below" if -margin_pct < low and high < margin_pct else "uncertain"


def target_seeds(num_seeds: int, num_open: int) -> int:
    """The target's number of seeds for so many open ablations: times their square root (Dunnett 1955)."""
    return ceil(num_seeds * sqrt(max(num_open, 1)))


def seeds_to_decide(
    difference_pct: float,
    margin_pct: float,
    spreads_pct: tuple[float, float],
    critical_value: float | Callable[[int], float],
    num_open: int = 1,
    power: float = POWER,
) -> int | None:
    """How many seeds of an ablation decide its size in that share of studies; None above 1,000.

    The true difference and standard deviations (of the ablation and of the target) are taken to be
    these, and the mean to be normally distributed, so for few seeds the number is one or two too small.
    The critical value may depend on the number of seeds.
    """
    distance = abs(difference_pct)
    spread_pct, target_spread_pct = spreads_pct
    below = NormalDist().cdf

    def power_of(num_seeds: int) -> float:
        error = sqrt(
            spread_pct**2 / num_seeds + target_spread_pct**2 / target_seeds(num_seeds, num_open)
        )
        critical = critical_value(num_seeds) if callable(critical_value) else critical_value
        beside = below(abs(distance - margin_pct) / error - critical)
        if distance > margin_pct:
            return beside
        return beside + below((distance + margin_pct) / error - critical) - 1

    if power_of(MOST_SEEDS) < power:
        return None
    sizes = range(MIN_SEEDS, MOST_SEEDS + 1)
    return sizes[bisect_left(sizes, power, key=power_of)]


def seeds_to_detect(effect: float, deviation: float, power: float = POWER) -> int:
    """About how many seeds show that a mean is not this far away (two-sided, 5 %; normal distribution)."""
    normal = NormalDist()
    needed = normal.inv_cdf(1 - LEVEL / 2) + normal.inv_cdf(power)
    return max(2, ceil((needed * deviation / effect) ** 2))
