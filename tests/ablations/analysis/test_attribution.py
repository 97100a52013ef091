"""Main effects, interactions and Shapley values of ingredients."""

from collections.abc import Sequence
from itertools import cycle, permutations
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas import DataFrame
from statsmodels.formula.api import ols

from ablations.analysis.attribution import (
    Attribution,
    Cells,
    attribute,
    contribution_with_and_without,
)
from ablations.catalogue.designs import subsets

ORDER = ["a", "b", "c", "d"]


def random_cells(seed: int, names: list[str], num_seeds: int = 3) -> Cells:
    chance = np.random.default_rng(seed)
    return {
        removed: {k: float(chance.normal(99, 1)) for k in range(num_seeds)}
        for removed in subsets(names)
    }


def factorial_of(cells: Cells) -> Attribution:
    [found] = attribute(cells, ORDER)
    assert found.is_factorial
    return found


cells_of_factorials = st.builds(
    random_cells, st.integers(0, 10**6), st.sampled_from([["a", "b"], ["a", "b", "c"], ORDER])
)


def test_two_by_two_worked_by_hand() -> None:
    # Without a: 95, without b: 97, without both: 80, whole: 99.
    cells = {
        frozenset[str](): {0: 99.0},
        frozenset("a"): {0: 95.0},
        frozenset("b"): {0: 97.0},
        frozenset("ab"): {0: 80.0},
    }
    found = factorial_of(cells)
    assert found.full_minus_bare.mean == 19
    a, b = found.contributions
    assert (a.name, b.name) == ("a", "b")
    assert (a.left_out.mean, a.alone.mean) == (4, 17)
    assert a.main_effect.mean == a.shapley.mean == 10.5
    assert (b.left_out.mean, b.alone.mean, b.shapley.mean) == (2, 15, 8.5)
    # a contributes 17 alone and 4 with b: half of the difference.
    [interaction] = found.interactions
    assert interaction.effect.mean == -6.5
    assert contribution_with_and_without(found, interaction) == (4, 17)
    assert [step.adds for step in found.ladder] == [None, "a", "b"]
    assert [step.accuracy_pct.mean for step in found.ladder] == [80, 97, 99]
    assert [step.gain.mean for step in found.ladder if step.gain] == [17, 2]


@given(cells_of_factorials)
def test_shapley_values_are_means_over_all_orders(cells: Cells) -> None:
    found = factorial_of(cells)
    means = {removed: fmean(by_seed.values()) for removed, by_seed in cells.items()}
    for one in found.contributions:
        gains = []
        for order in permutations(found.names):
            removed = frozenset(found.names) - set(order[: order.index(one.name)])
            gains.append(means[removed - {one.name}] - means[removed])
        assert one.shapley.mean == pytest.approx(fmean(gains), abs=1e-8)


def unequal_cells(names: list[str], sizes: Sequence[int]) -> Cells:
    """Cells with one standard deviation and several numbers of seeds."""
    chance = np.random.default_rng(7)
    cells = {}
    for removed, size in zip(subsets(names), cycle(sizes), strict=False):
        values = chance.normal(0, 1, size)
        values = 99 - len(removed) ** 2 + (values - values.mean()) / values.std(ddof=1)
        cells[removed] = dict(enumerate(map(float, values)))
    return cells


