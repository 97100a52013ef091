"""The scheduler's decisions, on a pool whose workers are scripted."""

import io
from collections.abc import Callable, Iterable, Sequence

import pytest
from rich.console import Console

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.records.run import RunResult
from ablations.records.study import plan_runs
from ablations.runner.progress import StudyProgress
from ablations.runner.scheduler import (
    MAX_ATTEMPTS,
    MAX_LOSSES,
    Event,
    GroupLost,
    RunFailed,
    RunFinished,
    RunStarted,
    Stop,
    WorkerSetup,
    execute,
)
from tests.factories import make_record, make_spec

RUN_SPECS = plan_runs(make_spec(), [find_ablation("target")], range(4))


def finish(run_specs: Sequence[RunSpec]) -> list[Event | GroupLost]:
    return [RunFinished(run_spec, RunResult(make_record(run_spec), {})) for run_spec in run_specs]


class ScriptedPool:
    """Workers that send what a function returns: first these numbers of them, then two."""

    def __init__(
        self,
        work: Callable[[Sequence[RunSpec]], list[Event | GroupLost]],
        slots: Iterable[int] = (),
    ) -> None:
        self.setup = WorkerSetup("digits", None, "cpu", "plain", "a commit")
        self.work = work
        self.groups: list[Sequence[RunSpec]] = []
        self.slots = iter(slots)

    def num_slots(self) -> int:
        return next(self.slots, 2)

    def num_running(self) -> int:
        return len(self.groups)

    def start(self, group: Sequence[RunSpec]) -> None:
        self.groups.append(group)

    def wait(self, seconds: float) -> list[Event | GroupLost]:
        return self.work(self.groups.pop(0)) if self.groups else []

    def stop(self) -> None:
        self.groups = []


@pytest.mark.parametrize(
    ("is_machine_lost", "num_attempts"), [(False, MAX_ATTEMPTS), (True, MAX_LOSSES)]
)
def test_lost_runs_are_retried(is_machine_lost: bool, num_attempts: int) -> None:
    pool = ScriptedPool(lambda group: [GroupLost(group, "a reason", is_machine_lost)])
    events = list(execute(RUN_SPECS, pool))
    for run_spec in RUN_SPECS:
        kinds = [type(event) for event in events if event.run_spec == run_spec]
        assert kinds == [RunStarted] * num_attempts + [RunFailed]
    failures = [event for event in events if isinstance(event, RunFailed)]
    assert all(f"died {num_attempts} times (a reason)" in one.reason for one in failures)


@pytest.mark.parametrize(
    ("stop", "num_started"), [(Stop.NO, 4), (Stop.GRACEFULLY, 2), (Stop.NOW, 2)]
)
def test_stopping_keeps_the_results_of_runs_that_have_started(stop: Stop, num_started: int) -> None:
    events: list[Event] = []

    def should_stop() -> Stop:
        return stop if len(events) >= 2 else Stop.NO

    for event in execute(RUN_SPECS, ScriptedPool(finish), should_stop):
        events.append(event)  # noqa: PERF402 (`should_stop` reads them meanwhile)
    started = [event.run_spec for event in events if isinstance(event, RunStarted)]
    finished = [event.run_spec for event in events if isinstance(event, RunFinished)]
    assert started == finished == RUN_SPECS[:num_started]


def test_stopping_now_does_not_wait_for_running_groups() -> None:
    events = execute(RUN_SPECS, ScriptedPool(lambda group: []), lambda: Stop.NOW)
    assert list(events) == []


def test_study_without_a_machine_prints_this_and_waits_for_another() -> None:
    printed = io.StringIO()
    progress = StudyProgress(Console(file=printed), len(RUN_SPECS), num_epochs=20)
    pool = ScriptedPool(finish, slots=[0] * 6)

    def should_stop() -> Stop:
        progress.print_state(is_finishing=False, has_machines=pool.num_slots() > 0)
        return Stop.NO

    events = list(execute(RUN_SPECS, pool, should_stop))
    assert sum(isinstance(event, RunFinished) for event in events) == len(RUN_SPECS)
    assert printed.getvalue().count("Waiting for another to join") == 1
