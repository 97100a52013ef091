"""What an ablation's card on the page shows besides its numbers: findings, mistakes and images."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from ablations.analysis.statistics import PairedDifference
from ablations.analysis.summary import AblationResult
from ablations.analysis.verdicts import Verdict
from ablations.inspection.gallery import Gallery, ImageAnswer
from ablations.inspection.load import Exhibits
from ablations.records.study_spec import StudySpec
from ablations.words import plural
from reports.figures.pictures import image_picture
from reports.text.predict import DIRECTIONS
from reports.text.wording import decimal, enumerate_words, interval, signed, unbroken

MOST_CONFUSIONS = 3


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
    words: str
    most: int
    """The smallest count that is marked as one of the most frequent."""


class ImageLists(NamedTuple):
    """The images that only one of a variant and the target gets right, at one seed."""

    seed: int
    num_lost: int
    num_won: int
    lost: list[Picture]
    won: list[Picture]


def what_happened(row: AblationResult, spec: StudySpec) -> list[str]:
    """What removing the ingredient did, its evidence, and whether it was expected."""
    difference, verdict = row.difference_pct, row.verdict
    if difference is None or verdict is None:
        return []
    sentences = [_finding(difference, verdict, row.ablation.removes, decimal(spec.margin_pct))]
    if row.num_diverged:
        sentences.append(
            f"{row.num_diverged} of {plural(len(row.runs), 'run')} diverged: the loss became infinite or not a number."
        )
    if spec.is_full_length:
        sentences.append(_compare_with_expectation(row.ablation.expects, verdict))
    return [unbroken(sentence) for sentence in sentences]


def _finding(difference: PairedDifference, verdict: Verdict, removes: str, margin: str) -> str:
    """The verdict in a sentence, with its numbers."""
    if verdict.kind == "one seed":
        return (
            f"With one seed, the difference is {signed(difference.mean)} points. Another seed would give another "
            "difference, so this supports no conclusion."
        )
    numbers = f"{signed(difference.mean)} points, mean of {plural(len(difference.by_seed), 'seed')}"
    if difference.interval_95:
        numbers += f", 95 % interval {interval(difference.interval_95)}"
    significant = "Holm-adjusted p < 0.05"
    direction = DIRECTIONS.get(verdict.effect, "")
    if verdict.kind == "matters":
        # Such a difference is significantly different from zero, too, but for rounding.
        direction = "worse" if difference.mean < 0 else "better"
        return f"Matters: without {removes} the network is {direction} by significantly more than {margin} points ({significant}; {numbers})."
    if verdict.kind == "real but small":
        return f"Real but small: without {removes} the network is significantly {direction}, but by less than {margin} points ({significant}; {numbers})."
    if verdict.kind == "negligible":
        return f"Negligible: without {removes} the network is equivalent to the target within ±{margin} points ({significant}; {numbers}), and the difference from zero is not significant."
    if direction:
        return f"Without {removes} the network is significantly {direction} ({significant}; {numbers}). Whether by more than {margin} points is inconclusive at this number of seeds."
    return f"Inconclusive at this number of seeds: the difference from zero is not significant, which is not the same as being equal ({numbers})."


def _compare_with_expectation(
    expected: Literal["worse", "hardly", "better"] | None, verdict: Verdict
) -> str:
    """Whether the direction, or the absence of a notable difference, is what the catalogue expects."""
    if expected is None:
        return "The expectation compares with another network than the target, so it is not checked here."
    words = "hardly any difference" if expected == "hardly" else f"that it would be {expected}"
    measured = DIRECTIONS.get(verdict.effect)
    if verdict.kind in ("real but small", "negligible"):
        agrees = expected in ("hardly", measured)
    elif verdict.kind == "matters" or (measured and expected != "hardly"):
        agrees = expected == measured
    else:
        return f"Expected was {words}; the result neither confirms nor contradicts that."
    if not agrees:
        return f"Expected was {words}; the result contradicts that."
    return f"Expected was {words}; the result agrees. Reasons given for it are not checked here."


def confusion_of(row: AblationResult, exhibits: Exhibits) -> Confusion | None:
    """The confusion matrix summed over the seeds that were observed; None without any."""
    keys = [(row.ablation.name, run.run_spec.seed) for run in row.runs]
    found = [exhibits.observations[key] for key in keys if key in exhibits.observations]
    if not found:
        return None
    classes = range(len(found[0].confusion))
    counts = [
        [sum(one.confusion[true][answer] for one in found) for answer in classes]
        for true in classes
    ]
    names = exhibits.gallery.class_names if exhibits.gallery else [str(index) for index in classes]
    mistakes = Counter(
        {
            (true, answer): count
            for true, answers in enumerate(counts)
            for answer, count in enumerate(answers)
            if true != answer and count
        }
    )
    most = mistakes.most_common(MOST_CONFUSIONS)
    words = enumerate_words(
        f"{names[true]} classified as {names[answer]} ({plural(count, 'time')})"
        for (true, answer), count in most
    )
    return Confusion(
        len(found),
        counts,
        names,
        f"Most frequent: {words}." if most else "No test image is classified wrongly.",
        most[-1][1] if most else 0,
    )


def images_of(row: AblationResult, exhibits: Exhibits) -> ImageLists | None:
    """The images that removing the ingredient loses and wins; None where nothing is known."""
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
