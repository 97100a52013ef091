"""Differences and intervals: against libraries, and against an own recomputation of the whole study."""

from collections.abc import Sequence
from math import inf, sqrt
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from ablations.analysis import spread
from ablations.analysis.intervals import (
    contrast,
    difference,
    dunnett_critical_value,
    family_level,
    seed_correlation,
    single_difference,
    with_new_images,
)
from ablations.analysis.spread import CAUTION, outlying, pool_variance, resolution_pct, spread_of
from ablations.analysis.summary import Results, summarise
from ablations.records.study import load_study
from tests.factories import make_results

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference"
FLOOR = resolution_pct(10_000)


def with_spread(size: int, mean: float, deviation: float) -> list[float]:
    """Values with exactly this mean and standard deviation."""
    values = np.linspace(-1, 1, size)
    return list(mean + deviation * values / values.std(ddof=1))


@pytest.mark.parametrize("sizes", [(5, 5, 5), (3, 5, 8, 4), (10,) * 9, (4, 30)])
def test_critical_values_are_those_of_scipys_dunnett_test(sizes: Sequence[int]) -> None:
    # With equal spreads, the library's pooled one is known, so its interval gives its critical value.
    groups = [with_spread(size, 99.0 + index, 0.1) for index, size in enumerate(sizes)]
    target = with_spread(6, 99.0, 0.1)
    found = stats.dunnett(*groups, control=target, random_state=1).confidence_interval(0.95)
    errors = 0.1 * np.sqrt(1 / np.array(sizes) + 1 / 6)
    expected = (found.high - found.low) / 2 / errors
    freedom = sum(sizes) + 6 - len(sizes) - 1
    ours = dunnett_critical_value(tuple(sizes), 6, freedom, 0.05)
    # The library integrates at random points.
    assert expected == pytest.approx(np.full(len(sizes), ours), rel=2e-3)


def test_two_independent_comparisons_are_integrated_by_scipy() -> None:
    # Comparisons without runs are independent: the studentised maximum of normal deviates.
    critical = dunnett_critical_value((0, 0), 1, 7, 0.01)

    def inside(s: float) -> float:
        density = stats.chi2.pdf(7 * s**2, 7) * 14 * s
        return density * (1 - 2 * stats.norm.sf(critical * s)) ** 2

    assert integrate.quad(inside, 0, 8)[0] == pytest.approx(0.99, abs=1e-6)
    assert critical < stats.t.isf(0.0025, 7)


def test_level_of_one_comparison_has_the_critical_value_of_all() -> None:
    level = family_level((5,) * 15, 5, 40, 0.05)
    critical = dunnett_critical_value((5,) * 15, 5, 40, 0.05)
    assert stats.t.isf(level / 2, 40) == pytest.approx(critical, abs=1e-5)


def test_equal_spreads_are_pooled() -> None:
    groups = {"a": with_spread(4, 9.0, 0.1), "b": with_spread(8, 9.5, 0.1), "c": [9.0]}
    pool = pool_variance(groups, FLOOR)
    assert pool[:2] == pytest.approx((0.1, 10)) and pool.floor == FLOOR
    expected = [(0.1, min(10, pool.weight + freedom)) for freedom in (3, 7, 0)]
    assert [spread_of(name, groups, pool) for name in groups] == expected
    # Many equal ones, by far more alike than chance makes them, count in full.
    groups = {index: with_spread(6, 99.0, 0.1) for index in range(50)}
    assert pool_variance(groups, FLOOR)[:3] == pytest.approx((0.1, 250, inf))


def test_pooled_interval_is_that_of_statsmodels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "CAUTION", inf)
    one, other = with_spread(4, 99.1, 0.1), with_spread(8, 99.5, 0.1)
    runs = {"one": dict(enumerate(one)), "other": dict(enumerate(other))}
    found = difference("one", "other", runs, pool_variance({"one": one, "other": other}, FLOOR))
    means = CompareMeans(DescrStatsW(one), DescrStatsW(other))
    assert found.interval_95 == pytest.approx(means.tconfint_diff(0.05), abs=1e-6)
    assert found.mean == pytest.approx(-0.4)
    assert found.by_seed == pytest.approx({seed: value - 99.5 for seed, value in enumerate(one)})


