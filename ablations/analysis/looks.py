"""When a study's verdicts may be decided: pure functions of its plan and numbers of seeds.

The level of 5 % is divided evenly by the planned looks. Then the intervals of all looks hold together,
whatever is done after a look (repeated confidence intervals; Jennison and Turnbull 1989, Journal of
the Royal Statistical Society B 51, 305-361; with Bonferroni's bound for the levels).
"""

from collections.abc import Mapping

from ablations.analysis.intervals import LEVEL
from ablations.analysis.verdicts import target_seeds
from ablations.records.study_spec import SeedPlan


def level_of_look(plan: SeedPlan | None) -> float:
    """The level of all intervals of one look. Without a plan there is one look."""
    return LEVEL / len(plan.looks) if plan else LEVEL


def outside_plan(plan: SeedPlan | None, num_seeds: Mapping[str, int]) -> list[str]:
    """The ablations that were not planned, or have more seeds than the last look."""
    return [
        name
        for name, number in num_seeds.items()
        if plan and number and (name not in plan.ablations or number > plan.looks[-1])
    ]


def target_seeds_at(plan: SeedPlan, look: int, num_open: int) -> int:
    """The target's seeds at a look with so many open ablations. A single look has equal numbers."""
    return target_seeds(look, num_open) if len(plan.looks) > 1 else look


def before_look(
    plan: SeedPlan | None, num_seeds: Mapping[str, int], num_target_seeds: int
) -> list[str]:
    """The ablations whose look is not complete, so that verdicts are provisional.

    Their own number of seeds is no look; or they have the most, and the target has too few for that.
    """
    if plan is None or not num_seeds:
        return []
    most = max(num_seeds.values())
    num_most = list(num_seeds.values()).count(most)
    needed = target_seeds_at(plan, most, num_most) if most <= plan.looks[-1] else 0
    return [
        name
        for name, number in num_seeds.items()
        if (0 < number < plan.looks[-1] and number not in plan.looks)
        or (number == most and num_target_seeds < needed)
    ]
