"""Checks with real worker processes, and the command."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import msgspec
import psutil
import pytest

from ablations.data.datasets import DataError
from ablations.grader import supervisor
from ablations.grader.grade import Grade, grade_network
from ablations.grader.guard import end_group
from ablations.grader.protocol import (
    Inspection,
    LimitError,
    NetworkError,
    NoGradeError,
    TrainedSeed,
    UnknownNameError,
    WorkerMessage,
    WorkerTask,
)
from ablations.grader.supervisor import check_network
from ablations.grader.wordings import WORDINGS, wanted_concepts
from ablations.version import PROJECT_DIR
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
        ("torch.empty(2**31)", "needed more than 4 GiB of memory (my network.py, line"),
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


HANG = """
def hang(phase):
    if {phase!r} == phase:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        print("hangs", flush=True)
        Path({marker!r}).touch()
        9 ** 9 ** 9  # No other thread of this process can run.
import subprocess, sys
hang("import")
class Net(Layers):
    def forward(self, x):
        hang("inspection" if len(x) == 64 else "training")
        return super().forward(x)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("phase", "signal_name"),
    [
        ("import", "SIGKILL"),
        ("import", "SIGINT"),
        ("inspection", "SIGKILL"),
        ("inspection", "SIGTERM"),
        ("training", "SIGKILL"),
        ("training", "SIGHUP"),
    ],
)
def test_no_process_and_no_folder_outlives_check(
    student_task: StudentTask, tmp_path: Path, phase: str, signal_name: str
) -> None:
    temporary, marker = tmp_path / "temporary", tmp_path / "marker"
    temporary.mkdir()
    file = student_task("Net", HANG.format(phase=phase, marker=str(marker))).file
    process = subprocess.Popen(
        [sys.executable, PROJECT_DIR / "cli.py", "check", f"{file}:Net", "--dataset", "digits"],
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    wait_until(lambda: marker.exists() or process.poll() is not None)
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 3, "guard, worker and its child"
    assert list(temporary.iterdir())
    process.send_signal(signal.Signals[signal_name])
    process.wait()
    wait_until(lambda: not any(map(is_alive, started)) and not list(temporary.iterdir()))


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; an orphan that has ended may wait for the system's first process."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def wait_until(is_reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not is_reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("has_process_groups", [True, False])
def test_a_guard_ends_its_process_with_all_that_it_started(
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
    end_group(process)
    # The pipe is at its end when every process that holds it has ended.
    assert process.stdout.read() == b""
    process.stdout.close()
    process.wait()


def test_a_process_that_cannot_start_gives_no_grade(
    student_task: StudentTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho cannot allocate memory\nexit 3\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(NoGradeError, match=r"\(exit code 3\) before it ran the file: cannot allo"):
        check_network(student_task("Layers"), [], 1, NEVER_REACHED_SECONDS)


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (DataError("MNIST is missing"), 4, "MNIST is missing"),
        (NoGradeError("the disk"), 4, "the disk"),
        (OSError(28, "No space left on device", "grade.json"), 4, "grade.json: No space left"),
        (KeyError("a bug"), 4, ""),
        (UnknownNameError("no such name"), 2, "no such name"),
        (SystemExit(130), 130, "nothing was graded"),
    ],
)
def test_other_errors_are_no_grade(
    student_task: StudentTask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    exit_code: int,
    message: str,
) -> None:
    monkeypatch.setattr("ablations.grader.command.check_network", mock.Mock(side_effect=error))
    network = f"{student_task('Layers').file}:Layers"
    earlier = tmp_path / "grade.json"
    earlier.write_text('{"verdict": "pass"}')
    result = run_cli("check", network, "--dataset", "digits", "--json", earlier)
    assert result.exit_code == exit_code
    assert message in result.output
    grade = json.loads(earlier.read_text())
    assert (grade["verdict"], grade["requirements"]) == ("no grade", [])
    assert message in grade["problem"] or exit_code == 130


@pytest.mark.parametrize(
    "arguments",
    [
        "nowhere.py:Net",
        "x.py",
        "{file}:Net --seeds 4-2",
        "{file}:Net --epochs 0",
        "{file}:Net --epoch 3",
        "{file}:Net another",
    ],
)
def test_no_earlier_grade_outlives_a_misused_command(
    student_task: StudentTask, tmp_path: Path, arguments: str
) -> None:
    earlier = tmp_path / "grade.json"
    earlier.write_text('{"verdict": "pass"}')
    file = student_task("Net").file
    words = [word.format(file=file) for word in arguments.split()]
    result = run_cli("check", *words, "--json", earlier)
    assert result.exit_code == 2
    assert json.loads(earlier.read_text())["verdict"] == "no grade"


def test_a_file_that_cannot_be_written_is_refused_first(
    student_task: StudentTask, tmp_path: Path
) -> None:
    file = Path(student_task("Layers").file)
    source = file.read_text(encoding="utf-8")
    for json_file, message in {
        file: "is the file of a network",
        tmp_path / "no folder" / "grade.json": "no file can be made in",
        tmp_path: "is a directory",
    }.items():
        result = run_cli("check", f"{file}:Layers", "--json", json_file)
        assert (result.exit_code, message in result.output) == (2, True), result.output
    assert file.read_text(encoding="utf-8") == source


def test_a_broken_output_loses_no_grade(
    student_task: StudentTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grade = grade_network("x", "digits", 1, Inspection(20_001, 0, [], []), wording="no-fc")
    monkeypatch.setattr("ablations.grader.command.check_network", lambda *arguments: grade)
    broken = mock.Mock(side_effect=BrokenPipeError)
    monkeypatch.setattr("ablations.grader.command._print_grade", broken)
    json_file = tmp_path / "grade.json"
    network = f"{student_task('Layers').file}:Layers"
    result = run_cli("check", network, "--dataset", "digits", "--json", json_file)
    assert result.exit_code == 1, "fail"
    assert broken.called
    assert msgspec.json.decode(json_file.read_bytes(), type=Grade) == grade


@pytest.mark.parametrize("wording", WORDINGS)
def test_the_wording_of_the_exercise_is_printed(
    student_task: StudentTask, monkeypatch: pytest.MonkeyPatch, wording: str
) -> None:
    monkeypatch.setattr(supervisor, "_run_workers", lambda *arguments: iter(()))
    network = f"{student_task('Layers').file}:Layers"
    options = () if wording == "fc-and-gap" else ("--requirements", wording)
    result = run_cli("check", network, "--dataset", "digits", *options)
    assert result.exit_code == 3
    assert wanted_concepts(wording) in result.output


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
        worker = mock.Mock(num_epochs_done=0, **{"process.poll.return_value": 0})
        worker.result.side_effect = [outcomes[task.seed]]
        return worker

    monkeypatch.setattr(supervisor, "_Worker", ended_worker)
    grade = check_network(student_task("Layers"), range(3), 3, NEVER_REACHED_SECONDS)
    assert (grade.problem, grade.verdict) == ("network", "fail")
    assert grade.accuracy_pct.mean == 99.5
