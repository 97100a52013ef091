"""Two ablations of a study, or two studies: pure functions of records."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ablations.analysis.statistics import PairedDifference, mcnemar_p, mean_over, paired_difference
from ablations.analysis.summary import accuracy_by_seed, loss_by_seed, wrong_by_seed
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
    runs = {name: runs_of(study, name) for name in (one, other)}
    for name, found in runs.items():
        if not found:
            there = ", ".join(sorted({record.run_spec.ablation for record in study.records}))
            raise StudyError(f"{study.name} has no run of '{name}'; it has {there or 'no run'}")
    return _compare_all([(f"{one} minus {other}", runs[one], runs[other])], study.spec.margin_pct)[
        0
    ]


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
    pairs, left_out = [], []
    names = dict.fromkeys(record.run_spec.ablation for record in (*one.records, *other.records))
    for name in names:
        found = runs_of(one, name), runs_of(other, name)
        if not all(found):
            left_out.append(f"{name}: only in {one.name if found[0] else other.name}")
        elif _definition(found[0]) != _definition(found[1]):
            left_out.append(f"{name}: it was defined differently")
        elif not accuracy_by_seed(found[0]).keys() & accuracy_by_seed(found[1]).keys():
            left_out.append(f"{name}: no seed in both")
        else:
            pairs.append((name, *found))
    if not pairs:
        raise StudyError(f"{one.name} and {other.name} share no run: {'; '.join(left_out)}")
    return StudyComparison(
        _compare_all(pairs, one.spec.margin_pct), _mixed_environments(one, other), left_out
    )


def _compare_all(
    pairs: Sequence[tuple[str, list[RunRecord], list[RunRecord]]], margin_pct: float
) -> list[Comparison]:
    """Compare each pair of runs, with p values Holm-adjusted for all of them."""
    differences = {}
    for name, one, other in pairs:
        difference = paired_difference(accuracy_by_seed(one), accuracy_by_seed(other))
        if difference is None:
            raise StudyError(f"{name}: they share no seed, so nothing can be paired")
        differences[name] = difference
    verdicts = decide_verdicts(differences, margin_pct)
    comparisons = []
    for name, one, other in pairs:
        seeds = list(differences[name].by_seed)
        wrong = wrong_by_seed(one), wrong_by_seed(other)
        is_single = len(seeds) == 1 and all(seeds[0] in found for found in wrong)
        comparisons.append(
            Comparison(
                name,
                mean_over(accuracy_by_seed(one), seeds),
                mean_over(accuracy_by_seed(other), seeds),
                differences[name],
                paired_difference(loss_by_seed(one), loss_by_seed(other)),
                verdicts[name],
                mcnemar_p(wrong[0][seeds[0]], wrong[1][seeds[0]]) if is_single else None,
            )
        )
    return comparisons


def runs_of(study: Study, name: str) -> list[RunRecord]:
    """The runs of an ablation."""
    return [record for record in study.records if record.run_spec.ablation == name]


def _definition(runs: Sequence[RunRecord]) -> object:
    """The network and training of an ablation's runs."""
    return runs[0].run_spec.network, runs[0].run_spec.training


def _mixed_environments(one: Study, other: Study) -> list[str]:
    """Fields of the environment in which the studies differ: `torch_version: 2.11 and 2.15`."""
    margins = [study.spec.margin_pct for study in (one, other)]
    found = []
    if margins[0] != margins[1]:
        found.append(f"margin_pct: {margins[0]:g}, which is used, and {margins[1]:g}")
    for field in msgspec.structs.fields(type(one.records[0].environment)):
        values = [
            sorted({str(getattr(record.environment, field.name)) for record in study.records})
            for study in (one, other)
        ]
        if values[0] != values[1]:
            found.append(f"{field.name}: {', '.join(values[0])} and {', '.join(values[1])}")
    return found
