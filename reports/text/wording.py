"""Numbers, names and verdicts in words. Pure functions, without markup."""

from collections.abc import Iterable

import numpy as np

from ablations.analysis.attribution import Attribution
from ablations.analysis.comparison import Comparison
from ablations.analysis.intervals import MIN_SEEDS, Effect
from ablations.analysis.summary import AblationResult
from ablations.analysis.verdicts import Verdict
from ablations.catalogue.entries import CATALOGUE
from ablations.words import plural

MINUS = "\N{MINUS SIGN}"
VERDICT_WORDS = {"pass": "Met", "fail": "Not met", "undecided": "Undecided"}
"""Of a requirement."""
REMOVED_WORDS = {entry.name: entry.removes for entry in CATALOGUE}
"""What each entry of the catalogue removes, in words that fit after \"without\"."""
EFFECT_SYMBOLS = {"hurts": MINUS, "helps": "+", "no clear effect": "?"}
"""The sign of a clear difference; always printed next to a word."""

LARGE = 10
"""A difference this many margins from zero is called large without an interval."""


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


def two_digits(value: float) -> str:
    """A measurement with two significant digits, without an exponent."""
    return np.format_float_positional(value, precision=2, fractional=False, trim="-")


def interval(bounds: tuple[float, float], digits: int = 2) -> str:
    """The interval of a difference, such as `+0.09 to +0.23`."""
    low, high = bounds
    return f"{signed(low, digits)} to {signed(high, digits)}"


def seeds_words(found: Effect | Attribution) -> str:
    """`5 seeds`, or `3 to 5 seeds` where the networks have different numbers."""
    fewest, most = min(found.num_seeds), max(found.num_seeds)
    return plural(most, "seed") if fewest == most else f"{fewest:,} to {plural(most, 'seed')}"


def estimate_words(found: Effect) -> str:
    """A difference with its evidence: `+0.13 points (3 seeds, 95 % interval +0.09 to +0.23)`."""
    details = [seeds_words(found)]
    if found.interval_95:
        details.append(f"95 % interval {interval(found.interval_95)}")
    return f"{signed(found.mean)} points ({', '.join(details)})"


def enumerate_words(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def capitalised(words: str) -> str:
    """The words with a capital letter at the beginning; the other letters stay."""
    return words[0].upper() + words[1:]


def verdict_name(found: AblationResult | Comparison, margin_pct: float) -> str:
    """Direction and size, such as `removing it hurts, above the margin`; without a verdict the number of
    seeds. Of a comparison, `hurts` is about the first of the two."""
    verdict, difference = found.verdict, found.difference_pct
    if verdict:
        is_clear = verdict.direction != "no clear effect"
        words = "removing it " * (isinstance(found, AblationResult) and is_clear)
        words += verdict.direction
        if is_judged_by_failures(found):
            words = f"{words}: {failures_words(found)}" if is_clear else failures_words(found)
            words += "" if is_clear else ", perhaps by chance"
        else:
            words += (
                ", size uncertain"
                if verdict.size == "uncertain"
                else f", {verdict.size} the margin"
            )
        return f"provisional: {words}" if verdict.is_provisional else words
    if difference is None:
        return "no comparison"
    number, of_target = difference.num_seeds
    words = "one seed" if number == 1 else plural(number, "seed")
    if number >= MIN_SEEDS:
        words = f"{'one seed' if of_target == 1 else plural(of_target, 'seed')} of the target"
    if abs(difference.mean) <= LARGE * margin_pct:
        return f"no verdict from {words}"
    return f"large in {'this run' if number == 1 else 'these runs'}; {words}"


def verdict_cell(row: AblationResult, margin_pct: float) -> str:
    """The verdict of a table's row; empty for the target and for combinations, which have none."""
    is_judged = row.ablation.kind != "target" and not row.ablation.parts
    return verdict_name(row, margin_pct) if is_judged else ""


def is_judged_by_failures(found: AblationResult | Comparison) -> bool:
    """Whether the number of failed runs decides the verdict, because only some of a network's runs failed."""
    return bool(found.verdict and found.difference_pct and not found.difference_pct.interval_95)


def failures_words(found: AblationResult | Comparison) -> str:
    """`4 of 20 runs failed`; without such a run, it is the target that failed at some seeds."""
    if not found.failed:
        return "the target failed at some seeds"
    return f"{len(found.failed)} of {plural(len(found.runs), 'run')} failed"


def right_guesses(verdict: Verdict | None) -> list[int]:
    """Which of -1 (lower), 0 (within the margin) and 1 (higher) a verdict supports; empty where it
    leaves the direction open."""
    if verdict is None:
        return []
    found = {"hurts": [-1], "helps": [1], "no clear effect": []}[verdict.direction]
    return [*found, 0] if verdict.size == "below" else found


def verdict_details(found: AblationResult | Comparison) -> str:
    """Where some runs failed, the effect without them; and what would decide an uncertain size."""
    if found.failed and not is_judged_by_failures(found):
        return failures_words(found)
    details = []
    if found.failed and isinstance(found, AblationResult) and found.difference_pct:
        failed = {run.run_spec.seed for run in found.failed}
        by_seed = found.difference_pct.by_seed.items()
        others = [value for seed, value in by_seed if seed not in failed]
        details.append(f"the other runs: {signed(float(np.mean(others)))} points")
    if found.verdict and found.verdict.size == "uncertain":
        needed = found.verdict.seeds_to_decide
        details.append(
            f"a new study with about {plural(needed, 'seed')} would decide it"
            if needed
            else "so near to the margin that more than 1,000 seeds would be needed"
        )
    return "; ".join(details)
