"""A study's numbers, which the report, the tables and the README show: pure functions of records."""

from collections.abc import Mapping, Sequence
from math import isfinite

import msgspec

from ablations.analysis.attribution import Attribution, attribute
from ablations.analysis.intervals import (
    Difference,
    difference,
    family_level,
    seed_correlation,
    t_critical_value,
    with_new_images,
)
from ablations.analysis.looks import before_look, level_of_look
from ablations.analysis.requirements import (
    Requirement,
    check_requirements,
)
from ablations.analysis.runs import (
    accuracy_by_seed,
    failed_runs,
    known_ablation,
    pool_runs,
    runs_of,
    wrong_by_seed,
)
from ablations.analysis.spread import resolution_pct
from ablations.analysis.statistics import (
    Estimate,
    Ratio,
    estimate,
    paired_ratio,
)
from ablations.analysis.verdicts import Verdict, decide_verdicts, judge_failures
from ablations.catalogue.ablation import Ablation
from ablations.catalogue.designs import names_of
from ablations.catalogue.entries import CATALOGUE
from ablations.records.run import RunRecord
from ablations.records.study import Study
from ablations.records.timing import EpochTime

SIZE_TOLERANCE = 0.05


class AblationResult(msgspec.Struct, frozen=True):
    """One row of the results: an entry of the catalogue, and its runs in the order of seeds."""

    ablation: Ablation
    runs: list[RunRecord]
    accuracy_pct: Estimate
    """Test accuracy after the last epoch: the main result."""
    best_epoch_accuracy_pct: Estimate
    """Of the best epoch, which was chosen on the test set: shown for comparison only."""
    parameters: int
    multiply_adds: int
    epoch_time: EpochTime | None
    """Measured alone; None until then."""
    difference_pct: Difference | None
    """Mean accuracy minus the target's, in percentage points. None for the target itself, and until
    the target has a run. All intervals of a study's ablations hold together."""
    time_ratio: Ratio | None
    """Epoch time over the target's, round by round."""
    failed: list[RunRecord]
    """Its runs that diverged, or hardly learnt although the target did. Where only some failed, there is
    no interval, and the number of them decides the verdict."""
    verdict: Verdict | None = None
    """None for fewer than three seeds of the ablation or of the target, and for combinations."""


class Model(msgspec.Struct, frozen=True):
    """What the intervals of a study have in common."""

    spread_pct: float
    """The pooled standard deviation over seeds, in points."""
    degrees_of_freedom: int
    weight: float | None
    """Of the pooled variance in each group's, in degrees of freedom; None: groups do not differ more
    than by chance."""
    noisy: list[str]
    """Names of ablations that are noisier than the others beyond chance, and keep their own spread."""
    num_compared: int
    num_looks: int
    critical_value: float
    """Of a comparison of two groups with the pooled spread."""
    seed_correlation: tuple[float, float] | None
    """Of target and ablation at the same seeds, mean and standard error: a check of the model only."""


class Results(msgspec.Struct, frozen=True):
    """All numbers of a study, in the order of the catalogue."""

    study: Study
    rows: list[AblationResult]
    """The target and the ablations of the catalogue."""
    combinations: list[AblationResult]
    """Several ablations at once."""
    attributions: list[Attribution]
    """What removing several ingredients does, where their combinations were run."""
    requirements: list[Requirement]
    """Empty until the target has a run."""
    model: Model | None
    """None where no interval is possible: every network has one run, or the target has none."""

    @property
    def target(self) -> AblationResult | None:
        """The target's row, once it has a run."""
        return next((row for row in self.rows if row.ablation.kind == "target"), None)


def summarise(study: Study) -> Results:
    """The numbers of a study, from its records alone.

    Runs of ablations that the catalogue does not know are left out: see `unknown_ablations`.
    """
    names = {record.run_spec.ablation for record in study.records}
    known = [ablation for name in names if (ablation := known_ablation(name))]
    order = [ablation.name for ablation in CATALOGUE]
    known.sort(key=lambda found: (len(found.parts), [order.index(n) for n in names_of(found)]))
    accuracies = {found.name: accuracy_by_seed(runs_of(study, found.name)) for found in known}
    comparisons, model, level = _compare_with_target(study, accuracies)
    failed_by_name: dict[str, list[RunRecord]] = {}
    for run in failed_runs(study):
        failed_by_name.setdefault(run.run_spec.ablation, []).append(run)
    all_rows = [
        _summarise_ablation(one, study, comparisons, failed_by_name.get(one.name, []))
        for one in known
    ]
    rows = [row for row in all_rows if not row.ablation.parts]
    num_seeds = {row.ablation.name: len(row.runs) for row in rows}
    num_target_seeds = num_seeds.pop("target", 0)
    provisional = before_look(study.spec.seed_plan, num_seeds, num_target_seeds)
    compared = {row.ablation.name: row.difference_pct for row in rows if row.difference_pct}
    verdicts: dict[str, Verdict | None] = {
        **decide_verdicts(compared, study.spec.margin_pct, provisional)
    }
    target_runs = runs_of(study, "target")
    target_failed = failed_by_name.get("target", [])
    for row in rows:
        name, failed = row.ablation.name, (len(row.failed), len(target_failed))
        if name in compared and name not in verdicts and any(failed):
            num_runs = (len(row.runs), num_target_seeds)
            verdicts[name] = judge_failures(
                failed, num_runs, level, is_provisional=name in provisional
            )
    networks = {frozenset(names_of(row.ablation)): row for row in all_rows}
    return Results(
        study=study,
        rows=[
            msgspec.structs.replace(row, verdict=verdicts.get(row.ablation.name)) for row in rows
        ],
        combinations=[row for row in all_rows if row.ablation.parts],
        attributions=attribute(
            {removed: row.accuracy_pct.by_seed for removed, row in networks.items()},
            order,
            resolution_pct(study.spec.dataset.num_test),
            num_failed={key: len(row.failed) for key, row in networks.items() if row.failed},
            differences={removed: row.difference_pct for removed, row in networks.items()},
        ),
        requirements=check_requirements(target_runs) if target_runs else [],
        model=model,
    )


