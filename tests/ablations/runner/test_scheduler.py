"""Worker processes: what happens when a run raises, or its process dies."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import DatasetId, RunSpec
from ablations.data.dataset import Dataset
from ablations.records.study import plan_runs
from ablations.records.study_spec import StudySpec
from ablations.runner.process_pool import ProcessPool, default_num_jobs
from ablations.runner.scheduler import (
    MAX_ATTEMPTS,
    MAX_LOSSES,
    EpochFinished,
    Event,
    GroupLost,
    RunFailed,
    RunFinished,
    RunStarted,
    Stop,
    WorkerSetup,
    execute,
)
from ablations.version import source_digest
from tests.faults import tell_fault

SETUP = WorkerSetup("digits", None, "cpu", "float32", "a commit")


def runs_on(dataset: Dataset, seeds: range, epochs: int = 1) -> list[RunSpec]:
    spec = StudySpec(dataset.id, dataset.title, epochs, 256, "cpu")
    return plan_runs(spec, [find_ablation("target")], seeds)


def kinds(events: list[Event], run: RunSpec) -> list[type]:
    return [type(event) for event in events if event.run_spec == run]


def test_every_run_starts_reports_its_epochs_and_ends(digits: Dataset) -> None:
    runs = runs_on(digits, range(3), epochs=2)
    events = list(execute(runs, ProcessPool(SETUP, 2)))
    for run in runs:
        assert kinds(events, run) == [RunStarted, EpochFinished, EpochFinished, RunFinished]
    started = [event.run_spec.seed for event in events if isinstance(event, RunStarted)]
    assert started == [0, 1, 2]


def test_seeds_that_share_a_network_are_told_of_one_by_one(digits: Dataset) -> None:
    setup = replace(SETUP, num_replicas=3)
    targets = runs_on(digits, range(4), epochs=2)
    runs = [*targets, replace(targets[0], ablation="a namesake")]
    events = list(execute(runs, ProcessPool(setup, 1)))
    for run in runs:
        assert kinds(events, run) == [RunStarted, EpochFinished, EpochFinished, RunFinished]
    records = {e.run_spec: e.result.record for e in events if isinstance(e, RunFinished)}
    # Four seeds of one experiment, three at most: two groups of two.
    assert [records[run].num_replicas for run in runs] == [2, 2, 2, 2, 1]
    assert all(records[run].run_spec == run for run in runs)
    alone = {
        e.run_spec: e
        for e in execute(targets[:1], ProcessPool(setup, 1))
        if isinstance(e, RunFinished)
    }
    theirs = alone[targets[0]].result.record.last_epoch
    ours = records[targets[0]].last_epoch
    assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-3)


def test_group_that_raises_is_told_of_each_run(digits: Dataset) -> None:
    setup = replace(SETUP, num_replicas=3)
    bad = DatasetId("digits", "0" * 64, 1437, 360)
    runs = [replace(run, dataset=bad) for run in runs_on(digits, range(2))]
    events = list(execute(runs, ProcessPool(setup, 1)))
    for run in runs:
        assert kinds(events, run) == [RunStarted, RunFailed]


def test_run_that_raises_is_told_and_the_others_go_on(digits: Dataset) -> None:
    good, bad, also_good = runs_on(digits, range(3))
    bad = replace(bad, dataset=DatasetId("digits", "0" * 64, 1437, 360))
    events = list(execute([good, bad, also_good], ProcessPool(SETUP, 1)))
    assert kinds(events, bad) == [RunStarted, RunFailed]
    [failure] = [event for event in events if isinstance(event, RunFailed)]
    assert failure.reason.startswith("ValueError: ")
    assert "Traceback" in failure.details
    assert kinds(events, also_good)[-1] is RunFinished


def test_missing_data_fails_each_run_with_the_reason(digits: Dataset, tmp_path: Path) -> None:
    setup = WorkerSetup("mnist", tmp_path, "cpu", "float32", "a commit")
    events = execute(runs_on(digits, range(1)), ProcessPool(setup, 1))
    [event] = [event for event in events if isinstance(event, RunFailed)]
    assert "DataError" in event.reason


@pytest.mark.parametrize("num_replicas", [1, 2])
@pytest.mark.parametrize(
    ("num_kills", "ends_with"), [(MAX_ATTEMPTS - 1, RunFinished), (MAX_ATTEMPTS, RunFailed)]
)
def test_killed_process_is_replaced_a_few_times(
    digits: Dataset, num_kills: int, ends_with: type, num_replicas: int
) -> None:
    # Many epochs, so that the run is still under way when its process is killed.
    [first, *sharing] = runs_on(digits, range(num_replicas), epochs=60)
    [second] = runs_on(digits, range(2, 3))
    events: list[Event] = []
    kills = 0
    setup = replace(SETUP, num_replicas=num_replicas)
    for event in execute([first, *sharing, second], ProcessPool(setup, 1)):
        events.append(event)
        is_first = event.run_spec == first and isinstance(event, EpochFinished)
        if is_first and event.epoch.epoch == 1 and kills < num_kills:
            kills += 1
            for child in children_of(os.getpid()):
                os.kill(child, signal.SIGKILL)
    assert kills == num_kills
    assert kinds(events, first).count(RunStarted) == MAX_ATTEMPTS
    for run in (first, *sharing):
        assert kinds(events, run)[-1] is ends_with
    assert kinds(events, second)[-1] is RunFinished
    failures = [event for event in events if isinstance(event, RunFailed)]
    assert all("died 3 times (exit code -9)" in failure.reason for failure in failures)
    if failures:
        tell_fault(
            "processes",
            "a run's worker killed at every attempt",
            "the run is reported as failed, with the reason; the others go on",
        )


class Losing:
    """A pool that loses everything, in one way."""

    def __init__(self, is_machine_lost: bool) -> None:
        self.setup = SETUP
        self.is_machine_lost = is_machine_lost
        self.group: list[RunSpec] = []

    def num_free(self) -> int:
        return 0 if self.group else 1

    def is_busy(self) -> bool:
        return bool(self.group)

    def has_machines(self) -> bool:
        return True

    def start(self, group: Sequence[RunSpec]) -> None:
        self.group = list(group)

    def wait(self, seconds: float) -> list[GroupLost]:
        lost, self.group = self.group, []
        return [GroupLost(lost, "a reason", self.is_machine_lost)]

    def stop(self) -> None:
        self.group = []


@pytest.mark.parametrize(
    ("is_machine_lost", "num_attempts"), [(False, MAX_ATTEMPTS), (True, MAX_LOSSES)]
)
def test_lost_machine_is_not_held_against_a_run_so_soon(
    digits: Dataset, is_machine_lost: bool, num_attempts: int
) -> None:
    runs = runs_on(digits, range(2))
    events = list(execute(runs, Losing(is_machine_lost)))
    for run in runs:
        assert kinds(events, run) == [RunStarted] * num_attempts + [RunFailed]
    failures = [event for event in events if isinstance(event, RunFailed)]
    assert all(f"died {num_attempts} times (a reason)" in f.reason for f in failures)


def test_leaving_the_loop_stops_the_workers(digits: Dataset) -> None:
    events = execute(runs_on(digits, range(4), epochs=50), ProcessPool(SETUP, 2))
    next(event for event in events if isinstance(event, EpochFinished))
    assert children_of(os.getpid())
    events.close()
    assert children_of(os.getpid()) == []


def test_stopping_finishes_what_is_under_way(digits: Dataset) -> None:
    runs = runs_on(digits, range(6), epochs=3)
    events: list[Event] = []

    def has_begun() -> Stop:
        is_begun = any(isinstance(event, EpochFinished) for event in events)
        return Stop.GENTLY if is_begun else Stop.NOT

    for event in execute(runs, ProcessPool(SETUP, 2), has_begun):
        events.append(event)  # noqa: PERF402 (`has_begun` looks at them meanwhile)
    for run in runs[:2]:
        assert kinds(events, run)[-1] is RunFinished
    assert {event.run_spec for event in events} == set(runs[:2])


@pytest.mark.parametrize("stop", [Stop.GENTLY, Stop.NOW])
def test_stopping_is_asked_for_while_the_last_runs_are_under_way(
    digits: Dataset, stop: Stop
) -> None:
    runs = runs_on(digits, range(1), epochs=200 if stop is Stop.NOW else 3)
    num_asked = 0

    def should_stop() -> Stop:
        nonlocal num_asked
        num_asked += 1
        return stop if num_asked > 3 else Stop.NOT

    events = list(execute(runs, ProcessPool(SETUP, 2), should_stop))
    assert num_asked > 3
    assert (kinds(events, runs[0])[-1] is RunFinished) == (stop is Stop.GENTLY)


def test_stopping_now_takes_what_has_ended(digits: Dataset) -> None:
    runs = runs_on(digits, range(2))
    finished: list[RunSpec] = []

    def should_stop() -> Stop:
        return Stop.NOW if finished else Stop.NOT

    for event in execute(runs, ProcessPool(SETUP, 2), should_stop):
        if isinstance(event, RunFinished):
            finished.append(event.run_spec)
            time.sleep(5)  # Meanwhile the other one ends, and nobody listens.
    assert set(finished) == set(runs)


def test_source_that_changed_meanwhile_is_not_mixed_in(digits: Dataset) -> None:
    runs = runs_on(digits, range(2))
    good, other = source_digest(), "0" * 64
    for digest, ends_with in ((good, RunFinished), (other, RunFailed)):
        pool = ProcessPool(replace(SETUP, source_digest=digest), 1)
        events = list(execute(runs, pool))
        assert isinstance(events[-1], ends_with)
    assert all("the source was changed" in e.reason for e in events if isinstance(e, RunFailed))


def test_default_number_of_jobs() -> None:
    assert 1 <= default_num_jobs("cpu") <= (os.cpu_count() or 1)
    assert default_num_jobs("cuda") == 1


def children_of(parent: int) -> list[int]:
    """Living worker processes of this process (not multiprocessing's own resource tracker)."""
    import multiprocessing

    assert parent == os.getpid()
    return [child.pid for child in multiprocessing.active_children() if child.pid]
