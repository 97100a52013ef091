"""Writing and resuming a study: signals, and disks that are full, broken or read-only."""

import errno
import os
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from ablations.catalogue.experiment import RunSpec
from ablations.commands import messages, prepare, run_study
from ablations.commands.prepare import StudyRequest
from ablations.data.dataset import Dataset
from ablations.records import lock
from ablations.records.run import (
    RECORD_FILE,
    WEIGHTS_FILE,
    RunResult,
    load_predictions,
    load_record,
    read_verified,
    run_folder,
)
from ablations.records.study_spec import StudyError, StudySpec, create_study
from ablations.runner.scheduler import RunFinished, WorkerSetup
from reports.documents.write import write_report
from tests.ablations.runner.test_chaos import records_in
from tests.ablations.runner.test_scheduler import ScriptedPool
from tests.factories import make_request, run_experiment, run_specs_on
from tests.faults import IS_EXHAUSTIVE, count_fault

NAMES = ["target", "no-momentum"]
ERRORS = {
    errno.ENOSPC: "disk full (ENOSPC)",
    errno.EACCES: "permission lost (EACCES)",
    errno.EIO: "disk broken (EIO)",
}
NUM_FAULTS = 10_000 if IS_EXHAUSTIVE else 4
"""At most this many steps of writing fail for each kind of error."""


class FinishedRuns(ScriptedPool):
    """A worker pool that returns results which were trained before."""

    def __init__(
        self, setup: WorkerSetup, num_jobs: int, results: dict[RunSpec, RunResult]
    ) -> None:
        super().__init__(
            lambda group: [RunFinished(one, results[one]) for one in group], repeat(num_jobs)
        )
        self.setup = setup
        self.started: list[RunSpec] = []

    def start(self, group: Sequence[RunSpec]) -> None:
        self.started += group
        super().start(group)


