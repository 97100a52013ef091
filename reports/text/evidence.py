"""Verdicts and attributions in words. Pure functions of results, without markup."""

import msgspec

from ablations.analysis.attribution import Attribution
from ablations.analysis.summary import Results
from ablations.analysis.verdicts import Verdict
from ablations.catalogue.designs import names_of
from ablations.words import plural
from reports.text.wording import REMOVED_WORDS, decimal, enumerate_words, estimate_words

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
        return f"{question}close to the margin: a verdict needs more than {MANY_SEEDS} more seeds"
    return f"{question}a verdict needs about {plural(verdict.more_seeds, 'more seed')}"


def p_value(p: float | None) -> str:
    """A p-value with three digits."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def together_sentence(found: Attribution) -> str:
    """What removing all ingredients of a set at once does."""
    ingredients = enumerate_words(REMOVED_WORDS[name] for name in found.names)
    lead = found.full_minus_bare
    bounds = (-lead.interval_95[1], -lead.interval_95[0]) if lead.interval_95 else None
    removal = msgspec.structs.replace(lead, mean=-lead.mean, interval_95=bounds)
    return f"Removing {ingredients} at once: {estimate_words(removal)}."


def attribution_lead(found: Attribution, results: Results) -> str:
    """The difference between the full and the bare network, and how to read its parts."""
    parameters = {
        names_of(row.ablation): row.parameters for row in (*results.rows, *results.combinations)
    }
    full_size, bare_size = parameters[()], parameters[tuple(found.names)]
    ingredients = enumerate_words(REMOVED_WORDS[name] for name in found.names)
    sentences = [
        (
            f"The full network ({full_size:,} parameters) minus the bare one ({bare_size:,} parameters, "
            f"without {ingredients}): {estimate_words(found.full_minus_bare)}."
        )
    ]
    if results.target and len(found.seeds) < len(results.target.runs):
        sentences.append(
            "Only these seeds are common to all combinations, so intervals are wider here than "
            "elsewhere on this page."
        )
    if bare_size > full_size:
        sentences.append("The bare network is larger, so the two are not compared at one size.")
    if len(found.seeds) == 1:
        sentences.append("One seed does not show what another would give.")
    else:
        sentences.append("The intervals below are not adjusted for multiple comparisons.")
    return " ".join(sentences)
