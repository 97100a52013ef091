"""Numbers in words, and the sentences at the top of a report. Pure functions, without markup."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from ablations.analysis.noise import DISTURBED_RATIO, disturbed_ablations, slowest_round
from ablations.analysis.requirements import (
    GUESSING_PCT,
    HARDLY_LEARNT_PCT,
    PARAMETER_LIMIT,
    mean_accuracy_pct,
)
from ablations.analysis.statistics import Estimate, PairedDifference
from ablations.analysis.summary import (
    AblationResult,
    Results,
    has_similar_size,
    matched_size,
    runs_of,
)
from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.presets import FULL
from ablations.records.run import RunRecord
from ablations.records.study import Study
from ablations.records.study_spec import StudySpec
from ablations.words import plural

MINUS = "\N{MINUS SIGN}"
EFFECT_WORDS: dict[Literal["hurts", "helps", "unclear"], str] = {
    "hurts": "significantly worse than the target",
    "helps": "significantly better",
    "unclear": "no significant difference, which is not the same as being equal",
}
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
    """A difference with its sign; zero has none.

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


def estimate_words(found: Estimate | PairedDifference) -> str:
    """A difference with its evidence: `+0.13 points (3 seeds, 95 % interval +0.09 to +0.23)`."""
    details = [plural(len(found.by_seed), "seed")]
    if found.interval_95:
        details.append(f"95 % interval {interval(found.interval_95)}")
    return f"{signed(found.mean)} points ({', '.join(details)})"


class Removal(NamedTuple):
    """What removing one of the assignment's concepts does."""

    row: AblationResult
    effect: str
    measured: str


class StudyAnswer(NamedTuple):
    """What a study found: the sentences to read first, and how far to trust them."""

    lead: str
    removals: Sequence[Removal] = ()
    lowest: str = ""
    """Which removal costs most, and how many are significant; empty where nothing is compared."""
    caveats: str = ""


def answer(results: Results) -> StudyAnswer:
    """What the study found, in a few sentences."""
    target, spec = results.target, results.study.spec
    if target is None:
        return StudyAnswer("The target has no run yet, so nothing can be compared.")
    lead = (
        f"The full network classifies {decimal(target.accuracy_pct.mean)} % of {spec.dataset_title}'s "
        f"{spec.dataset.num_test:,} test images correctly after its last epoch "
        f"({plural(len(target.runs), 'seed')})."
    )
    if target.num_diverged:
        lead += f" {target.num_diverged} of its {plural(len(target.runs), 'run')} diverged."
    compared = [row for row in results.rows if row.difference_pct and row.verdict]
    if not compared:
        more = "; see the combinations below." if results.combinations else "."
        return StudyAnswer(f"{lead} No single ablation can be compared with it yet{more}")
    removals = [
        Removal(
            row,
            _effect_words(row),
            f"Removing it: {_difference_words(row)}.{_size_words(row, target, compared)}",
        )
        for row in compared
        if row.ablation.is_core
    ]
    num_without = sum(
        not (row.difference_pct and row.difference_pct.interval_95) for row in compared
    )
    caveats = (
        f"{num_without} of {plural(len(compared), 'difference')} {'has' if num_without == 1 else 'have'} no interval: one seed, or "
        "the same value at every seed, does not show what other seeds would give."
    )
    return StudyAnswer(
        lead,
        removals,
        f"{_largest_cost(compared)} {tally(compared)}",
        caveats if num_without else "",
    )


def _effect_words(row: AblationResult) -> str:
    """What the network is without an ingredient."""
    assert row.verdict
    if row.verdict.kind == "one seed":
        return "inconclusive with one seed"
    words = {"hurts": "significantly worse without it", "helps": "significantly better without it"}
    return words.get(row.verdict.effect, "no significant difference")


def _difference_words(row: AblationResult) -> str:
    """A row's difference from the target with its evidence."""
    assert row.difference_pct
    return estimate_words(row.difference_pct)


def _size_words(
    row: AblationResult, target: AblationResult, compared: Sequence[AblationResult]
) -> str:
    """The size where it differs from the target's, and the result at the target's size."""
    if has_similar_size(row, target):
        return ""
    text = f" Without it the network has {row.parameters:,} parameters"
    if row.parameters >= PARAMETER_LIMIT:
        text += f", beyond the assignment’s limit of {PARAMETER_LIMIT:,}"
    if matched := matched_size(row, target, compared):
        text += (
            f"; removing it at about the target’s size: {_difference_words(matched)}, "
            f"{_effect_words(matched)}"
        )
    return f"{text}."