class BadDisk:
    """Lets a number of steps of writing succeed, and the next one fail."""

    def __init__(self, patch: pytest.MonkeyPatch, num_good: int, error_number: int) -> None:
        self.num_good, self.error_number = num_good, error_number
        self.num_steps = 0
        self.failed: str | None = None
        for owner, name in (
            (tempfile, "mkstemp"),
            (os, "fsync"),
            (Path, "mkdir"),
            (Path, "replace"),
            (Path, "chmod"),
        ):
            patch.setattr(owner, name, self.may_fail(getattr(owner, name), name))
        open_file = os.fdopen

        def open_on_bad_disk(handle: int, *arguments: Any) -> Any:
            file = open_file(handle, *arguments)
            file.write = self.may_fail(file.write, "write")
            return file

        patch.setattr(os, "fdopen", open_on_bad_disk)

    def may_fail(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.num_steps += 1
            if self.num_steps == self.num_good + 1:
                self.failed = name
                raise OSError(self.error_number, os.strerror(self.error_number))
            return real(*arguments, **options)

        return wrapped


def failing_steps(num_steps: int, error_number: int) -> list[int]:
    """The steps that fail in turn: all, or some that a fixed seed selects."""
    steps = range(num_steps)
    return random.Random(error_number).sample(steps, min(NUM_FAULTS, num_steps))


@pytest.fixture(scope="module")
def results(digits: Dataset) -> dict[RunSpec, RunResult]:
    run_specs = [one for name in NAMES for one in run_specs_on(digits, name, num_seeds=2)]
    return {one: run_experiment(one, digits) for one in run_specs}


def request(out: Path, num_jobs: int = 1) -> StudyRequest:
    return make_request(out, NAMES, seeds=[0, 1], arithmetic_name="plain", num_jobs=num_jobs)


@pytest.fixture
def pools(
    results: dict[RunSpec, RunResult], digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> list[FinishedRuns]:
    """Replaces training and measurements; returns the pools that a study has used."""
    used: list[FinishedRuns] = []

    def make_pool(setup: WorkerSetup, num_jobs: int, *others: object) -> FinishedRuns:
        used.append(FinishedRuns(setup, num_jobs, results))
        return used[-1]

    monkeypatch.setattr(run_study, "make_pool", make_pool)
    monkeypatch.setattr(messages, "estimate_seconds", lambda *inputs: 1.0)
    monkeypatch.setattr(run_study, "_time_epochs", lambda study, *inputs: study)
    monkeypatch.setattr(run_study, "measure_networks", lambda *inputs: None)
    monkeypatch.setattr("ablations.commands.live_report.measure_networks", lambda *inputs: None)
    monkeypatch.setattr(prepare, "load_dataset", lambda *inputs: digits)
    return used


def no_report(study_dir: Path) -> Path:
    return study_dir / "report.html"


def interrupted_report(study_dir: Path) -> Path:
    signal.raise_signal(signal.SIGTERM)
    return study_dir


def test_study_that_another_process_made_before_the_lock_is_not_written_into(
    pools: list[FinishedRuns], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create_another(study_dir: Path, spec: StudySpec) -> None:
        create_study(study_dir, msgspec.structs.replace(spec, num_epochs=7))

    monkeypatch.setattr(lock, "create_study", create_another)
    with pytest.raises(StudyError, match="num_epochs = 7, not 1"):
        run_study.run_study(request(tmp_path / "study"), no_report)
    assert not pools


@pytest.mark.parametrize("moment", ["report", "write", "message"])
def test_signals_lose_no_run_that_has_ended(
    pools: list[FinishedRuns], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Two runs under way have ended when SIGTERM comes; later signals interrupt nothing either."""
    write_run = run_study.write_run

    def interrupted_write(run_dir: Path, result: RunResult) -> None:
        signal.raise_signal(signal.SIGTERM)
        write_run(run_dir, result)
        signal.raise_signal(signal.SIGINT)

    def interrupted_message(*inputs: object) -> None:
        signal.raise_signal(signal.SIGINT)

    if moment == "write":
        monkeypatch.setattr(run_study, "write_run", interrupted_write)
    if moment == "message":
        monkeypatch.setattr(run_study, "print_how_to_resume", interrupted_message)
    report = no_report if moment == "write" else interrupted_report
    out = tmp_path / "study"
    assert run_study.run_study(request(out, num_jobs=2), report) == 143
    assert len(records_in(out)) == len(pools[0].started) == 2


def test_disk_that_becomes_read_only_is_one_clear_line(
    pools: list[FinishedRuns], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail = mock.Mock(side_effect=OSError(errno.EROFS, os.strerror(errno.EROFS)))

    def fail_from_now_on(run_dir: Path, result: RunResult) -> None:
        monkeypatch.setattr(Path, "unlink", fail)
        fail()

    monkeypatch.setattr(run_study, "write_run", fail_from_now_on)
    with pytest.raises(StudyError, match="0 of 4 runs are kept: fix that"):
        run_study.run_study(request(tmp_path / "study"), no_report)


@pytest.mark.parametrize("error_number", ERRORS, ids=lambda number: errno.errorcode[number])
def test_any_step_of_writing_a_study_may_fail(
    error_number: int,
    results: dict[RunSpec, RunResult],
    pools: list[FinishedRuns],
    tmp_path: Path,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        disk = BadDisk(patch, 10_000, error_number)
        assert run_study.run_study(request(tmp_path / "whole"), no_report) == 0
    tried: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for num_good in failing_steps(disk.num_steps, error_number):
        out = tmp_path / str(num_good)
        pools.clear()
        with pytest.MonkeyPatch.context() as patch:
            disk = BadDisk(patch, num_good, error_number)
            try:
                run_study.run_study(request(out), no_report)
            except (StudyError, OSError) as error:
                assert os.strerror(error_number) in str(error) and "\n" not in str(error)
                if isinstance(error, StudyError) and pools:
                    assert "are kept: fix that, and the same command does the rest" in str(error)
        assert disk.failed
        tried[disk.failed] += 1
        assert not list(out.rglob("*.tmp"))
        kept = {
            run_spec for run_spec in results if (run_folder(out, run_spec) / RECORD_FILE).exists()
        }
        if pools:
            # Only the run that was being written may be lost.
            num_lost = len(pools[0].started) - len(kept)
            assert num_lost in (0, 1)
            lost[disk.failed] += num_lost
        pools.clear()
        assert run_study.run_study(request(out), no_report) == 0
        assert {one for pool in pools for one in pool.started} == results.keys() - kept
        for run_spec, result in results.items():
            folder = run_folder(out, run_spec)
            record = load_record(folder)
            assert record == result.record
            load_predictions(folder, record)
            assert read_verified(folder / WEIGHTS_FILE, record) == result.files[WEIGHTS_FILE]
    for step, times in tried.items():
        count_fault(
            "disk",
            f"{ERRORS[error_number]} at {step}",
            "the study stops with a clear line and goes on later; only a run that could not be written is done again",
            times=times,
            lost=lost[step],
        )


@pytest.mark.parametrize("error_number", ERRORS, ids=lambda number: errno.errorcode[number])
def test_any_step_of_writing_a_report_may_fail(
    error_number: int, pools: list[FinishedRuns], tmp_path: Path
) -> None:
    out = tmp_path / "study"
    assert run_study.run_study(request(out), write_report) == 0
    names = ["report.html", "report.md", "results.csv", "results.json"]
    before = {name: (out / name).read_bytes() for name in names}
    with pytest.MonkeyPatch.context() as patch:
        disk = BadDisk(patch, 10_000, error_number)
        write_report(out)
    assert disk.num_steps >= 4 * len(names)
    steps = failing_steps(disk.num_steps, error_number)
    for num_good in steps:
        with pytest.MonkeyPatch.context() as patch:
            disk = BadDisk(patch, num_good, error_number)
            with suppress(OSError):  # A failure to flush a folder is not an error.
                write_report(out)
        assert disk.failed
        assert {name: (out / name).read_bytes() for name in names} == before
        assert not list(out.rglob("*.tmp"))
    count_fault(
        "disk",
        f"{ERRORS[error_number]} while a report is written",
        "the old report stays whole",
        times=len(steps),
    )
