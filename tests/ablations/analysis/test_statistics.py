"""Means with intervals, and ratios: against libraries and their invariants."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.weightstats import DescrStatsW

from ablations.analysis.statistics import estimate, paired_ratio, t_interval_95


@given(st.lists(st.integers(9000, 10_000), min_size=2, max_size=9))
def test_interval_of_a_mean_is_that_of_the_library(counts: list[int]) -> None:
    found = estimate({seed: count / 100 for seed, count in enumerate(counts)})
    assert found.standard_deviation == pytest.approx(np.std(counts, ddof=1) / 100)
    if len(set(counts)) > 1:
        values = DescrStatsW(np.array(counts) / 100)
        assert found.interval_95 == pytest.approx(values.tconfint_mean(0.05), abs=1e-6)


@given(st.floats(90, 100), st.integers(1, 12))
def test_values_without_spread_claim_no_certainty(value: float, count: int) -> None:
    assert estimate(dict.fromkeys(range(count), value)).interval_95 is None
    # Equal but for rounding.
    assert t_interval_95([99.4 - 99.42, 99.3 - 99.32]) is None


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
