"""Main effects, interactions and Shapley values of ingredients."""

from itertools import combinations, permutations
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.api import OLS, add_constant
from statsmodels.stats.multitest import multipletests

from ablations.analysis.attribution import (
    Attribution,
    Cells,
    attribute,
    contribution_with_and_without,
    subsets,
)

ORDER = ["a", "b", "c", "d"]


def random_cells(seed: int, names: list[str], num_seeds: int = 3) -> Cells:
    chance = np.random.default_rng(seed)
    return {
        frozenset(removed): {k: float(chance.normal(99, 1)) for k in range(num_seeds)}
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
    assert a.left_out and a.alone and a.main_effect and a.shapley
    assert (a.left_out.mean, a.alone.mean) == (4, 17)
    assert a.main_effect.mean == a.shapley.mean == 10.5
    assert b.left_out and b.alone and b.shapley
    assert (b.left_out.mean, b.alone.mean, b.shapley.mean) == (2, 15, 8.5)
    # a contributes 17 alone and 4 with b: half of the difference.
    assert [one.effect.mean for one in found.interactions] == [-6.5]
    assert [step.adds for step in found.ladder] == [None, "a", "b"]
    assert [step.accuracy_pct.mean for step in found.ladder] == [80, 97, 99]
    assert [step.gain.mean for step in found.ladder if step.gain] == [17, 2]


@given(cells_of_factorials)
def test_shapley_values_and_gains_add_up(cells: Cells) -> None:
    found = factorial_of(cells)
    for seed in found.seeds:
        total = sum(one.shapley.by_seed[seed] for one in found.contributions if one.shapley)
        assert total == pytest.approx(found.full_minus_bare.by_seed[seed])
        gains = [step.gain.by_seed[seed] for step in found.ladder if step.gain]
        assert sum(gains) == pytest.approx(found.full_minus_bare.by_seed[seed])


@given(cells_of_factorials)
def test_shapley_values_are_means_over_all_orders(cells: Cells) -> None:
    found = factorial_of(cells)
    for one in found.contributions:
        gains = []
        for order in permutations(found.names):
            there = set(order[: order.index(one.name)])
            removed = frozenset(found.names) - there
            gains.append(cells[removed - {one.name}][0] - cells[removed][0])
        assert one.shapley is not None
        assert one.shapley.by_seed[0] == pytest.approx(fmean(gains))


@given(cells_of_factorials)
def test_contribution_with_and_without_a_partner_is_the_mean_over_the_rest(cells: Cells) -> None:
    found = factorial_of(cells)
    for one in found.interactions:
        name, other = one.names
        rest = [entry for entry in found.names if entry not in one.names]
        expected = [
            fmean(
                cells[removed][seed] - cells[removed | {name}][seed]
                for chosen in subsets(rest)
                for removed in [frozenset(chosen) | gone]
                for seed in found.seeds
            )
            for gone in (frozenset[str](), frozenset({other}))
        ]
        assert contribution_with_and_without(found, one) == pytest.approx(tuple(expected))


@given(cells_of_factorials)
def test_effects_agree_with_least_squares(cells: Cells) -> None:
    # Coded -1 and +1, coefficients are half of the effects (Montgomery, section 6.3).
    found = factorial_of(cells)
    names = found.names
    rows, accuracies = [], []
    for removed, by_seed in cells.items():
        signs = {name: -1 if name in removed else 1 for name in names}
        products = [
            np.prod([signs[name] for name in chosen])
            for size in range(1, len(names) + 1)
            for chosen in combinations(names, size)
        ]
        for accuracy in by_seed.values():
            rows.append(products)
            accuracies.append(accuracy)
    fitted = OLS(accuracies, add_constant(np.array(rows))).fit().params[1:]
    for one, coefficient in zip(found.contributions, fitted, strict=False):
        assert one.main_effect is not None
        assert one.main_effect.mean == pytest.approx(2 * coefficient)
    for interaction, coefficient in zip(found.interactions, fitted[len(names) :], strict=False):
        assert interaction.effect.mean == pytest.approx(2 * coefficient)


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.floats(50, 99))
def test_without_interaction_all_measures_agree(contributions: list[float], bare: float) -> None:
    cells = {
        frozenset(removed): {
            seed: bare
            + sum(w for n, w in zip(ORDER, contributions, strict=True) if n not in removed)
            for seed in range(2)
        }
        for removed in subsets(ORDER)
    }
    found = factorial_of(cells)
    for one, true in zip(found.contributions, contributions, strict=True):
        for measure in (one.left_out, one.alone, one.main_effect, one.shapley):
            assert measure is not None
            assert measure.mean == pytest.approx(true, abs=1e-9)
    assert all(one.effect.mean == pytest.approx(0, abs=1e-9) for one in found.interactions)


