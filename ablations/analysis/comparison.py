"""Two ablations of a study: pure functions of records."""

from typing import NamedTuple

from ablations.analysis.intervals import LEVEL, Difference, single_difference
from ablations.analysis.runs import accuracy_by_seed, failed_runs, runs_of
from ablations.analysis.verdicts import Verdict, decide_verdicts, judge_failures
from ablations.records.run import RunRecord
from ablations.records.study import Study
from ablations.records.study_spec import StudyError


class Comparison(NamedTuple):
    """One side minus the other, over all seeds of each."""

    difference_pct: Difference
    verdict: Verdict | None
    """`helps`: the first is better."""
    runs: list[RunRecord]
    """Of both sides."""
    failed: list[RunRecord]
    """Those that diverged, or hardly learnt although the target did."""


def compare_ablations(study: Study, one: str, other: str) -> Comparison:
    """One ablation minus another, each with its own spread.

    The interval holds for this comparison by itself: it was not planned with the study.

    Raises:
        StudyError: one of them has no run.
    """
    runs = {name: runs_of(study, name) for name in (one, other)}
    names = {record.run_spec.ablation for record in study.records}
    for name, found in runs.items():
        if not found:
            there = ", ".join(sorted(names)) or "no run"
            raise StudyError(f"{study.name} has no run of '{name}'; it has {there}")
    failed = [run for run in failed_runs(study) if run.run_spec.ablation in runs]
    num_failed = [sum(run.run_spec.ablation == name for run in failed) for name in (one, other)]
    num_runs = [len(runs[name]) for name in (one, other)]
    difference_pct = single_difference(
        accuracy_by_seed(runs[one]), accuracy_by_seed(runs[other]), num_failed
    )
    verdict = decide_verdicts({one: difference_pct}, study.spec.margin_pct).get(one)
    if not verdict and failed:
        verdict = judge_failures(num_failed, num_runs, LEVEL)
    return Comparison(difference_pct, verdict, [*runs[one], *runs[other]], failed)
