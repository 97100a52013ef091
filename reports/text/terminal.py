"""What `cli.py show`, `compare` and `plan` print."""

from collections.abc import Sequence

from ablations.analysis.comparison import Comparison
from ablations.analysis.power import PowerPlan
from ablations.analysis.verdicts import MOST_SEEDS, target_seeds
from ablations.catalogue.ablation import Ablation, spec_changes
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


def comparison_text(names: Sequence[str], found: Comparison, margin_pct: float) -> str:
    """The difference of two ablations with its interval and verdict, a few lines."""
    return render_text("compare.jinja", names=names, found=found, margin_pct=margin_pct)


def plan_text(plan: PowerPlan, study: Study, power: float) -> str:
    """How many seeds decide each effect."""
    return render_text(
        "plan.jinja",
        plan=plan,
        study=study,
        power=power,
        most_seeds=MOST_SEEDS,
        target_seeds=target_seeds,
    )
