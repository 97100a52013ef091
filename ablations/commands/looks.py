"""Which runs a look at a study needs (`ablate --until-decided`).

A plan names the numbers of seeds at which results are looked at. After each look the ablations whose
size is not decided go on to the next one; the target has more seeds than they, since it takes part in
every comparison (Dunnett 1955).
"""

from collections.abc import Iterable, Mapping, Sequence

from ablations.analysis.intervals import MIN_SEEDS
from ablations.analysis.summary import open_ablations, summarise
from ablations.analysis.verdicts import between_looks, target_seeds
from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.records.study import Study, plan_runs
from ablations.records.study_spec import SeedPlan, StudySpec


def make_plan(ablations: Iterable[Ablation], looks: Sequence[int]) -> SeedPlan:
    """The plan of a new study; combinations of ablations have no verdict and are not part of it."""
    single = (one.name for one in ablations if one.kind != "target" and not one.parts)
    return SeedPlan(tuple(looks), tuple(single))


def first_look(spec: StudySpec, ablations: Sequence[Ablation], num_seeds: int) -> list[RunSpec]:
    """The runs of the first look, which has this number of seeds of each ablation."""
    num_single = len(make_plan(ablations, ()).ablations)
    # Too few for an interval: more seeds of the target would not help.
    target = target_seeds(num_seeds, num_single) if num_seeds >= MIN_SEEDS else num_seeds
    return _plan(spec, ablations, {one.name: num_seeds for one in ablations} | {"target": target})


def next_look(study: Study) -> list[RunSpec]:
    """The runs of the target and of the ablations that are not decided; none when the plan ends."""
    results, plan = summarise(study), study.spec.seed_plan
    if plan is None:
        return []
    done = {row.ablation.name: len(row.runs) for row in results.rows}
    unfinished = {*open_ablations(results), *between_looks(plan, done)}
    wanted = {
        name: next(look for look in plan.looks if look > done.get(name, 0))
        for name in plan.ablations
        if name in unfinished
    }
    if not wanted:
        return []
    wanted["target"] = target_seeds(max(wanted.values()), len(wanted))
    return _plan(study.spec, [find_ablation(name) for name in sorted(wanted)], wanted)


def _plan(
    spec: StudySpec, ablations: Sequence[Ablation], num_seeds: Mapping[str, int]
) -> list[RunSpec]:
    """Seeds from 0 on, of each ablation as many as given, seed by seed."""
    all_seeds = range(max(num_seeds[one.name] for one in ablations))
    run_specs = plan_runs(spec, ablations, all_seeds)
    return [one for one in run_specs if one.seed < num_seeds[one.ablation]]
