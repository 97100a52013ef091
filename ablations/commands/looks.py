"""Which runs a look at a study needs (`ablate --until-decided`).

A plan names the numbers of seeds at which results are looked at. After each look the ablations whose
size is not decided go on to the next one; the target has more seeds than they, since it takes part in
every comparison (Dunnett 1955).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ablations.analysis.intervals import MIN_SEEDS
from ablations.analysis.looks import outside_plan, target_seeds_at
from ablations.analysis.summary import open_ablations, summarise
from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.records.study import Study, plan_runs
from ablations.records.study_spec import SeedPlan, StudySpec


def make_plan(ablations: Iterable[Ablation], looks: Sequence[int]) -> SeedPlan | None:
    """The plan of a new study; None without single ablations: combinations have no verdict."""
    single = tuple(one.name for one in ablations if one.kind != "target" and not one.parts)
    return SeedPlan(tuple(looks), single) if single else None


def has_verdicts(study: Study) -> bool:
    """Whether an ablation has so many seeds that its result has been a verdict."""
    seeds = Counter(record.run_spec.ablation for record in study.records)
    return any(number >= MIN_SEEDS for name, number in seeds.items() if name != "target")


def outside_the_plan(study: Study, run_specs: Iterable[RunSpec]) -> list[str]:
    """The ablations of these runs that the study did not plan, or not with so many seeds."""
    seeds = Counter(one.ablation for one in run_specs if "+" not in one.ablation)
    del seeds["target"]
    return outside_plan(study.spec.seed_plan, seeds)


def first_look(
    spec: StudySpec, ablations: Sequence[Ablation], looks: Sequence[int]
) -> list[RunSpec]:
    """The runs of the first look, combinations of ablations included."""
    plan = make_plan(ablations, looks)
    num_seeds = {one.name: looks[0] for one in ablations}
    if plan:
        num_seeds["target"] = target_seeds_at(plan, looks[0], len(plan.ablations))
    return _plan(spec, ablations, num_seeds)


def next_look(study: Study) -> list[RunSpec]:
    """The runs of the first look that is not complete; none when all is decided, or the plan ends.

    A look is judged by its own runs alone, so it does not matter where a study was stopped.
    """
    plan, known = study.spec.seed_plan, {entry.name for entry in CATALOGUE}
    if plan is None:
        return []
    names = [name for name in plan.ablations if name in known]
    num_seeds = dict.fromkeys(names, plan.looks[0])
    num_seeds["target"] = target_seeds_at(plan, plan.looks[0], len(names))
    done = {(record.run_spec.ablation, record.run_spec.seed) for record in study.records}
    for following in (*plan.looks[1:], None):
        run_specs = _plan(study.spec, [find_ablation(name) for name in num_seeds], num_seeds)
        if following is None or not {(one.ablation, one.seed) for one in run_specs} <= done:
            return [one for one in run_specs if (one.ablation, one.seed) not in done]
        at_look = [
            record
            for record in study.records
            if record.run_spec.seed < num_seeds.get(record.run_spec.ablation, 0)
        ]
        judged = summarise(replace(study, records=tuple(at_look)))
        going_on = [name for name in open_ablations(judged) if name in known]
        if not going_on:
            return []
        num_seeds |= dict.fromkeys(going_on, following)
        target = target_seeds_at(plan, following, len(going_on))
        num_seeds["target"] = max(num_seeds["target"], target)
    raise AssertionError("the last look returns")


def _plan(
    spec: StudySpec, ablations: Sequence[Ablation], num_seeds: Mapping[str, int]
) -> list[RunSpec]:
    """Seeds from 0 on, of each ablation as many as given, seed by seed."""
    run_specs = plan_runs(spec, ablations, range(max(num_seeds.values())))
    return [one for one in run_specs if one.seed < num_seeds[one.ablation]]
