"""Verdicts and attributions in words. Pure functions of results, without markup."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from ablations.analysis.attribution import Attribution, contribution_with_and_without
from ablations.analysis.statistics import Estimate
from ablations.analysis.summary import AblationResult, Results
from ablations.analysis.verdicts import LEVEL, Verdict
from ablations.catalogue.designs import names_of
from ablations.words import plural
from reports.text.wording import REMOVED_WORDS, decimal, enumerate_words, interval, signed, unbroken

MANY_SEEDS = 100
"""A prediction from a few seeds is too rough to distinguish larger numbers of seeds."""


class Together(NamedTuple):
    """What the page shows of several ingredients in combination."""

    anchor: str
    words: str
    """The ingredients."""
    attribution: Attribution
    lead: str
    short: str
    """The same in one sentence, of removing them."""
    alone: str
    """Where an ingredient contributes significantly differently alone; empty if nowhere."""
    interactions: str
    """Of the interactions whose intervals exclude zero; empty if none does."""
    contributions: Markup


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
    """A p value with three digits."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def share(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.0f} %"


def together_sentence(found: Attribution) -> str:
    """What removing all ingredients of a set at once does."""
    lead, bounds = found.full_minus_bare, ""
    if lead.interval_95:
        low, high = lead.interval_95
        bounds = f", 95 % interval {interval((-high, -low))}"
    ingredients = enumerate_words(REMOVED_WORDS[name] for name in found.names)
    return unbroken(
        f"Removing {ingredients} at once: {signed(-lead.mean)} points "
        f"({plural(len(found.seeds), 'seed')}{bounds})."
    )


def attribution_lead(found: Attribution, results: Results) -> str:
    """The difference between the full and the bare network, and how to read its parts."""
    parameters = {
        names_of(row.ablation): row.parameters for row in (*results.rows, *results.combinations)
    }
    full_size, bare_size = parameters[()], parameters[tuple(found.names)]
    ingredients = enumerate_words(REMOVED_WORDS[name] for name in found.names)
    lead, num_seeds = found.full_minus_bare, len(found.seeds)
    difference = (
        f"The full network ({full_size:,} parameters) minus the bare one ({bare_size:,} parameters, "
        f"without {ingredients}): {signed(lead.mean)} points of accuracy{_interval_words(lead)}, "
        f"over {plural(num_seeds, 'seed')}."
    )
    sentences = [difference]
    if results.target and num_seeds < len(results.target.runs):
        sentences.append(
            f"All combinations share these seeds only. The target has {len(results.target.runs)}, so "
            "intervals are wider here than elsewhere on this page."
        )
    if bare_size > full_size:
        sentences.append("The bare network is larger, so the two are not compared at one size.")
    if num_seeds == 1:
        sentences.append("One seed does not show what another would give.")
    else:
        sentences.append("The intervals below are not adjusted for multiple comparisons.")
    return unbroken(" ".join(sentences))


def _interval_words(found: Estimate) -> str:
    """The interval in brackets; nothing where there is none."""
    return f" (95 % interval {interval(found.interval_95)})" if found.interval_95 else ""


def alone_sentences(found: Attribution) -> str:
    """Ingredients that contribute significantly differently alone than left out of the full network."""
    return unbroken(
        " ".join(
            f"With the other ingredients present, {REMOVED_WORDS[one.name]} contributes "
            f"{signed(one.left_out.mean)} points{_interval_words(one.left_out)}; without them, "
            f"{signed(one.alone.mean)}{_interval_words(one.alone)}."
            for one in found.contributions
            if one.left_out
            and one.alone
            and one.alone_minus_left_out_p is not None
            and one.alone_minus_left_out_p < LEVEL
        )
    )


def interaction_sentences(found: Attribution) -> str:
    """The interactions whose own intervals exclude zero."""
    sentences = []
    for one in found.interactions:
        bounds = one.effect.interval_95
        if bounds and (bounds[0] > 0 or bounds[1] < 0):
            present, absent = contribution_with_and_without(found, one)
            name, partner = (REMOVED_WORDS[name] for name in one.names)
            sentences.append(
                f"{name} contributes {signed(present)} points with {partner} and {signed(absent)} without"
            )
    return "; ".join(sentences)


def has_one_seed(rows: Sequence[AblationResult]) -> bool:
    """Whether a verdict needs a second seed."""
    return any(row.verdict and row.verdict.kind == "one seed" for row in rows)
