"""The report's sentences and numbers in words. Pure functions of results, without markup."""

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, median
from typing import Literal, NamedTuple

from ablations.analysis.comparison import runs_of
from ablations.analysis.requirements import GUESSING_PCT, HARDLY_LEARNT_PCT, PARAMETER_LIMIT
from ablations.analysis.statistics import sampling_noise_pct
from ablations.analysis.summary import AblationResult, Results, accuracy_by_seed
from ablations.analysis.verdicts import Verdict
from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.presets import FULL
from ablations.records.run import RunRecord
from ablations.records.study import Study
from ablations.records.study_spec import StudySpec
from ablations.records.timing import Timing
from ablations.words import plural

MINUS = "\N{MINUS SIGN}"
SAME_SIZE = 0.05
"""Networks whose numbers of parameters differ by less, as a share, count as equally large."""
NO_CLEAR_EFFECT = "no clear effect, which is not the same as being equal"
"""Where the corrected test does not tell a difference from zero."""
DISTURBED_RATIO = 2.0
"""Rounds of one variant that differ by more were not alone: in the reference study it is 1.5."""
UNSTEADY_RATIO = 1.1
"""Rounds whose medians over all variants differ by more say that the whole machine changed its pace."""
WHAT_ROUNDS: dict[str, Callable[[RunRecord], object]] = {
    "device": lambda run: run.environment.device_name,
    "PyTorch version": lambda run: run.environment.torch_version,
    "NumPy version": lambda run: run.environment.numpy_version,
    "Numba version": lambda run: run.environment.numba_version,
    "number of seeds in a network": lambda run: run.num_replicas,
}
"""What may round sums differently in two runs of a study. Arithmetic, kind of device and protocol are
one throughout (`ablations/records/study.py`); a commit by itself changes no number without a new protocol."""
VERDICT_WORDS = {"pass": "Met", "fail": "Not met", "undecided": "Undecided"}
"""Of a requirement, as the page says it of the target."""
REMOVED_WORDS = {entry.name: entry.removes for entry in CATALOGUE}
"""What each entry of the catalogue removes, in words that fit after \"without\"."""
EFFECT_SYMBOLS = {"hurts": MINUS, "helps": "+", "unclear": "?"}
"""Of what removing an ingredient surely does: the sign of the difference. Beside a word, never alone."""


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


class Removal(NamedTuple):
    """What removing one of the assignment's concepts does, as far as the tests tell."""

    name: str
    effect: Literal["hurts", "helps", "unclear"]
    verdict: str
    """The same in words."""
    points: str
    concept: str
    chance: str
    """That its interval says more than the corrected test; empty where it does not."""
    size: str
    """That the comparison is not one at one size; empty where it is."""


class Answer(NamedTuple):
    """What a study found: the sentences to read first, and how far to trust them."""

    lead: str
    removals: list[Removal]
    lowest: str
    """Which removal costs most, and what the others do; empty where nothing is compared."""
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
    removals, lowest, caveats = [], "", []
    if compared:
        removals = core_removals(compared, target)
        lowest = f"{largest_cost(compared)} {tally(compared)}"
        caveats += untested_differences(compared)
    else:
        more = "; combinations stand further below." if results.combinations else "."
        lead.append(f"There is no single ablation to compare with it yet{more}")
        noise_pct = sampling_noise_pct(target.accuracy_pct.mean, dataset.num_test)
        caveats.append(
            f"Another draw of {dataset.num_test:,} test images would change one accuracy by about "
            f"±{decimal(noise_pct)} points"
            + ("; one seed proves little." if num_seeds == 1 else ".")
        )
    return Answer(unbroken(" ".join(lead)), removals, unbroken(lowest), unbroken(" ".join(caveats)))