def test_only_shared_seeds_are_used() -> None:
    cells = {removed: dict(found) for removed, found in random_cells(0, ["a", "b"]).items()}
    cells[frozenset("a")][7] = 50.0
    del cells[frozenset("b")][1]
    found = factorial_of(cells)
    assert found.seeds == [0, 2]


def test_the_largest_set_counts_and_others_are_ignored() -> None:
    cells = {**random_cells(0, ["a", "b"]), **random_cells(1, ["a", "b", "c"])}
    cells[frozenset("ad")] = {0: 1.0}
    assert factorial_of(dict(reversed(cells.items()))).names == ["a", "b", "c"]


def test_a_larger_set_with_fewer_seeds_does_not_hide_a_smaller_one() -> None:
    first_seed = {
        removed: {0: found[0]} for removed, found in random_cells(1, ["a", "b", "c"]).items()
    }
    found = attribute({**first_seed, **random_cells(0, ["a", "b"])}, ORDER)
    assert [(one.names, one.seeds) for one in found] == [
        (["a", "b", "c"], [0]), (["a", "b"], [0, 1, 2]),
    ]  # fmt: skip
    # A set of ingredients is listed once, by its most complete design.
    without_one = {
        removed: dict(by_seed) for removed, by_seed in random_cells(0, ["a", "b", "c"]).items()
    }
    del without_one[frozenset("a")][1]
    assert [one.seeds for one in attribute(without_one, ORDER) if one.names == ["a", "b", "c"]] == [
        [0, 2]
    ]


def test_contributions_alone_and_left_out_are_compared_by_paired_tests() -> None:
    found = factorial_of(random_cells(3, ["a", "b"]))
    tests = {}
    for one in found.contributions:
        assert one.alone and one.left_out
        gaps = [one.alone.by_seed[seed] - one.left_out.by_seed[seed] for seed in found.seeds]
        tests[one.name] = stats.ttest_1samp(gaps, 0).pvalue
    expected = multipletests(list(tests.values()), method="holm")[1]
    for one, p in zip(found.contributions, expected, strict=True):
        assert one.alone_minus_left_out_p == pytest.approx(p)


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


def test_nothing_to_attribute() -> None:
    cells = random_cells(0, ["a", "b"])
    assert attribute({}, ORDER) == []
    singles = {removed: found for removed, found in cells.items() if len(removed) < 2}
    assert attribute(singles, ORDER) == []
    # The whole network shares no seed with the bare one.
    assert attribute({**cells, frozenset(): {9: 99.0}}, ORDER) == []


def test_a_ladder_beside_a_factorial_hides_neither() -> None:
    cells = {**random_cells(0, ["a", "b"]), frozenset("cd"): {0: 97.0}, frozenset("d"): {0: 98.0}}
    both = attribute(cells, ORDER)
    assert [(found.names, found.is_factorial) for found in both] == [
        (["a", "b"], True), (["c", "d"], False),
    ]  # fmt: skip
    longer = {frozenset("acd"): {0: 96.0}, frozenset("cd"): {0: 97.0}, frozenset("d"): {0: 98.0}}
    both = attribute({**random_cells(0, ["a", "b"]), **longer}, ORDER)
    assert [(found.names, found.seeds) for found in both] == [
        (["a", "b"], [0, 1, 2]), (["a", "c", "d"], [0]),
    ]  # fmt: skip
