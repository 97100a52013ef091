"""Predict first: what a reader may guess before seeing a result, and what the study says of it.

A guess is right only where the study's verdict says so. Where the verdict is open, a guess
is wrong if the direction is sure and another, and otherwise still possible.
"""

from typing import Literal, NamedTuple, get_args

from ablations.analysis.statistics import PairedDifference
from ablations.analysis.summary import AblationResult
from ablations.analysis.verdicts import Verdict
from reports.text.evidence import verdict_name
from reports.text.wording import decimal, interval

Guess = Literal["worse", "hardly", "better"]
"""What the network does without the ingredient, against the study's margin."""
Outcome = Literal["right", "wrong", "still possible"]
RIGHT_DIRECTION = "Right direction"


class Choice(NamedTuple):
    """One of the answers that a reader may give, and what the study says of it."""

    guess: Guess
    words: str
    outcome: Outcome
    reason: str
    """One sentence that begins with the outcome, or with what is sure of it."""


def choices(row: AblationResult, margin_pct: float) -> list[Choice]:
    """The three guesses about an ablation, in the order in which they are offered."""
    found = []
    for guess in get_args(Guess):
        outcome = guess_outcome(guess, row.verdict)
        reason = outcome_reason(guess, row.difference_pct, row.verdict, margin_pct)
        if not reason.startswith(RIGHT_DIRECTION):
            reason = f"{outcome.capitalize()}: {reason}"
        found.append(Choice(guess, guess_words(guess, margin_pct), outcome, f"{reason}."))
    return found


def guess_outcome(guess: Guess, verdict: Verdict | None) -> Outcome:
    """What the study says of a guess, by tests that are corrected for every comparison: the verdict,
    and while that is open the direction, if that is sure."""
    if verdict is None:
        return "still possible"
    decided = decided_guess(verdict)
    if decided is not None:
        return "right" if guess == decided else "wrong"
    return (
        "wrong"
        if guess == {"hurts": "better", "helps": "worse"}.get(verdict.effect)
        else "still possible"
    )


def decided_guess(verdict: Verdict) -> Guess | None:
    """The guess that a verdict says is right; None where it leaves that open."""
    if verdict.kind in ("real but small", "negligible"):
        return "hardly"
    if verdict.kind == "matters" and verdict.effect != "unclear":
        return "worse" if verdict.effect == "hurts" else "better"
    return None


def guess_words(guess: Guess, margin_pct: float) -> str:
    """A guess as the reader is offered it."""
    margin = f"{decimal(margin_pct)} points"
    if guess == "hardly":
        return f"hardly any difference (within {margin})"
    return f"{guess}, by more than {margin}"


def outcome_reason(
    guess: Guess,
    difference: PairedDifference | None,
    verdict: Verdict | None,
    margin_pct: float,
) -> str:
    """Why a guess has its outcome."""
    if difference is None or verdict is None:
        return "no seed was run both with it and without it"
    if len(difference.by_seed) == 1:
        return "one seed does not tell what another would give"
    if difference.interval_95 is None:
        return "every seed gave the same difference, so nobody knows how far seeds can differ"
    if decided_guess(verdict) is not None:
        return f"the verdict is “{verdict_name(verdict)}”"
    bounds = f"95\N{NO-BREAK SPACE}% interval {interval(difference.interval_95)} points"
    if verdict.effect == "unclear":
        return f"these seeds do not tell once corrected for every comparison ({bounds})"
    direction = "worse" if verdict.effect == "hurts" else "better"
    if guess_outcome(guess, verdict) == "wrong":
        return f"it is surely {direction} ({bounds})"
    open_words = f"whether by more than {decimal(margin_pct)} points is not settled ({bounds})"
    if guess == direction:
        return f"{RIGHT_DIRECTION}; {open_words}"
    return f"it is surely {direction}, but {open_words}"
