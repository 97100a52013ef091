"""The report's sentences and numbers in words. Pure functions of results, without markup."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from ablations.catalogue import CATALOGUE
from ablations.comparison import runs_of
from ablations.presets import FULL
from ablations.requirements import GUESSING_PCT, HARDLY_LEARNT_PCT, PARAMETER_LIMIT
from ablations.results import AblationResult, Results, accuracy_by_seed
from ablations.statistics import sampling_noise_pct
from ablations.study import Study, StudySpec
from ablations.words import plural

MINUS = "\N{MINUS SIGN}"
SAME_SIZE = 0.05
"""Networks whose numbers of parameters differ by less, as a share, count as equally large."""
DISTURBED_RATIO = 2.0
"""Rounds of one variant that differ by more were not alone: in the reference study it is 1.5."""
VERDICT_WORDS = {"pass": "Met", "fail": "Not met", "undecided": "Undecided"}
"""Of a requirement, as the page says it of the target."""
REMOVED_WORDS = {entry.name: entry.removes for entry in CATALOGUE}
"""What each entry of the catalogue removes, in words that fit after \"without\"."""


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


def interval(bounds: tuple[float, float], digits: int = 2) -> str:
    """The interval of a difference, such as `+0.09 to +0.23`."""
    low, high = bounds
    return f"{signed(low, digits)} to {signed(high, digits)}"