def test_seeds_are_not_paired() -> None:
    values = [99.1, 99.3, 99.2, 99.5]
    target = dict(enumerate(values))
    for runs in (
        target,
        dict(enumerate(reversed(values))),
        dict(zip((7, 8, 9, 10), values, strict=True)),
    ):
        found = single_difference(runs, target)
        assert found and found.mean == 0
        assert found.interval_95 == single_difference(target, target).interval_95


def pooled_weight(variances: np.ndarray, freedom: np.ndarray) -> float:
    """From how far variances differ by more than chance, a standard error above the estimate."""
    relative = variances / np.average(variances, weights=freedom) - 1
    chance = np.mean(2 / freedom)
    error = np.sqrt(np.mean(stats.chi2.var(freedom) ** 2 / freedom**4 * (2 + 12 / freedom)))
    square = (np.mean(relative**2) - chance) / (1 + chance) + error / sqrt(len(variances))
    return CAUTION * (4 + 2 / square)


def test_weight_of_the_pooled_variance_is_that_of_the_true_variances() -> None:
    # Scaled inverse chi-squared variances with 12 degrees of freedom: each group's own.
    chance = np.random.default_rng(2)
    deviations = np.sqrt(12 / chance.chisquare(12, 20_000))
    groups = {index: chance.normal(99, one, 6) for index, one in enumerate(deviations)}
    assert pool_variance(groups).weight / CAUTION == pytest.approx(12, rel=0.2)


def test_unequal_spreads_count_for_themselves() -> None:
    deviations = (0.02, 0.04, 0.1, 0.18, 0.2)
    groups = {str(one): with_spread(5, 99.0, one) for one in deviations}
    pool = pool_variance(groups, FLOOR)
    weight = pooled_weight(np.array(deviations) ** 2, np.full(5, 4))
    assert pool.weight == pytest.approx(weight, rel=1e-6)
    used = [spread_of(name, groups, pool) for name in groups]
    # The quiet ones are raised towards the pooled one, and noisier ones keep their own.
    assert all(one > own for (one, _), own in zip(used[:2], deviations, strict=False))
    assert [one for one, _ in used[3:]] == pytest.approx([0.18, 0.2])
    assert {freedom for _, freedom in used} == {pool.weight + 4}


def test_diverged_networks_do_not_change_the_spread_of_others() -> None:
    groups = {
        "target": with_spread(5, 99.4, 0.05),
        "a": with_spread(5, 99.0, 0.05),
        "b": [99.0, 98.9, 9.8],
    }
    without = pool_variance({name: groups[name] for name in ("target", "a")}, FLOOR)
    pool = pool_variance(groups, FLOOR, {"b": 1})
    assert pool[:3] == without[:3]
    assert pool[:2] == pytest.approx((0.05, 8))
    assert spread_of("b", groups, pool) == (pytest.approx(np.std(groups["b"], ddof=1)), 2)
    # A mean of runs of which some failed has no interval; one of runs that all failed has.
    effect = {"b": 1.0, "target": -1.0}
    assert contrast(effect, groups, pool).interval_95 is None
    assert contrast(effect, groups, pool_variance(groups, FLOOR, {"b": 3})).interval_95
    # Runs that all agree, such as networks that answer with one class, show no spread to share.
    assert pool_variance({**groups, "b": [9.8] * 3}, FLOOR)[:3] == without[:3]


def test_a_network_that_is_far_noisier_leaves_the_pool_alone() -> None:
    quiet = {f"a{index}": with_spread(5, 99.4, 0.04 + 0.002 * index) for index in range(8)}
    groups = {**quiet, "noisy": with_spread(5, 98.3, 0.6), "too": with_spread(5, 98.6, 0.125)}
    pool = pool_variance(groups, FLOOR)
    assert pool.apart == {"noisy", "too"}
    assert pool[:3] == pool_variance(quiet, FLOOR)[:3]
    assert spread_of("noisy", groups, pool) == (pytest.approx(0.6), 4)
    spread = {name: (np.var(one, ddof=1), 4) for name, one in groups.items()}
    rest = [one for name, (one, _) in spread.items() if name not in {"noisy", "too"}]
    p_value = stats.f.sf(spread["too"][0] / np.mean(rest), 4, 32)
    assert outlying(spread, 1.01 * p_value) == {"noisy", "too"}
    assert outlying(spread, 0.99 * p_value) == {"noisy"}
    # Equal spreads: at most one study in a hundred has an outlier.
    chance = np.random.default_rng(5)
    studies = ({name: chance.normal(99, 0.05, 5) for name in range(10)} for _ in range(2000))
    assert sum(bool(pool_variance(one, FLOOR).apart) for one in studies) < 0.015 * 2000


