"""About how long a study will take on this machine."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from ablations.execution import WorkerSetup
from ablations.experiment import Experiment
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
    setup: WorkerSetup,
) -> float:
    """Wall-clock seconds for the missing runs, timing aside.

    From the study's own finished runs where there are some; otherwise a few steps of the first
    missing run are tried out now.
    """
    if not missing:
        return 0.0
    if done:
        seconds_per_run = fmean(record.wall_seconds for record in done)
    else:
        seconds_per_run = trial_epoch_seconds(missing[0], dataset, setup)
        seconds_per_run *= missing[0].training.num_epochs
    # Runs are not divided: three runs on two workers take as long as four.
    rounds = math.ceil(len(missing) / num_jobs)
    return STARTUP_SECONDS + rounds * seconds_per_run


def trial_epoch_seconds(experiment: Experiment, dataset: "Dataset", setup: WorkerSetup) -> float:
    """Seconds for one epoch as a worker would take them, from a few steps."""
    import torch

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        device = torch.device(setup.device)
        for plan in (TimingPlan(1, 2, 250), TimingPlan(1, 8, 500)):  # The first one warms up.
            seconds = time_epoch(experiment, dataset, device, setup.arithmetic, plan)
        return seconds
    finally:
        torch.set_num_threads(num_threads)
