"""Studies whose runs fail, and whose reports cannot be written."""

import shutil
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from ablations.catalogue.experiment import RunSpec
from ablations.commands.prepare import StudyRequest
from ablations.commands.run_study import run_study
from ablations.records.checksums import write_with_checksum
from ablations.records.study import load_study
from ablations.records.timing import TIMING_FILE
from ablations.runner.scheduler import execute
from tests.factories import make_request


def request(study_dir: Path, **options: bool) -> StudyRequest:
    defaults = {"preset_name": "quick", "arithmetic_name": "plain"}
    return make_request(study_dir, ["target", "no-gap"], **defaults, **options)


@pytest.mark.parametrize(("stops_at_failure", "num_done"), [(False, 1), (True, 0)])
def test_failed_run_is_printed_and_sets_the_exit_code(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    stops_at_failure: bool,
    num_done: int,
) -> None:
    def sabotage(runs: list[RunSpec], *rest: Any) -> object:
        """The first run asks for data that the worker does not find."""
        other = replace(runs[0].dataset, sha256="0" * 64)
        return execute([replace(runs[0], dataset=other), *runs[1:]], *rest)

    monkeypatch.setattr("ablations.commands.run_study.execute", sabotage)
    out = tmp_path / "study"
    assert run_study(request(out, stops_at_failure=stops_at_failure), lambda folder: folder) == 1
    assert "FAILED: target, seed 0: ValueError" in capsys.readouterr().out
    assert len(load_study(out).records) == num_done


def test_interim_report_that_cannot_be_written_does_not_stop_the_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = PermissionError(13, "Permission denied", "results.csv")
    write_report = mock.Mock(side_effect=chain([error], repeat(Path("report.html"))))
    out = tmp_path / "study"
    assert run_study(request(out), write_report) == 0
    assert "No report for now: results.csv: Permission denied" in capsys.readouterr().out
    assert len(load_study(out).records) == 2


def test_epoch_times_of_another_definition_are_measured_again(tmp_path: Path) -> None:
    out = tmp_path / "study"
    assert run_study(request(out), lambda folder: folder) == 0
    # As after a change of the ablation's definition: its run is deleted, its time is an old one.
    shutil.rmtree(out / "no-gap")
    timing = load_study(out).timing
    measured = timing.by_ablation["no-gap"]
    timing.by_ablation["no-gap"] = msgspec.structs.replace(measured, digest="0" * 16)
    write_with_checksum(out / TIMING_FILE, timing)
    assert run_study(request(out), lambda folder: folder) == 0
    assert load_study(out).timing.by_ablation["no-gap"].digest == measured.digest
