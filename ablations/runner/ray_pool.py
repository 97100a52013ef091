"""A Ray cluster as a pool of workers. Only this module imports Ray, which need not be installed.

A task is a run, or on a GPU a group of seeds. The source and the images travel to the machines
through Ray, and results come back through it to the driver, the only process that writes to the
study's folder. So each machine needs this project's dependencies (`pip install -e ".[ray]"`), and
no shared disk. Ray's own retries are off (`max_retries=0`): `execute` decides about retries.

Source: https://docs.ray.io/en/latest/ray-core/ray-generator.html (tasks that yield results).
"""

import contextlib
import copy
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray

from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.runner.scheduler import (
    ClusterError,
    Event,
    GroupLost,
    RunFailed,
    RunFinished,
    WorkerSetup,
)
from ablations.version import PROJECT_DIR, SOURCE_PACKAGES
from ablations.words import first_line

Argument = TypeVar("Argument")
Result = TypeVar("Result")

CONNECT_SECONDS = 10.0
SLOTS_SECONDS = 1.0
"""How long a pool keeps the number of slots, which it is asked for several times a second."""


@dataclass(frozen=True)
class Cluster:
    """A connection to a Ray cluster. A process has at most one."""

    gpus_per_task: float
    """Below 1, several groups of seeds share a GPU."""
    max_tasks: int | None
    """None: as many as the cluster has CPU cores or GPUs for."""

    def device(self) -> str:
        """`cuda` where the cluster has a GPU, else `cpu`."""
        return "cuda" if any(machine.get("GPU") for machine in self.machines()) else "cpu"

    def num_slots(self, device: str) -> int:
        """How many tasks the machines can run at a time now."""
        slots = 0
        for machine in self.machines():
            num_cores = int(machine.get("CPU", 0))
            # A task uses one GPU or a part of it, never parts of two.
            num_shares = int(machine.get("GPU", 0)) * int(1 / self.gpus_per_task)
            slots += num_cores if device == "cpu" else min(num_cores, num_shares)
        return slots if self.max_tasks is None else min(slots, self.max_tasks)

    def machines(self) -> list[dict[str, float]]:
        """The resources of each machine that is alive."""
        with _cluster_errors():
            nodes = ray.nodes()  # type: ignore[no-untyped-call]
        return [node["Resources"] for node in nodes if node["Alive"]]

    def call_on_gpu(
        self, function: Callable[[Argument], Result], argument: Argument, limit_seconds: float
    ) -> Result:
        """The result of a function that is called in a task on a GPU, which may crash or hang.

        Raises:
            RuntimeError: the task failed, or was ended at the time limit.
        """
        remote = ray.remote(num_cpus=1, num_gpus=self.gpus_per_task, max_retries=0, max_calls=1)
        task = remote(function).remote(argument)
        try:
            result: Result = ray.get(task, timeout=limit_seconds)
            return result
        except ray.exceptions.RayError as error:
            _cancel(task)
            raise RuntimeError(first_line(error)) from error

    def leave(self) -> None:
        """Disconnect, and stop a cluster that was started by `connect`."""
        ray.shutdown()


