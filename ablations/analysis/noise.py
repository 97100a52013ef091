"""The interval of a difference for other test images: pure functions of wrong test images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt

import msgspec

from ablations.analysis.intervals import Difference, around


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
