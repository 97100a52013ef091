"""Sources of the variance over seeds, image by image: pure functions of wrong test images.

Two equally good networks differ on any finite test set. Jordan (Calibrated Chaos, 2023,
arXiv:2304.01910, section 4) splits the variance between trainings accordingly.
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
    """Of networks that are equally good on all possible images, on this many test images."""
    training_pct: float
    """The rest: differences in accuracy on all possible images; 0 where nothing is left."""
    training_interval_95_pct: tuple[float, float]
    """From the chi-squared interval of the total variance."""


class ImageComparison(msgspec.Struct, frozen=True):
    """On which test images a variant and the target differ, over the seeds that both have."""

    num_seeds: int
    rescued: list[int]
    """Images that the target gets right and the variant wrong in most seeds, most seeds first."""
    lost: list[int]
    """The opposite. Chance puts images into both lists: only the difference counts."""
    coin_flips: int
    """Number of other images on which they differ at some seed."""


def split_variance(
    wrong_by_seed: Mapping[int, Sequence[int]], num_images: int
) -> VarianceSplit | None:
    """Split the variance of the accuracy over seeds; None for fewer than two seeds.

    With p_i the share of seeds that classify image i correctly and N images, equally good networks
    have the variance mean(p_i (1 - p_i)) / N. The rest, times N / (N - 1), is due to training.
    """
    from scipy import stats

    num_seeds = len(wrong_by_seed)
    if num_seeds < 2:
        return None
    total = variance(100 * (1 - len(wrong) / num_images) for wrong in wrong_by_seed.values())
    times_wrong = Counter(image for wrong in wrong_by_seed.values() for image in wrong)
    shares = [times / num_seeds for times in times_wrong.values()]
    freedom = num_seeds - 1
    # n / (n - 1): the shares were estimated from the same seeds.
    flips = sum(share * (1 - share) for share in shares) * num_seeds / freedom
    test_set = 100**2 * flips / num_images**2
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
    """Compare image by image over the shared seeds; None without one."""
    seeds = sorted(variant_wrong.keys() & target_wrong.keys())
    if not seeds:
        return None
    rescued, lost = (
        Counter(image for seed in seeds for image in {*one[seed]} - {*other[seed]})
        for one, other in ((variant_wrong, target_wrong), (target_wrong, variant_wrong))
    )

    def in_most(counts: Counter[int]) -> list[int]:
        found = [image for image, count in counts.items() if count > len(seeds) / 2]
        return sorted(found, key=lambda image: (-counts[image], image))

    most_rescued, most_lost = in_most(rescued), in_most(lost)
    num_in_few = len(rescued.keys() | lost.keys()) - len(most_rescued) - len(most_lost)
    return ImageComparison(len(seeds), most_rescued, most_lost, num_in_few)
