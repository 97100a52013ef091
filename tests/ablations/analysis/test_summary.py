"""Summaries of studies: results, requirements and tables."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablations.analysis.requirements import in_pct, judge_accuracy
from ablations.analysis.statistics import paired_difference, t_interval_95
from ablations.analysis.summary import CSV_COLUMNS, results_csv, results_json, summarise
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.records.study import Study, plan_runs
from tests.factories import ALL_NAMES, make_record, make_spec, make_study


def test_results_are_the_records_numbers() -> None:
    study = make_study(dict.fromkeys(ALL_NAMES, range(3)))
    results = summarise(study)
    by_run = {(r.run_spec.ablation, r.run_spec.seed): r for r in study.records}
    assert [row.ablation.name for row in results.rows] == [entry.name for entry in CATALOGUE]
    for row in results.rows:
        for seed in range(3):
            run = by_run[row.ablation.name, seed]
            target = by_run["target", seed]
            accuracy = run.epochs[-1].test_accuracy_pct
            assert row.accuracy_pct.by_seed[seed] == accuracy
            if row.difference_pct:
                expected = accuracy - target.epochs[-1].test_accuracy_pct
                assert row.difference_pct.by_seed[seed] == pytest.approx(expected)
    assert results.target is not None
    assert results.target.difference_pct is None


def test_difference_is_taken_over_shared_seeds_alone() -> None:
    difference = paired_difference({0: 98.0, 1: 97.0, 5: 10.0}, {0: 99.0, 1: 99.5, 7: 50.0})
    assert difference is not None
    assert difference.by_seed == {0: -1.0, 1: -2.5}
    assert difference.mean == -1.75
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    single = paired_difference({0: 1.0}, {0: 3.0})
    assert single is not None
    assert single.interval_95 is None


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_interval_is_scipys_paired_t_interval(values: list[float]) -> None:
    interval = t_interval_95(values)
    if interval is None:
        assert max(values) - min(values) < 1e-9
        return
    low, high = interval
    mean = sum(values) / len(values)
    assert low <= mean + 1e-9
    assert high >= mean - 1e-9
    if max(values) - min(values) > 1e-3:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_interval_by_hand() -> None:
    # Mean 2, standard deviation 1, n = 3: t(0.975, 2) = 4.3027; 4.3027 / sqrt(3) = 2.4842.
    assert t_interval_95([1, 2, 3]) == pytest.approx((-0.4842, 4.4842), abs=1e-3)
    assert t_interval_95([2, 2]) is None
    assert t_interval_95([99.4 - 99.42, 99.3 - 99.32]) is None  # equal but for rounding
    assert t_interval_95([2]) is None


def test_requirements_are_measured() -> None:
    results = summarise(make_study(dict.fromkeys(ALL_NAMES, range(2))))
    accuracy, parameters, concepts, epochs = results.requirements
    assert "18,962" in parameters.measured
    assert parameters.verdict == concepts.verdict == "pass"
    assert accuracy.verdict == judge_accuracy(list(results.target.accuracy_pct.by_seed.values()))  # type: ignore[union-attr]
    assert f"{results.target.accuracy_pct.mean:.2f}" in accuracy.measured  # type: ignore[union-attr]
    assert "after epoch 19" in epochs.measured


@pytest.mark.parametrize(
    ("accuracies_pct", "verdict"),
    [
        ([99.50, 99.52, 99.48], "pass"),
        ([99.30, 99.32, 99.28], "fail"),
        ([99.40, 99.45, 99.37], "undecided"),
        ([99.60], "undecided"),
        ([99.39], "undecided"),
        ([99.60, 99.60], "undecided"),
        ([65.0], "fail"),
        ([9.8, 9.8, 9.8], "fail"),
        ([99.5, 99.5, 99.52, 99.48, 9.8], "fail"),
    ],
)
def test_accuracy_is_judged_by_its_interval(accuracies_pct: list[float], verdict: str) -> None:
    assert judge_accuracy(accuracies_pct) == verdict


def test_epoch_of_the_last_requirement_is_said_where_runs_diverged() -> None:
    runs = plan_runs(make_spec(), [find_ablation("target")], range(3))
    records = [make_record(run, diverges_after=3 if run.seed == 0 else None) for run in runs]
    *_, epochs = summarise(Study("s", make_spec(), tuple(records), None, ())).requirements
    assert "after epoch 19, or where a run diverged, of the same runs" in epochs.measured
    low, high = re.search(r"interval ([^ ]+) % to ([^ ]+) %", epochs.measured).groups()  # type: ignore[union-attr]
    assert 0 <= float(low) <= float(high) <= 100


def test_ablations_that_reach_the_accuracy_are_told_by_what_they_break() -> None:
    names = ["target", "no-gap", "no-dropout", "single-fc", "no-relu"]
    runs = plan_runs(make_spec(), [find_ablation(name) for name in names], [0])
    errors = {"target": 0.7, "no-relu": 2.0}
    records = [make_record(run, last_error_pct=errors.get(run.ablation, 0.4)) for run in runs]
    accuracy, *_ = summarise(Study("s", make_spec(), tuple(records), None, ())).requirements
    [keeping] = accuracy.reached_and_kept
    assert keeping.startswith("single-fc (")
    assert accuracy.reached_and_broke == [
        "no-dropout (99.60 %, 1 seed, without dropout)",
        "no-gap (99.60 %, 1 seed, 43,538 parameters, without global average pooling)",
    ]


def test_failed_requirement_is_said() -> None:
    spec = make_spec()
    [run] = plan_runs(spec, [find_ablation("target")], [0])
    record = make_record(run, last_error_pct=35.0)
    study = Study("s", spec, (record,), None, ())
    accuracy, *_ = summarise(study).requirements
    assert accuracy.verdict == "fail"
    assert accuracy.note.startswith(f"{9940 - record.last_epoch.test_correct:,} images of 10,000")
    assert "more than another draw" in accuracy.note
    assert "0 of 1 run reached it" in accuracy.note


def test_shortfall_is_explained_from_the_study_itself() -> None:
    spec = make_spec()
    errors_pct = {"target": (0.59, 0.64), "no-gap": (0.55, 0.5), "no-relu": (3.0, 3.0)}
    records = tuple(
        make_record(run, last_error_pct=errors_pct[run.ablation][run.seed])
        for run in plan_runs(spec, [find_ablation(name) for name in errors_pct], [0, 1])
    )
    results = summarise(Study("s", spec, records, None, ()))
    assert results.target is not None
    mean = results.target.accuracy_pct.mean
    accuracy, *_ = results.requirements
    assert 99.3 < mean < 99.4
    assert f"{(99.4 - mean) * 100:.1f} images of 10,000 short on average, less" in accuracy.note
    assert [words.split()[0] for words in accuracy.reached_and_broke] == ["no-gap"]


def test_accuracy_is_printed_on_the_right_side_of_the_limit() -> None:
    assert in_pct(99.4) == "99.40 %"
    assert in_pct(99.3967) == "99.397 %"
    assert in_pct(99.39) == "99.39 %"


def test_tables_hold_every_run() -> None:
    results = summarise(make_study(dict.fromkeys(ALL_NAMES, range(2))))
    lines = results_csv(results).splitlines()
    assert lines[0] == ",".join(CSV_COLUMNS)
    assert len(lines) == 1 + 2 * len(CATALOGUE)
    content = msgspec.json.decode(results_json(results))
    assert len(content["ablations"]) == len(CATALOGUE)
    assert results_csv(results) == results_csv(results)
