"""Verdicts: which conclusions the tests support."""

from collections.abc import Sequence
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

from ablations.analysis.statistics import PairedDifference, paired_difference, t_interval_95
from ablations.analysis.verdicts import (
    Verdict,
    beyond_margin_p,
    decide_verdicts,
    seeds_to_decide,
    seeds_to_detect,
    within_margin_p,
)

differences = st.lists(
    st.integers(-60, 60).map(lambda images: images / 100), min_size=2, max_size=10
)


def paired(values: Sequence[float]) -> PairedDifference:
    return paired_difference(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))


def verdict(values: Sequence[float], margin: float = 0.1) -> Verdict:
    return decide_verdicts({"one": paired(values)}, margin)["one"]


@pytest.mark.parametrize(
    ("values", "kind", "effect"),
    [
        ([-0.50, -0.45, -0.55, -0.52, -0.48], "matters", "hurts"),
        ([0.50, 0.45, 0.55, 0.52, 0.48], "matters", "helps"),
        ([-0.05, -0.04, -0.06, -0.05, -0.04], "real but small", "hurts"),
        ([0.02, -0.02, 0.01, -0.01, 0.01], "negligible", "unclear"),
        ([-0.3, 0.1, -0.1, 0.2, -0.2], "undecided", "unclear"),
        # Significantly worse, and not shown to be beyond the margin.
        ([-0.14, -0.12, -0.13, -0.11, -0.08], "undecided", "hurts"),
        ([-3.0], "one seed", "unclear"),
        ([-0.2, -0.2, -0.2], "undecided", "unclear"),
    ],
)
def test_verdicts(values: list[float], kind: str, effect: str) -> None:
    found = verdict(values)
    assert (found.kind, found.effect) == (kind, effect)
    assert (found.more_seeds is not None) == (kind == "undecided" and len(set(values)) > 1)


@given(differences)
def test_verdicts_on_one_ablation_follow_its_interval(values: list[float]) -> None:
    interval = t_interval_95(values)
    assume(interval is not None)
    low, high = interval
    assert (beyond_margin_p(values, 0.1) < 0.05) == (high < -0.1 or low > 0.1)
    # Without the number of seeds that would decide, which is slow to compute.
    with mock.patch("ablations.analysis.verdicts.seeds_to_decide", return_value=None):
        found = verdict(values)
    assert (found.kind == "matters") == (high < -0.1 or low > 0.1)
    if found.kind == "real but small":
        assert not low <= 0 <= high
    if found.kind == "negligible":
        assert low <= 0 <= high


@given(differences)
def test_two_one_sided_tests_agree_with_the_library(values: list[float]) -> None:
    assume(len(set(values)) > 1)
    from statsmodels.stats.weightstats import DescrStatsW

    assert within_margin_p(values, 0.1) == pytest.approx(
        DescrStatsW(values).ttost_mean(-0.1, 0.1)[0], abs=1e-9
    )


def test_more_comparisons_need_more_evidence() -> None:
    values = [-0.30, -0.20, -0.35, -0.25, -0.15]
    chance = np.random.default_rng(1)
    others = {f"other-{n}": paired(list(chance.normal(0, 0.3, 5).round(2))) for n in range(15)}
    among = decide_verdicts({"one": paired(values)} | others, 0.1)["one"]
    assert verdict(values).kind == "matters"
    assert among.kind == "undecided"


def test_predicted_seeds_decide_80_percent_of_studies() -> None:
    values = [-0.30, -0.10, -0.20, -0.02, -0.25]
    needed = seeds_to_decide(values, 0.1, num_compared=1)
    mean, deviation = np.mean(values), np.std(values, ddof=1)
    chance = np.random.default_rng(4)
    draws = chance.normal(mean, deviation, (400, needed))
    settled = [beyond_margin_p(list(row), 0.1) < 0.05 for row in draws]
    assert np.mean(settled) == pytest.approx(0.8, abs=0.06)


def test_seeds_to_detect_is_the_librarys_answer() -> None:
    needed = seeds_to_detect(0.05, 0.06, 0.8)
    exact = TTestPower().solve_power(0.05 / 0.06, alpha=0.05, power=0.8)
    assert needed - 1 < exact <= needed
    assert seeds_to_detect(-0.05, 0.06, 0.8) == needed
    assert seeds_to_detect(1e-6, 1.0) is None
    assert seeds_to_detect(1.0, 1e-6) == 2


@pytest.mark.parametrize("margin", [0.0, -0.1, float("nan")])
def test_margin_must_be_positive(margin: float) -> None:
    with pytest.raises(ValueError, match="needs a positive number"):
        decide_verdicts({}, margin)
