"""Verdicts: what an interval decides, the words for it, and how many seeds would decide the rest."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower

from ablations.analysis.comparison import compare_ablations
from ablations.analysis.intervals import Difference, difference
from ablations.analysis.looks import before_look, level_of_look, outside_plan
from ablations.analysis.spread import pool_variance, resolution_pct
from ablations.analysis.summary import Results, open_ablations, summarise
from ablations.analysis.verdicts import (
    Verdict,
    decide_verdicts,
    judge_direction,
    judge_failures,
    judge_size,
    seeds_to_decide,
    seeds_to_detect,
    tail_of_failures,
    target_seeds,
)
from ablations.records.study import Study
from ablations.records.study_spec import SeedPlan
from reports.text.answer import notices
from reports.text.wording import verdict_details, verdict_name
from tests.factories import make_record, make_results, make_spec, make_study

PLAN = SeedPlan((5, 10, 20), ("no-gap", "no-relu"))


def between(low: float, high: float) -> Difference:
    """A difference of five seeds with this interval."""
    half = (high - low) / 2
    return Difference(low + half, (5, 5), half / 3, 3.0, (low, high), {0: 0.0}, (half, half))


@pytest.mark.parametrize(
    ("interval", "direction", "size"),
    [
        ((-0.6, -0.4), "hurts", "above"),
        ((0.4, 0.6), "helps", "above"),
        ((-0.08, -0.02), "hurts", "below"),
        ((0.02, 0.08), "helps", "below"),
        ((-0.05, 0.05), "no clear effect", "below"),
        ((-0.3, 0.1), "no clear effect", "uncertain"),
        ((-0.3, -0.05), "hurts", "uncertain"),
        # Exactly at zero and at the margin.
        ((0.0, 0.1), "no clear effect", "uncertain"),
        ((-0.5, -0.1), "hurts", "uncertain"),
    ],
)
def test_the_interval_decides(interval: tuple[float, float], direction: str, size: str) -> None:
    verdict = decide_verdicts({"one": between(*interval)}, 0.1)["one"]
    assert (verdict.direction, verdict.size) == (direction, size)
    assert (judge_direction(interval), judge_size(interval, 0.1)) == (direction, size)
    if size != "uncertain":
        assert verdict.seeds_to_decide is None


@given(st.floats(-1, 1), st.floats(0.001, 1), st.floats(0.01, 1))
def test_no_verdict_contradicts_its_interval(middle: float, half: float, margin: float) -> None:
    verdict = decide_verdicts({"one": between(middle - half, middle + half)}, margin)["one"]
    assert not (verdict.direction == "no clear effect" and verdict.size == "above")
    assert (verdict.direction == "hurts") == (middle + half < 0)


def results_of(accuracies: dict[str, Sequence[float]], diverged: Sequence[str] = ()) -> Results:
    """A study with exactly these accuracies, one for each seed."""
    study = make_study({name: range(len(found)) for name, found in accuracies.items()})
    records = [
        make_record(
            record.run_spec,
            last_error_pct=100 - accuracies[record.run_spec.ablation][record.run_spec.seed],
            diverges_after=3 if record.run_spec.ablation in diverged else None,
        )
        for record in study.records
    ]
    for index, record in enumerate(records):
        # The factory adds noise to every epoch.
        wanted = accuracies[record.run_spec.ablation][record.run_spec.seed]
        last = msgspec.structs.replace(record.epochs[-1], test_accuracy_pct=wanted)
        records[index] = msgspec.structs.replace(record, epochs=[*record.epochs[:-1], last])
    return summarise(Study("s", study.spec, tuple(records), None, ()))


@pytest.mark.parametrize(
    ("target", "ablation", "words"),
    [
        # Without any spread.
        ([100.0] * 3, [50.0] * 3, "removing it hurts, above the margin"),
        ([100.0] * 3, [100.0] * 3, "no clear effect, below the margin"),
        ([99.4] * 5, [99.4] * 5, "no clear effect, below the margin"),
        # Too few seeds.
        ([99.4], [99.3], "no verdict from one seed"),
        ([99.4] * 3, [99.3], "no verdict from one seed"),
        ([99.4] * 3, [99.3, 99.2], "no verdict from 2 seeds"),
        ([99.4] * 3, [11.0], "large in this run; one seed"),
        ([99.4] * 3, [11.0, 12.0], "large in these runs; 2 seeds"),
        ([99.4], [99.3] * 5, "no verdict from one seed of the target"),
        ([99.4] * 2, [50.0] * 5, "large in these runs; 2 seeds of the target"),
    ],
)
def test_degenerate_studies_have_fitting_words(
    target: list[float], ablation: list[float], words: str
) -> None:
    results = results_of({"target": target, "no-relu": ablation})
    [_, row] = results.rows
    assert verdict_name(row, 0.1) == words
    assert (row.verdict is None) == (row.difference_pct.interval_95 is None) == ("seed" in words)


def test_diverged_runs_are_results_without_a_number_of_seeds() -> None:
    results = results_of(
        {"target": [99.4, 99.3, 99.5], "no-relu": [11.0, 98.0, 60.0]}, diverged=["no-relu"]
    )
    [_, row] = results.rows
    assert row.verdict and verdict_details(row) == "3 of 3 runs failed"


def test_runs_that_learn_nothing_have_failed_unless_the_target_learns_nothing() -> None:
    others = {"target": [99.5, 99.45, 99.55], "no-gap": [99.4, 99.5, 99.45]}
    results = results_of({**others, "no-batchnorm": [99.5, 10.1, 99.4]})
    row = next(row for row in results.rows if row.ablation.name == "no-batchnorm")
    assert [run.run_spec.seed for run in row.failed] == [1]
    assert row.difference_pct.interval_95 is None and row.verdict
    assert verdict_name(row, 0.1) == "1 of 3 runs failed, perhaps by chance"
    needed = row.verdict.seeds_to_decide
    assert verdict_details(row) == (
        f"the other runs: −0.05 points; a new study with about {needed} seeds would decide it"
    )
    # What is shown of the others does not change.
    assert results.model and results.model.spread_pct == pytest.approx(0.05)
    results = results_of({"target": [12.0, 11.0, 14.0], "no-gap": [9.8, 10.1, 11.2]})
    assert not any(row.failed for row in results.rows)


@pytest.mark.parametrize(
    ("failed", "target_failed", "words"),
    [
        (5, 0, "removing it hurts: 5 of 6 runs failed"),
        (2, 0, "2 of 6 runs failed, perhaps by chance"),
        (0, 1, "the target failed at some seeds, perhaps by chance"),
        (6, 0, "removing it hurts, above the margin"),
    ],
)
def test_failures_of_some_runs_are_counted(failed: int, target_failed: int, words: str) -> None:
    def runs(number: int) -> list[float]:
        return [10.0] * number + [99.4, 99.5, 99.45, 99.5, 99.4, 99.45][number:]

    results = results_of({"target": runs(target_failed), "no-batchnorm": runs(failed)})
    [_, row] = results.rows
    assert verdict_name(row, 0.1) == words
    compared = compare_ablations(results.study, "no-batchnorm", "target")
    verdict = compared.verdict
    assert verdict and (verdict.direction, verdict.size) == (
        row.verdict.direction,
        row.verdict.size,
    )
    assert ("of 12 runs failed" in verdict_name(compared, 0.1)) == (failed != 6)


@given(st.tuples(*[st.integers(3, 40)] * 2), st.data())
def test_failures_are_judged_by_fishers_test(
    num_runs: tuple[int, int], data: st.DataObject
) -> None:
    failed = tuple(data.draw(st.integers(0, runs)) for runs in num_runs)
    table = [failed, [runs - one for one, runs in zip(failed, num_runs, strict=True)]]
    p_value = stats.fisher_exact(table, alternative="greater").pvalue
    assert tail_of_failures(failed, num_runs) == pytest.approx(p_value)
    verdict = judge_failures(failed, num_runs, 0.05)
    assert verdict and (verdict.direction == "hurts") == (p_value < 0.025)
    if needed := verdict.seeds_to_decide:
        rates = [one / runs for one, runs in zip(failed, num_runs, strict=True)]
        expected = [int(rates[0] * needed), int(np.ceil(rates[1] * needed))]
        assert judge_failures(expected, (needed, needed), 0.05).direction == "hurts"


def test_details_of_an_uncertain_size_invite_no_further_seeds() -> None:
    [_, row] = make_results({"target": range(3), "no-gap": range(3)}).rows
    for needed, words in (
        (14, "a new study with about 14 seeds would decide it"),
        (None, "more than 1,000 seeds"),
    ):
        verdict = Verdict("hurts", "uncertain", seeds_to_decide=needed)
        found = msgspec.structs.replace(row, verdict=verdict)
        assert words in verdict_details(found)
        assert "more seeds" not in verdict_details(found)
        assert verdict_name(found, 0.1) == "removing it hurts, size uncertain"
    assert verdict_details(msgspec.structs.replace(row, verdict=Verdict("hurts", "above"))) == ""


@pytest.mark.parametrize("effect", [0.0, 0.05, 0.25])
def test_predicted_seeds_decide_80_percent_of_studies(effect: float) -> None:
    needed = seeds_to_decide(effect, 0.1, (0.25, 0.25), 2.5)
    chance, decided = np.random.default_rng(4), 0
    for _ in range(400):
        runs = {
            name: dict(enumerate(chance.normal(99 + mean, 0.25, needed)))
            for name, mean in (("one", effect), ("target", 0.0))
        }
        pool = pool_variance({name: list(found.values()) for name, found in runs.items()})
        found = difference("one", "target", runs, pool, level=0.0124)
        decided += judge_size(found.interval_95, 0.1) != "uncertain"
    assert decided / 400 == pytest.approx(0.8, abs=0.07)


def test_no_number_of_seeds_decides_an_effect_at_the_margin() -> None:
    assert seeds_to_decide(-0.1, 0.1, (0.05, 0.05), 2.5) is None
    assert seeds_to_decide(0.1001, 0.1, (0.05, 0.05), 2.5) is None
    assert seeds_to_decide(0.2, 0.1, (0.05, 0.05), 2.5, num_open=9) < seeds_to_decide(
        0.2, 0.1, (0.05, 0.05), 2.5
    )


def test_target_gets_dunnetts_share() -> None:
    assert [target_seeds(5, number) for number in (0, 1, 4, 15)] == [5, 5, 10, 20]


def test_seeds_to_detect_is_about_the_librarys_answer() -> None:
    exact = TTestPower().solve_power(0.02 / 0.06, alpha=0.05, power=0.8)
    assert seeds_to_detect(0.02, 0.06) == pytest.approx(exact, abs=2)
    assert seeds_to_detect(-0.02, 0.06) == seeds_to_detect(0.02, 0.06)
    assert seeds_to_detect(1.0, 1e-6) == 2


def test_looks_share_the_level() -> None:
    assert level_of_look(None) == 0.05
    assert level_of_look(PLAN) == pytest.approx(0.05 / 3)


def test_departures_from_the_plan_are_found_and_stated() -> None:
    num_seeds = {"no-gap": 21, "no-relu": 7, "no-maxpool": 5, "no-dropout": 0}
    assert outside_plan(PLAN, num_seeds) == ["no-gap", "no-maxpool"]
    assert before_look(PLAN, num_seeds, 0) == ["no-relu"]
    assert outside_plan(None, num_seeds) == before_look(None, num_seeds, 0) == []
    # The target needs 10 times the square root of 2; a look is not complete without it.
    at_ten = {"no-relu": 10, "no-gap": 10, "no-dropout": 5}
    assert before_look(PLAN, at_ten, 15) == []
    assert before_look(PLAN, at_ten, 14) == ["no-relu", "no-gap"]
    one_look = msgspec.structs.replace(PLAN, looks=(10,))
    assert before_look(one_look, {"no-relu": 10, "no-gap": 9}, 10) == ["no-gap"]
    spec = msgspec.structs.replace(make_spec(), seed_plan=PLAN)
    study = make_study({"target": range(8), "no-relu": range(7), "no-maxpool": range(5)}, spec=spec)
    after_plan, provisional = notices(spec, study.records)
    assert after_plan == (
        "Seeds or ablations were added after the plan (no-maxpool), so verdicts no longer hold their "
        "error rate of 5 %."
    )
    assert (
        "The planned look at no-relu is not complete (looks at 5, 10 and 20 seeds, more of the target), so its verdict is provisional"
        in provisional
    )
    row = next(row for row in summarise(study).rows if row.ablation.name == "no-relu")
    assert verdict_name(row, 0.1).startswith("provisional: removing it hurts")
    assert notices(make_spec(), study.records) == []


def test_planned_looks_widen_intervals_and_planned_ablations_count() -> None:
    seeds = {"target": range(5), "no-gap": range(5)}
    planned = make_results(seeds, spec=msgspec.structs.replace(make_spec(), seed_plan=PLAN))
    one_look = make_results(seeds)
    assert (planned.model.num_compared, planned.model.num_looks) == (2, 3)
    assert (one_look.model.num_compared, one_look.model.num_looks) == (1, 1)
    [wide, narrow] = [found.rows[1].difference_pct for found in (planned, one_look)]
    assert wide.standard_error == narrow.standard_error
    assert wide.critical_value > narrow.critical_value
    assert wide.interval_95 == pytest.approx(
        [wide.mean + side * wide.critical_value * wide.standard_error for side in (-1, 1)]
    )


def test_open_ablations_are_planned_undecided_and_before_the_last_look() -> None:
    spec = msgspec.structs.replace(
        make_spec(),
        seed_plan=SeedPlan((5, 10), ("no-gap", "no-relu", "no-maxpool", "no-conv-bias")),
    )
    results = make_results(
        # Decided; undecided; at the last look; without runs; not planned.
        {
            "target": range(10),
            "no-relu": range(5),
            "no-gap": range(3),
            "no-maxpool": range(10),
            "no-dropout": range(2),
        },
        spec=spec,
    )
    rows = [
        msgspec.structs.replace(row, verdict=Verdict("no clear effect", "uncertain"))
        if row.ablation.name in ("no-gap", "no-maxpool", "no-dropout")
        else row
        for row in results.rows
    ]
    assert open_ablations(msgspec.structs.replace(results, rows=rows)) == ["no-gap", "no-conv-bias"]
    assert open_ablations(make_results({"target": range(3), "no-gap": range(3)})) == []


def test_resolution_is_a_uniform_error_of_one_image() -> None:
    chance = np.random.default_rng(0).uniform(-0.5, 0.5, 100_000) / 360 * 100
    assert resolution_pct(360) == pytest.approx(chance.std(), rel=0.01)
