"""Numbers in words, and the sentences at the top of a report. Pure functions, without markup."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from ablations.analysis.comparison import runs_of
from ablations.analysis.requirements import (
    GUESSING_PCT,
    HARDLY_LEARNT_PCT,
    PARAMETER_LIMIT,
    mean_accuracy_pct,
)
from ablations.analysis.statistics import sampling_noise_pct
from ablations.analysis.steadiness import DISTURBED_RATIO, disturbed_ablations, slowest_round
from ablations.analysis.summary import (
    AblationResult,
    Results,
    has_similar_size,
    matched_size,
)
from ablations.analysis.verdicts import Verdict
from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.presets import FULL
from ablations.records.run import RunRecord
from ablations.records.study import Study
from ablations.records.study_spec import StudySpec
from ablations.words import plural

MINUS = "\N{MINUS SIGN}"
NOT_SIGNIFICANT = "no significant difference, which is not the same as being equal"
ROUNDING_CAUSES: dict[str, Callable[[RunRecord], object]] = {
    "device": lambda run: run.environment.device_name,
    "PyTorch version": lambda run: run.environment.torch_version,
    "NumPy version": lambda run: run.environment.numpy_version,
    "Numba version": lambda run: run.environment.numba_version,
    "number of seeds in a network": lambda run: run.num_replicas,
}
"""What may round sums differently in two runs of one study. Arithmetic, kind of device and protocol
are the same throughout a study (`ablations/records/study.py`)."""
VERDICT_WORDS = {"pass": "Met", "fail": "Not met", "undecided": "Undecided"}
"""Of a requirement."""
REMOVED_WORDS = {entry.name: entry.removes for entry in CATALOGUE}
"""What each entry of the catalogue removes, in words that fit after \"without\"."""
EFFECT_SYMBOLS = {"hurts": MINUS, "helps": "+", "unclear": "?"}
"""The sign of a significant difference; always printed next to a word."""


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


def capitalised(words: str) -> str:
    """The words with a capital letter at the beginning; the other letters stay."""
    return words[0].upper() + words[1:]


def verb(number: int, singular: str, other: str) -> str:
    """The form of a verb that goes with a number."""
    return singular if number == 1 else other


def unbroken(text: str) -> str:
    """The text with every percent sign tied to its number."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


class Removal(NamedTuple):
    """What removing one of the assignment's concepts does."""

    name: str
    effect: Literal["hurts", "helps", "unclear"]
    verdict: str
    """The effect in words."""
    points: str
    concept: str
    chance: str
    """That its interval excludes zero without significance; empty elsewhere."""
    size: str
    """That the network has another size than the target; empty where it has not."""


class StudyAnswer(NamedTuple):
    """What a study found: the sentences to read first, and how far to trust them."""

    lead: str
    removals: list[Removal]
    lowest: str
    """Which removal costs most, and how many are significant; empty where nothing is compared."""
    caveats: str


def answer(results: Results) -> StudyAnswer:
    """What the study found, in a few sentences."""
    target, spec = results.target, results.study.spec
    if target is None:
        return StudyAnswer("The target has no run yet, so nothing can be compared.", [], "", "")
    num_seeds, num_test = len(target.runs), spec.dataset.num_test
    evidence = ("mean of " if num_seeds > 1 else "") + plural(num_seeds, "seed")
    lead = (
        f"The full network classifies {decimal(target.accuracy_pct.mean)} % of {spec.dataset_title}'s "
        f"{num_test:,} test images correctly after its last epoch ({evidence})."
    )
    if target.num_diverged:
        lead += f" {target.num_diverged} of its {plural(num_seeds, 'run')} diverged."
    compared = [row for row in results.rows if row.difference_pct]
    if compared:
        return StudyAnswer(
            unbroken(lead),
            _core_removals(compared, target),
            unbroken(f"{_largest_cost(compared)} {tally(compared)}"),
            unbroken(" ".join(_untested_differences(compared))),
        )
    more = "; see the combinations below." if results.combinations else "."
    noise_pct = sampling_noise_pct(target.accuracy_pct.mean, num_test)
    caveat = (
        f"Another draw of {num_test:,} test images would change one accuracy by about "
        f"±{decimal(noise_pct)} points."
    )
    return StudyAnswer(
        unbroken(f"{lead} No single ablation can be compared with it yet{more}"), [], "", caveat
    )


def _core_removals(compared: Sequence[AblationResult], target: AblationResult) -> list[Removal]:
    """What removing each of the assignment's concepts does, also at the target's size."""
    return [
        Removal(
            row.ablation.name,
            row.verdict.effect,
            _effect_words(row.verdict),
            unbroken(f"Removing it: {_measured_words(row)}"),
            row.ablation.removes,
            _chance_words(row, len(compared)),
            unbroken(_size_words(row, target, compared)),
        )
        for row in compared
        if row.ablation.is_core and row.verdict
    ]