def _largest_cost(compared: Sequence[AblationResult]) -> str:
    """Which removal costs most, and its evidence."""
    worst = min(compared, key=lambda row: row.difference_pct.mean if row.difference_pct else 0.0)
    if worst.difference_pct and worst.difference_pct.mean >= 0:
        return "No ablation ended below the target."
    text = f"Lowest: {worst.ablation.name} (without {worst.ablation.removes}), {_difference_words(worst)}"
    if worst.verdict and worst.verdict.effect != "hurts":
        text += ", not significant"
    if worst.num_diverged:
        text += f"; {worst.num_diverged} of {plural(len(worst.runs), 'run')} diverged"
    return f"{text}."


def tally(compared: Sequence[AblationResult]) -> str:
    """How many ablations are significantly worse than the target, better, or neither."""
    counts = Counter(row.verdict.effect for row in compared if row.verdict)
    words = [
        f"{words}: {counts[effect]}" for effect, words in EFFECT_WORDS.items() if counts[effect]
    ]
    return f"{capitalised('; '.join(words))} (of {plural(len(compared), 'ablation')})."


def notices(spec: StudySpec) -> list[str]:
    """What to know before any number, where the numbers are not the assignment's."""
    found = []
    if not spec.is_mnist:
        found.append(
            f"These are not MNIST's numbers. The data set is {spec.dataset_title}: "
            f"{spec.dataset.num_train:,} training and {spec.dataset.num_test:,} test images. "
            "Do not compare accuracies or differences with the assignment's."
        )
    if not spec.is_full_length:
        num_images = spec.num_train_images or spec.dataset.num_train
        is_shorter = num_images * spec.num_epochs < spec.dataset.num_train * FULL.num_epochs
        found.append(
            f"Training was {'shorter' if is_shorter else 'longer'} than in the assignment: {num_images:,} images for "
            f"{plural(spec.num_epochs, 'epoch')} instead of every image for {FULL.num_epochs} epochs. Do not compare the "
            "numbers with the assignment's: what matters at one length need not matter at another."
        )
    return found


def chance_notices(study: Study) -> list[str]:
    """That the target has learnt too little for any difference to mean something."""
    target_runs = runs_of(study, "target")
    if not target_runs or mean_accuracy_pct(target_runs) > HARDLY_LEARNT_PCT:
        return []
    return [
        (
            f"The target classifies {decimal(mean_accuracy_pct(target_runs))} % correctly, hardly more than guessing among ten "
            f"classes ({decimal(GUESSING_PCT, 0)} %), so no difference below shows what an ingredient contributes. It needs more "
            "epochs or images."
        )
    ]


def mixed_notices(study: Study) -> list[str]:
    """That paired runs were made in different environments."""
    target = {record.run_spec.seed: record for record in runs_of(study, "target")}
    pairs = [
        (record, target[record.run_spec.seed])
        for record in study.records
        if record.run_spec.ablation != "target" and record.run_spec.seed in target
    ]
    differing = [
        {label for label, value in ROUNDING_CAUSES.items() if value(record) != value(partner)}
        for record, partner in pairs
    ]
    labels = [label for label in ROUNDING_CAUSES if any(label in found for found in differing)]
    if not labels:
        return []
    return [
        (
            f"{sum(map(bool, differing))} of {plural(len(pairs), 'paired difference')}: the run was made with another "
            f"{' or '.join(labels)} than the target's run with the same seed. Other rounding acts like another seed, so "
            "these differences vary more than the others. Methods lists the versions."
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
    if slowest := slowest_round(timing):
        number, ratio = slowest
        return (
            f"The machine changed speed while epochs were timed: round {number} of {timing.plan.num_rounds} took "
            f"{decimal(ratio)} times as long as the fastest (median over ablations). Ratios of epoch times are "
            "more reliable than the seconds, because each round times every ablation."
        )
    return ""


def contents(results: Results) -> str:
    """What the study contains, and which entries of the catalogue it lacks."""
    num_runs = sum(len(row.runs) for row in (*results.rows, *results.combinations))
    text = (
        f"This study contains {plural(num_runs, 'run')}, of {len(results.rows)} of the catalogue's "
        f"{len(CATALOGUE)} entries and {plural(len(results.combinations), 'combination')}."
    )
    present = {row.ablation.name for row in results.rows}
    absent = [ablation.name for ablation in CATALOGUE if ablation.name not in present]
    return f"{text} Without a run: {enumerate_words(absent)}." if absent else text
