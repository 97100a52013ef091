"""A Ray cluster as the pool of workers: many machines, for studies of hundreds of runs.

A task is a run, or on a GPU a group of seeds. What it needs travels with it: this project's source
and the images go out through Ray, and every result comes back through it to the driver, the only
process that writes to the study's folder. So the machines need an environment with this project's
dependencies (`pip install -e ".[ray]"`), and no shared disk.

Ray keeps its own retries out of it (`max_retries=0`): `execute` decides what is tried again, as for
processes of one machine.

Source: https://docs.ray.io/en/latest/ray-core/ray-generator.html (tasks that tell as they go).
"""

import contextlib
import os
import queue
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.execution import Event, GroupLost, RunFailed, RunFinished, WorkerSetup
from ablations.experiment import Experiment

if TYPE_CHECKING:
    from ablations.data import Dataset

WAY_OUT = 'install it with: pip install -e ".[ray]"'

CONNECT_SECONDS = 10.0

HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of HTTP/2 says first, with settings that set nothing; a server answers with its own
(RFC 9113, 3.4). Ray speaks gRPC, which is HTTP/2."""
SETTINGS_FRAME = 4


class ClusterError(Exception):
    """A cluster cannot be used; one line says why, and the way out."""


@dataclass(frozen=True)
class Cluster:
    """A connection to a Ray cluster. There is one in a process at most."""

    gpus_per_task: float
    """Below 1, several groups of seeds share a GPU."""
    max_tasks: int | None
    """None: as many as the cluster's processors take."""

    def device(self) -> str:
        """`cuda` where the cluster has a GPU, else `cpu`."""
        return "cuda" if any(found.get("GPU") for found in self.machines()) else "cpu"

    def num_slots(self, device: str) -> int:
        """How many tasks the machines that are there now can do at a time."""
        slots = sum(self.slots_of(found, device) for found in self.machines())
        return slots if self.max_tasks is None else min(slots, self.max_tasks)

    def slots_of(self, found: Mapping[str, float], device: str) -> int:
        """How many tasks a machine with these resources can do: none is spread over several GPUs."""
        num_cores = int(found.get("CPU", 0))
        if device == "cpu":
            return num_cores
        return min(num_cores, int(found.get("GPU", 0)) * int(1 / self.gpus_per_task))

    def machines(self) -> list[dict[str, float]]:
        """What each living machine has."""
        import ray

        with connection_needed():
            nodes = ray.nodes()  # type: ignore[no-untyped-call]
        return [node["Resources"] for node in nodes if node["Alive"]]

    def leave(self) -> None:
        """Disconnect, and end a cluster that was started here: it is needed no more."""
        import ray

        ray.shutdown()


@contextlib.contextmanager
def connect(address: str | None, max_tasks: int | None, gpus_per_task: float) -> Iterator[Cluster]:
    """Connect to a Ray cluster, or without an address start one on this machine alone.

    Raises:
        ClusterError: Ray is not installed, or there is no cluster at the address.
    """
    # Ray sends statistics of its use to its makers unless it is told not to.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise ClusterError(f"--backend ray needs Ray; {WAY_OUT}") from error
    if address and "://" in address:
        raise ClusterError(
            f"--ray-address {address}: a remote client cannot be used; run this on a machine of the "
            "cluster, with --ray-address auto"
        )
    if address and address != "auto":
        check_reachable(address)
    with staged_source() as source, own_signals():
        try:
            ray.init(
                address=address or "local",
                runtime_env={"working_dir": source},
                include_dashboard=None if address else False,
                configure_logging=False,
                log_to_driver=False,
            )
        except (ray.exceptions.RayError, ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            where = f"the Ray cluster at {address}" if address else "Ray on this machine"
            raise ClusterError(f"{where} cannot be used: {reason}") from error
    cluster = Cluster(gpus_per_task, max_tasks)
    try:
        yield cluster
    finally:
        cluster.leave()


@contextlib.contextmanager
def connection_needed() -> Iterator[None]:
    """What cannot be asked of the cluster is one clear line."""
    import ray

    try:
        yield
    except (ray.exceptions.RayError, ConnectionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(
            f"the Ray cluster fails ({reason}); finished runs are kept: once that is mended, the same "
            "command does the rest"
        ) from error


def check_reachable(address: str) -> None:
    """Raise ClusterError unless somebody answers there who may be Ray: it would try for minutes."""
    host, _, port = address.rpartition(":")
    way_out = "write HOST:PORT as ray start printed it, or auto on one of the cluster's machines"
    try:
        where = (host.strip("[]"), int(port))  # an IPv6 address has brackets
        with socket.create_connection(where, timeout=CONNECT_SECONDS) as connection:
            connection.sendall(HTTP2_GREETING)
            answer = connection.makefile("rb").read(4)
    except (OSError, ValueError, OverflowError) as error:
        raise ClusterError(f"no Ray cluster at {address} ({error}); {way_out}") from error
    if len(answer) < 4 or answer[3] != SETTINGS_FRAME:
        raise ClusterError(f"what answers at {address} is no Ray cluster; {way_out}")


@contextlib.contextmanager
def staged_source() -> Iterator[str]:
    """A folder with the source that decides a result, and nothing else: what every machine gets."""
    from ablations.running import PROJECT_DIR, SOURCE_PACKAGES

    with tempfile.TemporaryDirectory() as folder:
        for package in SOURCE_PACKAGES:
            shutil.copytree(
                PROJECT_DIR / package,
                Path(folder) / package,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        yield folder


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Ray sets handlers of its own; what a signal does here is decided in `interruption.py`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)


@dataclass
class Task:
    """A group under way: those of its runs that have not ended, and what it tells."""

    runs: list[Experiment]
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

    def num_free(self) -> int:
        """How many groups could be started now: machines come and go."""
        return max(0, self.cluster.num_slots(self.setup.device) - len(self.tasks))

    def is_busy(self) -> bool:
        """Whether any group is under way."""
        return bool(self.tasks)

    def has_machines(self) -> bool:
        """Whether any machine is left. Groups that were handed over wait for one in Ray's queue."""
        return self.cluster.num_slots(self.setup.device) > 0

    def start(self, group: Sequence[Experiment]) -> None:
        """Hand a group to the cluster."""
        runs = list(group)
        with connection_needed():
            self.tasks.append(Task(runs, self.remote.remote(runs, self.dataset, self.setup)))

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
                if task.runs:
                    yield GroupLost(task.runs, "it ended without a word")
            except ray.exceptions.RayTaskError as error:  # Not a machine: a fault of this program.
                self.tasks.remove(task)
                reason = first_line(error.cause)
                yield from (RunFailed(run, reason, str(error)) for run in task.runs)
            except ray.exceptions.RayError as error:
                self.tasks.remove(task)
                cancel(task)  # It may be that only what it told was lost.
                is_machine_lost = isinstance(error, ray.exceptions.NodeDiedError)
                yield GroupLost(task.runs, first_line(error), is_machine_lost)
            else:
                if isinstance(event, RunFinished | RunFailed):
                    task.runs.remove(event.run)
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


def tell_of_runs(runs: list[Experiment], dataset: "Dataset", setup: WorkerSetup) -> Iterator[Event]:
    """What a task does. Training tells by calling a function, and a task by yielding: a thread
    trains, and what it tells is passed on from here."""
    from ablations.worker import do_runs

    told: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def train() -> None:
        try:
            do_runs(runs, lambda: writable(dataset), setup, told.put)
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