@pytest.mark.parametrize("sizes", [(3,), (5, 3, 4)])
@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c"]])
def test_effects_and_intervals_are_those_of_least_squares(
    names: list[str], sizes: Sequence[int]
) -> None:
    # Coded -1 and +1, coefficients are half of the effects (Montgomery, section 6.3).
    cells = unequal_cells(names, sizes)
    found, *_ = attribute(cells, ORDER)
    runs = [
        {name: -1 if name in removed else 1 for name in ORDER} | {"accuracy": accuracy}
        for removed, by_seed in cells.items()
        for accuracy in by_seed.values()
    ]
    fitted = ols(f"accuracy ~ {' * '.join(found.names)}", DataFrame(runs)).fit()
    intervals = fitted.conf_int(0.05)
    effects = {one.name: one.main_effect for one in found.contributions}
    effects |= {":".join(one.names): one.effect for one in found.interactions}
    for term, effect in effects.items():
        assert effect.mean == pytest.approx(2 * fitted.params[term])
        assert effect.interval_95 == pytest.approx(2 * intervals.loc[term], abs=1e-5)
    # A contribution is a contrast of dummy-coded cells.
    for one in found.contributions:
        frame = DataFrame(runs)
        frame["cell"] = frame[names].astype(str).agg("".join, axis=1)
        means = ols("accuracy ~ 0 + cell", frame).fit()
        code = "".join("-1" if name == one.name else "1" for name in names)
        test = means.t_test(f"cell[{'1' * len(names)}] - cell[{code}] = 0")
        assert one.left_out.interval_95 == pytest.approx(test.conf_int(0.05)[0], abs=1e-5)
    assert sorted(set(found.num_seeds)) == sorted(set(sizes))


TWO, THREE = random_cells(0, ["a", "b"]), random_cells(1, ["a", "b", "c"])
FIRST_SEED = {removed: {0: found[0]} for removed, found in THREE.items()}
LADDER = {frozenset("acd"): {0: 96.0}, frozenset("cd"): {0: 97.0}, frozenset("d"): {0: 98.0}}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({removed: TWO[removed] for removed in TWO if len(removed) < 2}, [], id="singles"),
        pytest.param({**TWO, frozenset(): {}}, [], id="no run of the full network"),
        pytest.param(
            {**TWO, frozenset("a"): {0: 1.0, 7: 1.0}}, [("ab", 2, True)],
            id="the fewest seeds, shared or not",
        ),
        pytest.param(
            {frozenset("ad"): {0: 1.0}, **dict(reversed(THREE.items()))},
            [("abc", 3, True)],
            id="the largest set",
        ),
        pytest.param(
            {**FIRST_SEED, **TWO}, [("abc", 1, True), ("ab", 3, True)],
            id="a smaller set with more seeds",
        ),
        pytest.param(
            {**TWO, frozenset("cd"): {0: 97.0}, frozenset("d"): {0: 98.0}},
            [("ab", 3, True), ("cd", 1, False)],
            id="a ladder of other ingredients",
        ),
        pytest.param(
            {**TWO, **LADDER}, [("ab", 3, True), ("acd", 1, False)],
            id="a longer ladder",
        ),
        pytest.param(
            {**THREE, frozenset("a"): {0: 1.0, 2: 1.0}},
            [("abc", 2, True), ("bc", 3, True)],
            id="a factorial design with fewer seeds than the ladder of the same set",
        ),
    ],
)  # fmt: skip
def test_sets_that_are_attributed(cells: Cells, expected: list[object]) -> None:
    found = attribute(cells, ORDER)
    assert [("".join(one.names), min(one.num_seeds), one.is_factorial) for one in found] == expected


def test_ladder_and_add_one_in_need_no_factorial() -> None:
    cells = random_cells(0, ["a", "b", "c"])
    ladder = {removed: cells[removed] for removed in map(frozenset, ["", "c", "bc", "abc"])}
    [found] = attribute(ladder, ORDER)
    assert not found.is_factorial
    assert [step.adds for step in found.ladder] == [None, "a", "b", "c"]
    assert found.interactions == []
    assert [one.shapley for one in found.contributions] == [None] * 3
    assert [one.alone is not None for one in found.contributions] == [True, False, False]
    assert [one.left_out is not None for one in found.contributions] == [False, False, True]

    one_in = {removed: cells[removed] for removed in map(frozenset, ["", "ab", "ac", "bc", "abc"])}
    [found] = attribute(one_in, ORDER)
    assert all(one.alone for one in found.contributions)
    assert found.ladder == []
