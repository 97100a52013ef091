"""Disks that are full, broken or forbidden, at every single step of writing a study."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
import torch

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.commands import messages as announce_module
from ablations.commands import prepare as prepare_module
from ablations.commands import run_study as conduct_module
from ablations.commands.prepare import StudyRequest
from ablations.commands.run_study import conduct
from ablations.data.dataset import Dataset
from ablations.records.run import RunResult, load_predictions, load_record, load_weights
from ablations.records.study import plan_runs, run_folder
from ablations.records.study_spec import StudyError, StudySpec
from ablations.runner.run_one import run_experiment
from ablations.runner.scheduler import Event, RunFailed, RunFinished, WorkerSetup
from reports.documents.write import write_report
from tests.factories import make_request
from tests.faults import tell_fault

REPOSITORY = Path(__file__).resolve().parents[3]
NAMES = ["target", "no-momentum"]
ERRORS = {
    errno.ENOSPC: "disk full (ENOSPC)",
    errno.EACCES: "permission lost (EACCES)",
    errno.EIO: "disk broken (EIO)",
}


class ReadyMade:
    """A pool whose runs have been done before: what is tested is what becomes of them."""

    def __init__(self, setup: WorkerSetup, results: dict[RunSpec, RunResult]) -> None:
        self.setup, self.results = setup, results
        self.started: list[RunSpec] = []
        self.under_way: list[RunSpec] = []

    def num_free(self) -> int:
        return 1 - len(self.under_way)

    def is_busy(self) -> bool:
        return bool(self.under_way)

    def has_machines(self) -> bool:
        return True

    def start(self, group: Sequence[RunSpec]) -> None:
        self.started += group
        self.under_way += group

    def wait(self, seconds: float) -> Iterator[Event]:
        if self.under_way:
            run = self.under_way.pop()
            yield RunFinished(run, self.results[run])

    def stop(self) -> None:
        self.under_way.clear()


class BadDisk:
    """Lets a number of steps on the disk succeed, and the one after them fail."""

    def __init__(self, patch: pytest.MonkeyPatch, num_good: int, error_number: int) -> None:
        self.num_good, self.error_number = num_good, error_number
        self.steps = 0
        self.failed: str | None = None
        self.is_mended = False
        for owner, name in (
            (tempfile, "mkstemp"),
            (os, "fsync"),
            (Path, "mkdir"),
            (Path, "replace"),
            (Path, "chmod"),
            (Path, "write_text"),
        ):
            patch.setattr(owner, name, self.may_fail(getattr(owner, name), name))
        real_open = os.fdopen

        def open_file(handle: int, *arguments: Any) -> Any:
            return HalfWritten(real_open(handle, *arguments), self)

        patch.setattr(os, "fdopen", open_file)

    def step(self, name: str) -> None:
        """Count a step, and fail if it is the one to fail."""
        if self.is_mended:
            return
        self.steps += 1
        if self.steps == self.num_good + 1:
            self.failed = name
            raise OSError(self.error_number, os.strerror(self.error_number))

    def may_fail(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.step(name)
            return real(*arguments, **options)

        return wrapped


class HalfWritten:
    """A file of which a failing write leaves a half."""

    def __init__(self, file: Any, disk: BadDisk) -> None:
        self.file, self.disk = file, disk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        try:
            self.disk.step("write")
        except OSError:
            self.file.write(content[: len(content) // 2])
            raise
        self.file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.fixture(scope="module")
def results(digits: Dataset) -> dict[RunSpec, RunResult]:
    spec = StudySpec(digits.id, digits.title, 1, None, "cpu", "float32")
    runs = plan_runs(spec, map(find_ablation, NAMES), [0, 1])
    device = torch.device("cpu")
    return {run: run_experiment(run, digits, device, arithmetic="float32") for run in runs}


def request(out: Path) -> StudyRequest:
    return make_request(out, NAMES, seeds=[0, 1], arithmetic_name="float32")


@pytest.fixture
def pools(
    results: dict[RunSpec, RunResult], digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> list[ReadyMade]:
    """Everything of a study but training and measuring; gives the pools that it uses."""
    used: list[ReadyMade] = []

    def make_pool(setup: WorkerSetup, *others: object) -> ReadyMade:
        used.append(ReadyMade(setup, results))
        return used[-1]

    monkeypatch.setattr(conduct_module, "make_pool", make_pool)
    monkeypatch.setattr(announce_module, "estimate_seconds", lambda *inputs: 1.0)
    monkeypatch.setattr(conduct_module.StudyMaker, "time_epochs", lambda *inputs: None)
    monkeypatch.setattr(conduct_module, "show_networks", lambda *inputs: None)
    monkeypatch.setattr(prepare_module, "load_dataset", lambda *inputs: digits)
    return used


def test_study_that_another_process_made_meanwhile_is_not_written_into(
    pools: list[ReadyMade], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "study"
    real = conduct_module.create_study

    def too_late(study_dir: Path, spec: StudySpec) -> None:
        real(study_dir, msgspec.structs.replace(spec, num_epochs=7))
        real(study_dir, spec)

    monkeypatch.setattr(conduct_module, "create_study", too_late)
    with pytest.raises(StudyError, match="num_epochs = 7, and you asked for 1"):
        conduct(request(out), no_report)
    assert not pools


def test_runs_that_end_while_a_report_is_interrupted_are_kept(
    pools: list[ReadyMade], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_both_are_kept(pools, tmp_path / "study", monkeypatch, interrupted_report)


def test_runs_that_end_while_another_is_written_are_kept(
    pools: list[ReadyMade], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = conduct_module.write_run

    def interrupted(run_dir: Path, result: RunResult) -> None:
        signal.raise_signal(signal.SIGTERM)
        real(run_dir, result)
        signal.raise_signal(signal.SIGINT)  # Nor does a third one make it stop halfway.

    monkeypatch.setattr(conduct_module, "write_run", interrupted)
    assert_both_are_kept(pools, tmp_path / "study", monkeypatch, no_report)


def assert_both_are_kept(
    pools: list[ReadyMade],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_report: Callable[[Path], Path],
) -> None:
    """Of a study of which two runs are under way when SIGTERM comes, and both have ended."""
    monkeypatch.setattr(ReadyMade, "num_free", lambda pool: 2 - len(pool.under_way))
    # Other tests may have left handlers behind: Ray sets its own.
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        assert conduct(request(out), write_report) == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(list(out.glob("*/seed-*/record.json"))) == 2
    assert len(pools[0].started) == 2


def test_run_that_ends_when_another_fails_is_kept(
    pools: list[ReadyMade], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(pool: ReadyMade, seconds: float) -> Iterator[Event]:
        while pool.under_way:
            run = pool.under_way.pop()
            is_first = run == pool.started[1]
            yield RunFailed(run, "why", "") if is_first else RunFinished(run, pool.results[run])

    monkeypatch.setattr(ReadyMade, "num_free", lambda pool: 2 - len(pool.under_way))
    monkeypatch.setattr(ReadyMade, "wait", wait)
    out = tmp_path / "study"
    assert conduct(replace(request(out), stops_at_failure=True), no_report) == 1
    assert len(list(out.glob("*/seed-*/record.json"))) == 1
    assert len(pools[0].started) == 2


def test_signals_while_the_way_to_go_on_is_said_change_nothing(
    pools: list[ReadyMade], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(*inputs: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(conduct_module, "print_how_to_resume", again)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        assert conduct(request(tmp_path / "study"), interrupted_report) == 143
    finally:
        signal.signal(signal.SIGTERM, before)


def test_disk_that_stays_broken_is_still_one_clear_line(
    pools: list[ReadyMade], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*inputs: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def broken(run_dir: Path, result: RunResult) -> None:
        monkeypatch.setattr(Path, "unlink", fail)
        fail()

    monkeypatch.setattr(conduct_module, "write_run", broken)
    with pytest.raises(StudyError, match="0 of 4 runs are kept: once that is mended"):
        conduct(request(tmp_path / "study"), no_report)


def interrupted_report(study_dir: Path) -> Path:
    signal.raise_signal(signal.SIGTERM)
    return study_dir


def no_report(study_dir: Path) -> Path:
    return study_dir / "report.html"


def assert_whole(out: Path, run: RunSpec, result: RunResult) -> None:
    folder = run_folder(out, run.ablation, run.seed)
    record = load_record(folder)
    assert record == result.record
    load_predictions(folder, record)
    assert load_weights(folder, record) == result.weights_safetensors


@pytest.mark.parametrize("error_number", ERRORS, ids=lambda number: errno.errorcode[number])
def test_every_step_of_writing_a_study_may_fail(
    error_number: int,
    results: dict[RunSpec, RunResult],
    pools: list[ReadyMade],
    tmp_path: Path,
) -> None:
    tried: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    num_good = 0
    while True:
        out = tmp_path / str(num_good)
        pools.clear()
        with pytest.MonkeyPatch.context() as patch:
            disk = BadDisk(patch, num_good, error_number)
            try:
                conduct(request(out), no_report)
            except (StudyError, OSError) as error:
                assert len(str(error).splitlines()) == 1
                assert os.strerror(error_number) in str(error)
                if isinstance(error, StudyError) and pools:
                    assert "are kept: once that is mended, the same command does the rest" in str(
                        error
                    )
        if disk.failed is None:
            break
        tried[disk.failed] += 1
        assert not list(out.rglob("*.tmp"))
        done = {path.parent for path in out.glob("*/seed-*/record.json")}
        kept = [run for run in results if run_folder(out, run.ablation, run.seed) in done]
        for run in kept:
            assert_whole(out, run, results[run])
        if pools:
            # What was finished before is there; all that may be lost is the run being written.
            num_lost = len(pools[0].started) - len(kept)
            assert num_lost in (0, 1)
            lost[disk.failed] += num_lost

        pools.clear()
        assert conduct(request(out), no_report) == 0
        again = pools[0].started if pools else []
        assert set(again) == set(results) - set(kept)
        for run, result in results.items():
            assert_whole(out, run, result)
        shutil.rmtree(out)
        num_good += 1
    assert min(tried[name] for name in ("write", "fsync", "replace", "mkstemp", "mkdir")) >= 4
    for step, times in tried.items():
        tell_fault(
            "disk",
            f"{ERRORS[error_number]} at {step}",
            "the study stops with a clear line and goes on later; only a run that could not be written is done again",
            times=times,
            lost=lost[step],
        )


@pytest.mark.parametrize("error_number", ERRORS, ids=lambda number: errno.errorcode[number])
def test_every_step_of_writing_a_report_may_fail(
    error_number: int, pools: list[ReadyMade], tmp_path: Path
) -> None:
    out = tmp_path / "study"
    assert conduct(request(out), no_report) == 0
    write_report(out)
    names = ["report.html", "report.md", "results.csv", "results.json"]
    whole = {name: (out / name).read_bytes() for name in names}
    num_good = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            disk = BadDisk(patch, num_good, error_number)
            try:
                write_report(out)
            except OSError:
                assert disk.failed
        assert {name: (out / name).read_bytes() for name in names} == whole
        if disk.failed is None:
            break
        num_good += 1
    assert not list(out.rglob("*.tmp"))
    assert num_good >= 4 * len(names)
    tell_fault(
        "disk",
        f"{ERRORS[error_number]} while a report is written",
        "the old report stays whole",
        times=num_good,
    )


SMALL_DISK = """
set -e
disk="$1"
mount -t tmpfs -o size=250k tmpfs "$disk"
set +e
shift
"$@"
echo "exit code $?"
mount -o remount,size=20m "$disk"
"$@"
echo "then exit code $?"
"""


def test_real_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    in_namespace = [
        "unshare",
        "--mount",
        "--map-root-user",
        "bash",
        "-c",
        SMALL_DISK,
        "bash",
        str(disk),
    ]
    command = [sys.executable, str(REPOSITORY / "cli.py"), "ablate", *NAMES[1:]]
    command += ["--dataset", "digits", "--epochs", "1", "--seeds", "0-1", "--jobs", "1"]
    command += ["--arithmetic", "float32", "--out", str(disk / "study")]
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare here to mount a small disk with")
    probe = subprocess.run([*in_namespace, "true"], capture_output=True, text=True)
    if "exit code 0" not in probe.stdout:
        pytest.skip(f"no small disk can be mounted here: {probe.stderr.strip()}")
    finished = subprocess.run(
        [*in_namespace, *command], capture_output=True, text=True, cwd=REPOSITORY, timeout=300
    )
    assert "\nexit code 1\n" in finished.stdout
    assert "Traceback" not in finished.stderr
    [line] = [line for line in finished.stderr.splitlines() if line.startswith("Error: ")]
    assert "No space left on device" in line
    [kept] = re.findall(r"(\d+) of 4 runs are kept", line)
    assert int(kept) > 0
    assert f": {kept} of 4 runs are there already" in finished.stdout
    assert "then exit code 0" in finished.stdout
    tell_fault(
        "disk",
        "a real disk of 250 KB that fills up",
        "the study stops with a clear line; with more room the same command does the rest",
    )
