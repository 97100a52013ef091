"""Two ablations of a study, or two studies: pure functions of records."""

from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple

from ablations.analysis.intervals import (
    LEVEL,
    Difference,
    difference,
    family_level,
    pool_variance,
    resolution_pct,
)
from ablations.analysis.summary import accuracy_by_seed, pool_runs, runs_of
from ablations.analysis.verdicts import Verdict, decide_verdicts
from ablations.records.run import RunRecord
from ablations.records.study import Study
from ablations.records.study_spec import StudyError


class Comparison(NamedTuple):
    """One side minus the other, over all seeds of each."""

    name: str
    accuracies_pct: tuple[float, ...]
    """Means of both sides."""
    difference_pct: Difference
    verdict: Verdict | None
    """`helps`: the first is better."""
    runs: list[RunRecord]
    """Of both sides."""

    @property
    def num_diverged(self) -> int:
        """Of both sides."""
        return sum(run.status == "diverged" for run in self.runs)


class StudyComparison(NamedTuple):
    """Two studies, ablation by ablation."""

    comparisons: list[Comparison]
    mixed: list[str]
    """Other differences between the studies that may change numbers."""
    left_out: list[str]
    """Ablations that are not compared, and why."""


def compare_ablations(study: Study, one: str, other: str) -> Comparison:
    """One ablation minus another, with the spread of the whole study.

    The interval holds for this comparison by itself: it was not planned with the study.

    Raises:
        StudyError: one of them has no run.
    """
    sides = runs_of(study, one), runs_of(study, other)
    for name, runs in zip((one, other), sides, strict=True):
        if not runs:
            there = ", ".join(sorted({record.run_spec.ablation for record in study.records}))
            raise StudyError(f"{study.name} has no run of '{name}'; it has {there or 'no run'}")
    names = {record.run_spec.ablation for record in study.records}
    pool = pool_runs(study, {name for name in names if "+" not in name or name in (one, other)})
    accuracies = {name: accuracy_by_seed(runs_of(study, name)) for name in (one, other)}
    name = f"{one} minus {other}"
    found = {name: difference(one, other, accuracies, pool)}
    return _judge({name: sides}, found, study.spec.margin_pct)[0]


def compare_studies(one: Study, other: Study) -> StudyComparison:
    """Each ablation of a study minus the same in another study; all intervals hold together.

    Raises:
        StudyError: they differ in data or length, or share no ablation.
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
        if not all(sides):
            left_out.append(f"{name}: only in {one.name if sides[0] else other.name}")
        elif len({(run_spec.network, run_spec.training) for run_spec in run_specs}) > 1:
            left_out.append(f"{name}: it was defined differently")
        else:
            pairs[name] = sides
    if not pairs:
        raise StudyError(f"{one.name} and {other.name} share no run: {'; '.join(left_out)}")
    found = _compare_pairs(pairs, one.spec.dataset.num_test)
    comparisons = _judge(pairs, found, one.spec.margin_pct)
    return StudyComparison(comparisons, _mixed_environments(one, other), left_out)


Pairs = Mapping[str, tuple[list[RunRecord], list[RunRecord]]]


def _compare_pairs(pairs: Pairs, num_test: int) -> dict[str, Difference]:
    """Differences with the spread of all runs, at a level for all pairs, which share no side."""
    runs = {
        (name, side): accuracy_by_seed(found)
        for name, sides in pairs.items()
        for side, found in enumerate(sides)
    }
    pool = pool_variance(
        {key: list(by_seed.values()) for key, by_seed in runs.items()},
        resolution_pct(num_test),
        [key for key in runs if any(run.status == "diverged" for run in pairs[key[0]][key[1]])],
    )
    level = LEVEL
    if pool.degrees_of_freedom:
        level = family_level([0] * len(pairs), 1, pool.degrees_of_freedom, LEVEL)
    return {name: difference((name, 0), (name, 1), runs, pool, level) for name in pairs}


def _judge(
    pairs: Pairs, differences: Mapping[str, Difference], margin_pct: float
) -> list[Comparison]:
    """The verdict on each pair."""
    verdicts = decide_verdicts(differences, margin_pct)
    return [
        Comparison(
            name,
            tuple(fmean(accuracy_by_seed(runs).values()) for runs in sides),
            differences[name],
            verdicts.get(name),
            [*sides[0], *sides[1]],
        )
        for name, sides in pairs.items()
    ]


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
