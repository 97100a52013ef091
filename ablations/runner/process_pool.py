"""Worker processes on this machine.

On a CPU each worker computes in one thread: two such processes finish more runs an hour than one
process with two threads, and results do not depend on the number of threads. On a GPU there is one
worker, which trains the seeds of an experiment as one network (`seed_groups.py`).
"""

import contextlib
import functools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

import joblib

from ablations.catalogue.experiment import RunSpec
from ablations.operating_system import MAX_PROCESSES, ctrl_c_blocked
from ablations.runner.parent import watch_parent
from ablations.runner.scheduler import Event, GroupLost, RunFailed, RunFinished, WorkerSetup
from ablations.words import duration

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def default_num_jobs(device: str) -> int:
    """One worker for each core that this process may use; one for a GPU.

    joblib respects the limits of containers, batch systems and CPU affinity.

    Raises:
        OSError: the environment variable for it is not a number.
    """
    try:
        return int(joblib.cpu_count()) if device == "cpu" else 1
    except ValueError as error:
        name = "LOKY_MAX_CPU_COUNT"
        message = f"${name} is {os.environ.get(name)!r}, not a number; unset it, or use --jobs"
        raise OSError(message) from error


@dataclass
class _Worker:
    """A process that carries out one group of runs at a time, and the pipe to it."""

    process: BaseProcess
    connection: Connection
    run_specs: list[RunSpec] = field(default_factory=list)
    """Runs of its group that have not ended yet."""


class ProcessPool:
    """A `WorkerPool` of at most `num_jobs` processes, each started when it is needed."""

    def __init__(self, setup: WorkerSetup, num_jobs: int) -> None:
        self.setup = setup
        self.num_jobs = min(num_jobs, MAX_PROCESSES)
        self._workers: list[_Worker] = []

    def num_slots(self) -> int:
        return self.num_jobs

    def num_running(self) -> int:
        return len(self._busy())

    def start(self, group: Sequence[RunSpec]) -> None:
        idle = [worker for worker in self._workers if not worker.run_specs]
        worker = idle[0] if idle else self._add_worker()
        worker.run_specs = list(group)
        # If the process has died, `wait` reports it.
        with contextlib.suppress(ConnectionError):
            worker.connection.send(worker.run_specs)

    def wait(self, seconds: float) -> Iterator[Event | GroupLost]:
        busy = {worker.connection: worker for worker in self._busy()}
        for connection in wait(list(busy), timeout=seconds):
            worker = busy[connection]  # type: ignore[index]
            try:
                event = worker.connection.recv()
            except (EOFError, OSError):  # The process died, perhaps while sending.
                self._remove(worker)
                yield GroupLost(worker.run_specs, f"exit code {worker.process.exitcode}")
                continue
            if isinstance(event, RunFinished | RunFailed):
                worker.run_specs.remove(event.run_spec)
                # After an error on a GPU, a process cannot use it any more.
                is_faulty = isinstance(event, RunFailed) and self.setup.device == "cuda"
                if is_faulty and not worker.run_specs:
                    self._remove(worker)
            yield event

    def stop(self) -> None:
        for worker in list(self._workers):
            self._remove(worker)

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.run_specs]

    def _add_worker(self) -> _Worker:
        # `spawn` works on every system, and with a GPU.
        context = multiprocessing.get_context("spawn")
        connection, child_connection = context.Pipe()
        process = context.Process(target=_work, args=(child_connection, self.setup), daemon=True)
        with ctrl_c_blocked():
            process.start()
        # With this end closed here, the pipe breaks when the process dies.
        child_connection.close()
        self._workers.append(_Worker(process, connection))
        return self._workers[-1]

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.connection.close()


def call_in_process(
    function: Callable[[Argument], Result], argument: Argument, limit_seconds: float
) -> Result:
    """The result of a function that is called in a process of its own, which may crash or hang.

    Raises:
        RuntimeError: the process died, or was ended at the time limit.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(sender, function, argument), daemon=True)
    with ctrl_c_blocked():
        process.start()
    sender.close()
    try:
        if not receiver.poll(limit_seconds):
            raise RuntimeError(f"no result within {duration(limit_seconds)}")
        result: Result = receiver.recv()
        return result
    except EOFError as error:
        process.join()
        raise RuntimeError(f"its process died (exit code {process.exitcode})") from error
    finally:
        process.kill()
        process.join()
        receiver.close()


def _call(sender: Connection, function: Callable[[Argument], object], argument: Argument) -> None:
    _end_with_parent()
    sender.send(function(argument))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    watch_parent(parent.join, lambda: os._exit(1))


def _work(connection: Connection, setup: WorkerSetup) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # On Windows there is no signal mask to inherit.
    _end_with_parent()

    from ablations.data.datasets import load_dataset
    from ablations.runner.run_one import execute_group

    load = functools.cache(lambda: load_dataset(setup.dataset_name, setup.dataset_folder))
    with contextlib.suppress(EOFError, ConnectionError):  # The parent is gone.
        while True:
            execute_group(connection.recv(), load, setup, connection.send)
