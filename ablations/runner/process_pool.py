"""Worker processes of this machine.

On a CPU each worker computes in one thread: two such processes finish more runs an hour than one
process with two threads, and no run's numbers depend on how many there are. On a GPU there is one
worker, which trains the seeds of an experiment as one network (`seed_groups.py`): it is handed a
group of runs, and tells of each run by itself.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait

import joblib

from ablations.catalogue.experiment import RunSpec
from ablations.runner.scheduler import Event, GroupLost, RunFailed, RunFinished, WorkerSetup

EXIT_SECONDS = 5
"""How long an idle process may take to end before it is killed."""


def default_num_jobs(device: str) -> int:
    """One worker for each core that this process may use; one for a GPU.

    joblib knows about cores that a container, a batch system or the user has fenced off.
    """
    return int(joblib.cpu_count()) if device == "cpu" else 1


class ProcessPool:
    """At most so many processes, started when they are needed."""

    def __init__(self, setup: WorkerSetup, num_jobs: int) -> None:
        self.setup = setup
        self.num_jobs = num_jobs
        self.workers: list[Worker] = []

    def num_free(self) -> int:
        """How many groups could be started now."""
        return self.num_jobs - sum(bool(worker.run_specs) for worker in self.workers)

    def is_busy(self) -> bool:
        """Whether any group is under way."""
        return any(worker.run_specs for worker in self.workers)

    def has_machines(self) -> bool:
        """This one."""
        return True

    def start(self, group: Sequence[RunSpec]) -> None:
        """Hand a group to an idle process, or to a new one."""
        idle = [worker for worker in self.workers if not worker.run_specs]
        if not idle:
            idle = [Worker(self.setup)]
            self.workers += idle
        idle[0].start(group)

    def wait(self, seconds: float) -> Iterator[Event | GroupLost]:
        """What the processes have told since."""
        busy = {worker.connection: worker for worker in self.workers if worker.run_specs}
        for connection in wait(list(busy), timeout=seconds):
            worker = busy[connection]  # type: ignore[index]
            try:
                event = worker.receive()
            except (EOFError, OSError):  # also when it died in the middle of a message
                lost = worker.run_specs
                self.remove(worker)
                yield GroupLost(lost, f"exit code {worker.process.exitcode}")
                continue
            if (
                isinstance(event, RunFailed)
                and self.setup.device == "cuda"
                and not worker.run_specs
            ):
                # After a fault on a GPU nothing else works in the same process.
                self.remove(worker)
            yield event

    def remove(self, worker: "Worker") -> None:
        """End a process that is of no use any more."""
        self.workers.remove(worker)
        worker.stop()

    def stop(self) -> None:
        """End all processes, at once where they are busy."""
        for worker in self.workers:
            worker.hang_up()
        for worker in self.workers:
            worker.stop()
        self.workers = []


class Worker:
    """A process that does one group of runs at a time, and the pipe to it."""

    def __init__(self, setup: WorkerSetup) -> None:
        # Those of its runs that have not ended yet.
        self.run_specs: list[RunSpec] = []
        # `spawn` works alike on every system, and with a GPU.
        context = multiprocessing.get_context("spawn")
        self.connection, connection_of_worker = context.Pipe()
        self.process = context.Process(target=work, args=(connection_of_worker, setup), daemon=True)
        with held_back_interrupt():
            self.process.start()
        # With this end closed here, the pipe breaks when the process dies, and `wait` sees it.
        connection_of_worker.close()

    def start(self, run_specs: Sequence[RunSpec]) -> None:
        """Hand a group of runs to the idle process."""
        self.run_specs = list(run_specs)
        # If the process has died, `receive` will find the pipe broken.
        with contextlib.suppress(ConnectionError):
            self.connection.send(self.run_specs)

    def receive(self) -> Event:
        """The next event of its runs. Raises EOFError or OSError when the process died."""
        event: Event = self.connection.recv()
        if isinstance(event, RunFinished | RunFailed):
            self.run_specs.remove(event.run_spec)
        return event

    def hang_up(self) -> None:
        """Tell the process to end: a busy one at once, an idle one by closing its pipe."""
        self.connection.close()
        if self.run_specs:
            self.process.terminate()

    def stop(self) -> None:
        """End the process, and see it ended."""
        self.hang_up()
        self.process.join(timeout=EXIT_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextlib.contextmanager
def held_back_interrupt() -> Iterator[None]:
    """In here Ctrl-C waits, and a process that is started never hears of it.

    It reaches every process of the terminal; what is to happen then is the parent's choice. A child
    begins with its parent's mask of signals.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def work(connection: Connection, setup: WorkerSetup) -> None:
    """A worker's life: do the runs that come through the pipe, and tell of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows does not pass this on to a child.
    threading.Thread(target=end_with_parent, daemon=True).start()

    from ablations.data.datasets import load_dataset
    from ablations.runner.worker import do_runs

    load = functools.cache(partial(load_dataset, setup.dataset_name, setup.dataset_folder))
    while True:
        try:
            do_runs(connection.recv(), load, setup, connection.send)
        except (EOFError, OSError):
            return  # The parent has gone.


def end_with_parent() -> None:
    """End this process as soon as its parent is gone, however that went: nobody would take what
    it finds, and it would keep a core busy for the rest of an epoch."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
