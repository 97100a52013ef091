"""Carries out runs with a pool of workers, as a generator of events.

The caller decides what to write and what to show. Closing the generator stops the workers.

A pool decides where runs are carried out: in processes of this machine (`process_pool.py`) or on a
Ray cluster (`ray_pool.py`). The order of runs, retries and failures are decided here.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

from ablations.catalogue.experiment import RunSpec
from ablations.records.run import RunResult
from ablations.training.epoch import EpochRecord
from ablations.training.seed_groups import split_into_groups
from speed.arithmetic import Arithmetic

MAX_ATTEMPTS = 3
"""For a run whose process dies (killed, out of memory). A run that raises is not tried again: it
would raise again."""
MAX_LOSSES = 10
"""The same, counting lost machines, too. These are rarely a run's fault, and a cluster may send runs
to a dead machine for a while."""
POLL_SECONDS = 0.2
"""How long to wait for events before `should_stop` is called again."""


@dataclass(frozen=True)
class RunStarted:
    """A worker has started a run."""

    run_spec: RunSpec


@dataclass(frozen=True)
class EpochFinished:
    """A run has finished an epoch."""

    run_spec: RunSpec
    epoch: EpochRecord


@dataclass(frozen=True)
class RunFinished:
    """A run has finished. Its result is not written yet."""

    run_spec: RunSpec
    result: RunResult


@dataclass(frozen=True)
class RunFailed:
    """A run has failed."""

    run_spec: RunSpec
    reason: str
    """One line."""
    details: str
    """The traceback, or empty."""


Event = RunStarted | EpochFinished | RunFinished | RunFailed


class Stop(Enum):
    """Whether and how to stop."""

    NO = auto()
    GRACEFULLY = auto()
    """Finish the runs under way, and start no others."""
    NOW = auto()
    """Abandon the runs under way."""


@dataclass(frozen=True)
class GroupLost:
    """A worker died before these runs of its group ended."""

    run_specs: Sequence[RunSpec]
    reason: str
    is_machine_lost: bool = False
    """Whether the whole machine is lost, not only the worker."""


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs besides its runs."""

    dataset_name: str
    dataset_folder: Path | None
    device: str
    arithmetic: Arithmetic
    commit: str
    """Of the source when the study started."""
    source_digest: str = ""
    """Likewise. A worker that finds other source files fails its runs. Empty: not checked."""
    num_replicas: int = 1
    """At most this many seeds of an experiment are trained as one network. 1: each by itself, in the
    plain loop."""
    fallback_reason: str = ""
    """Why seeds are trained by themselves on a GPU: what its self-test found."""


class ClusterError(Exception):
    """A cluster cannot be used. The message is one line with the suggested fix."""


class WorkerPool(Protocol):
    """Workers, each of which carries out one group of runs at a time.

    On a cluster each method may raise ClusterError.
    """

    setup: WorkerSetup

    def num_slots(self) -> int:
        """How many groups the machines can carry out at a time now; 0 without a machine."""

    def num_running(self) -> int:
        """How many groups are under way."""

    def start(self, group: Sequence[RunSpec]) -> None:
        """Start a group. Call it only while fewer are running than there are slots."""

    def wait(self, seconds: float) -> Iterable[Event | GroupLost]:
        """New events; none after this many seconds without one."""

    def stop(self) -> None:
        """Stop all workers at once."""


def execute(
    run_specs: Sequence[RunSpec],
    pool: WorkerPool,
    should_stop: Callable[[], Stop] = lambda: Stop.NO,
) -> Generator[Event, None, None]:
    """Carry out the runs in order, as many groups at a time as the pool allows.

    `should_stop` is called several times a second.
    """
    waiting = deque(split_into_groups(run_specs, pool.setup.num_replicas))
    num_losses, num_deaths = Counter[RunSpec](), Counter[RunSpec]()
    try:
        while waiting or pool.num_running():
            stop = should_stop()
            if stop is Stop.NOW:
                yield from _unread_results(pool)
                return
            if stop is Stop.GRACEFULLY:
                waiting.clear()
            elif waiting and pool.num_running() < pool.num_slots():
                group = waiting.popleft()
                pool.start(group)
                yield from map(RunStarted, group)
                continue
            for message in pool.wait(POLL_SECONDS):
                if not isinstance(message, GroupLost):
                    yield message
                    continue
                num_losses.update(message.run_specs)
                if not message.is_machine_lost:
                    num_deaths.update(message.run_specs)
                retries = []
                for run_spec in message.run_specs:
                    if num_deaths[run_spec] < MAX_ATTEMPTS and num_losses[run_spec] < MAX_LOSSES:
                        retries.append(run_spec)
                    else:
                        reason = f"its process died {num_losses[run_spec]} times ({message.reason})"
                        yield RunFailed(run_spec, reason, "")
                if retries:
                    waiting.appendleft(retries)
    finally:
        pool.stop()


def _unread_results(pool: WorkerPool) -> Iterator[RunFinished | RunFailed]:
    """Runs that have ended, but whose events have not been read yet."""
    while events := list(pool.wait(0)):
        yield from (event for event in events if isinstance(event, RunFinished | RunFailed))
