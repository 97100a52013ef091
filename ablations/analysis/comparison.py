"""Two ablations of a study, or two studies: pure functions of records."""

from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple

from ablations.analysis.statistics import PairedDifference, paired_difference
from ablations.analysis.summary import (
    accuracy_by_seed,
    loss_by_seed,
    mcnemar_p_of_one_seed,
    runs_of,
)
from ablations.analysis.verdicts import Verdict, decide_verdicts
from ablations.records.run import RunRecord
from ablations.records.study import Study
from ablations.records.study_spec import StudyError


class Comparison(NamedTuple):
    """One side minus the other, over the seeds that both have."""

    name: str
    one_accuracy_pct: float
    other_accuracy_pct: float
    """Means over those seeds."""
    difference_pct: PairedDifference
    loss_difference: PairedDifference | None
    verdict: Verdict
    """`helps`: the first is better."""
    mcnemar_p: float | None
    """Of one seed: it compares two networks, not two recipes."""


class StudyComparison(NamedTuple):
    """Two studies, ablation by ablation."""

    comparisons: list[Comparison]
    mixed: list[str]
    """Other differences between the studies that may change numbers."""
    left_out: list[str]
    """Ablations that are not compared, and why."""


def compare_ablations(study: Study, one: str, other: str) -> Comparison:
    """One ablation minus another, seed by seed.

    Raises:
        StudyError: one of them has no run, or they share no seed.
    """
    sides = runs_of(study, one), runs_of(study, other)
    for name, runs in zip((one, other), sides, strict=True):
        if not runs:
            there = ", ".join(sorted({record.run_spec.ablation for record in study.records}))
            raise StudyError(f"{study.name} has no run of '{name}'; it has {there or 'no run'}")
    found = _compare_all({f"{one} minus {other}": sides}, study.spec.margin_pct)
    if not found:
        raise StudyError(f"{one} and {other} share no seed, so nothing can be paired")
    return found[0]


def compare_studies(one: Study, other: Study) -> StudyComparison:
    """Each ablation of a study minus the same in another study, seed by seed.

    Raises:
        StudyError: they differ in data or length, or share no ablation and seed.
    """
    for field, words in (
        ("dataset", "data"),
        ("num_epochs", "epochs"),
        ("num_train_images", "training images"),
    ):
        values = [getattr(study.spec, field) for study in (one, other)]
        if values[0] != values[1]:
            shown = " and ".join(getattr(value, "name", str(value)) for value in values)
            raise StudyError(
                f"{one.name} and {other.name} differ in their {words} ({shown}) and cannot be compared"
            )
    pairs, left_out = {}, []
    for name in dict.fromkeys(r.run_spec.ablation for r in (*one.records, *other.records)):
        sides = runs_of(one, name), runs_of(other, name)
        run_specs = [record.run_spec for runs in sides for record in runs]
        seeds = [{record.run_spec.seed for record in runs} for runs in sides]
        if not all(sides):
            left_out.append(f"{name}: only in {one.name if sides[0] else other.name}")
        elif len({(run_spec.network, run_spec.training) for run_spec in run_specs}) > 1:
            left_out.append(f"{name}: it was defined differently")
        elif not set.intersection(*seeds):
            left_out.append(f"{name}: no seed in both")
        else:
            pairs[name] = sides
    if not pairs:
        raise StudyError(f"{one.name} and {other.name} share no run: {'; '.join(left_out)}")
    comparisons = _compare_all(pairs, one.spec.margin_pct)
    return StudyComparison(comparisons, _mixed_environments(one, other), left_out)


def _compare_all(
    pairs: Mapping[str, tuple[list[RunRecord], list[RunRecord]]], margin_pct: float
) -> list[Comparison]:
    """Compare the pairs that share a seed, with p-values Holm-adjusted for all of them."""
    differences = {
        name: difference
        for name, sides in pairs.items()
        if (difference := paired_difference(*map(accuracy_by_seed, sides)))
    }
    verdicts = decide_verdicts(differences, margin_pct)
    comparisons = []
    for name, difference in differences.items():
        one_pct, other_pct = (
            fmean(accuracy_by_seed(runs)[seed] for seed in difference.by_seed)
            for runs in pairs[name]
        )
        comparisons.append(
            Comparison(
                name,
                one_pct,
                other_pct,
                difference,
                paired_difference(*map(loss_by_seed, pairs[name])),
                verdicts[name],
                mcnemar_p_of_one_seed(*pairs[name]),
            )
        )
    return comparisons


def _mixed_environments(one: Study, other: Study) -> list[str]:
    """Fields of the environment in which the studies differ: `torch_version: 2.11 and 2.15`."""
    margins = [study.spec.margin_pct for study in (one, other)]
    found = []
    if margins[0] != margins[1]:
        found.append(f"margin_pct: {margins[0]:g}, which is used, and {margins[1]:g}")
    for field in one.records[0].environment.__struct_fields__:
        values = [
            ", ".join(sorted({str(getattr(record.environment, field)) for record in study.records}))
            for study in (one, other)
        ]
        if values[0] != values[1]:
            found.append(f"{field}: {values[0]} and {values[1]}")
    return found
