"""What `cli.py show`, `compare` and `plan` print, line by line."""

import math
from collections.abc import Sequence

from ablations.analysis.comparison import Comparison
from ablations.analysis.power import SeedPlan
from ablations.analysis.verdicts import MOST_SEEDS
from ablations.catalogue.ablation import Ablation, spec_changes
from ablations.catalogue.entries import CATALOGUE
from ablations.records.study import Study
from ablations.words import duration, plural
from mnist_blocks.summary import layer_table
from reports.text.templates import render_text


def ablation_lines(ablation: Ablation) -> list[str]:
    """An ablation's question, what it changes, and its network layer by layer."""
    return render_text(
        "show.jinja",
        ablation=ablation,
        changes=spec_changes(ablation.network_spec, ablation.training_spec),
        layers=layer_table(ablation.network_spec),
    ).splitlines()


def comparison_lines(found: Sequence[Comparison], margin_pct: float) -> list[str]:
    """Each comparison with its tests and verdict, a few lines each."""
    return render_text("compare.jinja", found=found, margin_pct=margin_pct).splitlines()


def plan_lines(plan: SeedPlan, study: Study, effect_pct: float, power: float) -> list[str]:
    """The spread of the study, and how many seeds detect the effect."""
    return render_text(
        "plan.jinja",
        plan=plan,
        study=study,
        effect_pct=effect_pct,
        power=power,
        most_seeds=MOST_SEEDS,
        num_ablations=len(CATALOGUE) - 1,
    ).splitlines()


def time_lines(plan: SeedPlan, seconds: float, num_jobs: int, where: str) -> list[str]:
    """How long so many seeds take, of one ablation and of all."""
    lines = []
    for num_variants, num_seeds, what in (
        (2, plan.num_seeds, "One ablation and the target"),
        (len(CATALOGUE), plan.num_seeds_of_all, f"All {len(CATALOGUE)} variants"),
    ):
        if num_seeds is not None:
            num_runs = num_variants * num_seeds
            total = duration(math.ceil(num_runs / num_jobs) * seconds)
            lines.append(
                f"{what}: {plural(num_seeds, 'seed')}, {num_runs:,} runs, about {total} {where}."
            )
    return lines