def open_ablations(results: Results) -> list[str]:
    """The planned ablations whose size is not decided, and which have fewer seeds than the last look."""
    plan = results.study.spec.seed_plan
    rows = {row.ablation.name: row for row in results.rows}
    if plan is None:
        return []
    return [
        name
        for name in plan.ablations
        if (row := rows.get(name)) is None
        or (len(row.runs) < plan.looks[-1] and (not row.verdict or row.verdict.size == "uncertain"))
    ]


def _compare_with_target(
    study: Study, accuracies: Mapping[str, Mapping[int, float]]
) -> tuple[dict[str, Difference], Model | None, float]:
    """Every ablation and combination minus the target, what their intervals have in common, and their level.

    Intervals of combinations have the same level, but do not count as comparisons.
    """
    target, plan = accuracies.get("target"), study.spec.seed_plan
    if not target:
        return {}, None, level_of_look(plan)
    single = {name: by_seed for name, by_seed in accuracies.items() if "+" not in name}
    pool, wide_pool = pool_runs(study, single), pool_runs(study, accuracies)
    failed = {run.run_spec.ablation for run in failed_runs(study)}
    num_seeds = {name: len(by_seed) for name, by_seed in single.items() if name != "target"}
    # An ablation without runs counts as independent of the others.
    compared = dict.fromkeys(plan.ablations if plan else (), 0) | num_seeds
    model, level = None, level_of_look(plan)
    if not pool.degrees_of_freedom:
        # Every network has a failed run: by Bonferroni's bound.
        level /= max(len(compared), 1)
    elif compared:
        level = family_level([*compared.values()], len(target), pool.degrees_of_freedom, level)
        model = Model(
            pool.standard_deviation,
            pool.degrees_of_freedom,
            pool.weight if isfinite(pool.weight) else None,
            [name for name in single if name in pool.apart and name not in failed],
            len(compared),
            len(plan.looks) if plan else 1,
            t_critical_value(level, pool.degrees_of_freedom),
            seed_correlation(single),
        )
    found = {
        name: difference(name, "target", accuracies, pool if name in single else wide_pool, level)
        for name in accuracies
        if name != "target"
    }
    return found, model, level


def _summarise_ablation(
    ablation: Ablation,
    study: Study,
    comparisons: Mapping[str, Difference],
    failed: list[RunRecord],
) -> AblationResult:
    is_target = ablation.kind == "target"
    runs = runs_of(study, ablation.name)
    target_runs = [] if is_target else runs_of(study, "target")
    wrong, target_wrong = wrong_by_seed(runs), wrong_by_seed(target_runs)
    num_test = study.spec.dataset.num_test
    found = comparisons.get(ablation.name)
    times = study.timing.by_ablation if study.timing else {}
    epoch_time, target_time = times.get(ablation.name), times.get("target")
    return AblationResult(
        ablation=ablation,
        runs=runs,
        accuracy_pct=estimate(accuracy_by_seed(runs)),
        best_epoch_accuracy_pct=estimate(
            {run.run_spec.seed: run.best_epoch.test_accuracy_pct for run in runs}
        ),
        parameters=runs[0].parameters,
        multiply_adds=runs[0].multiply_adds,
        epoch_time=epoch_time,
        difference_pct=with_new_images(found, wrong, target_wrong, num_test) if found else None,
        time_ratio=paired_ratio(epoch_time.seconds_by_round, target_time.seconds_by_round)
        if epoch_time and target_time and not is_target
        else None,
        failed=failed,
    )


def matched_size(
    row: AblationResult, target: AblationResult, rows: Sequence[AblationResult]
) -> AblationResult | None:
    """The row that removes the same ingredient at about the target's number of parameters; None where
    there is none, or where the row itself has that size."""
    if has_similar_size(row, target):
        return None
    changes = row.ablation.network.items()
    same_change = (other for other in rows if changes < other.ablation.network.items())
    return next((other for other in same_change if has_similar_size(other, target)), None)


def has_similar_size(row: AblationResult, target: AblationResult) -> bool:
    """Whether the numbers of parameters differ by less than 5 %."""
    return abs(row.parameters / target.parameters - 1) < SIZE_TOLERANCE
