"""Checks with real worker processes, and the command."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from ablations.data.datasets import DataError
from ablations.grader import supervisor
from ablations.grader.protocol import (
    Inspection,
    LimitError,
    MachineError,
    NetworkError,
    TrainedSeed,
    UnknownNameError,
    WorkerMessage,
    WorkerTask,
)
from ablations.grader.supervisor import check_network, end_process_group
from tests.test_cli import run_cli

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
    result = run_cli("check", network, *options)
    assert result.exit_code == 3, result.output
    assert "the assignment requires MNIST" in result.output
    grade = json.loads(Path("grade.json").read_text(encoding="utf-8"))
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
    monkeypatch.setattr("ablations.grader.command.check_network", mock.Mock(side_effect=error))
    network = f"{student_task('Layers').file}:Layers"
    result = run_cli("check", network, "--dataset", "digits")
    assert result.exit_code == exit_code
    assert message in result.output


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_the_most_severe_of_several_errors_counts(
    student_task: StudentTask, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    outcomes: dict[int | None, object] = {
        None: WorkerMessage(0, Inspection(1, 0, [], [])),
        order[0]: WorkerMessage(1, trained=TrainedSeed(0, 1, 99.5, False)),
        order[1]: LimitError("memory"),
        order[2]: NetworkError("network"),
    }

    def ended_worker(task: WorkerTask) -> mock.Mock:
        """Its process has ended when the supervisor looks for the first time."""
        worker = mock.Mock(**{"process.poll.return_value": 0, "message.num_epochs_done": 0})
        worker.result.side_effect = [outcomes[task.seed]]
        return worker

    monkeypatch.setattr(supervisor, "_Worker", ended_worker)
    grade = check_network(student_task("Layers"), range(3), 3, NEVER_REACHED_SECONDS)
    assert (grade.problem, grade.verdict) == ("network", "fail")
    assert grade.accuracy_pct.mean == 99.5
