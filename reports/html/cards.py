"""What an ablation's card on the page shows besides its numbers: finding, mistakes and images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ablations.analysis.summary import AblationResult
from ablations.inspection.load import Exhibits, Gallery, ImageAnswer
from reports.figures.pictures import image_picture
from reports.text.wording import decimal

MOST_CONFUSIONS = 3
FINDINGS = {
    "one seed": "One seed supports no conclusion: another seed gives another difference.",
    "matters": "Matters: without {removes} the network is {direction} by significantly more than {margin} points.",
    "real but small": "Real but small: without {removes} the network is significantly {direction}, but by less than {margin} points.",
    "negligible": "Negligible: without {removes} the network is equivalent to the target within ±{margin} points, and the difference from "
    "zero is not significant.",
    "undecided, but significant": "Without {removes} the network is significantly {direction}. Whether by more than {margin} points is "
    "inconclusive at this number of seeds.",
    "undecided": "Inconclusive at this number of seeds: the difference from zero is not significant, which is not the same as being equal.",
}
"""By kind of verdict."""


class Picture(NamedTuple):
    """A test image and its words."""

    url: str
    words: str
    caption: str


class Confusion(NamedTuple):
    """Which classes a network confuses, summed over the seeds that were observed."""

    num_seeds: int
    counts: list[list[int]]
    """Test images: one row for each true class, one column for each answer."""
    class_names: Sequence[str]
    most: int
    """The smallest count that is marked as one of the most frequent mistakes."""


class ImageLists(NamedTuple):
    """The images that only one of a variant and the target gets right, at one seed."""

    seed: int
    num_lost: int
    num_won: int
    lost: list[Picture]
    won: list[Picture]


def finding(row: AblationResult, margin_pct: float) -> str:
    """What removing the ingredient did; empty without a comparison. Significant: Holm-adjusted p < 0.05."""
    difference, verdict = row.difference_pct, row.verdict
    if difference is None or verdict is None:
        return ""
    is_open = verdict.kind == "undecided" and verdict.effect != "unclear"
    return FINDINGS["undecided, but significant" if is_open else verdict.kind].format(
        removes=row.ablation.removes,
        direction="worse" if difference.mean < 0 else "better",
        margin=decimal(margin_pct),
    )


def confusion_of(row: AblationResult, exhibits: Exhibits) -> Confusion | None:
    """The confusion matrix summed over the seeds that were observed; None without any."""
    keys = [(row.ablation.name, run.run_spec.seed) for run in row.runs]
    found = [exhibits.observations[key] for key in keys if key in exhibits.observations]
    if not found:
        return None
    counts = np.sum([one.confusion for one in found], axis=0)
    names = exhibits.gallery.class_names if exhibits.gallery else list(map(str, range(len(counts))))
    mistakes = counts - np.diag(counts.diagonal())
    most = np.sort(mistakes, axis=None)[-MOST_CONFUSIONS]
    return Confusion(len(found), counts.tolist(), names, max(int(most), 1))


def images_of(row: AblationResult, exhibits: Exhibits) -> ImageLists | None:
    """The test images that only the target, or only the ablation, classifies correctly."""
    gallery = exhibits.gallery
    found = gallery.variants.get(row.ablation.name) if gallery else None
    if gallery is None or found is None:
        return None
    lost, won = (
        [
            _describe_image(number, gallery, row.ablation.removes, found.answers[number])
            for number in numbers
        ]
        for numbers in (found.lost, found.won)
    )
    return ImageLists(gallery.seed, found.num_lost, found.num_won, lost, won)


def _describe_image(number: int, gallery: Gallery, removes: str, answer: ImageAnswer) -> Picture:
    """One image, with the answers of the target and of the network without the ingredient."""
    image, names = gallery.image(number), gallery.class_names
    of_target, truth = gallery.target_answers[number], names[image.class_index]
    answers = [
        f"{names[one.class_index]} with probability {decimal(one.probability)}"
        for one in (of_target, answer)
    ]
    return Picture(
        image_picture(image.pixels),
        f"Test image {number}, true class {truth}: the target predicts {answers[0]}, the network without {removes} {answers[1]}",
        f"{truth}: {names[of_target.class_index]} → {names[answer.class_index]}",
    )