def unbroken(text: str) -> str:
    """The text with every percent sign tied to its number."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def core_removals(compared: Sequence[AblationResult], target: AblationResult) -> list[Removal]:
    """What removing each of the assignment's concepts does, as far as the tests tell.

    Where a network without the concept has another size, that is said, since the difference is not
    the concept's alone, and what the same is at the target's size.
    """
    return [
        Removal(
            row.ablation.name,
            row.verdict.effect,
            effect_words(row.verdict),
            unbroken(f"Removing it: {measured_words(row)}"),
            row.ablation.removes,
            chance_words(row, len(compared)),
            unbroken(size_words(row, target, compared)),
        )
        for row in compared
        if row.ablation.is_core and row.verdict
    ]


def effect_words(verdict: Verdict) -> str:
    """What a network is without an ingredient, as far as the corrected test tells."""
    if verdict.kind == "one seed":
        return "one seed does not tell"
    sure = {"hurts": "surely worse without it", "helps": "surely better without it"}
    return sure.get(verdict.effect, "no clear effect")


def measured_words(row: AblationResult) -> str:
    """A difference from the target with what it rests on: `+0.13 points (3 seeds, ...)`."""
    difference = row.difference_pct
    assert difference is not None
    details = [plural(len(difference.by_seed), "seed")]
    if difference.interval_95:
        details.append(f"95 % interval {interval(difference.interval_95)}")
    return f"{signed(difference.mean)} points ({', '.join(details)})"


def chance_words(row: AblationResult, num_compared: int) -> str:
    """That an interval misses zero while the corrected test leaves it open; empty elsewhere."""
    bounds = row.difference_pct.interval_95 if row.difference_pct else None
    is_open = row.verdict and row.verdict.effect == "unclear"
    if not (bounds and is_open and (bounds[0] > 0 or bounds[1] < 0)):
        return ""
    return (
        "Its own interval misses zero, which among "
        f"{plural(num_compared, 'comparison')} can happen by chance."
    )


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
    if matched and matched.verdict:
        text += (
            f"; removing it at about the target’s size: {measured_words(matched)}, "
            f"{effect_words(matched.verdict)}"
        )
        chance = chance_words(matched, len(compared))
        return f"{text}. {chance}" if chance else f"{text}."
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
        sure = worst.verdict and worst.verdict.effect == "hurts"
        evidence += "" if sure else ": no clear effect"
    if worst.num_diverged:
        evidence += f"; {worst.num_diverged} of {plural(len(worst.runs), 'run')} diverged"
    name = f"{worst.ablation.name} (without {worst.ablation.removes})"
    distance = f"{decimal(-difference.mean)} points below the target ({evidence})"
    if len(compared) == 1:
        return f"{name} ended {distance}."
    return f"Of {len(compared)} ablations, {name} ended lowest: {distance}."


def tally(compared: Sequence[AblationResult]) -> str:
    """How many ablations are surely worse than the target, surely better, and neither."""
    effects = [row.verdict.effect for row in compared if row.verdict]
    are = [
        (effects.count("hurts"), "is", "are", "surely worse than the target"),
        (effects.count("helps"), "is", "are", "surely better than the target"),
        (effects.count("unclear"), "shows", "show", NO_CLEAR_EFFECT),
    ]
    if len(effects) == 1:
        [(_, form, _, words)] = [one for one in are if one[0]]
        return f"The one that was compared {form} {words}."
    counts = [f"{num} {verb(num, form, other)} {words}" for num, form, other, words in are if num]
    return f"Of the {len(effects)}, {enumerate_words(counts)}."


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
    return sentences + untested_differences(compared)


def untested_differences(compared: Sequence[AblationResult]) -> list[str]:
    """How many differences cannot be tested, and why."""
    differences = [row.difference_pct for row in compared if row.difference_pct]
    num_all, sentences = len(differences), []
    num_single = sum(len(difference.by_seed) == 1 for difference in differences)
    if num_single:
        which = "All" if num_single == num_all > 1 else f"{num_single} of {num_all}"
        sentences.append(
            f"{which} {verb(num_single, 'was', 'were')} compared on one seed, and one seed proves "
            "little: another seed would have ended elsewhere."
        )
    num_same = sum(
        len(difference.by_seed) > 1 and not difference.interval_95 for difference in differences
    )
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


def mixed_notices(study: Study) -> list[str]:
    """That paired runs were made in different places or with different versions."""
    target = {record.run_spec.seed: record for record in runs_of(study, "target")}
    pairs = [
        (record, target[record.run_spec.seed])
        for record in study.records
        if record.run_spec.ablation != "target" and record.run_spec.seed in target
    ]
    differing = [
        [label for label, value in WHAT_ROUNDS.items() if value(one) != value(other)]
        for one, other in pairs
    ]
    num_mixed = sum(map(bool, differing))
    if not num_mixed:
        return []
    labels = [label for label in WHAT_ROUNDS if any(label in found for found in differing)]
    return [
        (
            f"{num_mixed} of {plural(len(pairs), 'paired difference')} {verb(num_mixed, 'compares', 'compare')} runs that were made with another "
            f"{' or '.join(labels)} than the target's run with the same seed. Their sums are rounded differently, "
            "which works like another seed: those differences vary more than the others. Methods names the versions."
        )
    ]


def timing_notice(results: Results) -> str:
    """That something slowed the machine while epochs were timed; empty if nothing shows it."""
    timing = results.study.timing
    if timing is None:
        return ""
    disturbed = [
        name
        for name, found in timing.by_ablation.items()
        if max(found.seconds_by_round) > DISTURBED_RATIO * min(found.seconds_by_round)
    ]
    if disturbed:
        return (
            f"The slowest round took more than {DISTURBED_RATIO:g} times the fastest for {enumerate_words(disturbed)}: "
            "something else used the machine meanwhile, so do not trust these epoch times. To time them again, "
            "delete timing.json and give the same command on an idle machine."
        )
    paces = round_paces(timing)
    ratio = max(paces, default=1.0) / min(paces, default=1.0)
    if ratio < UNSTEADY_RATIO:
        return ""
    slowest = 1 + paces.index(max(paces))
    return (
        f"The machine was not steady while epochs were timed: round {slowest} of {len(paces)} was the slowest, at "
        f"{decimal(ratio)} times the fastest (the median over variants), as when a processor gets warm or another program "
        "runs. Every variant was timed in every round, so comparisons hold better than the seconds themselves."
    )


def round_paces(timing: Timing) -> list[float]:
    """How slow each round of timing was beside the others: 1 where it was as usual."""
    paces = [
        [seconds / median(found.seconds_by_round) for seconds in found.seconds_by_round]
        for found in timing.by_ablation.values()
    ]
    return [median(of_round) for of_round in zip(*paces, strict=True)]


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
