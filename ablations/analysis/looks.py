"""When a study's verdicts may be decided: pure functions of its plan and numbers of seeds.

The level of 5 % is divided evenly by the planned looks. Then the intervals of all looks hold together,
whatever is done after a look (repeated confidence intervals; Jennison and Turnbull 1989, Journal of
the Royal Statistical Society B 51, 305-361; with Bonferroni's bound for the levels).
"""

from collections.abc import Mapping

from ablations.analysis.intervals import LEVEL
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


def between_looks(plan: SeedPlan | None, num_seeds: Mapping[str, int]) -> list[str]:
    """The ablations whose number of seeds is no look, and below the last: verdicts are provisional."""
    return [
        name
        for name, number in num_seeds.items()
        if plan and 0 < number < plan.looks[-1] and number not in plan.looks
    ]
