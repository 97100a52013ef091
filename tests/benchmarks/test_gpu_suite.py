"""The GPU measurements, on a CPU: that they run and what they write."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ablations.data.dataset import Dataset
from ablations.records.atomic_io import load_json
from benchmarks import gpu_targets
from benchmarks.gpu_targets import PARTS, main, measure_part
from benchmarks.measurements import GroupTimes

REPOSITORY = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


def test_part_is_measured_and_written(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--dataset", "digits", "--epochs", "1", "--out", str(tmp_path)]
    result = CliRunner().invoke(main, ["single", *options])
    assert result.exit_code == 0, result.output
    found = load_json(tmp_path / "single.json", GroupTimes)
    assert found.environment.device_type == "cpu"
    assert [measured.status for measured in found.times] == ["trained"] * 3
    for measured in found.times:
        assert 0 < measured.last_epoch_seconds_per_run <= measured.group_seconds
        assert len(measured.accuracy_pct_by_epoch[0]) == measured.num_epochs == 1


def test_group_that_does_not_fit_is_recorded(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = gpu_targets.train_replicas

    def fits_two(run_specs: list[object], *rest: object) -> object:
        if len(run_specs) > 2:
            raise torch.cuda.OutOfMemoryError("simulated")
        return real(run_specs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(gpu_targets, "train_replicas", fits_two)
    monkeypatch.setitem(PARTS, "replicas", [(2, "float32"), (3, "TF32")])
    times = measure_part("replicas", digits, CPU, num_epochs=1)
    assert [measured.status for measured in times] == ["trained", "out of memory"]
    assert times[0].seconds_per_run == times[0].group_seconds / 2
    assert len(times[0].accuracy_pct_by_epoch) == 2
    assert {math for _, math in PARTS["math"]} == gpu_targets.MATH_OPTIONS.keys()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_suite_reports_what_is_missing(tmp_path: Path) -> None:
    def suite(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "benchmarks/gpu_suite.sh", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            encoding="utf-8",
        )

    assert suite().returncode == suite("everything", str(tmp_path / "out")).returncode == 2
    refused = suite("all", str(tmp_path / "out"))
    assert refused.returncode == 1
    assert "no CUDA GPU" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