def test_values_without_spread_have_the_spread_of_rounding() -> None:
    runs = {"target": dict.fromkeys(range(3), 100.0), "one": dict.fromkeys(range(3), 50.0)}
    pool = pool_variance({name: list(found.values()) for name, found in runs.items()}, FLOOR)
    assert pool.standard_deviation == pytest.approx(0.01 / sqrt(12), abs=1e-9)
    found = difference("one", "target", runs, pool)
    assert found.mean == -50
    assert found.interval_95[0] < -50 < found.interval_95[1] < -49.9


def test_one_run_of_each_has_no_interval_and_two_seeds_neither() -> None:
    runs = {"target": {0: 99.0}, "one": {0: 98.0}}
    found = difference(
        "one",
        "target",
        runs,
        pool_variance({name: [*v.values()] for name, v in runs.items()}, FLOOR),
    )
    assert (found.mean, found.interval_95, found.standard_error) == (-1, None, None)
    few = make_results({"target": range(3), "no-relu": range(2), "no-gap": range(3)})
    by_name = {row.ablation.name: row.difference_pct for row in few.rows}
    assert by_name["no-relu"].interval_95 is None and by_name["no-relu"].standard_error
    assert by_name["no-gap"].interval_95


@given(
    st.lists(st.lists(st.integers(9000, 10_000), min_size=1, max_size=6), min_size=2, max_size=6)
)
def test_intervals_are_around_the_difference_of_means(counts: list[list[int]]) -> None:
    runs = {
        index: {seed: one / 100 for seed, one in enumerate(row)} for index, row in enumerate(counts)
    }
    pool = pool_variance({name: list(found.values()) for name, found in runs.items()}, FLOOR)
    found = difference(1, 0, runs, pool)
    assert found.mean == pytest.approx(fmean(runs[1].values()) - fmean(runs[0].values()), abs=1e-8)
    if found.interval_95:
        assert sum(found.interval_95) / 2 == pytest.approx(found.mean)
        assert found.interval_95[0] < found.interval_95[1]
        assert found.spreads[0] >= np.std(list(runs[1].values()), ddof=1) - 1e-8


@pytest.fixture(scope="module", params=["reference", "unequal"])
def study(request: pytest.FixtureRequest) -> Results:
    """The committed study; and one with unequal numbers of seeds."""
    if request.param == "reference":
        return summarise(load_study(REFERENCE))
    names = ("no-gap", "no-relu", "no-batchnorm", "no-momentum", "no-maxpool")
    return make_results({"target": range(10)} | {name: range(n) for n, name in enumerate(names, 4)})


