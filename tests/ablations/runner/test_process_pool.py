"""Worker processes: events, failures, and processes that die."""

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.catalogue.experiment import DatasetId, RunSpec
from ablations.data.dataset import Dataset
from ablations.runner.process_pool import ProcessPool, default_num_jobs
from ablations.runner.scheduler import (
    MAX_ATTEMPTS,
    EpochFinished,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
    WorkerSetup,
    execute,
)
from ablations.version import source_digest
from tests.factories import run_specs_on
from tests.faults import count_fault

SETUP = WorkerSetup("digits", None, "cpu", "plain", "a commit", source_digest())
OTHER_DATA = DatasetId("digits", "0" * 64, 1437, 360)


def runs_on(dataset: Dataset, num_seeds: int, num_epochs: int = 1) -> list[RunSpec]:
    return run_specs_on(dataset, "target", num_seeds, num_epochs, num_train_images=256)


def kinds(events: list[Event], run_spec: RunSpec) -> list[type]:
    return [type(event) for event in events if event.run_spec == run_spec]


def test_seeds_run_by_themselves_or_as_one_network(digits: Dataset) -> None:
    run_specs = runs_on(digits, 3, num_epochs=2)
    for num_replicas, num_jobs in ((1, 2), (2, 1)):
        pool = ProcessPool(replace(SETUP, num_replicas=num_replicas), num_jobs)
        events = list(execute(run_specs, pool))
        for run_spec in run_specs:
            assert kinds(events, run_spec) == [
                RunStarted, EpochFinished, EpochFinished, RunFinished
            ]  # fmt: skip
        started = [event.run_spec for event in events if isinstance(event, RunStarted)]
        assert started == run_specs
        records = {e.run_spec: e.result.record for e in events if isinstance(e, RunFinished)}
        assert all(records[run_spec].run_spec == run_spec for run_spec in run_specs)
        found = [records[run_spec].num_replicas for run_spec in run_specs]
        assert found == ([1, 1, 1] if num_replicas == 1 else [2, 2, 1])


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_run_that_raises_fails_and_the_others_finish(digits: Dataset, num_replicas: int) -> None:
    *bad, good = runs_on(digits, 3)
    bad = [replace(run_spec, dataset=OTHER_DATA) for run_spec in bad]
    pool = ProcessPool(replace(SETUP, num_replicas=num_replicas), 1)
    events = list(execute([*bad, good], pool))
    for run_spec in bad:
        assert kinds(events, run_spec) == [RunStarted, RunFailed]
    failures = [event for event in events if isinstance(event, RunFailed)]
    assert all(failure.reason.startswith("ValueError: ") for failure in failures)
    assert all("Traceback" in failure.details for failure in failures)
    assert kinds(events, good)[-1] is RunFinished


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dataset_name": "mnist", "dataset_folder": Path("/nowhere")}, "DataError"),
        ({"source_digest": "0" * 64}, "the source files changed"),
    ],
)
def test_worker_that_cannot_start_fails_its_run(
    digits: Dataset, changes: dict[str, object], reason: str
) -> None:
    pool = ProcessPool(replace(SETUP, **changes), 1)  # type: ignore[arg-type]
    events = list(execute(runs_on(digits, 1), pool))
    assert isinstance(events[-1], RunFailed)
    assert reason in events[-1].reason


@pytest.mark.parametrize(
    ("num_kills", "num_replicas", "ends_with"),
    [(MAX_ATTEMPTS - 1, 1, RunFinished), (MAX_ATTEMPTS, 2, RunFailed)],
)
def test_killed_process_is_replaced_a_few_times(
    digits: Dataset, num_kills: int, num_replicas: int, ends_with: type
) -> None:
    *group, other = runs_on(digits, num_replicas + 1)
    other = replace(other, ablation="another network")
    events: list[Event] = []
    kills = 0
    pool = ProcessPool(replace(SETUP, num_replicas=num_replicas), 1)
    for event in execute([*group, other], pool):
        events.append(event)
        # The process was started just now, and takes seconds to start.
        if kinds([event], group[0]) == [RunStarted] and kills < num_kills:
            kills += 1
            [worker] = multiprocessing.active_children()
            worker.kill()
    assert kills == num_kills
    for run_spec in group:
        assert kinds(events, run_spec).count(RunStarted) == MAX_ATTEMPTS
        assert kinds(events, run_spec)[-1] is ends_with
    assert kinds(events, other)[-1] is RunFinished
    failures = [event for event in events if isinstance(event, RunFailed)]
    assert all("died 3 times (exit code -9)" in failure.reason for failure in failures)
    if failures:
        count_fault(
            "processes",
            "a run's worker killed at every attempt",
            "the run is reported as failed, with the reason; the others go on",
        )


def test_closing_the_events_stops_the_workers(digits: Dataset) -> None:
    events = execute(runs_on(digits, 4), ProcessPool(SETUP, 2))
    next(event for event in events if isinstance(event, EpochFinished))
    assert multiprocessing.active_children()
    events.close()
    assert multiprocessing.active_children() == []


def test_default_number_of_jobs() -> None:
    assert 1 <= default_num_jobs("cpu") <= (os.cpu_count() or 1)
    assert default_num_jobs("cuda") == 1
