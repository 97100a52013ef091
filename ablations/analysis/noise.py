"""Where differences between seeds come from, image by image. Pure functions of wrong test images.

A network that gets 60 of 10,000 images wrong would get another number of another 10,000 wrong, and
so two equally good networks differ on any test set. Jordan (Calibrated Chaos, 2023,
arXiv:2304.01910, section 4) takes the variance between trainings apart accordingly.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import variance

import msgspec


class VarianceSplit(msgspec.Struct, frozen=True):
    """The spread of an accuracy over seeds, as standard deviations in percentage points."""

    num_seeds: int
    total_pct: float
    """As measured on this test set."""
    test_set_pct: float
    """What networks that are equally good on all possible images would show on so few."""
    training_pct: float
    """The rest: how much networks differ in how good they really are. 0 where nothing is left."""
    training_interval_95_pct: tuple[float, float]
    """From the chi-squared interval of the total variance."""


class ImageComparison(msgspec.Struct, frozen=True):
    """On which test images a variant and the target differ, over the seeds that both have."""

    num_seeds: int
    rescued: list[int]
    """Images that the target gets right and the variant wrong in most seeds, most seeds first."""
    lost: list[int]
    """The other way round. Chance puts images into either list: what counts is the difference."""
    coin_flips: int
    """Number of images on which they differ in some seed, but not in most in one direction."""


def split_variance(
    wrong_by_seed: Mapping[int, Sequence[int]], num_images: int
) -> VarianceSplit | None:
    """Take the variance of the accuracy over seeds apart; None for fewer than two seeds.

    With p_i the share of seeds that classify image i correctly, networks that are equally good
    would vary by the mean of p_i (1 - p_i) over the number of images N; what is measured beyond
    that is theirs, times N / (N - 1).
    """
    from scipy import stats

    num_seeds = len(wrong_by_seed)
    if num_seeds < 2:
        return None
    total = variance(100 * (1 - len(wrong) / num_images) for wrong in wrong_by_seed.values())
    times_wrong = Counter(image for wrong in wrong_by_seed.values() for image in wrong)
    # n / (n - 1): the shares were estimated from the same seeds.
    flips = (
        sum(times / num_seeds * (1 - times / num_seeds) for times in times_wrong.values())
        * num_seeds
        / (num_seeds - 1)
    )
    test_set = 100**2 * flips / num_images**2
    freedom = num_seeds - 1
    low, high = (freedom * total / stats.chi2.ppf(share, freedom) for share in (0.975, 0.025))

    def beyond(found: float) -> float:
        return sqrt(max(0.0, found - test_set) * num_images / (num_images - 1))

    return VarianceSplit(
        num_seeds=num_seeds,
        total_pct=sqrt(total),
        test_set_pct=sqrt(test_set),
        training_pct=beyond(total),
        training_interval_95_pct=(beyond(float(low)), beyond(float(high))),
    )


def compare_images(
    variant_wrong: Mapping[int, Sequence[int]], target_wrong: Mapping[int, Sequence[int]]
) -> ImageComparison | None:
    """Compare image by image, seed by seed; None when no seed is there for both."""
    seeds = sorted(variant_wrong.keys() & target_wrong.keys())
    if not seeds:
        return None
    rescued: Counter[int] = Counter()
    lost: Counter[int] = Counter()
    for seed in seeds:
        rescued.update(set(variant_wrong[seed]) - set(target_wrong[seed]))
        lost.update(set(target_wrong[seed]) - set(variant_wrong[seed]))

    def in_most(counts: Counter[int]) -> list[int]:
        found = [image for image, count in counts.items() if count > len(seeds) / 2]
        return sorted(found, key=lambda image: (-counts[image], image))

    rescued_images, lost_images = in_most(rescued), in_most(lost)
    num_differing = len(rescued.keys() | lost.keys())
    return ImageComparison(
        num_seeds=len(seeds),
        rescued=rescued_images,
        lost=lost_images,
        coin_flips=num_differing - len(rescued_images) - len(lost_images),
    )