def enumerate_words(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def verb(number: int, singular: str, other: str) -> str:
    """The form of a verb that goes with a number."""
    return singular if number == 1 else other


class Worth(NamedTuple):
    """What having one of the assignment's concepts adds, as far as the tests tell."""

    name: str
    effect: Literal["hurts", "helps", "unclear"]
    """What removing it does."""
    verdict: str
    """The same, of having it, in words."""
    points: str
    concept: str
    size: str
    """That the comparison is not one at one size; empty where it is."""


class Answer(NamedTuple):
    """What a study found: the sentences to read first, and how far to trust them."""

    lead: str
    worths: list[Worth]
    lowest: str
    """Which removal costs most; empty where nothing is compared."""
    caveats: str


def answer(results: Results) -> Answer:
    """What the study found, in a few sentences."""
    target = results.target
    if target is None:
        return Answer("The target has no run yet, so nothing can be compared with it.", [], "", "")
    dataset = results.study.spec.dataset
    num_seeds = len(target.runs)
    evidence = ("mean of " if num_seeds > 1 else "") + plural(num_seeds, "seed")
    lead = [
        f"The whole network classifies {decimal(target.accuracy_pct.mean)} % of "
        + f"{results.study.spec.dataset_title}'s {dataset.num_test:,} test images correctly after "
        + f"its last epoch ({evidence})."
    ]
    if target.num_diverged:
        lead.append(f"{target.num_diverged} of its {plural(num_seeds, 'run')} diverged.")
    compared = [row for row in results.rows if row.difference_pct]
    worths, lowest, caveats = [], "", []
    if compared:
        worths = core_worths(compared, target)
        lowest = largest_cost(compared)
        caveats += small_differences(results, compared)
    else:
        more = "; combinations stand further below." if results.combinations else "."
        lead.append(f"There is no single ablation to compare with it yet{more}")
        noise_pct = sampling_noise_pct(target.accuracy_pct.mean, dataset.num_test)
        caveats.append(
            f"Another draw of {dataset.num_test:,} test images would change one accuracy by about "
            f"±{decimal(noise_pct)} points"
            + ("; one seed proves little." if num_seeds == 1 else ".")
        )
    return Answer(unbroken(" ".join(lead)), worths, unbroken(lowest), unbroken(" ".join(caveats)))


def unbroken(text: str) -> str:
    """The text with every percent sign tied to its number."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def core_worths(compared: Sequence[AblationResult], target: AblationResult) -> list[Worth]:
    """What having each of the assignment's concepts is worth, as far as the tests tell.

    Where a network without the concept has another size, that is said, since the difference is not
    the concept's alone, and what the same is at the target's size.
    """
    found = []
    for row in compared:
        if not (row.ablation.is_core and row.verdict and row.difference_pct):
            continue
        difference = row.difference_pct
        details = [plural(len(difference.by_seed), "seed")]
        if difference.interval_95:
            low, high = difference.interval_95
            details.append(f"95 % interval {interval((-high, -low))}")
        words = {
            "hurts": "surely better with it",
            "helps": "surely better without it",
            "unclear": "not told from zero",
        }
        found.append(
            Worth(
                row.ablation.name,
                row.verdict.effect,
                words[row.verdict.effect],
                unbroken(f"{signed(-difference.mean)} points ({', '.join(details)})"),
                row.ablation.removes,
                unbroken(size_words(row, target, compared)),
            )
        )
    return found


def size_words(
    row: AblationResult, target: AblationResult, compared: Sequence[AblationResult]
) -> str:
    """That a network is larger or smaller than the target, and what becomes of it at its size."""
    if is_alike(row.parameters, target.parameters):
        return ""
    text = f"Without it the network has {row.parameters:,} parameters"
    if row.parameters >= PARAMETER_LIMIT:
        text += f", beyond the assignment’s limit of {PARAMETER_LIMIT:,}"
    matched = same_size(row, target, compared)
    if matched and matched.difference_pct and matched.verdict:
        text += (
            f"; at about the target’s size having it adds {signed(-matched.difference_pct.mean)} points "
            f"({plural(len(matched.difference_pct.by_seed), 'seed')}"
        )
        if matched.difference_pct.interval_95:
            low, high = matched.difference_pct.interval_95
            text += f", 95 % interval {interval((-high, -low))}"
        sure = {"hurts": "surely better with it", "helps": "surely better without it"}
        text += f"), {sure.get(matched.verdict.effect, 'not told from zero')}"
    return text + "."


def same_size(
    row: AblationResult, target: AblationResult, rows: Sequence[AblationResult]
) -> AblationResult | None:
    """The entry that removes the same and has about the target's size; None where there is none, or
    where the entry itself has it."""
    if is_alike(row.parameters, target.parameters):
        return None
    changes = row.ablation.network.items()
    return next(
        (
            other
            for other in rows
            if changes < other.ablation.network.items()
            and not other.ablation.training
            and is_alike(other.parameters, target.parameters)
        ),
        None,
    )


def is_alike(size: int, other: int) -> bool:
    """Whether two networks count as equally large."""
    return abs(size / other - 1) < SAME_SIZE


def largest_cost(compared: Sequence[AblationResult]) -> str:
    """Which removal costs most, and how sure that is."""
    worst = min(compared, key=lambda row: row.difference_pct.mean if row.difference_pct else 0.0)
    difference = worst.difference_pct
    assert difference is not None
    if difference.mean >= 0:
        return "No ablation ended below the target."
    evidence = "1 seed"
    if difference.interval_95:
        low, high = difference.interval_95
        num_seeds = len(difference.by_seed)
        evidence = f"mean of {num_seeds} seeds, 95 % interval {signed(low)} to {signed(high)}"
        evidence += "" if high < 0 else ", so not told apart from the target"
    if worst.num_diverged:
        evidence += f"; {worst.num_diverged} of {plural(len(worst.runs), 'run')} diverged"
    name = f"{worst.ablation.name} (without {worst.ablation.removes})"
    distance = f"{decimal(-difference.mean)} points below the target ({evidence})"
    if len(compared) == 1:
        return f"{name} ended {distance}."
    return f"Of {len(compared)} ablations, {name} ended lowest: {distance}."


def small_differences(results: Results, compared: Sequence[AblationResult]) -> list[str]:
    """How many differences are as small as a change of test images, and what seeds are worth."""
    assert results.target is not None
    num_test = results.study.spec.dataset.num_test
    noise_pct = sampling_noise_pct(results.target.accuracy_pct.mean, num_test)
    differences = [row.difference_pct for row in compared if row.difference_pct]
    num_all = len(differences)
    num_small = sum(abs(difference.mean) < noise_pct for difference in differences)
    sentences = [
        f"{num_small} of {num_all} {verb(num_small, 'differs', 'differ')} from the target by "
        + f"less than {decimal(noise_pct)} points, which is about how much another draw of "
        + f"{num_test:,} test images would change one accuracy."
    ]
    intervals = [difference.interval_95 for difference in differences if difference.interval_95]
    tested = [row.verdict for row in compared if row.verdict and row.verdict.differs_p is not None]
    num_open = sum(verdict.effect == "unclear" for verdict in tested)
    if num_open:
        of_all = "" if len(tested) == num_all else " that can be tested"
        corrected = f", corrected for {plural(num_all, 'comparison')}," if num_all > 1 else ""
        sentences.append(
            f"For {num_open} of the {len(tested)}{of_all}, the t-test{corrected} does not tell the "
            "difference from zero, which is not the same as being equal."
        )
    if len(intervals) > 1:
        sentences.append(
            "Of 20 intervals of 95 %, one is expected to miss the true difference by chance."
        )
    num_single = sum(len(difference.by_seed) == 1 for difference in differences)
    if num_single:
        which = "All" if num_single == num_all > 1 else f"{num_single} of {num_all}"
        sentences.append(
            f"{which} {verb(num_single, 'was', 'were')} compared on one seed, and one seed proves "
            "little: another seed would have ended elsewhere."
        )
    num_same = num_all - len(intervals) - num_single
    if num_same:
        sentences.append(
            f"{num_same} of {num_all} differed by the same at every seed, which gives no interval."
        )
    return sentences


def notices(spec: StudySpec) -> list[str]:
    """What a reader must know before any number, when the numbers are not the exercise's."""
    found = []
    if not spec.is_mnist:
        found.append(
            f"These are not MNIST's numbers. The data set is {spec.dataset_title}: "
            f"{spec.dataset.num_train:,} training and {spec.dataset.num_test:,} test images. "
            "Neither accuracies nor differences can be compared with the exercise's."
        )
    if not spec.is_full_length:
        found.append(length_notice(spec))
    return found


def chance_notices(study: Study) -> list[str]:
    """That the target has learnt nothing, so that nothing can be missed."""
    accuracies_pct = accuracy_by_seed(runs_of(study, "target")).values()
    if not accuracies_pct or fmean(accuracies_pct) > HARDLY_LEARNT_PCT:
        return []
    return [
        (
            f"The target classifies {decimal(fmean(accuracies_pct))} % correctly, and guessing among ten "
            f"classes {decimal(GUESSING_PCT, 0)} %: it has hardly learnt anything, so no difference below says "
            "what an ingredient is worth. It needs more epochs or images."
        )
    ]


def timing_notice(results: Results) -> str:
    """That something else used the machine while epochs were timed; empty if nothing shows it."""
    timing = results.study.timing
    if timing is None:
        return ""
    disturbed = [
        name
        for name, found in timing.by_ablation.items()
        if max(found.seconds_by_round) > DISTURBED_RATIO * min(found.seconds_by_round)
    ]
    if not disturbed:
        return ""
    return (
        f"The slowest round took more than {DISTURBED_RATIO:g} times the fastest for {enumerate_words(disturbed)}: "
        "something else used the machine meanwhile, so do not trust these epoch times. To time them again, "
        "delete timing.json and give the same command on an idle machine."
    )


def length_notice(spec: StudySpec) -> str:
    """How a study's length differs from the exercise's, and what that means for its numbers."""
    num_images = spec.num_train_images or spec.dataset.num_train
    is_shorter = num_images * spec.num_epochs < spec.dataset.num_train * FULL.num_epochs
    return (
        f"Training was {'cut short' if is_shorter else 'longer than the exercise asks for'}: "
        f"{num_images:,} images for {plural(spec.num_epochs, 'epoch')}, where the exercise trains on "
        f"every image for {FULL.num_epochs} epochs. The numbers cannot be compared with the "
        "exercise's: a network that learns more slowly looks worse in a short run than it is, and "
        "what matters in one length need not matter in another."
    )


def contents(results: Results) -> str:
    """What the study contains, and what other studies might have besides."""
    num_runs = sum(len(row.runs) for row in (*results.rows, *results.combinations))
    most_seeds = max((len(row.runs) for row in results.rows), default=0)
    text = (
        f"This study contains {plural(num_runs, 'run')}, of {len(results.rows)} of the catalogue's "
        f"{len(CATALOGUE)} entries"
        + (
            f" and {plural(len(results.combinations), 'combination')}."
            if results.combinations
            else "."
        )
    )
    there = {row.ablation.name for row in results.rows}
    absent = [ablation.name for ablation in CATALOGUE if ablation.name not in there]
    if absent:
        text += f" Without a run: {enumerate_words(absent)}."
    fewer = [row for row in results.rows if len(row.runs) < most_seeds]
    if fewer:
        counts = enumerate_words(f"{row.ablation.name} ({len(row.runs)})" for row in fewer)
        text += f" With fewer than {plural(most_seeds, 'seed')}: {counts}."
    return text
