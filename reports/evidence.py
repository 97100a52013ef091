"""Verdicts and attributions in words. Pure functions of results, without markup."""

from collections.abc import Sequence
from typing import NamedTuple, get_args

from markupsafe import Markup

from ablations.attribution import Attribution
from ablations.results import AblationResult
from ablations.statistics import Estimate, holm, paired_difference
from ablations.verdicts import LEVEL, Verdict, VerdictKind
from ablations.words import plural
from reports.wording import REMOVED_WORDS, decimal, enumerate_words, interval, signed, unbroken


class Together(NamedTuple):
    """What the page shows of several ingredients at once."""

    anchor: str
    words: str
    """The ingredients."""
    attribution: Attribution
    lead: str
    misled: str
    """Where leaving one out gives another picture than all combinations; empty if nowhere."""
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
    if verdict.more_seeds is None:
        return f"{question}more than 1,000 seeds would be needed"
    return f"{question}about {plural(verdict.more_seeds, 'more seed')} would settle it"


def p_value(p: float | None) -> str:
    """A p value with as many digits as it is worth."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def share(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.0f} %"


def verdict_sentences(compared: Sequence[AblationResult]) -> str:
    """How the verdicts are distributed, by name."""
    by_words: dict[str, list[str]] = {}
    for kind in get_args(VerdictKind):
        for row in compared:
            if row.verdict and row.verdict.kind == kind != "one seed":
                words = (
                    kind if row.verdict.effect == "unclear" else f"{kind} ({row.verdict.effect})"
                )
                by_words.setdefault(words, []).append(row.ablation.name)
    sentences = [
        f"{words[0].upper()}{words[1:]}: {enumerate_words(names)}."
        for words, names in by_words.items()
    ]
    return " ".join(["Verdicts on removing an ingredient.", *sentences]) if sentences else ""


def attribution_lead(found: Attribution) -> str:
    """The whole network's lead over the bare one, and how it is shared out."""
    ingredients = enumerate_words(REMOVED_WORDS[name] for name in found.names)
    lead = found.full_minus_bare
    whole = (
        f"The whole network minus the bare one, which is without {ingredients}: {signed(lead.mean)} "
        f"points of accuracy{interval_words(lead)}, over {plural(len(found.seeds), 'seed')}."
    )
    sentences = [whole]
    shares = [
        f"{REMOVED_WORDS[worth.name]} {signed(worth.shapley.mean)}{interval_words(worth.shapley)}"
        for worth in found.worths
        if worth.shapley
    ]
    if shares:
        sentences.append(
            f"Shared out over all orders of adding them (Shapley values): {'; '.join(shares)}."
        )
    if len(found.seeds) == 1:
        sentences.append("One seed does not say what another would give.")
    elif shares:
        sentences.append(
            "Each interval stands for itself: they are not corrected for being several."
        )
    return unbroken(" ".join(sentences))


def interval_words(found: Estimate | None) -> str:
    """The interval in brackets; nothing where there is none."""
    if found is None or found.interval_95 is None:
        return ""
    return f" (95 % interval {interval(found.interval_95)})"


def misled_sentences(found: Attribution) -> str:
    """Ingredients whose worth alone is surely another than when they are left out of the whole.

    The two worths are paired by seed; the p values of their differences are Holm's.
    """
    gaps = {}
    for worth in found.worths:
        if worth.left_out and worth.alone:
            gap = paired_difference(worth.alone.by_seed, worth.left_out.by_seed)
            if gap and gap.t_test_p is not None:
                gaps[worth.name] = gap
    p_values = holm({name: gap.t_test_p for name, gap in gaps.items() if gap.t_test_p is not None})
    sentences = []
    for worth in found.worths:
        if worth.name in gaps and p_values[worth.name] < LEVEL and worth.left_out and worth.alone:
            left_out, alone = worth.left_out.mean, worth.alone.mean
            sentences.append(
                f"Leaving out {REMOVED_WORDS[worth.name]} {'costs' if left_out > 0 else 'gains'} "
                f"{decimal(abs(left_out))} points, and adding it to the bare network "
                f"{'gains' if alone > 0 else 'costs'} {decimal(abs(alone))}: {why(left_out, alone)}."
            )
    return unbroken(" ".join(sentences))


def why(left_out: float, alone: float) -> str:
    """What it means that an ingredient is worth something else alone than beside the others."""
    if left_out > 0 and alone > 0:
        return "the others do part of its work" if alone > left_out else "it works better with them"
    return "it is better without the others" if alone > left_out else "it is better beside them"


def has_one_seed(rows: Sequence[AblationResult]) -> bool:
    """Whether a verdict is missing for want of a second seed."""
    return any(row.verdict and row.verdict.kind == "one seed" for row in rows)
