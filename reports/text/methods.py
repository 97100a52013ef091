"""How a study was made: what a reader needs to repeat it or to question it."""

from collections.abc import Sequence
from contextlib import suppress

from ablations.analysis.looks import outside_plan
from ablations.analysis.runs import unknown_ablations
from ablations.analysis.summary import AblationResult, Results
from ablations.catalogue.designs import design_ablations
from ablations.catalogue.entries import entries_under, find_ablation
from ablations.catalogue.presets import QUICK
from ablations.catalogue.recipes import RecipeName
from ablations.records.study import Study


def seed_groups(rows: Sequence[AblationResult]) -> list[tuple[tuple[int, ...], list[str]]]:
    """Seeds, and the ablations that were run with exactly these; most seeds first."""
    names_by_seeds: dict[tuple[int, ...], list[str]] = {}
    for row in rows:
        seeds = tuple(run.run_spec.seed for run in row.runs)
        names_by_seeds.setdefault(seeds, []).append(row.ablation.name)
    return sorted(names_by_seeds.items(), key=lambda group: -len(group[0]))


def reproduce_commands(results: Results) -> list[str]:
    """The commands that repeat the runs: the planned one, or one for each group of seeds."""
    spec = results.study.spec
    options = (
        f"--dataset {spec.dataset.name} --recipe {spec.recipe} --epochs {spec.num_epochs} --device {spec.device_type} "
        f"--arithmetic {spec.arithmetic} --margin {spec.margin_pct:g}"
    )
    # The command line has no option for the number of images: it comes with this preset.
    if spec.num_train_images == QUICK.num_train_images:
        options = f"--preset {QUICK.name} {options}"
    commands, groups = [], []
    plan = spec.seed_plan
    if plan and len(plan.looks) > 1 and not outside_plan(plan, seeds_of_ablations(results)):
        going_on = any(number > plan.looks[0] for number in seeds_of_ablations(results).values())
        names = _names_argument(plan.ablations, spec.recipe)
        commands = [f"{names} {options}{' --until-decided' if going_on else ''}"]
    else:
        # The target takes part in every command, so it is named only where it has more seeds.
        covered = {seed for row in results.rows[1:] for seed in row.accuracy_pct.by_seed}
        groups = [
            (_names_argument(names, spec.recipe), seeds)
            for seeds, names in seed_groups(results.rows)
            if names != ["target"] or not set(seeds) <= covered
        ]
    groups += [
        (_combinations_argument(names), seeds) for seeds, names in seed_groups(results.combinations)
    ]
    commands += [
        f"{names} {options} --seeds {','.join(map(str, seeds))}" for names, seeds in groups
    ]
    return [f"python cli.py ablate {command}" for command in commands]


def seeds_of_ablations(results: Results) -> dict[str, int]:
    """The number of seeds of each ablation."""
    rows = (row for row in results.rows if row.ablation.kind != "target")
    return {row.ablation.name: len(row.runs) for row in rows}


def _names_argument(names: Sequence[str], recipe: RecipeName) -> str:
    """The names of a command; `--all` for the whole catalogue."""
    if {*names, "target"} == {entry.name for entry in entries_under(recipe)}:
        return "--all"
    return " ".join(name for name in names if name != "target" or len(names) == 1)


def _combinations_argument(names: Sequence[str]) -> str:
    """The names of combinations; those of a complete factorial by its design."""
    entries = list(dict.fromkeys(part for name in names for part in name.split("+")))
    # Combinations that are possible in pairs need not be possible all together.
    with suppress(ValueError):
        design = design_ablations("factorial", [find_ablation(entry) for entry in entries])
        if {ablation.name for ablation in design if ablation.parts} == set(names):
            return f"--design factorial {' '.join(entries)}"
    return " ".join(names)


def left_out(study: Study) -> list[str]:
    """Records that no number of the page includes, and why."""
    unknown = [
        f"runs of '{name}': the catalogue has no such entry" for name in unknown_ablations(study)
    ]
    return [*study.problems, *unknown]
