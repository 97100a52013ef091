"""Main effects, interactions and Shapley values of removing ingredients."""

from collections.abc import Sequence
from itertools import cycle, permutations
from math import inf
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas import DataFrame
from statsmodels.formula.api import ols

from ablations.analysis import spread
from ablations.analysis.attribution import Attribution, Cells, attribute
from ablations.analysis.intervals import Effect
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
    assert found.all_removed.mean == -19
    a, b = found.effects
    assert (a.name, b.name) == ("a", "b")
    assert (a.removed_first.mean, a.removed_last.mean) == (-4, -17)
    assert a.main_effect.mean == a.shapley_value.mean == -10.5
    assert (b.removed_first.mean, b.removed_last.mean, b.shapley_value.mean) == (-2, -15, -8.5)
    # Removing a costs 4 with b and 17 without it; removing both costs 13 more than the sum of each.
    [interaction] = found.interactions
    assert interaction.effect.mean == found.non_additivity.mean == -13
    assert interaction.effect.interval_95 == found.non_additivity.interval_95
    assert [(step.name, step.effect.mean) for step in found.ladder] == [("b", -2), ("a", -17)]


def test_a_difference_that_is_known_keeps_its_interval() -> None:
    known = {
        frozenset(names): Effect(-float(len(names)), (9, 9), 1.0, 2.0, (-9.0, 9.0))
        for names in ("a", "b", "ab")
    }
    [found] = attribute(random_cells(0, ["a", "b"]), ORDER, differences=known)
    assert found.all_removed == known[frozenset("ab")]
    assert [one.removed_first for one in found.effects] == [known[frozenset(n)] for n in "ab"]
    assert found.ladder[0].effect == known[frozenset("b")]
    assert found.ladder[1].effect == found.effects[0].removed_last
    assert found.effects[0].removed_last not in known.values()


@given(cells_of_factorials)
def test_shapley_values_are_means_over_all_orders(cells: Cells) -> None:
    found = factorial_of(cells)
    means = {removed: fmean(by_seed.values()) for removed, by_seed in cells.items()}
    for one in found.effects:
        effects = []
        for order in permutations(found.names):
            before = frozenset(order[: order.index(one.name)])
            effects.append(means[before | {one.name}] - means[before])
        assert one.shapley_value.mean == pytest.approx(fmean(effects), abs=1e-8)
    bare_minus_full = means[frozenset(found.names)] - means[frozenset()]
    assert sum(one.shapley_value.mean for one in found.effects) == pytest.approx(bare_minus_full)
    assert found.all_removed.mean == pytest.approx(bare_minus_full)
    singly = sum(one.removed_first.mean for one in found.effects)
    assert found.non_additivity.mean == pytest.approx(bare_minus_full - singly, abs=1e-7)
    assert sum(step.effect.mean for step in found.ladder) == pytest.approx(bare_minus_full)


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
    names: list[str], sizes: Sequence[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Least squares pools the variance in full.
    monkeypatch.setattr(spread, "CAUTION", inf)
    # Coded -1 and +1, coefficients are half of main effects (Montgomery, section 6.3), and a quarter
    # of interactions.
    cells = unequal_cells(names, sizes)
    found, *_ = attribute(cells, ORDER)
    runs = [
        {name: 1 if name in removed else -1 for name in ORDER} | {"accuracy": accuracy}
        for removed, by_seed in cells.items()
        for accuracy in by_seed.values()
    ]
    fitted = ols(f"accuracy ~ {' * '.join(found.names)}", DataFrame(runs)).fit()
    intervals = fitted.conf_int(0.05)
    effects = {one.name: one.main_effect for one in found.effects}
    effects |= {":".join(one.names): one.effect for one in found.interactions}
    for term, effect in effects.items():
        times = 2 + 2 * term.count(":")
        assert effect.mean == pytest.approx(times * fitted.params[term])
        assert effect.interval_95 == pytest.approx(times * intervals.loc[term], abs=1e-5)
    # An ingredient's effect is a contrast of dummy-coded cells.
    for one in found.effects:
        frame = DataFrame(runs)
        frame["cell"] = frame[names].astype(str).agg("".join, axis=1)
        means = ols("accuracy ~ 0 + cell", frame).fit()
        code = "".join("1" if name == one.name else "-1" for name in names)
        test = means.t_test(f"cell[{code}] - cell[{'-1' * len(names)}] = 0")
        assert one.removed_first.interval_95 == pytest.approx(test.conf_int(0.05)[0], abs=1e-5)
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
    assert [step.name for step in found.ladder] == ["c", "b", "a"]
    assert found.interactions == []
    assert found.non_additivity is None
    assert [one.shapley_value for one in found.effects] == [None] * 3
    assert [one.removed_last is not None for one in found.effects] == [True, False, False]
    assert [one.removed_first is not None for one in found.effects] == [False, False, True]

    one_in = {removed: cells[removed] for removed in map(frozenset, ["", "ab", "ac", "bc", "abc"])}
    [found] = attribute(one_in, ORDER)
    assert all(one.removed_last for one in found.effects)
    assert found.ladder == []
