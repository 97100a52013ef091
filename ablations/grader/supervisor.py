"""Grades a network in processes of its own, each with a time limit: what `cli.py check` does.

The network's file is a program. In a process of its own it cannot hang the command, end it, print
into its output or leave anything behind in its memory. It is no sandbox: the file may do whatever
the user may do, and one that sets out to forge its own grade can.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from ablations.grader.grade import Grade, Problem, TrainedSeed, failed, grade
from ablations.grader.protocol import (
    ERRORS,
    NOT_WRITTEN,
    Answer,
    LimitError,
    MachineError,
    NetworkError,
    Task,
    UnknownNameError,
)
from ablations.records.atomic_io import load_json, write_json
from ablations.version import PROJECT_DIR
from ablations.words import duration, plural

INSPECTION_SECONDS = 120.0
POLL_SECONDS = 0.2
KILLED = -getattr(signal, "SIGKILL", 9)
"""Exit code of a process that something else has ended; Windows has no such signal."""


@dataclass(frozen=True)
class CheckRequest:
    """What is checked, and how."""

    file: Path
    name: str
    seeds: Sequence[int]
    num_epochs: int
    dataset_name: str
    dataset_folder: Path | None
    num_jobs: int
    seconds_limit: float
    """For all trainings of the network together."""


def check_network(
    request: CheckRequest, after_epoch: Callable[[int], None] = lambda num_done: None
) -> Grade:
    """Look at a network, train it once for each seed, and judge it.

    `after_epoch` is called with the epochs that all trainings together have done. It may raise
    KeyboardInterrupt, as Ctrl-C does: then every process is ended.

    Raises:
        UnknownNameError: the file has no such name.
        MachineError: something else than the network is in the way.
    """
    label = f"{request.file.name}:{request.name}"
    asked = label, request.dataset_name, request.num_epochs
    with tempfile.TemporaryDirectory() as folder:
        process = OneTask(request, Path(folder), None)
        try:
            seconds = min(INSPECTION_SECONDS, request.seconds_limit)
            answer = process.wait(time.monotonic() + seconds, threading.Event())
        except LimitError as error:
            return failed(*asked, Problem(process.limit_text(error), is_limit=True))
        except UnknownNameError:
            raise
        except NetworkError as error:
            return failed(*asked, Problem(str(error)))
        inspection = answer.inspection
        assert inspection is not None
        if process.num_lines:
            note = f"it prints while it is used ({plural(process.num_lines, 'line')})"
            inspection = msgspec.structs.replace(inspection, notes=[*inspection.notes, note])
        trained, problem = train_all(request, Path(folder), after_epoch)
    return grade(*asked, inspection, trained, problem)


def train_all(
    request: CheckRequest, folder: Path, after_epoch: Callable[[int], None]
) -> tuple[list[TrainedSeed], Problem | None]:
    """Train the network once for each seed; the trainings that ended, and the first problem.

    Raises:
        MachineError: something else than the network is in the way.
    """
    deadline = time.monotonic() + request.seconds_limit
    stop = threading.Event()
    processes = [OneTask(request, folder, seed) for seed in request.seeds]
    with ThreadPoolExecutor(request.num_jobs) as pool:
        try:
            futures = [pool.submit(one.wait, deadline, stop) for one in processes]
            while wait(futures, POLL_SECONDS, return_when=FIRST_EXCEPTION).not_done:
                after_epoch(sum(one.epochs_done() for one in processes))
                if any(future.done() and future.exception() for future in futures):
                    break
        finally:
            stop.set()
    errors = [error for future in futures if (error := future.exception())]
    for error in errors:
        if not isinstance(error, NetworkError):
            raise error
    answers = [future.result() for future in futures if not future.exception()]
    trained = [answer.trained for answer in answers if answer.trained]
    # Those that were stopped for another one's problem say so themselves.
    errors = [error for error in errors if not isinstance(error, StoppedError)]
    errors.sort(key=lambda error: isinstance(error, LimitError))
    if not errors:
        return trained, None
    text = str(errors[0])
    if not isinstance(errors[0], LimitError):
        return trained, Problem(text)
    hint = "see --time-limit" if errors[0].is_time else "fewer at a time need less: see --jobs"
    return trained, Problem(f"{text}; {hint}", is_limit=True)


class StoppedError(NetworkError):
    """A process was ended because another one had a problem."""


class OneTask:
    """One process, which looks at the network or trains it."""

    def __init__(self, request: CheckRequest, folder: Path, seed: int | None) -> None:
        name = "look" if seed is None else f"seed-{seed}"
        self.seed = seed
        self.answer_file = folder / f"{name}.answer.json"
        self.task_file = folder / f"{name}.task.json"
        self.num_lines = 0
        """Printed, while it ran."""
        task = Task(
            file=str(request.file.resolve()),
            name=request.name,
            answer_file=str(self.answer_file),
            seed=seed,
            num_epochs=request.num_epochs,
            dataset_name=request.dataset_name,
            dataset_folder=str(request.dataset_folder.resolve())
            if request.dataset_folder
            else None,
        )
        write_json(self.task_file, task)

    def wait(self, deadline: float, stop: threading.Event) -> Answer:
        """Run the process to its end, and read its answer.

        Raises:
            NetworkError: there is a problem with the network; it takes longer than the deadline
                allows; its process dies.
            MachineError: something else than the network is in the way.
        """
        if stop.is_set():
            raise StoppedError("stopped")
        process = self.start()
        error_lines: list[bytes] = []
        readers = [
            threading.Thread(target=self.count_lines, args=(process.stdout,), daemon=True),
            threading.Thread(
                target=keep_last_line, args=(process.stderr, error_lines), daemon=True
            ),
        ]
        for reader in readers:
            reader.start()
        started = time.monotonic()
        try:
            while process.poll() is None:
                if stop.is_set():
                    raise StoppedError("stopped")
                if time.monotonic() > deadline:
                    took = duration(time.monotonic() - started)
                    raise LimitError(f"it takes too long: ended after {took}", is_time=True)
                time.sleep(POLL_SECONDS)
        finally:
            end_group(process)
            for reader in readers:
                reader.join(timeout=5)
        if process.returncode == KILLED:
            raise LimitError("its process was killed, most likely for want of memory")
        if process.returncode == NOT_WRITTEN:
            raise MachineError(f"{self.answer_file}: cannot be written")
        if process.returncode != 0 or not self.answer_file.exists():
            raise NetworkError(how_it_died(process.returncode, error_lines))
        return self.read_answer()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the process."""
        paths = [str(PROJECT_DIR), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [sys.executable, "-m", "ablations.grader.worker", str(self.task_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Of a whole group of processes every one can be ended, also those that it starts.
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        )

    def read_answer(self) -> Answer:
        """The answer of a process that ended by itself.

        Raises:
            NetworkError: the answer is a problem, or none.
        """
        answer = load_json(self.answer_file, Answer)
        if answer.problem:
            raise ERRORS[answer.problem_kind](answer.problem)
        done = answer.inspection if self.seed is None else answer.trained
        if done is None or (answer.trained and answer.trained.seed != self.seed):
            raise NetworkError("its process ended before it was done")
        return answer

    def limit_text(self, error: LimitError) -> str:
        """What was being done when a limit was reached, and what may help."""
        if not error.is_time:
            return str(error)
        if self.answer_file.exists():
            return f"{error} of {load_json(self.answer_file, Answer).doing}"
        return f"{error} of {Answer().doing}; training belongs under: if __name__ == '__main__'"

    def epochs_done(self) -> int:
        """Epochs that have been trained so far."""
        if not self.answer_file.exists():
            return 0
        answer = load_json(self.answer_file, Answer)
        return answer.trained.num_epochs if answer.trained else answer.epochs_done

    def count_lines(self, stream: IO[bytes]) -> None:
        """Read all that is printed, and keep nothing of it."""
        while chunk := stream.read(2**16):
            self.num_lines += chunk.count(b"\n")


def keep_last_line(stream: IO[bytes], lines: list[bytes]) -> None:
    """Keep the last line that says anything."""
    while line := stream.readline(2**16):
        if line.strip():
            lines[:] = [line.strip()[:300]]


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process, and all that it has started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def how_it_died(code: int, error_lines: Sequence[bytes]) -> str:
    """Why there is no answer, in one line."""
    if code < 0:
        return f"its process crashed ({signal.Signals(-code).name})"
    last = error_lines[-1].decode(errors="replace") if error_lines else "no message"
    return f"its process ended with exit code {code} and without an answer: {last}"
