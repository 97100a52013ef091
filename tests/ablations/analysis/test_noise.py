"""Where the spread over seeds comes from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.analysis.intervals import difference, pool_variance
from ablations.analysis.noise import split_variance, with_new_images

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


def test_interval_for_new_images_covers_the_difference_on_all_images() -> None:
    # Two recipes on a population of images; each study draws its seeds and its test images.
    chance, hits, narrow_hits = np.random.default_rng(3), 0, 0
    wrong_target = chance.beta(0.3, 3, 200_000)
    # On a tenth of the images, every seed of the variant agrees: half of them are always wrong.
    is_fixed = chance.random(200_000) < 0.1
    wrong_variant = np.where(is_fixed, chance.random(200_000) < 0.5, wrong_target)
    truth = 100 * (wrong_target - wrong_variant).mean()
    for _ in range(600):
        images = chance.integers(0, 200_000, NUM_IMAGES)
        wrong = {
            name: {
                seed: np.flatnonzero(chance.random(NUM_IMAGES) < probability[images]).tolist()
                for seed in range(5)
            }
            for name, probability in (("variant", wrong_variant), ("target", wrong_target))
        }
        runs = {
            name: {seed: 100 * (1 - len(one) / NUM_IMAGES) for seed, one in found.items()}
            for name, found in wrong.items()
        }
        pool = pool_variance({name: list(found.values()) for name, found in runs.items()})
        narrow = difference("variant", "target", runs, pool)
        wide = with_new_images(narrow, wrong["variant"], wrong["target"], NUM_IMAGES)
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
