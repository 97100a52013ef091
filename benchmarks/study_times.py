"""Time against runs: studies of 1, 2, 4, ... runs of the target, from the call to the result.

Each is carried out by the code that carries out every study, with as many worker processes as it
takes by default. Runs are short, so that the start of the processes shows: of a real study, whose
runs take minutes, it is a small part.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.records.study import plan_runs
from ablations.records.study_spec import StudySpec
from ablations.runner.process_pool import ProcessPool, default_num_jobs
from ablations.runner.scheduler import (
    EpochFinished,
    RunFailed,
    RunFinished,
    WorkerSetup,
    execute,
)
from benchmarks.floor import forward_flop, training_flop
from benchmarks.measurements import StudyTime, StudyTimes, spread
from mnist_blocks import TARGET


@dataclass(frozen=True)
class OneStudy:
    """A study that has just been timed."""

    wall_seconds: float
    startup_seconds: float


class StudyFailed(Exception):
    """A run could not be done, so that its study's time means nothing; the message says why."""


def measure_study_times(
    dataset: Dataset,
    setup: WorkerSetup,
    nums_runs: Sequence[int],
    num_train_images: int,
    num_rounds: int,
    after_each: Callable[[int, OneStudy], None] = lambda num_runs, study: None,
) -> StudyTimes:
    """Time studies of each number of runs, one after another, for some rounds.

    A study of one run comes before all, untimed: the first on a machine compiles what is compiled.

    Raises:
        StudyFailed: a run failed.
    """
    num_train_images = min(num_train_images, dataset.id.num_train)
    spec = StudySpec(dataset.id, dataset.title, 1, num_train_images, setup.device)
    target = [ablation for ablation in CATALOGUE if ablation.kind == "target"]
    studies: dict[int, list[OneStudy]] = {num_runs: [] for num_runs in nums_runs}
    time_study(plan_runs(spec, target, [0]), setup)
    for _ in range(num_rounds):
        for num_runs in nums_runs:
            study = time_study(plan_runs(spec, target, range(num_runs)), setup)
            studies[num_runs].append(study)
            after_each(num_runs, study)
    return StudyTimes(
        arithmetic=setup.arithmetic,
        num_rounds=num_rounds,
        num_train_images=num_train_images,
        num_test_images=dataset.id.num_test,
        training_flop_of_a_run=num_train_images * training_flop(TARGET),
        test_flop_of_a_run=dataset.id.num_test * forward_flop(TARGET),
        by_num_runs=[
            StudyTime(
                num_runs=num_runs,
                num_jobs=min(num_runs, default_num_jobs(setup.device)),
                wall_seconds=spread([study.wall_seconds for study in found]),
                startup_seconds=spread([study.startup_seconds for study in found]),
            )
            for num_runs, found in studies.items()
        ],
    )


def time_study(runs: Sequence[RunSpec], setup: WorkerSetup) -> OneStudy:
    """Carry out a study, and time it.

    Raises:
        StudyFailed: a run failed.
    """
    started = time.perf_counter()
    startup_seconds: float | None = None
    finished = started
    for event in execute(runs, ProcessPool(setup, default_num_jobs(setup.device))):
        if isinstance(event, RunFailed):
            raise StudyFailed(f"{event.reason}\n{event.details}".strip())
        if isinstance(event, EpochFinished) and startup_seconds is None:
            startup_seconds = time.perf_counter() - started - event.epoch.seconds
        if isinstance(event, RunFinished):
            finished = time.perf_counter()
    assert startup_seconds is not None
    return OneStudy(finished - started, startup_seconds)
