"""How many seeds a study needs, in words: what `cli.py plan` prints."""

import math

from ablations.analysis.power import SeedPlan
from ablations.analysis.verdicts import MOST_SEEDS
from ablations.catalogue.entries import CATALOGUE
from ablations.records.study import Study
from ablations.words import duration, plural


def plan_lines(plan: SeedPlan, study: Study, effect_pct: float, power: float) -> list[str]:
    """The spread of the study, and how many seeds detect the effect."""
    spreads = plan.spread_pct.values()
    ranges = largest = ""
    if len(spreads) > 1:
        ranges = f" ({min(spreads):.3f} to {max(spreads):.3f})"
        largest = f", with the largest spread {_seeds_words(plan.num_seeds_largest)}"
    found = (
        f"In {study.name}, paired differences of {plural(len(spreads), 'ablation')} have a standard "
        f"deviation over seeds of {plan.typical_pct:.3f} points{ranges}."
    )
    needed = (
        f"To detect a difference of {effect_pct:g} points in {100 * power:g} % of studies (paired t-test, "
        f"two-sided, 5 %): {_seeds_words(plan.num_seeds)}{largest}; among all {len(CATALOGUE) - 1} "
        f"ablations of the catalogue, Holm-adjusted, {_seeds_words(plan.num_seeds_of_all)}."
    )
    return [found, needed]


def _seeds_words(count: int | None) -> str:
    """A number of seeds, or that it is above the largest considered."""
    return f"more than {MOST_SEEDS:,} seeds" if count is None else plural(count, "seed")


def time_lines(plan: SeedPlan, seconds: float, num_jobs: int, where: str) -> list[str]:
    """How long so many seeds take, of one ablation and of all."""
    lines = []
    for num_variants, num_seeds, what in (
        (2, plan.num_seeds, "One ablation and the target"),
        (len(CATALOGUE), plan.num_seeds_of_all, f"All {len(CATALOGUE)} variants"),
    ):
        if num_seeds is not None:
            num_runs = num_variants * num_seeds
            total = duration(math.ceil(num_runs / num_jobs) * seconds)
            lines.append(
                f"{what}: {plural(num_seeds, 'seed')}, {num_runs:,} runs, about {total} {where}."
            )
    return lines