@contextlib.contextmanager
def connect(address: str | None, max_tasks: int | None, gpus_per_task: float) -> Iterator[Cluster]:
    """Connect to a Ray cluster, or without an address start one on this machine.

    Raises:
        ClusterError: there is no cluster at the address, or Ray does not start.
    """
    # Otherwise Ray sends usage statistics to its makers.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Otherwise Ray leaves out folders that .gitignore names, such as any named `data`.
    os.environ["RAY_RUNTIME_ENV_IGNORE_GITIGNORE"] = "1"
    # The folders that Ray excludes by default are among `names`; without this it warns of them.
    os.environ["RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES"] = ""
    names = {path.name for path in PROJECT_DIR.iterdir()} - set(SOURCE_PACKAGES)
    if address and address != "auto":
        _check_reachable(address)
    # Ray replaces signal handlers; `signals.py` needs its own.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address=address or "local",
            runtime_env={
                "working_dir": str(PROJECT_DIR),
                "excludes": [*(f"/{name}" for name in names), "__pycache__"],
            },
            include_dashboard=None if address else False,
            configure_logging=False,
            log_to_driver=False,
        )
    except (ray.exceptions.RayError, ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        name = f"the Ray cluster at {address}" if address else "Ray on this machine"
        raise ClusterError(f"{name} cannot be used: {reason}") from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    cluster = Cluster(gpus_per_task, max_tasks)
    try:
        yield cluster
    finally:
        cluster.leave()


def _check_reachable(address: str) -> None:
    """Raise ClusterError unless something listens at the address: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        # An IPv6 address has brackets.
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster at {address} ({error}); use HOST:PORT as ray start printed it, or "
            "--ray-address auto on a machine of the cluster"
        ) from error


@contextlib.contextmanager
def _cluster_errors() -> Iterator[None]:
    try:
        yield
    except (ray.exceptions.RayError, ConnectionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(
            f"the Ray cluster failed ({reason}); finished runs are kept: fix the cluster and run the "
            "same command again"
        ) from error


class ClusterPool:
    """A `WorkerPool` of tasks on a cluster, at most as many at a time as it has slots."""

    def __init__(self, setup: WorkerSetup, cluster: Cluster, dataset: Dataset) -> None:
        self.setup = setup
        self._cluster = cluster
        with _cluster_errors():
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
        self._tasks: dict[Any, list[RunSpec]] = {}
        """The runs of each task that have not ended, by Ray's generator of references to events."""
        self._num_slots, self._slots_expire_at = 0, 0.0

    def num_slots(self) -> int:
        if time.monotonic() >= self._slots_expire_at:
            self._num_slots = self._cluster.num_slots(self.setup.device)
            self._slots_expire_at = time.monotonic() + SLOTS_SECONDS
        return self._num_slots

    def num_running(self) -> int:
        return len(self._tasks)

    def start(self, group: Sequence[RunSpec]) -> None:
        run_specs = list(group)
        with _cluster_errors():
            self._tasks[self._remote.remote(run_specs, self._dataset, self.setup)] = run_specs

    def wait(self, seconds: float) -> Iterator[Event | GroupLost]:
        if not self._tasks:
            time.sleep(seconds)  # There is no machine; one may join.
            return
        with _cluster_errors():
            ready, others = ray.wait(list(self._tasks), num_returns=1, timeout=seconds)
            if ready and others:  # Take what else is ready, too.
                ready += ray.wait(others, num_returns=len(others), timeout=0)[0]
        task: Any
        for task in ready:
            run_specs = self._tasks[task]
            try:
                event: Event = ray.get(next(task))
            except StopIteration:
                del self._tasks[task]
                if run_specs:
                    yield GroupLost(run_specs, "it ended without a result")
            except ray.exceptions.RayTaskError as error:  # An error in the worker's own code.
                del self._tasks[task]
                reason = first_line(error.cause)
                yield from (RunFailed(run_spec, reason, str(error)) for run_spec in run_specs)
            except ray.exceptions.RayError as error:
                del self._tasks[task]
                _cancel(task)  # Perhaps only its event was lost.
                is_machine_lost = isinstance(error, ray.exceptions.NodeDiedError)
                yield GroupLost(run_specs, first_line(error), is_machine_lost)
            else:
                if isinstance(event, RunFinished | RunFailed):
                    run_specs.remove(event.run_spec)
                yield event

    def stop(self) -> None:
        for task in self._tasks:
            _cancel(task)
        self._tasks = {}


def _cancel(task: Any) -> None:
    with contextlib.suppress(ray.exceptions.RayError, ConnectionError, ValueError):
        ray.cancel(task, force=True)


def _generate_events(
    run_specs: list[RunSpec], dataset: Dataset, setup: WorkerSetup
) -> Iterator[Event]:
    """The body of a task. Training calls a function with each event, but a task must yield it: a
    thread trains, and a queue connects the two."""
    from ablations.runner.run_one import execute_group

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
