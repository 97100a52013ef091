"""Carries out runs in worker processes, and tells what happens as it happens.

`execute` is a generator of events: whoever iterates over it decides what to write and what to
show. Leaving the loop, by Ctrl-C or by an error, stops the workers.

On a CPU each worker computes in one thread: two such processes finish more runs an hour than one
process with two threads, and no run's numbers depend on how many there are. On a GPU there is one
worker, which trains the seeds of an experiment as one network (`grouping.py`): it is handed a
group of runs, and tells of each run by itself.
"""

import contextlib
import multiprocessing
import signal
import traceback
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

import joblib

from ablations.experiment import Experiment
from ablations.grouping import split_into_groups
from ablations.records import EpochRecord, RunResult
from speed.arithmetic import Arithmetic, keep_freed_memory

if TYPE_CHECKING:
    from ablations.data import Dataset

MAX_ATTEMPTS = 2
"""A run is tried again once when its process dies (killed, out of memory), not when it raises."""


@dataclass(frozen=True)
class RunStarted:
    """A worker has begun a run."""

    run: Experiment


@dataclass(frozen=True)
class EpochFinished:
    """A run has finished an epoch."""

    run: Experiment
    epoch: EpochRecord


@dataclass(frozen=True)
class RunFinished:
    """A run is done; its result has not been written yet."""

    run: Experiment
    result: RunResult


@dataclass(frozen=True)
class RunFailed:
    """A run could not be done."""

    run: Experiment
    reason: str
    """One line."""
    details: str
    """The traceback, if there is one."""


Event = RunStarted | EpochFinished | RunFinished | RunFailed


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker process needs to know before its first run."""

    dataset_name: str
    dataset_folder: Path | None
    device: str
    arithmetic: Arithmetic
    commit: str
    """Of the source, when the study began: a commit made meanwhile is not what runs."""
    num_replicas: int = 1
    """At most this many seeds of an experiment are trained as one network; 1: each by itself."""


def default_num_jobs(device: str) -> int:
    """One worker for each core that this process may use; one for a GPU.

    joblib knows about cores that a container, a batch system or the user has fenced off.
    """
    return int(joblib.cpu_count()) if device == "cpu" else 1


def execute(
    runs: Sequence[Experiment], setup: WorkerSetup, num_jobs: int
) -> Generator[Event, None, None]:
    """Carry out the runs, at most `num_jobs` at a time (or groups of runs), in their order."""
    waiting = deque(split_into_groups(runs, setup.num_replicas))
    attempts = Counter[Experiment]()
    workers: list[Worker] = []
    try:
        for _ in range(min(num_jobs, len(waiting))):
            workers.append(Worker(setup))
        while waiting or any(worker.runs for worker in workers):
            for worker in workers:
                if not worker.runs and waiting:
                    group = waiting.popleft()
                    attempts.update(group)
                    worker.start(group)
                    for run in group:
                        yield RunStarted(run)
            busy = {worker.connection: worker for worker in workers if worker.runs}
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                try:
                    event = worker.receive()
                except (EOFError, OSError):  # also when it died in the middle of a message
                    lost, exit_code = worker.replace_process()
                    if again := [run for run in lost if attempts[run] < MAX_ATTEMPTS]:
                        waiting.appendleft(again)
                    reason = f"its process died {MAX_ATTEMPTS} times (exit code {exit_code})"
                    for run in lost:
                        if run not in again:
                            yield RunFailed(run, reason, "")
                    continue
                if isinstance(event, RunFailed) and setup.device == "cuda" and not worker.runs:
                    # After a fault on a GPU nothing else works in the same process.
                    worker.replace_process()
                yield event
    finally:
        for worker in workers:
            worker.stop()


class Worker:
    """A process that does one group of runs at a time, and the pipe to it."""

    def __init__(self, setup: WorkerSetup) -> None:
        self.setup = setup
        # Those of its runs that have not ended yet.
        self.runs: list[Experiment] = []
        self.launch()

    def launch(self) -> None:
        """Start the process. `spawn` works alike on every system, and with a GPU."""
        context = multiprocessing.get_context("spawn")
        self.connection, connection_of_worker = context.Pipe()
        self.process = context.Process(
            target=work, args=(connection_of_worker, self.setup), daemon=True
        )
        # Ctrl-C reaches every process of the terminal; what is to happen then is the parent's
        # choice. Ignored before the start, it is ignored from the child's first moment.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        # With this end closed here, the pipe breaks when the process dies, and `wait` sees it.
        connection_of_worker.close()

    def start(self, runs: Sequence[Experiment]) -> None:
        """Hand a group of runs to the idle process."""
        self.runs = list(runs)
        # If the process has died, `receive` will find the pipe broken.
        with contextlib.suppress(ConnectionError):
            self.connection.send(self.runs)

    def receive(self) -> Event:
        """The next event of its runs. Raises EOFError or OSError when the process died."""
        run, message = self.connection.recv()
        if isinstance(message, EpochRecord):
            return EpochFinished(run, message)
        self.runs.remove(run)
        if isinstance(message, RunResult):
            return RunFinished(run, message)
        reason, details = message
        return RunFailed(run, reason, details)

    def replace_process(self) -> tuple[list[Experiment], int | None]:
        """Start a new process in place of a dead one: returns the lost runs and the exit code."""
        lost, self.runs = self.runs, []
        self.stop()
        exit_code = self.process.exitcode
        self.launch()
        return lost, exit_code

    def stop(self) -> None:
        """End the process, at once if it is busy."""
        self.connection.close()
        if self.runs:
            self.process.terminate()
        # An idle process ends by itself when its pipe closes; one that does not is not needed.
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def work(connection: Connection, setup: WorkerSetup) -> None:
    """A worker's life: load the data once, then do the runs that come through the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows does not pass this on to a child.

    from ablations.data import load_dataset
    from ablations.running import use_one_thread

    if setup.device == "cpu":
        use_one_thread()
        keep_freed_memory()
    dataset = None
    while True:
        try:
            runs: list[Experiment] = connection.recv()
        except (EOFError, OSError):
            return  # The parent has gone.
        not_ended = list(runs)
        try:
            dataset = dataset or load_dataset(setup.dataset_name, setup.dataset_folder)
            for run, result in carry_out(runs, dataset, setup, connection):
                not_ended.remove(run)
                connection.send((run, result))
        except ConnectionError:
            return
        # Whatever went wrong is these runs' result, and the next ones may be fine.
        except Exception as error:  # noqa: BLE001
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            for run in not_ended:
                connection.send((run, (reason, traceback.format_exc())))


def carry_out(
    runs: list[Experiment], dataset: "Dataset", setup: WorkerSetup, connection: Connection
) -> Iterator[tuple[Experiment, RunResult]]:
    """Do a group of runs, and send word of each epoch."""
    import torch

    from ablations.running import run_experiment, run_group

    def tell(run: Experiment, message: EpochRecord) -> None:
        connection.send((run, message))

    device = torch.device(setup.device)
    if setup.num_replicas > 1:
        yield from run_group(runs, dataset, device, tell, setup.commit)
        return
    for run in runs:
        result = run_experiment(
            run, dataset, device, partial(tell, run), setup.commit, setup.arithmetic
        )
        yield run, result
