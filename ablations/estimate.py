"""About how long a study will take on this machine."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from ablations.experiment import Experiment
from ablations.grouping import split_into_groups
from ablations.records import RunRecord
from ablations.timing import TimingPlan, time_epoch

if TYPE_CHECKING:
    from ablations.data import Dataset

STARTUP_SECONDS = 6.0
"""For worker processes to import torch and load the data, and for the last report."""


def estimate_seconds(
    missing: Sequence[Experiment],
    done: Sequence[RunRecord],
    num_jobs: int,
    dataset: "Dataset",
    device_name: str,
    num_replicas: int = 1,
) -> float:
    """Wall-clock seconds for the missing runs, timing aside.

    From the study's own finished runs where there are some; otherwise a few steps of the first
    missing run are tried out now: with the seeds that will share its network, where up to
    `num_replicas` of them do. A run's seconds then are its share of the network's.
    """
    if not missing:
        return 0.0
    if done:
        seconds_per_run = fmean(record.wall_seconds for record in done)
    else:
        first_group = split_into_groups(missing, num_replicas)[0]
        seconds_per_run = trial_epoch_seconds(missing[0], dataset, device_name, len(first_group))
        seconds_per_run *= missing[0].training.num_epochs
    # Runs are not divided: three runs on two workers take as long as four.
    rounds = math.ceil(len(missing) / num_jobs)
    return STARTUP_SECONDS + rounds * seconds_per_run


def trial_epoch_seconds(
    experiment: Experiment, dataset: "Dataset", device_name: str, num_replicas: int = 1
) -> float:
    """Seconds for one epoch as a worker would take them, from a few steps."""
    import torch

    from ablations.group_memory import choose_num_replicas, free_bytes, release_memory

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    device = torch.device(device_name)
    num_replicas = choose_num_replicas(experiment, num_replicas, free_bytes(device))
    warm_up = TimingPlan(num_train_steps=2, num_test_images=250)
    trial = TimingPlan(num_train_steps=8, num_test_images=500)
    try:
        if device.type == "cpu":  # on a GPU, timing warms up by itself
            time_epoch(experiment, dataset, device, warm_up, num_replicas)
        return time_epoch(experiment, dataset, device, trial, num_replicas)
    finally:
        torch.set_num_threads(num_threads)
        release_memory(device)  # the workers need it
