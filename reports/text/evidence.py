"""Verdicts and p-values in words. Pure functions of results, without markup."""

from ablations.analysis.verdicts import Verdict
from ablations.words import plural
from reports.text.wording import decimal

MANY_SEEDS = 100
"""A prediction from a few seeds is too rough to distinguish larger numbers of seeds."""


def verdict_name(verdict: Verdict) -> str:
    """The verdict, with the direction of a significant difference."""
    if verdict.kind == "one seed":
        return "none: one seed"
    if verdict.effect == "unclear":
        return verdict.kind
    return f"{verdict.kind}: {verdict.effect}"


def verdict_details(verdict: Verdict, margin_pct: float) -> str:
    """What an undecided verdict leaves open, and how many seeds would decide it."""
    if verdict.kind != "undecided":
        return ""
    if verdict.differs_p is None:
        return "all seeds gave the same difference; more seeds are needed to estimate its spread"
    question = ""
    if verdict.effect != "unclear":
        question = f"significantly different from zero, but not shown to be beyond {decimal(margin_pct)} points; "
    if verdict.more_seeds is None or verdict.more_seeds > MANY_SEEDS:
        return f"{question}close to the margin: a verdict needs over {MANY_SEEDS} more seeds"
    return f"{question}a verdict needs about {plural(verdict.more_seeds, 'more seed')}"


def p_value(p: float | None) -> str:
    """A p-value with three digits."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