def _effect_words(verdict: Verdict) -> str:
    """What a network is without an ingredient."""
    if verdict.kind == "one seed":
        return "inconclusive with one seed"
    words = {"hurts": "significantly worse without it", "helps": "significantly better without it"}
    return words.get(verdict.effect, "no significant difference")


def _measured_words(row: AblationResult) -> str:
    """A difference from the target and its evidence: `+0.13 points (3 seeds, ...)`."""
    difference = row.difference_pct
    assert difference is not None
    details = [plural(len(difference.by_seed), "seed")]
    if difference.interval_95:
        details.append(f"95 % interval {interval(difference.interval_95)}")
    return f"{signed(difference.mean)} points ({', '.join(details)})"


def _chance_words(row: AblationResult, num_compared: int) -> str:
    """That an interval excludes zero while the Holm-adjusted test does not; empty elsewhere."""
    bounds = row.difference_pct.interval_95 if row.difference_pct else None
    is_unclear = row.verdict and row.verdict.effect == "unclear"
    if not (bounds and is_unclear and (bounds[0] > 0 or bounds[1] < 0)):
        return ""
    return (
        "Its interval excludes zero, which can happen by chance among "
        f"{plural(num_compared, 'comparison')}."
    )


def _size_words(
    row: AblationResult, target: AblationResult, compared: Sequence[AblationResult]
) -> str:
    """That a network is larger or smaller than the target, and the result at the target's size."""
    if has_similar_size(row, target):
        return ""
    text = f"Without it the network has {row.parameters:,} parameters"
    if row.parameters >= PARAMETER_LIMIT:
        text += f", beyond the assignment’s limit of {PARAMETER_LIMIT:,}"
    matched = matched_size(row, target, compared)
    if matched is None or matched.verdict is None:
        return text + "."
    text += (
        f"; removing it at about the target’s size: {_measured_words(matched)}, "
        f"{_effect_words(matched.verdict)}."
    )
    return f"{text} {_chance_words(matched, len(compared))}".rstrip()


def _largest_cost(compared: Sequence[AblationResult]) -> str:
    """Which removal costs most, and its evidence."""
    worst = min(compared, key=lambda row: row.difference_pct.mean if row.difference_pct else 0.0)
    difference = worst.difference_pct
    assert difference is not None
    if difference.mean >= 0:
        return "No ablation ended below the target."
    evidence = plural(len(difference.by_seed), "seed")
    if difference.interval_95:
        evidence = f"mean of {evidence}, 95 % interval {interval(difference.interval_95)}"
        is_significant = worst.verdict and worst.verdict.effect == "hurts"
        evidence += "" if is_significant else ", not significant"
    if worst.num_diverged:
        evidence += f"; {worst.num_diverged} of {plural(len(worst.runs), 'run')} diverged"
    name = f"{worst.ablation.name} (without {worst.ablation.removes})"
    distance = f"{decimal(-difference.mean)} points below the target ({evidence})."
    if len(compared) == 1:
        return f"{name} ended {distance}"
    return f"Of {len(compared)} ablations, {name} ended lowest: {distance}"


def tally(compared: Sequence[AblationResult]) -> str:
    """How many ablations are significantly worse than the target, better, or neither."""
    effects = [row.verdict.effect for row in compared if row.verdict]
    counts = [
        f"{number} {verb(number, singular, other)} {words}"
        for number, singular, other, words in (
            (effects.count("hurts"), "is", "are", "significantly worse than the target"),
            (effects.count("helps"), "is", "are", "significantly better than the target"),
            (effects.count("unclear"), "shows", "show", NOT_SIGNIFICANT),
        )
        if number
    ]
    if len(effects) == 1:
        return f"It {counts[0].removeprefix('1 ')}."
    return f"Of the {len(effects)}, {enumerate_words(counts)}."


def _untested_differences(compared: Sequence[AblationResult]) -> list[str]:
    """How many differences cannot be tested, and why."""
    differences = [row.difference_pct for row in compared if row.difference_pct]
    num_all, sentences = len(differences), []
    num_single = sum(len(difference.by_seed) == 1 for difference in differences)
    if num_single:
        which = "All" if num_single == num_all > 1 else f"{num_single} of {num_all}"
        sentences.append(
            f"{which} {verb(num_single, 'was', 'were')} compared on one seed only, which supports no "
            "conclusion: another seed gives another difference."
        )
    num_same = sum(
        len(difference.by_seed) > 1 and not difference.interval_95 for difference in differences
    )
    if num_same:
        sentences.append(
            f"{num_same} of {num_all} differed by the same at every seed, so there is no interval."
        )
    return sentences


