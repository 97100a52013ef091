"""The measurement of scaling, and of the effect of the precision on accuracy."""

import mmap
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from ablations.catalogue.experiment import RunSpec
from ablations.records.atomic_io import load_json
from ablations.records.run import RECORD_FILE
from ablations.records.study_spec import StudyError
from ablations.runner.process_pool import ProcessPool
from ablations.runner.scheduler import EpochFinished, Event, RunFailed, RunFinished, WorkerSetup
from benchmarks import accuracy, scaling, steps
from benchmarks.accuracy import collect_accuracy, read_records
from benchmarks.floor import forward_flop, training_flop
from benchmarks.measurements import Accuracy, Scaling
from benchmarks.memory import own_peak_memory_mib, reset_own_peak
from benchmarks.scaling import StudyFailed, scaled_channels, time_study
from mnist_blocks import TARGET
from mnist_blocks.summary import total_multiply_adds
from speed.arithmetic import Arithmetic
from tests.factories import ENVIRONMENT, make_spec, make_study, write_study


def canned_events(run_specs: Sequence[RunSpec], pool: ProcessPool) -> Iterator[Event]:
    for run_spec in run_specs:
        yield EpochFinished(run_spec, SimpleNamespace(seconds=0.0))  # type: ignore[arg-type]
        yield RunFinished(run_spec, None)  # type: ignore[arg-type]


def test_everything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without compiled kernels and without other processes, which would import PyTorch first.
    monkeypatch.setattr(scaling, "execute", canned_events)
    monkeypatch.setattr(scaling, "available_precisions", lambda: ["plain"])
    monkeypatch.setattr(scaling, "choose_arithmetic", lambda name, device: "plain")
    monkeypatch.setattr(scaling, "measure_memory", lambda found, name, folder: [
        steps.peak_of_steps(one, name, folder) for one in found
    ])  # fmt: skip
    path = tmp_path / "scaling.json"
    finished = CliRunner().invoke(
        scaling.main, ["--dataset", "digits", "--quick", "--out", str(path)], catch_exceptions=False
    )
    assert finished.exit_code == 0, finished.output
    found = load_json(path, Scaling)
    assert found.is_quick and found.dataset_name == "digits"
    assert [study.num_runs for study in found.study_times.by_num_runs] == [1, 2]
    for study in found.study_times.by_num_runs:
        assert 0 < study.startup_seconds.median < study.wall_seconds.median
    assert [speed.arithmetic for speed in found.batch_sizes] == ["plain"]
    assert found.widths[0].channels == TARGET.channels
    assert all(speed.images_per_second.median > 0 for speed in found.batch_sizes + found.widths)
    if sys.platform == "linux":
        assert all((speed.peak_memory_mib or 0) > 50 for speed in found.batch_sizes)
    assert all(rate.value > 0 for rate in found.floor.rates)


def test_operations_of_an_image() -> None:
    multiply_adds = total_multiply_adds(TARGET)
    assert forward_flop(TARGET) == 2 * multiply_adds
    first_layer = 28 * 28 * 8 * 9
    assert training_flop(TARGET) == 6 * multiply_adds - 2 * first_layer
    assert scaled_channels(0.5) == (4, 8, 16)


def test_study_with_a_failed_run_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "execute", lambda *_: [RunFailed(None, "lost", "")])
    with pytest.raises(StudyFailed, match="lost"):
        time_study([], WorkerSetup("digits", None, "cpu", "plain", "unknown"))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux only")
def test_own_peak_memory_grows_until_it_is_reset() -> None:
    reset_own_peak()
    before = own_peak_memory_mib()
    # Unlike an array's memory, a mapping's always goes back to the system.
    with mmap.mmap(-1, 200 * 2**20) as block:
        np.frombuffer(block, np.uint8).fill(1)
    assert own_peak_memory_mib() > before + 150
    reset_own_peak()
    assert own_peak_memory_mib() < before + 50


def write_target(folder: Path, arithmetic: Arithmetic, num_seeds: int, num_epochs: int = 2) -> Path:
    spec = msgspec.structs.replace(make_spec(num_epochs=num_epochs), arithmetic=arithmetic)
    environment = msgspec.structs.replace(ENVIRONMENT, arithmetic=arithmetic)
    study = make_study({"target": range(num_seeds)}, spec=spec, environment=environment)
    return write_study(folder, study)


def test_accuracies_of_studies_are_collected(tmp_path: Path) -> None:
    plain = write_target(tmp_path / "plain", "plain", 2)
    fused = write_target(tmp_path / "fused", "bfloat16", 3)
    out = tmp_path / "accuracy.json"
    finished = CliRunner().invoke(accuracy.main, [str(fused), str(plain), "--out", str(out)])
    assert finished.exit_code == 0, finished.output
    assert "plain: 2 runs" in finished.output and "bfloat16: 3 runs" in finished.output
    found = load_json(out, Accuracy)
    assert [(run.arithmetic, run.seed) for run in found.runs] == [
        ("plain", 0), ("plain", 1), ("bfloat16", 0), ("bfloat16", 1), ("bfloat16", 2),
    ]  # fmt: skip
    [record, *_] = read_records([plain])
    assert found.runs[0].accuracy_pct == record.last_epoch.test_accuracy_pct


def test_studies_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    plain = write_target(tmp_path / "plain", "plain", 2)
    longer = write_target(tmp_path / "longer", "bfloat16", 2, num_epochs=3)
    with pytest.raises(StudyError, match=r"seed 0 \(bfloat16\) differs from the first run"):
        collect_accuracy(read_records([plain, longer]))
    with pytest.raises(StudyError, match="seed 0 occurs 2 times in plain"):
        collect_accuracy(read_records([plain, plain]))
    with pytest.raises(StudyError, match="no finished runs"):
        collect_accuracy([])
    (plain / "target" / "seed-1" / RECORD_FILE).write_text("{}", encoding="utf-8")
    finished = CliRunner().invoke(accuracy.main, [str(plain), "--out", str(tmp_path / "a.json")])
    assert finished.exit_code == 1 and "record.json" in finished.output
