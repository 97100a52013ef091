"""Checks a network in worker processes, with a time limit for them.

The student's file is a program. In a process of its own it cannot hang the command, end it, print
into its output or change its memory. This is no sandbox: the file can do whatever the user can do,
also forge its own grade.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from ablations.grader.grade import Grade, grade_network
from ablations.grader.protocol import (
    ERROR_TYPES,
    Inspection,
    LimitError,
    NetworkError,
    TrainedSeed,
    WorkerMessage,
    WorkerTask,
)
from ablations.version import PROJECT_DIR
from ablations.words import duration

INSPECTION_SECONDS = 120.0
POLL_SECONDS = 0.1


def check_network(
    task: WorkerTask,
    seeds: Sequence[int],
    num_jobs: int,
    limit_seconds: float,
    after_epoch: Callable[[int], None] = lambda num_epochs_done: None,
) -> Grade:
    """Inspect a network, train it once for each seed, and grade it.

    `limit_seconds` is for all trainings together. `after_epoch` is called with the number of epochs
    that all trainings together have finished. On any exception, all processes are ended.

    Raises:
        UnknownNameError: the file does not define the name.
        MachineError: the check failed for a reason other than the network.
    """
    inspection: Inspection | None = None
    trained: list[TrainedSeed] = []
    problem = None
    tasks = [msgspec.structs.replace(task, seed=seed) for seed in seeds]
    inspecting = _run_workers([task], 1, min(INSPECTION_SECONDS, limit_seconds), after_epoch)
    training = _run_workers(tasks, num_jobs, limit_seconds, after_epoch)
    try:
        for result in itertools.chain(inspecting, training):
            inspection = inspection or result.inspection
            trained += [result.trained] if result.trained else []
    except NetworkError as error:
        problem = error
    network = f"{Path(task.file).name}:{task.name}"
    return grade_network(network, task.dataset_name, task.num_epochs, inspection, trained, problem)


def _run_workers(
    tasks: Sequence[WorkerTask],
    num_jobs: int,
    limit_seconds: float,
    after_epoch: Callable[[int], None],
) -> Iterator[WorkerMessage]:
    """Run each task in a process, and yield the results in the order in which they finish."""
    deadline = time.monotonic() + limit_seconds
    waiting = list(tasks)
    running: list[_Worker] = []
    finished: list[_Worker] = []
    try:
        while waiting or running:
            while waiting and len(running) < num_jobs:
                running.append(_Worker(waiting.pop(0)))
            time.sleep(POLL_SECONDS)
            errors: list[Exception] = []
            for worker in [*running]:
                if worker.process.poll() is not None:
                    running.remove(worker)
                    finished.append(worker)
                    try:
                        yield worker.result()
                    except tuple(ERROR_TYPES.values()) as error:
                        errors.append(error)
            if errors:
                raise max(errors, key=lambda error: list(ERROR_TYPES).index(type(error).__name__))
            after_epoch(sum(worker.message.num_epochs_done for worker in finished + running))
            if running and time.monotonic() > deadline:
                raise LimitError(
                    f"{running[0].task.activity}: reached the time limit of "
                    f"{duration(limit_seconds)}; use a larger --time-limit"
                )
    finally:
        for worker in running:
            end_process_group(worker.process)


class _Worker:
    """A worker process, its last message, and the last line that the student's file printed."""

    def __init__(self, task: WorkerTask) -> None:
        self.task = task
        self.message = WorkerMessage(0)
        self.output_line = ""
        folders = filter(None, [str(PROJECT_DIR), os.environ.get("PYTHONPATH")])
        # With -P, Python does not import files of the current folder as modules.
        program = [sys.executable, "-P", "-m", "ablations.grader.worker"]
        self.process = subprocess.Popen(
            [*program, msgspec.json.encode(task).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # With a session of its own, the process can be ended with all that it has started.
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"},
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        # The student's file may print lines of any length, so they are read in pieces.
        while line := self.process.stdout.readline(2**16):
            try:
                self.message = msgspec.json.decode(line, type=WorkerMessage)
            except ValueError:
                self.output_line = line.decode(errors="replace").strip()[:300] or self.output_line

    def result(self) -> WorkerMessage:
        """The last message of a process that has ended.

        Raises:
            NetworkError, MachineError: the message is an error, or the process died before it.
        """
        end_process_group(self.process)
        # A process that left the group may still hold the pipe open.
        self.reader.join(timeout=60)
        message, code = self.message, self.process.returncode
        if message.error:
            raise ERROR_TYPES[message.error_type](message.error)
        if message.inspection or message.trained:
            return message
        ending = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        error = f"{self.task.activity}: its process ended ({ending})"
        if ending == "SIGKILL":
            raise LimitError(f"{error}, probably for lack of memory; use fewer --jobs")
        raise NetworkError(f"{error}: {self.output_line or 'no output'}")


def end_process_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process, and on POSIX systems all that it has started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
