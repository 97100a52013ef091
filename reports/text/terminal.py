"""What `cli.py show`, `compare` and `plan` print."""

from collections.abc import Sequence

from ablations.analysis.comparison import Comparison
from ablations.analysis.power import SeedsNeeded
from ablations.analysis.verdicts import MOST_SEEDS
from ablations.catalogue.ablation import Ablation, spec_changes
from ablations.catalogue.entries import ENTRIES
from ablations.catalogue.recipes import RECIPES
from ablations.records.study import Study
from mnist_blocks.summary import layer_table
from reports.text.templates import render_text


def ablation_text(ablation: Ablation) -> str:
    """An ablation's question, what it changes, and its network layer by layer."""
    return render_text(
        "show.jinja",
        ablation=ablation,
        changes={
            recipe: spec_changes(
                ablation.network_spec, ablation.training_spec(recipe), RECIPES[recipe]
            )
            for recipe in ablation.recipes
        },
        layers=layer_table(ablation.network_spec),
    )


def comparison_text(found: Sequence[Comparison], margin_pct: float) -> str:
    """Each comparison with its tests and verdict, a few lines each."""
    return render_text("compare.jinja", found=found, margin_pct=margin_pct)


def plan_text(plan: SeedsNeeded, study: Study, effect_pct: float, power: float) -> str:
    """The spread of the study, and how many seeds detect the effect."""
    return render_text(
        "plan.jinja",
        plan=plan,
        study=study,
        effect_pct=effect_pct,
        power=power,
        most_seeds=MOST_SEEDS,
        num_ablations=len(ENTRIES) - 1,
    )


def time_text(plan: SeedsNeeded, seconds: float, num_jobs: int, where: str) -> str:
    """How long the planned seeds take, for one ablation and for all; one run takes `seconds`."""
    return render_text(
        "time.jinja",
        plan=plan,
        seconds=seconds,
        num_jobs=num_jobs,
        where=where,
        num_variants=len(ENTRIES),
    )