def test_every_interval_of_a_study_is_recomputed(study: Results) -> None:
    # With numpy and scipy only.
    groups = {row.ablation.name: [*row.accuracy_pct.by_seed.values()] for row in study.rows}
    sizes = np.array([len(values) for values in groups.values()])
    variances = np.array([np.var(values, ddof=1) for values in groups.values()])
    # The noisiest network has its own spread where the others' is smaller beyond chance.
    is_shared = np.ones(len(sizes), bool)
    is_shared[variances.argmax()] = False
    total, noisiest = sum((sizes - 1)[is_shared]), variances.max()
    others = sum(((sizes - 1) * variances)[is_shared]) / total
    p_value = stats.f.sf(noisiest / others, (sizes - 1)[~is_shared][0], total)
    is_shared |= p_value >= 0.01 / len(groups)
    halves = (sizes - 1)[is_shared] / 2
    total = int(2 * sum(halves))
    pooled = 2 * sum(halves * variances[is_shared]) / total
    weight = pooled_weight(variances[is_shared], (sizes - 1)[is_shared])
    assert study.model
    critical = study.model.critical_value
    level = 2 * stats.t.sf(critical, total)
    used = {}
    for name, one, size, is_in_pool in zip(groups, variances, sizes, is_shared, strict=True):
        moderated = one
        if is_in_pool:
            shared = (weight * pooled + (size - 1) * one) / (weight + size - 1)
            moderated = max(one, shared)
        freedom = min(weight + size - 1, total) if is_in_pool else size - 1
        used[name] = (moderated / size, stats.t.isf(level / 2, freedom))
    rows = [row for row in study.rows if row.difference_pct]
    for row in rows:
        sides = [used[row.ablation.name], used["target"]]
        error = sqrt(sum(part for part, _ in sides))
        half = sum(part * of_side for part, of_side in sides) / error
        middle = fmean(groups[row.ablation.name]) - fmean(groups["target"])
        assert row.difference_pct.interval_95 == pytest.approx(
            (middle - half, middle + half), abs=2e-5
        )
    # The critical value is that of the multivariate t distribution with Dunnett's correlations.
    num_seeds = [len(groups[row.ablation.name]) for row in rows]
    shares = np.sqrt([n / (n + len(groups["target"])) for n in num_seeds])
    correlations = np.outer(shares, shares)
    np.fill_diagonal(correlations, 1)
    distribution = stats.multivariate_t(shape=correlations, df=total, seed=3)
    bound = np.full(len(rows), critical)
    inside = distribution.cdf(bound, lower_limit=-bound, maxpts=200_000)
    assert inside == pytest.approx(0.95, abs=1e-3)


def test_correlation_over_seeds_is_a_mean_over_ablations() -> None:
    runs = {
        "target": {0: 1.0, 1: 2.0, 2: 3.0},
        "a": {0: 2.0, 1: 4.0, 2: 6.0},
        "b": {0: 3.0, 1: 2.0, 2: 1.0, 9: 7.0},
    }
    correlation, error = seed_correlation(runs)
    assert correlation == pytest.approx(0)
    assert error == pytest.approx(0.5)
    assert seed_correlation({"target": {0: 1.0}, "a": {0: 1.0}}) is None


def test_interval_for_new_images_covers_the_difference_on_all_images() -> None:
    # Two recipes on a population of images; each study draws its seeds and its test images.
    chance, hits, narrow_hits = np.random.default_rng(3), 0, 0
    wrong_target = chance.beta(0.3, 3, 200_000)
    # On a tenth of the images, every seed of the variant agrees: half of them are always wrong.
    is_fixed = chance.random(200_000) < 0.1
    wrong_variant = np.where(is_fixed, chance.random(200_000) < 0.5, wrong_target)
    truth = 100 * (wrong_target - wrong_variant).mean()
    for _ in range(600):
        images = chance.integers(0, 200_000, 2000)
        wrong = {
            name: {
                seed: np.flatnonzero(chance.random(2000) < probability[images]).tolist()
                for seed in range(5)
            }
            for name, probability in (("variant", wrong_variant), ("target", wrong_target))
        }
        runs = {
            name: {seed: 100 * (1 - len(one) / 2000) for seed, one in found.items()}
            for name, found in wrong.items()
        }
        pool = pool_variance({name: list(found.values()) for name, found in runs.items()})
        narrow = difference("variant", "target", runs, pool)
        wide = with_new_images(narrow, wrong["variant"], wrong["target"], 2000)
        low, high = wide.new_images_interval_95
        hits += low <= truth <= high
        narrow_hits += narrow.interval_95[0] <= truth <= narrow.interval_95[1]
    assert hits / 600 > 0.93
    assert narrow_hits / 600 < 0.9


def test_interval_for_new_images_needs_the_wrong_images_of_every_run() -> None:
    runs = {"one": {0: 75.0, 1: 50.0, 2: 50.0}, "target": dict.fromkeys(range(3), 75.0)}
    found = difference(
        "one",
        "target",
        runs,
        pool_variance({name: list(one.values()) for name, one in runs.items()}),
    )
    wrong = {0: [0], 1: [0, 1], 2: [0, 1]}
    assert with_new_images(found, {0: [0]}, wrong, 4) == found
    assert with_new_images(found, wrong, {seed: [2] for seed in range(3)}, 4) != found
