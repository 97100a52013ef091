"""Predict first: what a reader may guess before a result, and what the study shows about the guess.

A guess is right only where the verdict supports it. Where the verdict is undecided, a guess of the
opposite significant direction is wrong, and every other guess is still possible.
"""

from typing import Literal, NamedTuple

from ablations.analysis.summary import AblationResult
from ablations.analysis.verdicts import Verdict
from reports.text.evidence import verdict_name
from reports.text.wording import decimal, interval

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
    margin = f"{decimal(margin_pct)} points"
    words: dict[Guess, str] = {
        "worse": f"worse, by more than {margin}",
        "hardly": f"hardly any difference (within {margin})",
        "better": f"better, by more than {margin}",
    }
    found = []
    for guess, text in words.items():
        outcome = guess_outcome(guess, row.verdict)
        found.append(Choice(guess, text, outcome, f"{outcome.capitalize()}: {_reason(row)}."))
    return found


def _reason(row: AblationResult) -> str:
    """The verdict that decides on the guesses, and its interval."""
    if row.difference_pct is None or row.verdict is None:
        return "no seed was run both with it and without it"
    bounds = row.difference_pct.interval_95
    evidence = f" (95 % interval {interval(bounds)} points)" if bounds else ""
    return f"the verdict is “{verdict_name(row.verdict)}”{evidence}"


def guess_outcome(guess: Guess, verdict: Verdict | None) -> Outcome:
    """Whether the verdict, or its significant direction if it is undecided, supports a guess."""
    if verdict is None:
        return "still possible"
    direction = DIRECTIONS.get(verdict.effect)
    if verdict.kind in ("real but small", "negligible"):
        return "right" if guess == "hardly" else "wrong"
    if verdict.kind == "matters":
        return "right" if guess == direction else "wrong"
    return "wrong" if direction and guess not in (direction, "hardly") else "still possible"