def notices(spec: StudySpec) -> list[str]:
    """What to know before any number, where the numbers are not the exercise's."""
    found = []
    if not spec.is_mnist:
        found.append(
            f"These are not MNIST's numbers. The data set is {spec.dataset_title}: "
            f"{spec.dataset.num_train:,} training and {spec.dataset.num_test:,} test images. "
            "Do not compare accuracies or differences with the exercise's."
        )
    if not spec.is_full_length:
        found.append(_length_notice(spec))
    return found


def chance_notices(study: Study) -> list[str]:
    """That the target has learnt too little for any difference to mean something."""
    target_runs = runs_of(study, "target")
    if not target_runs or mean_accuracy_pct(target_runs) > HARDLY_LEARNT_PCT:
        return []
    return [
        (
            f"The target classifies {decimal(mean_accuracy_pct(target_runs))} % correctly, and guessing among ten "
            f"classes {decimal(GUESSING_PCT, 0)} %. It has hardly learnt anything, so no difference below shows "
            "what an ingredient contributes. It needs more epochs or images."
        )
    ]


def mixed_notices(study: Study) -> list[str]:
    """That paired runs were made in different environments."""
    target = {record.run_spec.seed: record for record in runs_of(study, "target")}
    differing = [
        [label for label, value in ROUNDING_CAUSES.items() if value(record) != value(partner)]
        for record in study.records
        if record.run_spec.ablation != "target"
        and (partner := target.get(record.run_spec.seed)) is not None
    ]
    num_mixed = sum(map(bool, differing))
    if not num_mixed:
        return []
    labels = [label for label in ROUNDING_CAUSES if any(label in found for found in differing)]
    return [
        (
            f"{num_mixed} of {plural(len(differing), 'paired difference')} {verb(num_mixed, 'compares', 'compare')} runs made with another "
            f"{' or '.join(labels)} than the target's run with the same seed. Their sums are rounded differently, "
            "which has the effect of another seed: those differences vary more than the others. Methods lists the versions."
        )
    ]


def timing_notice(results: Results) -> str:
    """That something slowed the machine while epochs were timed; empty if nothing shows it."""
    timing = results.study.timing
    if timing is None:
        return ""
    if disturbed := disturbed_ablations(timing):
        return (
            f"The slowest round took more than {DISTURBED_RATIO:g} times the fastest for {enumerate_words(disturbed)}: "
            "another program used the machine, so do not trust these epoch times. To measure them again, "
            "delete timing.json and run the same command on an idle machine."
        )
    slowest = slowest_round(timing)
    if slowest is None:
        return ""
    return (
        f"The machine changed speed while epochs were timed: round {slowest.number} of {slowest.num_rounds} was the slowest, at "
        f"{decimal(slowest.ratio)} times the fastest (median over ablations). Every ablation was timed in every "
        "round, so ratios of epoch times are more reliable than the seconds."
    )


def _length_notice(spec: StudySpec) -> str:
    """How a study's length differs from the exercise's, and what that means for its numbers."""
    num_images = spec.num_train_images or spec.dataset.num_train
    is_shorter = num_images * spec.num_epochs < spec.dataset.num_train * FULL.num_epochs
    return (
        f"Training was {'shorter' if is_shorter else 'longer'} than in the exercise: {num_images:,} images for "
        f"{plural(spec.num_epochs, 'epoch')} instead of every image for {FULL.num_epochs} epochs. The numbers cannot be "
        "compared with the exercise's: a short run makes slow learners look worse than they are, and what "
        "matters at one length need not matter at another."
    )


def contents(results: Results) -> str:
    """What the study contains, and which entries of the catalogue it lacks."""
    num_runs = sum(len(row.runs) for row in (*results.rows, *results.combinations))
    most_seeds = max((len(row.runs) for row in results.rows), default=0)
    combinations = (
        f" and {plural(len(results.combinations), 'combination')}" if results.combinations else ""
    )
    text = (
        f"This study contains {plural(num_runs, 'run')}, of {len(results.rows)} of the catalogue's "
        f"{len(CATALOGUE)} entries{combinations}."
    )
    present = {row.ablation.name for row in results.rows}
    absent = [ablation.name for ablation in CATALOGUE if ablation.name not in present]
    if absent:
        text += f" Without a run: {enumerate_words(absent)}."
    fewer = [row for row in results.rows if len(row.runs) < most_seeds]
    if fewer:
        counts = enumerate_words(f"{row.ablation.name} ({len(row.runs)})" for row in fewer)
        text += f" With fewer than {plural(most_seeds, 'seed')}: {counts}."
    return text
