"""A Ray cluster as a pool of workers.

A task is a run, or on a GPU a group of seeds. Results come back through Ray to the driver, the only
process that writes to the study's folder. Ray's own retries are off (`max_retries=0`): `execute`
decides about retries.

Source: https://docs.ray.io/en/latest/ray-core/ray-generator.html (tasks that yield results).
"""

import contextlib
import copy
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablations.catalogue.experiment import RunSpec
from ablations.runner.ray_cluster import Cluster, cluster_errors
from ablations.runner.scheduler import Event, GroupLost, RunFailed, RunFinished, WorkerSetup
from ablations.words import first_line

if TYPE_CHECKING:
    from ablations.data.dataset import Dataset

SLOTS_SECONDS = 1.0
"""How long the cluster's number of slots is cached; it is needed several times a second."""


@dataclass
class _Task:
    """A group under way."""

    run_specs: list[RunSpec]
    """Those that have not ended yet."""
    events: Any
    """Ray's generator of references to events."""


class ClusterPool:
    """A `WorkerPool` of tasks on a cluster, at most as many at a time as it has slots."""

    def __init__(self, setup: WorkerSetup, cluster: Cluster, dataset: "Dataset") -> None:
        import ray

        self.setup = setup
        self._cluster = cluster
        with cluster_errors():
            self._dataset = ray.put(dataset)
        self._remote = ray.remote(
            num_cpus=1,
            num_gpus=cluster.gpus_per_task if setup.device == "cuda" else 0,
            max_retries=0,
            num_returns="streaming",
            scheduling_strategy="SPREAD",
            # After an error on a GPU, a process cannot use it any more.
            max_calls=1 if setup.device == "cuda" else 0,
        )(_generate_events)
        self._tasks: list[_Task] = []
        self._num_slots, self._slots_expire_at = 0, 0.0

    def num_free(self) -> int:
        return max(0, self._current_slots() - len(self._tasks))

    def is_busy(self) -> bool:
        return bool(self._tasks)

    def has_machines(self) -> bool:
        return self._current_slots() > 0  # Without one, tasks wait in Ray's queue.

    def start(self, group: Sequence[RunSpec]) -> None:
        run_specs = list(group)
        with cluster_errors():
            events = self._remote.remote(run_specs, self._dataset, self.setup)
        self._tasks.append(_Task(run_specs, events))

    def wait(self, seconds: float) -> Iterator[Event | GroupLost]:
        import ray

        if not self._tasks:
            time.sleep(seconds)  # There is no machine; one may join.
            return
        task_by_events = {task.events: task for task in self._tasks}
        with cluster_errors():
            ready, others = ray.wait(list(task_by_events), num_returns=1, timeout=seconds)
            if ready and others:  # Take what else is ready, too.
                ready += ray.wait(others, num_returns=len(others), timeout=0)[0]
        for task in [task_by_events[events] for events in ready]:
            try:
                event: Event = ray.get(next(task.events))
            except StopIteration:
                self._tasks.remove(task)
                if task.run_specs:
                    yield GroupLost(task.run_specs, "it ended without a result")
            except ray.exceptions.RayTaskError as error:  # An error in the worker's own code.
                self._tasks.remove(task)
                reason = first_line(error.cause)
                yield from (RunFailed(run_spec, reason, str(error)) for run_spec in task.run_specs)
            except ray.exceptions.RayError as error:
                self._tasks.remove(task)
                _cancel(task)  # Perhaps only its event was lost.
                is_machine_lost = isinstance(error, ray.exceptions.NodeDiedError)
                yield GroupLost(task.run_specs, first_line(error), is_machine_lost)
            else:
                if isinstance(event, RunFinished | RunFailed):
                    task.run_specs.remove(event.run_spec)
                yield event

    def stop(self) -> None:
        for task in self._tasks:
            _cancel(task)
        self._tasks = []

    def _current_slots(self) -> int:
        if time.monotonic() >= self._slots_expire_at:
            self._num_slots = self._cluster.num_slots(self.setup.device)
            self._slots_expire_at = time.monotonic() + SLOTS_SECONDS
        return self._num_slots


def _cancel(task: _Task) -> None:
    import ray

    with contextlib.suppress(ray.exceptions.RayError, ConnectionError, ValueError):
        ray.cancel(task.events, force=True)


def _generate_events(
    run_specs: list[RunSpec], dataset: "Dataset", setup: WorkerSetup
) -> Iterator[Event]:
    """The body of a task. Training calls a function with each event, but a task must yield it: a
    thread trains, and a queue connects the two."""
    from ablations.runner.worker import execute_group

    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def train() -> None:
        try:
            # Ray's shared memory is read-only; a copy is writable.
            execute_group(run_specs, lambda: copy.deepcopy(dataset), setup, events.put)
        finally:
            events.put(None)

    threading.Thread(target=train, daemon=True).start()
    while (event := events.get()) is not None:
        yield event
