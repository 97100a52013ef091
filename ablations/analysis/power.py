"""How many seeds a question needs, and how long they take here: what `cli.py plan` says."""

import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median, stdev
from typing import NamedTuple

from ablations.analysis.comparison import runs_of
from ablations.analysis.statistics import paired_difference
from ablations.analysis.summary import accuracy_by_seed
from ablations.analysis.verdicts import MOST_SEEDS, seeds_to_find
from ablations.catalogue.entries import CATALOGUE
from ablations.records.study import Study
from ablations.records.study_spec import StudyError
from ablations.words import duration, plural


class SeedPlan(NamedTuple):
    """How many seeds find an effect, by the spread that a study has shown."""

    spread_pct: dict[str, float]
    """Standard deviation over seeds of each ablation's paired difference."""
    typical_pct: float
    """Their median."""
    num_seeds: int | None
    """With the typical spread; None: more than 1,000."""
    num_seeds_largest: int | None
    """With the largest."""
    num_seeds_of_all: int | None
    """With the typical spread, where every ablation of the catalogue is tested and the p values are
    corrected for that."""


def plan_seeds(study: Study, effect_pct: float, power: float) -> SeedPlan:
    """How many seeds find a difference of a size in such a share of studies.

    Raises:
        StudyError: the study has no ablation with two seeds whose differences vary.
    """
    spread_pct = paired_spread(study)
    if not spread_pct:
        raise StudyError(
            f"{study.name} does not show how much differences vary over seeds: it needs an ablation "
            "with at least two seeds that the target has, too"
        )
    typical_pct = median(spread_pct.values())
    return SeedPlan(
        spread_pct,
        typical_pct,
        seeds_to_find(effect_pct, typical_pct, power),
        seeds_to_find(effect_pct, max(spread_pct.values()), power),
        seeds_to_find(effect_pct, typical_pct, power, num_compared=len(CATALOGUE) - 1),
    )


def paired_spread(study: Study) -> dict[str, float]:
    """By ablation, the standard deviation over seeds of the difference from the target.

    Combinations are none: they would count a design's ingredients many times over.
    """
    accuracy = {entry.name: accuracy_by_seed(runs_of(study, entry.name)) for entry in CATALOGUE}
    spreads = {}
    for name, found in accuracy.items():
        difference = paired_difference(found, accuracy.get("target", {}))
        if name != "target" and difference and difference.interval_95:
            spreads[name] = stdev(difference.by_seed.values())
    return spreads


def seconds_a_run(study: Study, data_dir: Path | None) -> tuple[float, int, str]:
    """Seconds of one run, how many run at a time, and where that is so.

    Tried out here with a few steps of the target; where the data set is not, the seconds of the
    study's own records.
    """
    from ablations.data.datasets import DataError, load_dataset, resolve_dataset
    from ablations.records.study import plan_runs
    from ablations.runner.duration import trial_epoch_seconds
    from ablations.runner.process_pool import default_num_jobs
    from ablations.runner.run_one import choose_device
    from ablations.runner.scheduler import WorkerSetup
    from ablations.training.seed_groups import default_num_replicas
    from speed.arithmetic import choose_arithmetic

    try:
        name, folder = resolve_dataset(
            study.spec.dataset.name, data_dir, fetch=False, log=lambda line: None
        )
        dataset = load_dataset(name, folder)
    except DataError:
        seconds = fmean(record.wall_seconds for record in study.records)
        return (
            seconds,
            1,
            "one at a time on the machine that made the study (no data set here to try)",
        )
    device = choose_device("auto")
    arithmetic = choose_arithmetic("auto", device)
    setup = WorkerSetup(
        name, folder, device, arithmetic, "", num_replicas=default_num_replicas(device)
    )
    [run] = plan_runs(study.spec, [CATALOGUE[0]], [0])
    group = [replace(run, seed=seed) for seed in range(setup.num_replicas)]
    seconds = trial_epoch_seconds(group, dataset, setup) * study.spec.num_epochs
    num_jobs = default_num_jobs(device)
    return seconds, num_jobs, f"on this machine ({device}, {arithmetic}, {num_jobs} at a time)"


def plan_lines(plan: SeedPlan, study: Study, effect_pct: float, power: float) -> list[str]:
    """The plan in words, without the time."""
    spreads = plan.spread_pct.values()
    has_range = len(spreads) > 1
    ranges = f" ({min(spreads):.3f} to {max(spreads):.3f})" if has_range else ""
    largest = (
        f", with the largest spread {seeds_words(plan.num_seeds_largest)}" if has_range else ""
    )
    found = (
        f"In {study.name}, paired differences of {plural(len(spreads), 'ablation')} vary over seeds with a "
        f"standard deviation of {plan.typical_pct:.3f} points{ranges}."
    )
    needed = (
        f"To find a difference of {effect_pct:g} points in {100 * power:g} % of studies (paired t-test, "
        f"two-sided, 5 %): {seeds_words(plan.num_seeds)}{largest}; among all "
        f"{len(CATALOGUE) - 1} ablations of the catalogue, with p values corrected for that, "
        f"{seeds_words(plan.num_seeds_of_all)}."
    )
    return [found, needed]


def seeds_words(count: int | None) -> str:
    """A number of seeds, or that it is out of reach."""
    return f"more than {MOST_SEEDS:,} seeds" if count is None else plural(count, "seed")


def time_lines(plan: SeedPlan, seconds: float, num_jobs: int, where: str) -> list[str]:
    """How long so many seeds take, of one ablation and of all."""
    lines = []
    for num_variants, num_seeds, what in (
        (2, plan.num_seeds, "one ablation and the target"),
        (len(CATALOGUE), plan.num_seeds_of_all, f"all {len(CATALOGUE)} variants"),
    ):
        if num_seeds is not None:
            num_runs = num_variants * num_seeds
            total = math.ceil(num_runs / num_jobs) * seconds
            lines.append(
                f"{what[0].upper()}{what[1:]}: {plural(num_seeds, 'seed')}, {num_runs:,} runs, about "
                f"{duration(total)} {where}."
            )
    return lines
