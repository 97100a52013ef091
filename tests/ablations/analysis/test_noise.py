"""Where the spread over seeds comes from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.analysis.noise import compare_images, split_variance

NUM_IMAGES = 2000
wrong_images = st.dictionaries(
    st.integers(0, 9), st.sets(st.integers(0, 99)).map(sorted), min_size=2, max_size=8
)


def simulate(
    chance: np.random.Generator, num_seeds: int, training_sd: float
) -> dict[int, list[int]]:
    """Networks of which each image is wrong with a probability of its own, and each network is
    better or worse than the mean by a share of its own, on all images alike."""
    probability = chance.beta(0.3, 2, NUM_IMAGES)
    shift = chance.normal(0, training_sd, num_seeds)
    return {
        seed: np.flatnonzero(
            chance.random(NUM_IMAGES) < np.clip(probability + shift[seed], 0, 1)
        ).tolist()
        for seed in range(num_seeds)
    }


def test_training_variance_is_found() -> None:
    chance = np.random.default_rng(1)
    training_sd = 0.01
    # Clipping at 0 takes some of it away: what is left is measured on very many images' worth.
    probability = chance.beta(0.3, 2, 200_000)
    true = np.std(
        [np.clip(probability + shift, 0, 1).mean() for shift in chance.normal(0, training_sd, 400)]
    )
    found = [split_variance(simulate(chance, 10, training_sd), NUM_IMAGES) for _ in range(1000)]
    estimates = [one.training_pct**2 for one in found if one]
    assert np.sqrt(np.mean(estimates)) == pytest.approx(100 * true, rel=0.15)
    intervals = np.array([one.training_interval_95_pct for one in found if one])
    assert len(intervals) == 1000
    # The standard error of these shares is 0.7 and 0.5 points.
    assert 0.92 < np.mean((intervals[:, 0] <= 100 * true) & (100 * true <= intervals[:, 1])) < 0.97
    assert 0.01 < np.mean(intervals[:, 0] > 100 * true) < 0.05
    assert 0.01 < np.mean(intervals[:, 1] < 100 * true) < 0.05


def test_a_case_worked_by_hand() -> None:
    # Two seeds, four images: 75 % and 50 % right. Image 0 always wrong, image 1 wrong once.
    found = split_variance({0: [0], 1: [0, 1]}, 4)
    assert found.total_pct**2 == pytest.approx(12.5**2 * 2)
    # p (1 - p) = 1/4, twice that for two seeds: 1/2 of an image; over 4 x 4 images, in percent.
    assert found.test_set_pct**2 == pytest.approx(100**2 * 0.5 / 16)
    assert found.training_pct == 0
    assert split_variance({0: [0]}, 4) is None
    assert split_variance({}, 4) is None


@given(wrong_images)
def test_parts_are_never_negative(wrong: dict[int, list[int]]) -> None:
    found = split_variance(wrong, 100)
    low, high = found.training_interval_95_pct
    assert 0 <= low <= found.training_pct <= high
    assert found.training_pct <= found.total_pct * 1.01


def test_rescued_lost_and_coin_flips() -> None:
    target = {0: [1, 5], 1: [1], 2: [1, 7]}
    variant = {0: [2, 5, 9], 1: [2, 9], 2: [2, 7]}
    found = compare_images(variant, target)
    assert found.num_seeds == 3
    assert found.rescued == [2, 9]  # Image 9 in two of three seeds.
    assert found.lost == [1]
    assert found.coin_flips == 0
    assert compare_images(variant, {5: []}) is None
