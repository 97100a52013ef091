"""The sentences of a report about a whole study: what it found, what it contains, what to know first."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ablations.analysis.attribution import Attribution
from ablations.analysis.intervals import Effect
from ablations.analysis.looks import before_look, outside_plan
from ablations.analysis.requirements import (
    GUESSING_PCT,
    HARDLY_LEARNT_PCT,
    mean_accuracy_pct,
)
from ablations.analysis.summary import AblationResult, Results
from ablations.analysis.verdicts import judge_direction
from ablations.catalogue.entries import entries_under
from ablations.catalogue.recipes import RECIPES
from ablations.records.run import RunRecord
from ablations.records.study_spec import StudySpec
from reports.text.templates import render_paragraphs, render_sentences
from reports.text.wording import REMOVED_WORDS, enumerate_words, estimate_words


class StudyAnswer(NamedTuple):
    """What a study found: the sentences to read first, and how far to trust them."""

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
    compared = [row for row in results.rows if row.difference_pct]
    # A placebo removes nothing, and a retuned ablation repeats another.
    removing = [
        row for row in compared if row.ablation.control != "negative" and not row.ablation.retunes
    ]
    paragraphs = render_paragraphs("answer.jinja", results=results, compared=removing)
    controls = [row for row in compared if row.ablation.control]
    own = {row.ablation.retunes: row for row in compared}
    lead, lowest, caveats = [*paragraphs, "", ""][:3]
    return StudyAnswer(
        lead,
        lowest,
        caveats,
        controls=render_sentences(
            "controls.jinja", controls=controls, margin_pct=results.study.spec.margin_pct
        ),
        retuned=[(row, own[name]) for row in removing if (name := row.ablation.name) in own],
    )


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
        num_runs=len(records),
        fallbacks=Counter(record.fallback_reason for record in records if record.fallback_reason),
    )


def together_sentence(found: Attribution) -> str:
    """What removing all ingredients of a set at once does."""
    ingredients = enumerate_words(REMOVED_WORDS[name] for name in found.names)
    return f"Removing {ingredients} at once: {estimate_words(found.all_removed)}."


def attribution_lead(found: Attribution, results: Results) -> str:
    """Whether the effects of removing single ingredients add up to that of removing all at once."""

    def is_clear(effect: Effect) -> bool:
        bounds = effect.interval_95
        return bounds is not None and judge_direction(bounds) != "no clear effect"

    clear = [one for one in found.interactions if is_clear(one.effect)]
    clear.sort(key=lambda one: -abs(one.effect.mean))
    return render_sentences(
        "attribution.jinja", found=found, results=results, is_clear=is_clear, clear=clear
    )
