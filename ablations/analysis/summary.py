"""A study's numbers, which the report, the tables and the README show: pure functions of records."""

import csv
import io
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from ablations.analysis.attribution import Attribution, attribute
from ablations.analysis.noise import ImageComparison, VarianceSplit, compare_images, split_variance
from ablations.analysis.requirements import Requirement, check_requirements
from ablations.analysis.statistics import (
    Estimate,
    PairedDifference,
    Ratio,
    estimate,
    mcnemar_p,
    paired_difference,
    paired_ratio,
)
from ablations.analysis.verdicts import Verdict, decide_verdicts
from ablations.catalogue.ablation import Ablation
from ablations.catalogue.designs import names_of
from ablations.catalogue.entries import CATALOGUE, find_ablation
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
    difference_pct: PairedDifference | None
    """Accuracy minus the target's at the same seeds, in percentage points. None for the target
    itself, and without a shared seed."""
    loss_difference: PairedDifference | None
    """The same of the test loss, over the seeds at which neither diverged."""
    time_ratio: Ratio | None
    """Epoch time over the target's, round by round."""
    images: ImageComparison | None
    """None also where a record does not name the wrong images."""
    mcnemar_p: float | None
    """Only for one seed: it compares two networks, not two recipes."""
    variance: VarianceSplit | None
    num_diverged: int
    verdict: Verdict | None = None
    """None where there is no difference, and for combinations."""


class Results(msgspec.Struct, frozen=True):
    """All numbers of a study, in the order of the catalogue."""

    study: Study
    rows: list[AblationResult]
    """The target and the ablations of the catalogue."""
    combinations: list[AblationResult]
    """Several ablations at once."""
    attributions: list[Attribution]
    """What ingredients contribute in combination, where their combinations were run."""
    requirements: list[Requirement]
    """Empty until the target has a run."""

    @property
    def target(self) -> AblationResult | None:
        """The target's row, once it has a run."""
        return next((row for row in self.rows if row.ablation.kind == "target"), None)


def summarise(study: Study) -> Results:
    """The numbers of a study, from its records alone.

    Runs of ablations that the catalogue does not know are left out: see `unknown_ablations`.
    """
    names = {record.run_spec.ablation for record in study.records}
    known = [ablation for name in names if (ablation := _known_ablation(name))]
    order = [ablation.name for ablation in CATALOGUE]
    known.sort(key=lambda found: (len(found.parts), [order.index(n) for n in names_of(found)]))
    all_rows = [_summarise_ablation(ablation, study) for ablation in known]
    rows = [row for row in all_rows if not row.ablation.parts]
    differences = {row.ablation.name: row.difference_pct for row in rows if row.difference_pct}
    verdicts = decide_verdicts(differences, study.spec.margin_pct)
    runs = {row.ablation.name: row.runs for row in rows}
    target_runs = runs.pop("target", [])
    cells = {frozenset(names_of(row.ablation)): row.accuracy_pct.by_seed for row in all_rows}
    return Results(
        study=study,
        rows=[
            msgspec.structs.replace(row, verdict=verdicts.get(row.ablation.name)) for row in rows
        ],
        combinations=[row for row in all_rows if row.ablation.parts],
        attributions=attribute(cells, order),
        requirements=check_requirements(target_runs, runs) if target_runs else [],
    )


