"""Predict first: what a reader may guess before a result, and what the study shows about the guess.

A guess is right only where the verdict supports it. Where the verdict is undecided, a guess of the
opposite significant direction is wrong, and every other guess is still possible.
"""

from typing import Literal, NamedTuple, get_args

from ablations.analysis.statistics import PairedDifference
from ablations.analysis.summary import AblationResult
from ablations.analysis.verdicts import Verdict
from reports.text.evidence import verdict_name
from reports.text.wording import decimal, interval, unbroken

Guess = Literal["worse", "hardly", "better"]
"""What the network does without the ingredient, relative to the equivalence margin."""
Outcome = Literal["right", "wrong", "still possible"]
DIRECTIONS: dict[str, Guess] = {"hurts": "worse", "helps": "better"}


class Choice(NamedTuple):
    """One of the answers that a reader may give, and what the study shows about it."""

    guess: Guess
    words: str
    outcome: Outcome
    reason: str
    """One sentence that begins with the outcome."""


def choices(row: AblationResult, margin_pct: float) -> list[Choice]:
    """The three guesses about an ablation, in the order in which they are offered."""
    found = []
    for guess in get_args(Guess):
        outcome = guess_outcome(guess, row.verdict)
        reason = _outcome_reason(guess, row.difference_pct, row.verdict, margin_pct)
        words = unbroken(f"{outcome.capitalize()}: {reason}.")
        found.append(Choice(guess, _guess_words(guess, margin_pct), outcome, words))
    return found


def guess_outcome(guess: Guess, verdict: Verdict | None) -> Outcome:
    """What the verdict says about a guess, or its significant direction while it is undecided."""
    if verdict is None:
        return "still possible"
    decided = decided_guess(verdict)
    if decided is not None:
        return "right" if guess == decided else "wrong"
    direction = DIRECTIONS.get(verdict.effect)
    return "wrong" if direction and guess not in (direction, "hardly") else "still possible"


def decided_guess(verdict: Verdict) -> Guess | None:
    """The guess that a verdict supports; None where it is undecided."""
    if verdict.kind in ("real but small", "negligible"):
        return "hardly"
    return DIRECTIONS.get(verdict.effect) if verdict.kind == "matters" else None


def _guess_words(guess: Guess, margin_pct: float) -> str:
    """A guess as the reader is offered it."""
    margin = f"{decimal(margin_pct)} points"
    if guess == "hardly":
        return f"hardly any difference (within {margin})"
    return f"{guess}, by more than {margin}"


def _outcome_reason(
    guess: Guess, difference: PairedDifference | None, verdict: Verdict | None, margin_pct: float
) -> str:
    """Why a guess has its outcome."""
    if difference is None or verdict is None:
        return "no seed was run both with it and without it"
    if len(difference.by_seed) == 1:
        return "one seed is inconclusive"
    if difference.interval_95 is None:
        return "every seed gave the same difference, so the spread over seeds is unknown"
    if decided_guess(verdict) is not None:
        return f"the verdict is “{verdict_name(verdict)}”"
    bounds = f"95 % interval {interval(difference.interval_95)} points"
    if verdict.effect == "unclear":
        return f"inconclusive at this number of seeds, adjusted for all comparisons ({bounds})"
    direction = DIRECTIONS[verdict.effect]
    if guess_outcome(guess, verdict) == "wrong":
        return f"it is significantly {direction} ({bounds})"
    margin = f"whether by more than {decimal(margin_pct)} points is inconclusive ({bounds})"
    if guess == direction:
        return f"the direction is right; {margin}"
    return f"it is significantly {direction}, but {margin}"
