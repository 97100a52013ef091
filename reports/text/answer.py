"""The sentences of a report about a whole study: what it found, what it contains, what to know first."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ablations.analysis.attribution import Attribution
from ablations.analysis.looks import before_look, outside_plan
from ablations.analysis.requirements import (
    GUESSING_PCT,
    HARDLY_LEARNT_PCT,
    PARAMETER_LIMIT,
    mean_accuracy_pct,
)
from ablations.analysis.summary import AblationResult, Results, has_similar_size, matched_size
from ablations.catalogue.entries import entries_under
from ablations.catalogue.recipes import RECIPES
from ablations.records.run import RunRecord
from ablations.records.study_spec import StudySpec
from reports.text.templates import render_paragraphs, render_sentences
from reports.text.wording import REMOVED_WORDS, enumerate_words, estimate_words, verdict_name


class Removal(NamedTuple):
    """What removing one of the assignment's concepts does."""

    row: AblationResult
    effect: str
    measured: str


class StudyAnswer(NamedTuple):
    """What a study found: the sentences to read first, and how far to trust them."""

    removals: Sequence[Removal]
    lead: str
    lowest: str
    """Which removal costs most, and how many have a clear effect; empty where nothing is compared."""
    caveats: str
    controls: str
    """What the study's controls showed."""
    retuned: Sequence[tuple[AblationResult, AblationResult]]
    """An ablation, and the same with a recipe of its own."""


def answer(results: Results) -> StudyAnswer:
    """What the study found, in a few sentences."""
    target = results.target
    compared = [row for row in results.rows if row.difference_pct]
    # A placebo removes nothing, and a retuned ablation repeats another.
    removing = [
        row for row in compared if row.ablation.control != "negative" and not row.ablation.retunes
    ]
    paragraphs = render_paragraphs("answer.jinja", results=results, compared=removing)
    margin_pct = results.study.spec.margin_pct
    removals = [
        _removal(row, target, compared, margin_pct)
        for row in compared
        if target and row.ablation.is_core
    ]
    controls = [row for row in compared if row.ablation.control]
    own = {row.ablation.retunes: row for row in compared}
    lead, lowest, caveats = [*paragraphs, "", ""][:3]
    return StudyAnswer(
        removals,
        lead,
        lowest,
        caveats,
        controls=render_sentences("controls.jinja", controls=controls, margin_pct=margin_pct),
        retuned=[(row, own[name]) for row in removing if (name := row.ablation.name) in own],
    )


def _removal(
    row: AblationResult,
    target: AblationResult,
    compared: Sequence[AblationResult],
    margin_pct: float,
) -> Removal:
    """One removal, also at the target's size where it changes the size."""
    matched = matched_size(row, target, compared)
    measured = render_sentences(
        "removal.jinja",
        row=row,
        is_same_size=has_similar_size(row, target),
        parameter_limit=PARAMETER_LIMIT,
        matched=matched,
        matched_effect=verdict_name(matched, margin_pct) if matched else "",
    )
    return Removal(row, verdict_name(row, margin_pct), measured)


def contents(results: Results) -> str:
    """What the study contains, and which entries of the catalogue it lacks."""
    entries = entries_under(results.study.spec.recipe)
    return render_sentences("contents.jinja", results=results, catalogue=entries)


def notices(spec: StudySpec, records: Sequence[RunRecord] = ()) -> list[str]:
    """What to know before any number: other data or length, an untrained target, seeds outside the plan."""
    num_images = spec.num_train_images or spec.dataset.num_train
    full = RECIPES[spec.recipe]
    target = [record for record in records if record.run_spec.ablation == "target"]
    mean_pct = mean_accuracy_pct(target) if target else None
    names = [record.run_spec.ablation for record in records]
    num_seeds = Counter(name for name in names if name != "target" and "+" not in name)
    return render_paragraphs(
        "notices.jinja",
        spec=spec,
        num_images=num_images,
        full=full,
        is_shorter=num_images * spec.num_epochs < spec.dataset.num_train * full.num_epochs,
        target_pct=mean_pct,
        guessing_pct=GUESSING_PCT,
        has_hardly_learnt=mean_pct is not None and mean_pct <= HARDLY_LEARNT_PCT,
        outside=outside_plan(spec.seed_plan, num_seeds),
        before=before_look(spec.seed_plan, num_seeds, len(target)),
    )


def together_sentence(found: Attribution) -> str:
    """What removing all ingredients of a set at once does."""
    ingredients = enumerate_words(REMOVED_WORDS[name] for name in found.names)
    lead = found.full_minus_bare
    bounds = (-lead.interval_95[1], -lead.interval_95[0]) if lead.interval_95 else None
    removal = msgspec.structs.replace(lead, mean=-lead.mean, interval_95=bounds)
    return f"Removing {ingredients} at once: {estimate_words(removal)}."


def attribution_lead(found: Attribution, results: Results) -> str:
    """The difference between the full and the bare network, and how to read its parts."""
    return render_sentences("attribution.jinja", found=found, results=results)