def _summarise_ablation(ablation: Ablation, study: Study) -> AblationResult:
    is_target = ablation.kind == "target"
    runs = runs_of(study, ablation.name)
    target_runs = [] if is_target else runs_of(study, "target")
    accuracy_pct = accuracy_by_seed(runs)
    wrong = _wrong_by_seed(runs)
    times = study.timing.by_ablation if study.timing else {}
    epoch_time, target_time = times.get(ablation.name), times.get("target")
    return AblationResult(
        ablation=ablation,
        runs=runs,
        accuracy_pct=estimate(accuracy_pct),
        best_epoch_accuracy_pct=estimate(
            {run.run_spec.seed: run.best_epoch.test_accuracy_pct for run in runs}
        ),
        parameters=runs[0].parameters,
        multiply_adds=runs[0].multiply_adds,
        epoch_time=epoch_time,
        difference_pct=paired_difference(accuracy_pct, accuracy_by_seed(target_runs)),
        loss_difference=paired_difference(loss_by_seed(runs), loss_by_seed(target_runs)),
        time_ratio=paired_ratio(epoch_time.seconds_by_round, target_time.seconds_by_round)
        if epoch_time and target_time and not is_target
        else None,
        images=compare_images(wrong, _wrong_by_seed(target_runs)),
        mcnemar_p=mcnemar_p_of_one_seed(runs, target_runs),
        variance=split_variance(wrong, study.spec.dataset.num_test),
        num_diverged=sum(run.status == "diverged" for run in runs),
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


def runs_of(study: Study, name: str) -> list[RunRecord]:
    """The runs of an ablation."""
    return [record for record in study.records if record.run_spec.ablation == name]


def accuracy_by_seed(runs: Sequence[RunRecord], epoch: int | None = None) -> dict[int, float]:
    """Test accuracy after an epoch, in percent, of the runs that reached it; by default the last."""
    reached = [run for run in runs if epoch is None or len(run.epochs) >= epoch]
    index = -1 if epoch is None else epoch - 1
    return {run.run_spec.seed: run.epochs[index].test_accuracy_pct for run in reached}


def loss_by_seed(runs: Sequence[RunRecord]) -> dict[int, float]:
    """Test loss after the last epoch, of the runs that did not diverge."""
    return {
        run.run_spec.seed: run.last_epoch.test_loss
        for run in runs
        if run.last_epoch.test_loss is not None
    }


def mcnemar_p_of_one_seed(one: Sequence[RunRecord], other: Sequence[RunRecord]) -> float | None:
    """McNemar's p where the two share one seed, whose records name the wrong images."""
    seeds = accuracy_by_seed(one).keys() & accuracy_by_seed(other).keys()
    wrong, other_wrong = _wrong_by_seed(one), _wrong_by_seed(other)
    if len(seeds) != 1 or not seeds <= wrong.keys() & other_wrong.keys():
        return None
    [seed] = seeds
    return mcnemar_p(wrong[seed], other_wrong[seed])


def _wrong_by_seed(runs: Sequence[RunRecord]) -> dict[int, list[int]]:
    """The wrong test images, of the runs whose records name them."""
    return {
        run.run_spec.seed: run.wrong_test_images
        for run in runs
        if run.wrong_test_images is not None
    }


def _known_ablation(name: str) -> Ablation | None:
    """The ablation of that name; None if the catalogue does not have it (any more)."""
    with suppress(KeyError, ValueError):
        found = find_ablation(name)
        return found if found.name == name else None
    return None


def unknown_ablations(study: Study) -> list[str]:
    """Names of runs that the catalogue does not know, and that no table shows."""
    names = {record.run_spec.ablation for record in study.records}
    return sorted(name for name in names if _known_ablation(name) is None)


def _interval(row: AblationResult) -> tuple[float | None, float | None]:
    return (row.difference_pct and row.difference_pct.interval_95) or (None, None)


Column = Callable[[AblationResult, RunRecord], object]
CSV_COLUMNS: dict[str, Column] = {
    "ablation": lambda row, _: row.ablation.name,
    "seed": lambda _, run: run.run_spec.seed,
    "status": lambda _, run: run.status,
    "test_accuracy_pct": lambda _, run: run.last_epoch.test_accuracy_pct,
    "difference_from_target_points": lambda row, run: (
        row.difference_pct.by_seed.get(run.run_spec.seed) if row.difference_pct else None
    ),
    "test_loss": lambda _, run: run.last_epoch.test_loss,
    "best_epoch": lambda _, run: run.best_epoch.epoch,
    "best_epoch_test_accuracy_pct": lambda _, run: run.best_epoch.test_accuracy_pct,
    "train_loss": lambda _, run: run.last_epoch.train_loss,
    "train_accuracy_pct": lambda _, run: run.last_epoch.train_accuracy_pct,
    "parameters": lambda _, run: run.parameters,
    "multiply_adds": lambda _, run: run.multiply_adds,
    "median_epoch_seconds_alone": lambda row, _: getattr(row.epoch_time, "median_seconds", None),
    "num_epochs": lambda _, run: len(run.epochs),
    "dataset": lambda _, run: run.run_spec.dataset.name,
    "device": lambda _, run: run.environment.device_type,
    # The same in all lines of an ablation:
    "mean_difference_points": lambda row, _: getattr(row.difference_pct, "mean", None),
    "interval_95_low": lambda row, _: _interval(row)[0],
    "interval_95_high": lambda row, _: _interval(row)[1],
    "cohens_d_z": lambda row, _: getattr(row.difference_pct, "cohens_d_z", None),
    "t_test_p": lambda row, _: getattr(row.difference_pct, "t_test_p", None),
    "t_test_p_holm": lambda row, _: getattr(row.verdict, "differs_p", None),
    "sign_flip_p": lambda row, _: getattr(row.difference_pct, "sign_flip_p", None),
    "verdict": lambda row, _: getattr(row.verdict, "kind", None),
}
"""Of `results.csv`: name, and value of one run."""
TEXT_COLUMNS = ("ablation", "status", "dataset", "device", "verdict")
"""The columns without numbers."""


def results_csv(results: Results) -> str:
    """One line for each run, in the order of the catalogue; no number is rounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(
        [value(row, run) for value in CSV_COLUMNS.values()]
        for row in (*results.rows, *results.combinations)
        for run in row.runs
    )
    return text.getvalue()


def results_json(results: Results) -> bytes:
    """Every row of the results with its runs' epochs, and the requirement check."""
    content = {
        "study": results.study.spec,
        "requirements": results.requirements,
        "ablations": results.rows,
        "combinations": results.combinations,
        "attributions": results.attributions,
        "timing": results.study.timing,
        "problems": results.study.problems,
    }
    return msgspec.json.encode(content) + b"\n"
