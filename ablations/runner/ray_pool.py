"""A Ray cluster as the pool of workers.

A task is a run, or on a GPU a group of seeds. What it needs travels with it: this project's source
and the images go out through Ray, and every result comes back through it to the driver, the only
process that writes to the study's folder.

Ray keeps its own retries out of it (`max_retries=0`): `execute` decides what is tried again, as for
processes of one machine.

Source: https://docs.ray.io/en/latest/ray-core/ray-generator.html (tasks that tell as they go).
"""

import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ablations.catalogue.experiment import RunSpec
from ablations.runner.ray_cluster import Cluster, connection_needed
from ablations.runner.scheduler import Event, GroupLost, RunFailed, RunFinished, WorkerSetup

if TYPE_CHECKING:
    from ablations.data.dataset import Dataset

SLOTS_SECONDS = 1.0
"""How long what the cluster said of its machines is believed: it is wanted several times a second."""


@dataclass
class Task:
    """A group under way: those of its runs that have not ended, and what it tells."""

    run_specs: list[RunSpec]
    events: Any
    """Ray's generator of references to events."""


class ClusterPool:
    """Tasks on a cluster, at most as many as it can do at a time."""

    def __init__(self, setup: WorkerSetup, cluster: Cluster, dataset: "Dataset") -> None:
        import ray

        self.setup = setup
        self.cluster = cluster
        with connection_needed():
            self.dataset = ray.put(dataset)
        self.remote = ray.remote(
            num_cpus=1,
            num_gpus=cluster.gpus_per_task if setup.device == "cuda" else 0,
            max_retries=0,
            num_returns="streaming",
            # Machines are filled evenly: the first runs then end as early as they can.
            scheduling_strategy="SPREAD",
            # After a fault on a GPU nothing else works in the same process.
            max_calls=1 if setup.device == "cuda" else 0,
        )(tell_of_runs)
        self.tasks: list[Task] = []
        self.slots, self.ask_again_at = 0, 0.0

    def num_free(self) -> int:
        """How many groups could be started now: machines come and go."""
        return max(0, self.num_slots() - len(self.tasks))

    def is_busy(self) -> bool:
        """Whether any group is under way."""
        return bool(self.tasks)

    def has_machines(self) -> bool:
        """Whether any machine is left. Groups that were handed over wait for one in Ray's queue."""
        return self.num_slots() > 0

    def num_slots(self) -> int:
        """How many groups the machines that are there now can do at a time."""
        if time.monotonic() >= self.ask_again_at:
            self.slots = self.cluster.num_slots(self.setup.device)
            self.ask_again_at = time.monotonic() + SLOTS_SECONDS
        return self.slots

    def start(self, group: Sequence[RunSpec]) -> None:
        """Hand a group to the cluster."""
        run_specs = list(group)
        with connection_needed():
            self.tasks.append(
                Task(run_specs, self.remote.remote(run_specs, self.dataset, self.setup))
            )

    def wait(self, seconds: float) -> Iterator[Event | GroupLost]:
        """What the tasks have told since."""
        import ray

        if not self.tasks:  # The machines are gone: others may come.
            threading.Event().wait(seconds)
            return
        task_of = {task.events: task for task in self.tasks}
        with connection_needed():
            ready, others = ray.wait(list(task_of), num_returns=1, timeout=seconds)
            if ready and others:  # With many tasks, several have something to tell.
                ready += ray.wait(others, num_returns=len(others), timeout=0)[0]
        for events in ready:
            task = task_of[events]
            try:
                event: Event = ray.get(next(task.events))
            except StopIteration:
                self.tasks.remove(task)
                if task.run_specs:
                    yield GroupLost(task.run_specs, "it ended without a word")
            except ray.exceptions.RayTaskError as error:  # Not a machine: a fault of this program.
                self.tasks.remove(task)
                reason = first_line(error.cause)
                yield from (RunFailed(run_spec, reason, str(error)) for run_spec in task.run_specs)
            except ray.exceptions.RayError as error:
                self.tasks.remove(task)
                cancel(task)  # It may be that only what it told was lost.
                is_machine_lost = isinstance(error, ray.exceptions.NodeDiedError)
                yield GroupLost(task.run_specs, first_line(error), is_machine_lost)
            else:
                if isinstance(event, RunFinished | RunFailed):
                    task.run_specs.remove(event.run_spec)
                yield event

    def stop(self) -> None:
        """End all tasks at once."""
        for task in self.tasks:
            cancel(task)
        self.tasks = []


def first_line(error: BaseException) -> str:
    """What kind of error it is, and the first line of what it says."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def cancel(task: Task) -> None:
    """End a task at once, if it has not ended."""
    import ray

    with contextlib.suppress(ray.exceptions.RayError, ConnectionError, ValueError):
        ray.cancel(task.events, force=True)


def tell_of_runs(
    run_specs: list[RunSpec], dataset: "Dataset", setup: WorkerSetup
) -> Iterator[Event]:
    """What a task does. Training tells by calling a function, and a task by yielding: a thread
    trains, and what it tells is passed on from here."""
    from ablations.runner.worker import do_runs

    told: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def train() -> None:
        try:
            do_runs(run_specs, lambda: writable(dataset), setup, told.put)
        finally:
            told.put(None)

    threading.Thread(target=train, daemon=True).start()
    while (event := told.get()) is not None:
        yield event


def writable(dataset: "Dataset") -> "Dataset":
    """A copy in this process's memory: Ray's own is shared, and may not be written to."""
    return replace(
        dataset,
        train_images=dataset.train_images.copy(),
        train_labels=dataset.train_labels.copy(),
        test_images=dataset.test_images.copy(),
        test_labels=dataset.test_labels.copy(),
    )
