"""The report's sentences and numbers in words. Pure functions of results, without markup."""

from collections.abc import Iterable, Sequence
from math import sqrt

from ablations.catalogue import CATALOGUE
from ablations.results import AblationResult, Results
from ablations.study import StudySpec

MINUS = "\N{MINUS SIGN}"


def decimal(value: float, digits: int = 2) -> str:
    """A number with a fixed number of digits, and a real minus sign."""
    return f"{value:,.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int | None = 2) -> str:
    """A difference: always with its sign, except that nothing is neither more nor less.

    `digits=None` writes as few digits as the number needs.
    """
    text = f"{abs(value):g}" if digits is None else f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def plural(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`, `10,000 images`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def enumerate_words(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def verb(number: int, singular: str, other: str) -> str:
    """The form of a verb that goes with a number."""
    return singular if number == 1 else other


def sampling_noise_pct(accuracy_pct: float, num_images: int) -> float:
    """Half the width of the 95 % interval that the choice of test images alone gives an accuracy.

    The normal approximation of the binomial: 0.15 points for 99.4 % of 10,000 images.
    """
    right = min(max(accuracy_pct / 100, 1 / num_images), 1 - 1 / num_images)
    return 196 * sqrt(right * (1 - right) / num_images)


def answer(results: Results) -> list[str]:
    """What the study found, in a few sentences; the first is about the whole network."""
    target = results.target
    if target is None:
        return ["The target has no run yet, so nothing can be compared with it."]
    title, dataset = results.study.spec.dataset_title, results.study.spec.dataset
    num_seeds = len(target.runs)
    evidence = ("mean of " if num_seeds > 1 else "") + plural(num_seeds, "seed")
    first = (
        f"The whole network classifies {decimal(target.accuracy_pct.mean)} % of {title}'s "
        f"{dataset.num_test:,} test images correctly after its last epoch ({evidence})."
    )
    sentences = [first]
    if target.num_diverged:
        sentences.append(f"Of the target's runs, {target.num_diverged} diverged.")
    compared = [row for row in results.rows if row.difference_pct]
    if not compared:
        return [*sentences, "There is no ablation to compare with it yet."]
    return [*sentences, largest_cost(compared), *small_differences(results, compared)]


def largest_cost(compared: Sequence[AblationResult]) -> str:
    """Which removal costs most, and how sure that is."""
    worst = min(compared, key=lambda row: row.difference_pct.mean if row.difference_pct else 0.0)
    difference = worst.difference_pct
    assert difference is not None
    among = f"Of {plural(len(compared), 'ablation')}, "
    if len(compared) == 1:
        among = ""
    if difference.mean >= 0:
        return f"{among or 'Here, '}none lowered the mean accuracy."
    num_seeds = len(difference.by_seed)
    evidence = "1 seed"
    if difference.interval_95:
        low, high = difference.interval_95
        evidence = f"mean of {num_seeds} seeds, 95 % interval {signed(low)} to {signed(high)}"
    if worst.num_diverged:
        evidence += f"; {worst.num_diverged} of {plural(len(worst.runs), 'run')} diverged"
    return (
        f"{among}{worst.ablation.name} (without {worst.ablation.removes}) costs most: "
        f"{decimal(-difference.mean)} points ({evidence})."
        if among
        else f"{worst.ablation.name} costs {decimal(-difference.mean)} points ({evidence})."
    )


def small_differences(results: Results, compared: Sequence[AblationResult]) -> list[str]:
    """How many differences are as small as chance makes them, and what single seeds are worth."""
    target = results.target
    assert target is not None
    num_test = results.study.spec.dataset.num_test
    noise_pct = sampling_noise_pct(target.accuracy_pct.mean, num_test)
    is_small = [abs(row.difference_pct.mean) < noise_pct for row in compared if row.difference_pct]
    noise = decimal(noise_pct)
    first = (
        f"{sum(is_small)} of {len(compared)} {verb(sum(is_small), 'lies', 'lie')} within {noise} "
        "points of the target: too close to call from a test set of this size, which is not the "
        "same as being equal."
    )
    sentences = [first]
    num_single = sum(len(row.difference_pct.by_seed) == 1 for row in compared if row.difference_pct)
    if num_single:
        which = "All" if num_single == len(compared) else f"{num_single} of {len(compared)}"
        if len(compared) == 1:
            which = "The ablation"
        sentences.append(
            f"{which} {verb(num_single, 'was', 'were')} compared on a single seed, which proves little: "
            f"with {num_test:,} test images, chance alone moves one run's accuracy by about ±{noise} points."
        )
    return sentences


def notices(spec: StudySpec) -> list[str]:
    """What a reader must know before any number, when the numbers are not the exercise's."""
    found = []
    if not spec.is_mnist:
        found.append(
            f"These are not MNIST's numbers. The data set is {spec.dataset_title}: "
            f"{spec.dataset.num_train:,} training and {spec.dataset.num_test:,} test images. Neither "
            "accuracies nor differences can be compared with the exercise's."
        )
    if not spec.is_full_length:
        num_images = spec.num_train_images or spec.dataset.num_train
        found.append(
            f"Training was cut short: {num_images:,} images for {plural(spec.num_epochs, 'epoch')}, "
            f"where the exercise trains on every image for 20 epochs. Accuracies are therefore far lower than the "
            "exercise's, and what helps a short run need not help a long one."
        )
    return found


def contents(results: Results) -> str:
    """What the study contains, and what other studies might have besides."""
    num_runs = sum(len(row.runs) for row in results.rows)
    most_seeds = max((len(row.runs) for row in results.rows), default=0)
    text = (
        f"This study contains {plural(num_runs, 'run')} of {len(results.rows)} of the catalogue's "
        f"{plural(len(CATALOGUE), 'network and recipe')}."
    ).replace("network and recipes", "entries")
    there = {row.ablation.name for row in results.rows}
    absent = [ablation.name for ablation in CATALOGUE if ablation.name not in there]
    if absent:
        text += f" Without a run: {enumerate_words(absent)}."
    fewer = [row for row in results.rows if len(row.runs) < most_seeds]
    if fewer:
        counts = enumerate_words(f"{row.ablation.name} ({len(row.runs)})" for row in fewer)
        text += f" With fewer than {plural(most_seeds, 'seed')}: {counts}."
    return text
