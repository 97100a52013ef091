"""Paired statistics: against libraries, worked examples and their invariants."""

import gc
from collections.abc import Sequence
from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablations.analysis.statistics import (
    PairedDifference,
    estimate,
    holm,
    mcnemar_p,
    paired_difference,
    paired_ratio,
    sign_flip_p,
    t_interval_95,
)

images_right = st.integers(9000, 10_000)
"""Accuracies are counts of images: percentages in steps of 0.01."""
pairs = st.lists(st.tuples(images_right, images_right), min_size=1, max_size=9)


def difference(found: Sequence[tuple[int, int]]) -> PairedDifference:
    return paired_difference(
        {seed: one / 100 for seed, (one, _) in enumerate(found)},
        {seed: other / 100 for seed, (_, other) in enumerate(found)},
    )


def test_a_case_worked_by_hand() -> None:
    # Differences 1, 2, 3, 6: mean 3, standard deviation sqrt(14 / 3).
    found = paired_difference({0: 11, 1: 12, 2: 13, 3: 16}, dict.fromkeys(range(5), 10))
    assert found.by_seed == {0: 1, 1: 2, 2: 3, 3: 6}
    assert found.mean == 3
    assert found.cohens_d_z == pytest.approx(3 / sqrt(14 / 3))
    assert found.share_above == 1
    assert found.sign_flip_p == found.sign_flip_floor == 2 / 2**4


@given(pairs)
def test_tests_agree_with_the_library(found: list[tuple[int, int]]) -> None:
    result = difference(found)
    one, other = ([number / 100 for number in column] for column in zip(*found, strict=True))
    if len({a - b for a, b in found}) < 2:
        assert result.interval_95 is None and result.t_test_p is None
        assert result.cohens_d_z is None
        return
    expected = stats.ttest_rel(one, other)
    assert result.t_test_p == pytest.approx(expected.pvalue, rel=1e-6)
    interval = expected.confidence_interval(0.95)
    assert result.interval_95 == pytest.approx((interval.low, interval.high), abs=1e-6)


@given(pairs)
def test_sign_flips_are_counted_exactly(found: list[tuple[int, int]]) -> None:
    # In whole images, where equal is equal.
    differences = [a - b for a, b in found]
    if len(differences) < 2:
        assert difference(found).sign_flip_p is None
        return
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    expected = sum(value >= abs(sum(differences)) for value in sums) / len(sums)
    assert difference(found).sign_flip_p == pytest.approx(expected)


def test_sign_flips_of_many_seeds_are_drawn_the_same_each_time() -> None:
    values = list(np.random.default_rng(3).normal(0.4, 1, 25))
    assert sign_flip_p(values) == sign_flip_p(values)
    assert sign_flip_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)


@given(pairs)
def test_only_shared_seeds_count(found: list[tuple[int, int]]) -> None:
    variant = {seed: one / 100 for seed, (one, _) in enumerate(found)}
    target = {seed: other / 100 for seed, (_, other) in enumerate(found)}
    assert paired_difference(variant | {100: 5.0}, target | {200: 7.0}) == paired_difference(
        variant, target
    )
    assert paired_difference(variant, {300: 1.0}) is None


@given(st.floats(90, 100), st.integers(1, 12))
def test_values_without_spread_claim_no_certainty(value: float, count: int) -> None:
    assert estimate(dict.fromkeys(range(count), value)).interval_95 is None
    # Equal but for rounding.
    assert t_interval_95([99.4 - 99.42, 99.3 - 99.32]) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    names = [str(index) for index in range(len(p_values))]
    found = holm(dict(zip(names, p_values, strict=True)))
    assert list(found) == names
    with pytest.MonkeyPatch.context() as patch:
        # It collects garbage at every call, which takes half a second in a process of this size.
        patch.setattr(gc, "collect", lambda: 0)
        expected = multipletests(p_values, method="holm")[1]
    assert list(found.values()) == pytest.approx(list(expected))
    assert holm({}) == {}


@given(st.sets(st.integers(0, 200)), st.sets(st.integers(0, 200)))
def test_mcnemar_is_the_binomial_test_of_the_disagreements(one: set[int], other: set[int]) -> None:
    p = mcnemar_p(sorted(one), sorted(other))
    assert p == pytest.approx(mcnemar_p(sorted(other), sorted(one)))
    if one == other:
        assert p == 1
        return
    from statsmodels.stats.contingency_tables import mcnemar

    table = [[0, len(one - other)], [len(other - one), 0]]
    assert p == pytest.approx(mcnemar(table, exact=True).pvalue)


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), min_size=1, max_size=8))
def test_the_inverse_ratio_has_the_inverse_interval(found: list[tuple[float, float]]) -> None:
    assert paired_ratio([2.0, 4.0], [1.0, 2.0]).mean == pytest.approx(2)
    one, other = ([pair[i] for pair in found] for i in (0, 1))
    there, back = paired_ratio(one, other), paired_ratio(other, one)
    assert there.mean * back.mean == pytest.approx(1)
    if there.interval_95:
        assert back.interval_95 == pytest.approx(
            (1 / there.interval_95[1], 1 / there.interval_95[0])
        )
        assert there.interval_95[0] < there.mean < there.interval_95[1]
