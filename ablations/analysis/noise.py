"""Sources of the variance over seeds, image by image: pure functions of wrong test images.

Two equally good networks differ on any finite test set. Jordan (Calibrated Chaos, 2023,
arXiv:2304.01910, section 4) splits the variance between trainings accordingly.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import variance

import msgspec

from ablations.analysis.intervals import Difference, around


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


def with_new_images(
    found: Difference,
    wrong_by_seed: Mapping[int, Sequence[int]],
    other_wrong_by_seed: Mapping[int, Sequence[int]],
    num_images: int,
) -> Difference:
    """The difference with the interval for other seeds and other test images of the same kind.

    Images and seeds are crossed, so the variances of the mean over images and over seeds add up,
    less that of their interaction, which both contain (Owen 2007, Annals of Applied Statistics 1,
    386-411). Unchanged where a run does not name its wrong images.
    """
    sides = (wrong_by_seed, other_wrong_by_seed)
    if not found.interval_95 or found.num_seeds != tuple(map(len, sides)):
        return found
    assert found.standard_error and found.critical_value
    differences: Counter[int] = Counter()
    interaction = 0.0
    for sign, number, wrong in zip((-1, 1), found.num_seeds, sides, strict=True):
        times_wrong = Counter(image for images in wrong.values() for image in images)
        for image, times in times_wrong.items():
            share = times / number
            differences[image] += sign * share  # type: ignore[assignment]
            interaction += share * (1 - share) / (number - 1)
    mean = sum(differences.values()) / num_images
    squares = sum(one**2 for one in differences.values()) - num_images * mean**2
    of_images = squares / (num_images - 1) - interaction / num_images
    error = sqrt(found.standard_error**2 + 100**2 * max(0.0, of_images) / num_images)
    bounds = around(found.mean, found.critical_value * error)
    return msgspec.structs.replace(found, new_images_interval_95=bounds)
