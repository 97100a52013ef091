"""The interval for other test images."""

import numpy as np

from ablations.analysis.intervals import difference, pool_variance
from ablations.analysis.noise import with_new_images

NUM_IMAGES = 2000


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
