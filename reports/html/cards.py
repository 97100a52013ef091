"""What an ablation's card on the page says beyond its numbers: what happened, and on which images."""

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
from reports.text.wording import decimal, enumerate_words, interval, signed, unbroken

MOST_CONFUSIONS = 3


class Picture(NamedTuple):
    """A test image, and what is to be said of it."""

    url: str
    words: str
    caption: str


class Confusion(NamedTuple):
    """Which classes a network takes for which, over the seeds that were observed."""

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
    """What removing the ingredient did, how sure that is, and whether it was expected."""
    difference, verdict = row.difference_pct, row.verdict
    if difference is None or verdict is None:
        return []
    sentences = [finding(difference, verdict, row.ablation.removes, decimal(spec.margin_pct))]
    if row.num_diverged:
        sentences.append(
            f"{row.num_diverged} of {plural(len(row.runs), 'run')} diverged: the loss was not a finite number any more."
        )
    if spec.is_full_length:
        sentences.append(against_expectation(row.ablation.expects, verdict))
    return [unbroken(sentence) for sentence in sentences]


def finding(difference: PairedDifference, verdict: Verdict, removes: str, margin_words: str) -> str:
    """The verdict in a sentence, with the numbers that it rests on."""
    numbers = f"removing it: {signed(difference.mean)} points, mean of {plural(len(difference.by_seed), 'seed')}"
    if difference.interval_95:
        numbers += f", 95 % interval {interval(difference.interval_95)}"
    direction = "worse" if difference.mean < 0 else "better"
    within = f"within ±{margin_words} points"
    if verdict.kind == "one seed":
        return (
            f"On the one seed that was run, the difference is {signed(difference.mean)} points. Another seed would have given "
            "another, so nothing follows from it."
        )
    if verdict.kind == "matters":
        return f"It matters: without {removes} the network is {direction} by surely more than {margin_words} points ({numbers})."
    if verdict.kind == "real but small":
        return f"It is real but small: surely not zero, and surely {within} ({numbers})."
    if verdict.kind == "negligible":
        return f"It is negligible: surely {within}, and no effect is clear ({numbers})."
    if verdict.effect != "unclear":
        return f"The network without it is surely {direction}, but whether by more than {margin_words} points is open ({numbers})."
    return f"It is undecided: corrected for every comparison, these seeds do not tell the difference from zero, which is not the same as there being none ({numbers})."


def against_expectation(
    expected: Literal["worse", "hardly", "better"] | None, verdict: Verdict
) -> str:
    """Whether what the catalogue expects is what was measured. Only the direction is compared, or that
    there is hardly any difference: the rest of an expectation is told and not checked."""
    if expected is None:
        return "What was expected compares with another network than the target, so it is not checked here."
    words = "hardly any difference" if expected == "hardly" else f"that it would be {expected}"
    measured = {"hurts": "worse", "helps": "better", "unclear": ""}[verdict.effect]
    if verdict.kind in ("real but small", "negligible"):
        agrees = expected in ("hardly", measured)
    elif verdict.kind == "matters" or (measured and expected != "hardly"):
        agrees = expected == measured
    else:
        return f"Expected was {words}; that is neither shown nor excluded."
    if not agrees:
        return f"Expected was {words}; that is not what was measured."
    if expected == "hardly":
        return "The size is as expected: hardly any difference. The reasons given are not checked here."
    return f"The direction is as expected: {expected}. The rest of what was expected is not checked here."


def confusion_of(row: AblationResult, exhibits: Exhibits) -> Confusion | None:
    """The confusion matrix summed over the seeds that were observed."""
    found = [
        observations
        for run in row.runs
        if (observations := exhibits.observations.get((row.ablation.name, run.run_spec.seed)))
    ]
    if not found:
        return None
    size = len(found[0].confusion)
    counts = [
        [sum(one.confusion[true][answer] for one in found) for answer in range(size)]
        for true in range(size)
    ]
    names = exhibits.gallery.class_names if exhibits.gallery else [str(i) for i in range(size)]
    mistakes = Counter(
        {
            (true, answer): counts[true][answer]
            for true in range(size)
            for answer in range(size)
            if true != answer and counts[true][answer]
        }
    )
    most = mistakes.most_common(MOST_CONFUSIONS)
    words = enumerate_words(
        f"{names[true]} taken for {names[answer]} ({plural(count, 'time')})"
        for (true, answer), count in most
    )
    return Confusion(
        num_seeds=len(found),
        counts=counts,
        class_names=names,
        words=f"Most often: {words}." if most else "No test image is classified wrongly.",
        most=most[-1][1] if most else 0,
    )


def images_of(row: AblationResult, exhibits: Exhibits) -> ImageLists | None:
    """The images that removing the ingredient loses and wins; None where nothing is known."""
    gallery = exhibits.gallery
    found = gallery.variants.get(row.ablation.name) if gallery else None
    if gallery is None or found is None:
        return None

    def pictures(numbers: Sequence[int]) -> list[Picture]:
        return [
            describe_image(number, gallery, row.ablation.removes, found.answers[number])
            for number in numbers
        ]

    return ImageLists(
        gallery.seed, found.num_lost, found.num_won, pictures(found.lost), pictures(found.won)
    )


def describe_image(number: int, gallery: Gallery, removes: str, answer: ImageAnswer) -> Picture:
    """One image, with what the target and the network without the ingredient say of it."""
    image = gallery.image(number)
    names = gallery.class_names
    by_target = gallery.target_answers[number]
    truth = names[image.class_index]

    def said(found: ImageAnswer) -> str:
        return f"{names[found.class_index]} with probability {decimal(found.probability)}"

    return Picture(
        url=image_picture(image.pixels),
        words=f"Test image {number}, true class {truth}: the target says {said(by_target)}, the network without {removes} {said(answer)}",
        caption=f"{truth}: {names[by_target.class_index]} → {names[answer.class_index]}",
    )
