"""How long a study will take: from its finished runs, or from a few steps."""

import math
from collections.abc import Sequence
from statistics import fmean

import torch

from ablations.catalogue.experiment import RunSpec
from ablations.catalogue.presets import TimingPlan
from ablations.data.dataset import Dataset
from ablations.records.run import RunRecord
from ablations.runner.epoch_timing import time_epoch
from ablations.runner.scheduler import WorkerSetup
from ablations.training.gpu_memory import halve_until_it_fits, release_memory
from ablations.training.seed_groups import split_into_groups

STARTUP_SECONDS = 6.0
"""For worker processes to start and load the data, and for the last report."""
WARM_UP, TRIAL = TimingPlan(1, 2, 250), TimingPlan(1, 8, 500)
"""What is timed for an estimate."""


def estimate_seconds(
    missing: Sequence[RunSpec],
    done: Sequence[RunRecord],
    num_jobs: int,
    dataset: Dataset,
    setup: WorkerSetup,
) -> float:
    """Wall-clock seconds for the missing runs, at least one, without epoch timing.

    From the study's finished runs if there are any, else from a few steps of the first missing run.
    """
    if done:
        seconds_per_run = fmean(record.wall_seconds for record in done)
    else:
        group = split_into_groups(missing, setup.num_replicas)[0]
        epoch_seconds = _trial_epoch_seconds(group, dataset, setup)
        seconds_per_run = epoch_seconds * missing[0].training.num_epochs
    # Runs are not divided: three runs on two workers take as long as four.
    return STARTUP_SECONDS + math.ceil(len(missing) / num_jobs) * seconds_per_run


def _trial_epoch_seconds(group: Sequence[RunSpec], dataset: Dataset, setup: WorkerSetup) -> float:
    """One run's share of an epoch's seconds in a worker, from a few steps."""
    device, arithmetic = torch.device(setup.device), setup.arithmetic

    def time_steps(num_seeds: int) -> float:
        num_replicas = num_seeds if setup.num_replicas > 1 else 0
        time_epoch(group[0], dataset, device, arithmetic, WARM_UP, num_replicas)
        return time_epoch(group[0], dataset, device, arithmetic, TRIAL, num_replicas)

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return halve_until_it_fits(time_steps, len(group), device)
    finally:
        torch.set_num_threads(num_threads)
        release_memory(device)
