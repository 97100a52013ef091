"""Verdicts and attributions in words. Pure functions of results, without markup."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from ablations.analysis.attribution import Attribution, worth_beside_and_without
from ablations.analysis.statistics import Estimate
from ablations.analysis.summary import AblationResult, Results
from ablations.analysis.verdicts import LEVEL, Verdict
from ablations.catalogue.designs import names_of
from ablations.words import plural
from reports.text.wording import REMOVED_WORDS, decimal, enumerate_words, interval, signed, unbroken

MANY_SEEDS = 100
"""From a few seeds no larger number can be told from the next."""


class Together(NamedTuple):
    """What the page shows of several ingredients at once."""

    anchor: str
    words: str
    """The ingredients."""
    attribution: Attribution
    lead: str
    short: str
    """The same in one sentence, of removing them."""
    misled: str
    """Where leaving one out gives another picture than all combinations; empty if nowhere."""
    interactions: str
    """What those mean whose own intervals miss zero; empty if none does."""
    worths: Markup
    ladder: Markup | None


def verdict_name(verdict: Verdict) -> str:
    """The verdict, with what removing the ingredient does where that is known."""
    if verdict.kind == "one seed":
        return "none: one seed"
    if verdict.effect == "unclear":
        return verdict.kind
    return f"{verdict.kind}: {verdict.effect}"


def verdict_details(verdict: Verdict, margin_pct: float) -> str:
    """What an undecided verdict leaves open, and how many seeds would settle it."""
    if verdict.kind != "undecided":
        return ""
    if verdict.differs_p is None:
        return "all seeds gave the same difference: more of them will show its spread"
    question = ""
    if verdict.effect != "unclear":
        question = f"whether by more than {decimal(margin_pct)} points is open; "
    if verdict.more_seeds is None or verdict.more_seeds > MANY_SEEDS:
        return (
            f"{question}it lies too close to the margin: more than {MANY_SEEDS} more seeds would be "
            "needed"
        )
    return f"{question}about {plural(verdict.more_seeds, 'more seed')} would settle it"


def p_value(p: float | None) -> str:
    """A p value with as many digits as it is worth."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def share(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.0f} %"


def together_sentence(found: Attribution) -> str:
    """What removing all of several ingredients at once does."""
    lead = found.full_minus_bare
    ingredients = enumerate_words(REMOVED_WORDS[name] for name in found.names)
    bounds = ""
    if lead.interval_95:
        low, high = lead.interval_95
        bounds = f", 95 % interval {interval((-high, -low))}"
    return unbroken(
        f"Removing {ingredients} at once: {signed(-lead.mean)} points "
        f"({plural(len(found.seeds), 'seed')}{bounds})."
    )


def attribution_lead(found: Attribution, results: Results) -> str:
    """The whole network's lead over the bare one, and what to know before its parts are read."""
    parameters = {
        names_of(row.ablation): row.parameters for row in (*results.rows, *results.combinations)
    }
    full_size, bare_size = parameters[()], parameters[tuple(found.names)]
    ingredients = enumerate_words(REMOVED_WORDS[name] for name in found.names)
    lead = found.full_minus_bare
    whole = (
        f"The whole network ({full_size:,} parameters) minus the bare one ({bare_size:,}), which is "
        f"without {ingredients}: {signed(lead.mean)} "
        f"points of accuracy{interval_words(lead)}, over {plural(len(found.seeds), 'seed')}."
    )
    sentences = [whole]
    if results.target and len(found.seeds) < len(results.target.runs):
        sentences.append(
            f"These are the seeds that all combinations share; the target has {len(results.target.runs)}, so intervals are wider here than elsewhere on this page."
        )
    if bare_size > full_size:
        sentences.append(
            "Taking ingredients away made the network larger here, so this is no comparison at one size."
        )
    if len(found.seeds) == 1:
        sentences.append("One seed does not say what another would give.")
    else:
        sentences.append(
            "The intervals of its parts stand each for itself: they are not corrected for being several."
        )
    return unbroken(" ".join(sentences))


def interval_words(found: Estimate | None) -> str:
    """The interval in brackets; nothing where there is none."""
    if found is None or found.interval_95 is None:
        return ""
    return f" (95 % interval {interval(found.interval_95)})"


def misled_sentences(found: Attribution) -> str:
    """Ingredients whose worth alone is surely another than when they are left out of the whole."""
    sentences = []
    for worth in found.worths:
        p = worth.alone_minus_left_out_p
        if p is not None and p < LEVEL and worth.left_out and worth.alone:
            is_more = worth.alone.mean > worth.left_out.mean
            sentences.append(
                f"Having {REMOVED_WORDS[worth.name]} is worth {signed(worth.left_out.mean)} points beside the others"
                f"{interval_words(worth.left_out)} and {signed(worth.alone.mean)} alone"
                f"{interval_words(worth.alone)}: {'more' if is_more else 'less'} without them."
            )
    return unbroken(" ".join(sentences))


def interaction_sentences(found: Attribution) -> str:
    """What the interactions mean whose own intervals miss zero."""
    sentences = []
    for one in found.interactions:
        bounds = one.effect.interval_95
        if bounds and (bounds[0] > 0 or bounds[1] < 0):
            beside, without = worth_beside_and_without(found, one)
            name, partner = (REMOVED_WORDS[name] for name in one.names)
            sentences.append(
                f"having {name} is worth {signed(beside)} points with {partner}, and {signed(without)} without"
            )
    return "; ".join(sentences)


def has_one_seed(rows: Sequence[AblationResult]) -> bool:
    """Whether a verdict is missing for want of a second seed."""
    return any(row.verdict and row.verdict.kind == "one seed" for row in rows)
