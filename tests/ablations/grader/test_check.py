"""Checks with real worker processes, and the command."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ablations.data.datasets import DataError
from ablations.grader import supervisor
from ablations.grader.protocol import (
    Inspection,
    MachineError,
    TrainedSeed,
    UnknownNameError,
    WorkerMessage,
    WorkerTask,
)
from ablations.grader.supervisor import check_network, end_process_group
from cli import main

StudentTask = Callable[..., WorkerTask]
NEVER_REACHED_SECONDS = 3600.0


def test_command_shows_progress_and_prints_and_writes_the_grade(
    student_task: StudentTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress: list[int] = []
    monkeypatch.setattr(
        "ablations.grader.command.Progress.update",
        lambda self, bar, completed: progress.append(completed),
    )
    # A file of the current folder is not imported in place of a library.
    (tmp_path / "current").mkdir()
    (tmp_path / "current" / "msgspec.py").write_text("raise SystemExit('wrong module')")
    monkeypatch.chdir(tmp_path / "current")
    prints = """print('{"trained": 1}', end="", flush=True); return super().forward(x)"""
    network = f"{student_task('Net', forward=prints).file}:Net"
    options = ["--dataset", "digits", "--epochs", "1", "--seeds", "0-1", "--json", "grade.json"]
    result = CliRunner().invoke(main, ["check", network, *options])
    assert result.exit_code == 3, result.output
    assert "the assignment requires MNIST" in result.output
    grade = json.loads(Path("grade.json").read_text())
    assert grade["network"] == "my network.py:Net"
    verdicts = [requirement["verdict"] for requirement in grade["requirements"]]
    assert verdicts == ["pass", "pass", "pass", "undecided"]
    by_seed = grade["accuracy_pct"]["by_seed"]
    assert by_seed["0"] != by_seed["1"]
    assert grade["problem"] == ""
    assert (progress[0], progress[-1]) == (0, 2)
    assert progress == sorted(progress)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        ("os.kill(os.getpid(), 9)", "inspection: its process ended (SIGKILL), probably for lack"),
        ("torch.empty(2**31)", "not enough memory (my network.py, line"),
        (
            "time.sleep(3600)",
            "inspection: reached the time limit of 1 s; use a larger --time-limit",
        ),
    ],
)
def test_a_limit_is_no_verdict(student_task: StudentTask, forward: str, message: str) -> None:
    limit_seconds = 0.5 if "sleep" in forward else NEVER_REACHED_SECONDS
    grade = check_network(student_task("Net", forward=forward), [0], 1, limit_seconds)
    assert grade.verdict == "undecided"
    assert message in grade.problem
    assert "\n" not in grade.problem


def test_the_first_failure_ends_all_trainings(student_task: StudentTask) -> None:
    task = student_task("OneFailsOneHangs")
    grade = check_network(task, [0, 1], 2, NEVER_REACHED_SECONDS)
    assert grade.verdict == "fail"
    assert grade.problem.endswith(": its process ended (exit code 3): last line")


@pytest.mark.parametrize("has_process_groups", [True, False])
def test_a_process_is_ended_with_all_that_it_started(
    monkeypatch: pytest.MonkeyPatch, has_process_groups: bool
) -> None:
    if not has_process_groups:  # as on Windows
        monkeypatch.delattr("os.killpg", raising=False)
    hang = "import time; print('ready', flush=True); time.sleep(3600)"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hang!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", start if has_process_groups else hang],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout
    assert process.stdout.readline().strip() == b"ready"
    end_process_group(process)
    # The pipe is at its end when every process that holds it has ended.
    assert process.stdout.read() == b""
    process.stdout.close()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("net.py", "write the file and the name in it"),
        ("net.py:", "write the file and the name in it"),
        ("nowhere.py:Net", "there is no file 'nowhere.py'"),
    ],
)
def test_a_misused_command_exits_with_2(argument: str, message: str) -> None:
    result = CliRunner().invoke(main, ["check", argument])
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (DataError("MNIST is missing"), 4, "MNIST is missing"),
        (MachineError("the disk"), 4, "the disk"),
        (OSError(28, "No space left on device", "grade.json"), 4, "grade.json: No space left"),
        (KeyError("a bug"), 4, ""),
        (UnknownNameError("no such name"), 2, "no such name"),
        (SystemExit(130), 130, "nothing was graded"),
    ],
)
def test_other_errors_are_no_grade(
    student_task: StudentTask,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    exit_code: int,
    message: str,
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("ablations.grader.command.check_network", fail)
    network = f"{student_task('Layers').file}:Layers"
    result = CliRunner().invoke(main, ["check", network, "--dataset", "digits"])
    assert result.exit_code == exit_code
    assert message in result.output


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_the_most_severe_of_several_errors_counts(
    student_task: StudentTask, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    messages = {
        order[0]: WorkerMessage(1, trained=TrainedSeed(0, 1, 99.5, False)),
        order[1]: WorkerMessage(0, error="memory", error_type="LimitError"),
        order[2]: WorkerMessage(0, error="network", error_type="NetworkError"),
    }

    class EndedWorker(supervisor._Worker):
        """All processes have ended when the supervisor looks for the first time."""

        def __init__(self, task: WorkerTask) -> None:
            self.task = task
            self.message = WorkerMessage(0, Inspection(1, 0, [], []))
            if task.seed is not None:
                self.message = messages[task.seed]
            self.process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
            self.process.wait()
            self.reader = threading.Thread(target=bool)
            self.reader.start()

    monkeypatch.setattr(supervisor, "_Worker", EndedWorker)
    grade = check_network(student_task("Layers"), range(3), 3, NEVER_REACHED_SECONDS)
    assert (grade.problem, grade.verdict) == ("network", "fail")
    assert grade.accuracy_pct
    assert grade.accuracy_pct.mean == 99.5
