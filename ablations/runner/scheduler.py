"""Carries out runs with a pool of workers, and tells what happens as it happens.

`execute` is a generator of events: whoever iterates over it decides what to write and what to
show. Leaving the loop, by Ctrl-C or by an error, stops the workers.

Where the work is done is the pool's affair: processes of this machine (`process_pool.py`) or a Ray
cluster (`ray_pool.py`). What is done next, what is tried again and what counts as failed is decided
here, once for all of them.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from ablations.catalogue.experiment import RunSpec
from ablations.records.run import RunResult
from ablations.training.epoch import EpochRecord
from ablations.training.seed_groups import split_into_groups
from speed.arithmetic import Arithmetic

MAX_ATTEMPTS = 3
"""A run is tried again when its process dies (killed, out of memory), not when it raises: the same
numbers would raise again."""
MAX_LOSSES = 10
"""The same, with those times that its machine was lost: hardly ever a run's own doing, and a cluster
goes on handing runs to a machine for a while after it died."""
POLL_SECONDS = 0.2
"""How long a pool may wait for news before it is asked again whether to stop."""


@dataclass(frozen=True)
class RunStarted:
    """A worker has begun a run."""

    run_spec: RunSpec


@dataclass(frozen=True)
class EpochFinished:
    """A run has finished an epoch."""

    run_spec: RunSpec
    epoch: EpochRecord


@dataclass(frozen=True)
class RunFinished:
    """A run is done; its result has not been written yet."""

    run_spec: RunSpec
    result: RunResult


@dataclass(frozen=True)
class RunFailed:
    """A run could not be done."""

    run_spec: RunSpec
    reason: str
    """One line."""
    details: str
    """The traceback, if there is one."""


Event = RunStarted | EpochFinished | RunFinished | RunFailed


class Stop(Enum):
    """Whether to stop."""

    NOT = "go on"
    GENTLY = "finish what is under way, and begin nothing else"
    NOW = "take what has ended by now, and leave what is under way"


@dataclass(frozen=True)
class GroupLost:
    """A worker has died, and with it those of its runs that had not ended."""

    run_specs: Sequence[RunSpec]
    reason: str
    """How it died, in a few words."""
    is_machine_lost: bool = False
    """Whether its machine has gone, and not the worker alone."""


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker process needs to know before its first run."""

    dataset_name: str
    dataset_folder: Path | None
    device: str
    arithmetic: Arithmetic
    commit: str
    """Of the source, when the study began: a commit made meanwhile is not what runs."""
    source_digest: str = ""
    """Of all source that decides a result, likewise; a worker that starts later and finds another
    one refuses to work. Empty: not looked at."""
    num_replicas: int = 1
    """At most this many seeds of an experiment are trained as one network; 1: each by itself."""


class WorkerPool(Protocol):
    """Workers, each of which does one group of runs at a time."""

    setup: WorkerSetup

    def num_free(self) -> int:
        """How many groups could be started now."""

    def is_busy(self) -> bool:
        """Whether any group is under way."""

    def has_machines(self) -> bool:
        """Whether there is anything at all that groups could be done on."""

    def start(self, group: Sequence[RunSpec]) -> None:
        """Hand over a group. Only while `num_free` is not zero."""

    def wait(self, seconds: float) -> Iterable[Event | GroupLost]:
        """What has happened since, or nothing after so many seconds."""

    def stop(self) -> None:
        """End all workers, at once where they are busy."""


def execute(
    run_specs: Sequence[RunSpec],
    pool: WorkerPool,
    should_stop: Callable[[], Stop] = lambda: Stop.NOT,
) -> Generator[Event, None, None]:
    """Carry out the runs in their order, as many groups of them at a time as the pool takes.

    `should_stop` is asked several times a second.
    """
    waiting = deque(split_into_groups(run_specs, pool.setup.num_replicas))
    deaths, losses = Counter[RunSpec](), Counter[RunSpec]()
    try:
        while True:
            stop = should_stop()
            if stop is Stop.NOW:
                yield from ended_by_now(pool)
                return
            while waiting and stop is Stop.NOT and pool.num_free():
                group = waiting.popleft()
                pool.start(group)
                for run_spec in group:
                    yield RunStarted(run_spec)
                stop = should_stop()
            if not pool.is_busy() and (not waiting or stop is Stop.GENTLY):
                return
            for message in pool.wait(POLL_SECONDS):
                if not isinstance(message, GroupLost):
                    yield message
                    continue
                losses.update(message.run_specs)
                if not message.is_machine_lost:
                    deaths.update(message.run_specs)
                again = []
                for run_spec in message.run_specs:
                    if deaths[run_spec] < MAX_ATTEMPTS and losses[run_spec] < MAX_LOSSES:
                        again.append(run_spec)
                    else:
                        reason = f"its process died {losses[run_spec]} times ({message.reason})"
                        yield RunFailed(run_spec, reason, "")
                if again:
                    waiting.appendleft(again)
    finally:
        pool.stop()


def ended_by_now(pool: WorkerPool) -> Iterator[RunFinished | RunFailed]:
    """The runs that ended while nobody listened."""
    while news := list(pool.wait(0)):
        yield from (event for event in news if isinstance(event, RunFinished | RunFailed))
