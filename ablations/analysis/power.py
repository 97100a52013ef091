"""How many seeds detect a difference, and how long they take on this machine (`cli.py plan`)."""

from pathlib import Path
from statistics import fmean, median, stdev
from typing import NamedTuple

from ablations.analysis.summary import summarise
from ablations.analysis.verdicts import seeds_to_detect
from ablations.catalogue.entries import CATALOGUE
from ablations.data.datasets import DataError, load_dataset, resolve_dataset
from ablations.records.study import Study, plan_runs
from ablations.records.study_spec import StudyError
from ablations.runner.duration import trial_epoch_seconds
from ablations.runner.process_pool import default_num_jobs
from ablations.runner.run_one import choose_device
from ablations.training.seed_groups import default_num_replicas
from speed.arithmetic import choose_arithmetic


class SeedsNeeded(NamedTuple):
    """How many seeds detect an effect, given the spread in a study."""

    spread_pct: dict[str, float]
    """Standard deviation over seeds of each ablation's paired difference."""
    typical_pct: float
    """Their median."""
    num_seeds: int | None
    """With the typical spread; None: more than 1,000."""
    num_seeds_largest: int | None
    """With the largest."""
    num_seeds_of_all: int | None
    """With the typical spread, where every ablation of the catalogue is tested (Holm-adjusted)."""


def plan_seeds(study: Study, effect_pct: float, power: float) -> SeedsNeeded:
    """How many seeds detect a difference of this size in that share of studies.

    Raises:
        StudyError: the study has no ablation with two seeds whose differences vary.
    """
    # Without combinations, which would count a design's ingredients several times.
    spread_pct = {
        row.ablation.name: stdev(row.difference_pct.by_seed.values())
        for row in summarise(study).rows
        if row.difference_pct and row.difference_pct.interval_95
    }
    if not spread_pct:
        raise StudyError(
            f"{study.name} has no spread of differences over seeds: it needs an ablation with at "
            "least two seeds that the target also has"
        )
    typical_pct = median(spread_pct.values())
    return SeedsNeeded(
        spread_pct,
        typical_pct,
        seeds_to_detect(effect_pct, typical_pct, power),
        seeds_to_detect(effect_pct, max(spread_pct.values()), power),
        seeds_to_detect(effect_pct, typical_pct, power, num_compared=len(CATALOGUE) - 1),
    )


def seconds_a_run(study: Study, data_dir: Path | None) -> tuple[float, int, str]:
    """Seconds of one run, number of parallel runs, and where this was measured.

    Measured here with a few steps of the target; without the data set, taken from the records.
    """
    try:
        name, folder = resolve_dataset(
            study.spec.dataset.name, data_dir, fetch=False, log=lambda line: None
        )
        dataset = load_dataset(name, folder)
    except DataError:
        seconds = fmean(record.wall_seconds for record in study.records)
        return seconds, 1, "one at a time on the study's machine (no data set here to measure with)"
    device = choose_device("auto")
    arithmetic = choose_arithmetic("auto", device)
    num_jobs, num_replicas = default_num_jobs(device), default_num_replicas(device)
    group = plan_runs(study.spec, CATALOGUE[:1], range(num_replicas))
    seconds = trial_epoch_seconds(group, dataset, device, arithmetic)
    seconds *= study.spec.num_epochs
    return seconds, num_jobs, f"on this machine ({device}, {arithmetic}, {num_jobs} at a time)"
