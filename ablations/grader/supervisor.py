"""Checks a network in worker processes, with a time limit for them.

The student's file is a program. In a process of its own it cannot hang the command, end it, print
into its output or change its memory. This is no sandbox: the file can do whatever the user can do,
also forge its own grade.
"""

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
    MAIN_GUARD,
    Inspection,
    LimitError,
    NetworkError,
    NoGradeError,
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
    wording: str = "fc-and-gap",
) -> Grade:
    """Inspect a network, train it once for each seed, and grade it.

    `limit_seconds` is for all trainings together. `after_epoch` is called with the number of epochs
    that all trainings together have finished. On any exception, all processes are ended.

    Raises:
        UnknownNameError: the file does not define the name.
        NoGradeError: the file could not be loaded, or the data or the machine failed.
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
    return grade_network(
        network, task.dataset_name, task.num_epochs, inspection, trained, problem, wording
    )


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
            after_epoch(sum(worker.num_epochs_done for worker in finished + running))
            if running and time.monotonic() > deadline:
                advice, task = "use a larger --time-limit", running[0].task
                if task.seed is None:
                    is_highest = limit_seconds >= INSPECTION_SECONDS
                    advice = MAIN_GUARD if is_highest else f"{advice}, or {MAIN_GUARD}"
                limit = duration(limit_seconds)
                raise LimitError(f"{task.activity}: reached the time limit of {limit}; {advice}")
    finally:
        for worker in running:
            worker.end()


class _Worker:
    """A worker process, its last message, and the last line that the student's file printed."""

    def __init__(self, task: WorkerTask) -> None:
        self.task = task
        self.message: WorkerMessage | None = None
        self.output_line = ""
        # The process has another current folder.
        folders = map(
            os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        )
        variables = {
            "PYTHONPATH": os.pathsep.join([str(PROJECT_DIR), *folders]),
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "Agg",  # `plt.show()` returns at once.
            "PYTHONUTF8": "1",  # The file may print any character.
        }
        # With -P, Python does not import files of the current folder as modules.
        program = [sys.executable, "-P", "-m"]
        command = [*program, "ablations.grader.worker", msgspec.json.encode(task).decode()]
        self.process = subprocess.Popen(
            [*program, "ablations.grader.guard", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C does not reach it.
            env=os.environ | variables,
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

    @property
    def num_epochs_done(self) -> int:
        """So far."""
        return self.message.num_epochs_done if self.message else 0

    def end(self) -> None:
        """End the process, if it has not ended, with all that it has started."""
        assert self.process.stdin
        self.process.stdin.close()  # See `guard.py`.
        self.process.wait()

    def result(self) -> WorkerMessage:
        """The last message of a process that has ended.

        Raises:
            NetworkError, UnknownNameError, NoGradeError: the message is an error, or the process
                died before it.
        """
        # A process that left the group may still hold the pipe open.
        self.reader.join(timeout=60)
        message, code = self.message, self.process.returncode
        if message and message.error:
            raise ERROR_TYPES[message.error_type](message.error)
        if message and (message.inspection or message.trained):
            return message
        endings = {128 + number: number.name for number in signal.Signals}
        ending = endings.get(code, f"exit code {code}")
        error = f"{self.task.activity}: its process ended ({ending})"
        if message is None:
            raise NoGradeError(f"{error} before it ran the file: {self.output_line}")
        if ending == "SIGKILL":
            raise LimitError(f"{error}, probably for lack of memory; use fewer --jobs")
        raise NetworkError(f"{error}: {self.output_line or 'no output'}")
