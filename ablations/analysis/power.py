"""How many seeds decide an effect (`cli.py plan`)."""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from ablations.analysis.intervals import LEVEL, family_level, t_critical_value
from ablations.analysis.summary import summarise
from ablations.analysis.verdicts import MOST_SEEDS, seeds_to_decide, target_seeds
from ablations.catalogue.entries import ENTRIES
from ablations.records.study import Study
from ablations.records.study_spec import StudyError


class SeedNeed(NamedTuple):
    """How many seeds decide the size of one effect; None: more than 1,000, or none at all."""

    effect_pct: float
    of_one: int | None
    """Of one ablation, and as many of the target."""
    of_all: int | None
    """Of each ablation of the catalogue, and `target_seeds` of the target."""


class PowerPlan(NamedTuple):
    """How many seeds decide effects of several sizes, given the pooled spread in a study."""

    spread_pct: float
    margin_pct: float
    num_ablations: int
    """Of the catalogue."""
    needs: list[SeedNeed]


def plan_seeds(study: Study, effects_pct: Sequence[float], power: float) -> PowerPlan:
    """How many seeds decide effects of these sizes in that share of studies, with one look.

    Raises:
        StudyError: the study has no network with two seeds.
    """
    model, margin_pct = summarise(study).model, study.spec.margin_pct
    if model is None:
        raise StudyError(
            f"{study.name} has no spread over seeds: it needs the target and an ablation, and one "
            "of them with at least two seeds"
        )
    num_ablations, freedom = len(ENTRIES) - 1, model.degrees_of_freedom
    weight = inf if model.weight is None else model.weight

    def needed(effect_pct: float, num_compared: int) -> int | None:
        level = family_level(
            [MOST_SEEDS] * num_compared, target_seeds(MOST_SEEDS, num_compared), freedom, LEVEL
        )

        def critical_value(num_seeds: int) -> float:
            return t_critical_value(level, min(weight + num_seeds - 1, freedom))

        spreads = model.spread_pct, model.spread_pct
        return seeds_to_decide(effect_pct, margin_pct, spreads, critical_value, num_compared, power)

    needs = [SeedNeed(one, needed(one, 1), needed(one, num_ablations)) for one in effects_pct]
    return PowerPlan(model.spread_pct, margin_pct, num_ablations, needs)
