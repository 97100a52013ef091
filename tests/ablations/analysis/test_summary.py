"""Summaries of studies: results and requirements."""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from statistics import fmean

import pytest

from ablations.analysis.requirements import Requirement, in_pct, interval_words
from ablations.analysis.runs import accuracy_by_seed
from ablations.analysis.summary import summarise
from ablations.catalogue.entries import find_ablation
from ablations.records.study import Study, plan_runs
from tests.factories import ALL_NAMES, make_record, make_spec, make_study


def test_results_are_the_records_numbers() -> None:
    study = make_study(dict.fromkeys(ALL_NAMES, range(3)))
    results = summarise(study)
    accuracy_pct = {
        (run.run_spec.ablation, run.run_spec.seed): run.epochs[-1].test_accuracy_pct
        for run in study.records
    }
    assert [row.ablation.name for row in results.rows] == list(ALL_NAMES)
    for row, seed in product(results.rows, range(3)):
        expected = accuracy_pct[row.ablation.name, seed]
        assert row.accuracy_pct.by_seed[seed] == expected
        if row.difference_pct:
            expected -= fmean(accuracy_pct["target", other] for other in range(3))
            assert row.difference_pct.by_seed[seed] == pytest.approx(expected)
    assert results.target.difference_pct is None


def test_accuracy_after_an_epoch_is_of_the_runs_that_reached_it() -> None:
    whole, short = make_study({"target": [0], "no-gap": [1]}, diverged=["no-gap"]).records
    last = len(short.epochs)
    assert accuracy_by_seed([whole, short], last) == {
        0: whole.epochs[last - 1].test_accuracy_pct,
        1: short.last_epoch.test_accuracy_pct,
    }
    assert accuracy_by_seed([whole, short], last + 1).keys() == {0}


def test_requirements_are_measured() -> None:
    results = summarise(make_study({"target": range(2)}))
    accuracy, parameters, concepts, epochs = results.requirements
    assert "18,962" in parameters.measured
    assert parameters.verdict == concepts.verdict == "pass"
    assert f"{results.target.accuracy_pct.mean:.2f}" in accuracy.measured
    assert "after epoch 19" in epochs.measured


def check(
    errors_pct: Mapping[str, Sequence[float]], diverged: Collection[int] = ()
) -> list[Requirement]:
    """The requirements against runs with these errors, one for each seed; some seeds diverge."""
    spec = make_spec()
    records = [
        make_record(
            run,
            last_error_pct=errors_pct[run.ablation][run.seed],
            diverges_after=3 if run.seed in diverged else None,
        )
        for name, errors in errors_pct.items()
        for run in plan_runs(spec, [find_ablation(name)], range(len(errors)))
    ]
    return summarise(Study("s", spec, tuple(records), None, ())).requirements


def test_epoch_of_the_last_requirement_is_stated_where_runs_diverged() -> None:
    *_, epochs = check({"target": (0.58, 0.6, 0.62)}, diverged=[0])
    assert "after epoch 19, or where a run diverged, of the same runs" in epochs.measured
    low, high = re.search(r"interval ([^ ]+) % to ([^ ]+) %", epochs.measured).groups()
    assert 0 <= float(low) <= float(high) <= 100


@pytest.mark.parametrize(
    ("errors_pct", "verdict"),
    [
        ((35.0,), "fail"),
        ((0.59, 0.64), "undecided"),
        ((0.51, 0.50, 0.49), "pass"),
    ],
)
def test_accuracy_is_judged(errors_pct: Sequence[float], verdict: str) -> None:
    accuracy, *_, epochs = check({"target": errors_pct})
    assert accuracy.verdict == epochs.verdict == verdict


@pytest.mark.parametrize(
    ("num_epochs", "words"),
    [
        (20, "after epoch 19 of"),
        (19, "after epoch 19, the last, of"),
        (7, "after epoch 7, the last, of"),
    ],
)
def test_a_fixed_epoch_below_the_limit_is_checked(num_epochs: int, words: str) -> None:
    results = summarise(make_study({"target": range(3)}, spec=make_spec(num_epochs=num_epochs)))
    assert words in results.requirements[-1].measured


def test_equal_seeds_are_counted_where_there_is_no_interval() -> None:
    assert interval_words([99.5, 99.5, 99.5]) == "; all 3 seeds agree, so there is no interval"


def test_accuracy_is_printed_on_the_right_side_of_the_limit() -> None:
    assert in_pct(99.4) == "99.40 %"
    assert in_pct(99.3967) == "99.397 %"
    assert in_pct(99.39) == "99.39 %"
