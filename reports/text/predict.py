"""Predict first: what a reader may guess before a result, and what the study shows about the guess.

A guess is right only where the verdict supports it. Where the size is uncertain, a guess of the opposite
direction is wrong, and every other guess is still possible.
"""

from typing import Literal, NamedTuple, get_args

from ablations.analysis.summary import AblationResult
from ablations.analysis.verdicts import Verdict
from reports.text.templates import render_paragraphs

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
    *words, reason = render_paragraphs("guesses.jinja", row=row, margin_pct=margin_pct)
    found = []
    for guess, text in zip(get_args(Guess), words, strict=True):
        outcome = guess_outcome(guess, row.verdict)
        found.append(Choice(guess, text, outcome, f"{outcome.capitalize()}: {reason}"))
    return found


def guess_outcome(guess: Guess, verdict: Verdict | None) -> Outcome:
    """Whether the verdict's size, or its direction where the size is uncertain, supports a guess."""
    if verdict is None:
        return "still possible"
    direction = DIRECTIONS.get(verdict.direction)
    if verdict.size == "below":
        return "right" if guess == "hardly" else "wrong"
    if verdict.size == "above":
        return "right" if guess == direction else "wrong"
    return "wrong" if direction and guess not in (direction, "hardly") else "still possible"
