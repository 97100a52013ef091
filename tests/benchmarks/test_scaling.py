"""The measurement of scaling: every step of its code once, and what its numbers count."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch
from click.testing import CliRunner

from ablations.catalogue.entries import find_ablation
from ablations.data.datasets import Dataset
from ablations.records.atomic_io import load_json
from ablations.records.checksums import write_with_checksum
from ablations.records.run import RECORD_FILE, Environment
from ablations.records.study import plan_runs, run_folder
from ablations.records.study_spec import StudyError, create_study
from ablations.runner.scheduler import WorkerSetup
from benchmarks import accuracy, scaling, steps
from benchmarks.accuracy import collect_accuracy, read_runs
from benchmarks.floor import forward_flop, least_seconds, training_flop
from benchmarks.measurements import Accuracy, Scaling
from benchmarks.scaling import QUICK, scaled_channels
from benchmarks.steps import Configuration, measure_steps, one_thread
from benchmarks.study_times import StudyFailed, time_study
from mnist_blocks import TARGET
from mnist_blocks.summary import total_multiply_adds
from speed.arithmetic import Arithmetic, has_bfloat16_instructions
from tests.factories import ENVIRONMENT, make_record, make_spec

REPOSITORY = Path(__file__).resolve().parents[2]
MEMORY_SCRIPT = """
from benchmarks.memory import forget_own_peak, own_peak_memory_mib
print(own_peak_memory_mib())
block = bytearray(b"x") * 200_000_000
print(own_peak_memory_mib())
del block
print(own_peak_memory_mib())
forget_own_peak()
print(own_peak_memory_mib())
"""


def test_everything_is_measured(tmp_path: Path, digits: Dataset) -> None:
    path = tmp_path / "scaling.json"
    num_threads = torch.get_num_threads()
    options = ["--dataset", "digits", "--quick", "--device", "cpu", "--out", str(path)]
    finished = CliRunner().invoke(scaling.main, options, catch_exceptions=False)
    assert finished.exit_code == 0, finished.output
    assert torch.get_num_threads() == num_threads
    found = load_json(path, Scaling)
    assert found.is_quick and found.dataset_name == "digits"
    assert [study.num_runs for study in found.study_times.by_num_runs] == [1, 2]
    for study in found.study_times.by_num_runs:
        assert 0 < study.startup_seconds.median < study.wall_seconds.median
    num_arithmetics = 3 if has_bfloat16_instructions() else 2
    assert len(found.batch_sizes) == num_arithmetics * len(QUICK.batch_sizes)
    assert len(found.widths) == num_arithmetics * len(QUICK.width_factors)
    assert all(speed.images_per_second.median > 0 for speed in found.batch_sizes + found.widths)
    assert found.widths[0].channels == TARGET.channels
    if Path("/proc/self/status").exists():
        assert all((speed.peak_memory_mib or 0) > 50 for speed in found.batch_sizes)
    assert all(rate.value > 0 for rate in found.floor.rates)


def test_operations_of_an_image() -> None:
    multiply_adds = total_multiply_adds(TARGET)
    assert forward_flop(TARGET) == 2 * multiply_adds
    first_layer = 28 * 28 * 8 * 9
    assert training_flop(TARGET) == 6 * multiply_adds - 2 * first_layer


def test_widths_are_the_target_scaled() -> None:
    assert [scaled_channels(factor) for factor in (0.5, 1, 4)] == [
        (4, 8, 16),
        TARGET.channels,
        (32, 64, 128),
    ]


def test_configurations_take_turns(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[int] = []
    real = steps.train_epoch

    def note(trainee: steps.Trainee, images: steps.Images, epoch: int) -> tuple[float, int]:
        order.append(trainee.recipe.batch_size)
        return real(trainee, images, epoch)

    monkeypatch.setattr(steps, "train_epoch", note)
    configurations = [Configuration("plain", size) for size in (16, 32)]
    with one_thread():
        speeds = measure_steps(configurations, digits, num_images=32, num_rounds=2)
    assert order == [16, 32, 32, 16, 16, 32]
    assert [len(by_round) for by_round in speeds] == [2, 2]


def test_least_seconds_is_the_quickest_call(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 10.0, 13.0, 20.0, 24.0])
    monkeypatch.setattr("benchmarks.floor.time.perf_counter", lambda: next(clock))
    assert least_seconds(lambda: None, num_times=3) == 3


def test_study_with_a_failed_run_is_not_timed(digits: Dataset) -> None:
    elsewhere = replace(digits.id, sha256="0" * 64)
    runs = plan_runs(make_spec(elsewhere, "digits", 1), [find_ablation("target")], [0])
    setup = WorkerSetup("digits", None, "cpu", "plain", "unknown")
    with pytest.raises(StudyFailed, match="ValueError"):
        time_study(runs, setup)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is known on Linux only")
def test_own_peak_memory_only_grows_until_it_is_forgotten() -> None:
    # In a fresh process: this one may have been told to keep what it frees.
    finished = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    before, peak, kept, forgotten = map(float, finished.stdout.split())
    assert 5 < before < peak - 150
    # The kernel counts pages a little late.
    assert kept == pytest.approx(peak, abs=5)
    assert forgotten < peak - 150


def write_study(
    study_dir: Path, arithmetic: Arithmetic, num_seeds: int, num_epochs: int = 2
) -> Path:
    spec = msgspec.structs.replace(make_spec(num_epochs=num_epochs), arithmetic=arithmetic)
    create_study(study_dir, spec)
    environment: Environment = msgspec.structs.replace(ENVIRONMENT, arithmetic=arithmetic)
    for run in plan_runs(spec, [find_ablation("target")], range(num_seeds)):
        path = run_folder(study_dir, run.ablation, run.seed) / RECORD_FILE
        write_with_checksum(path, make_record(run, environment=environment))
    return study_dir


def test_accuracies_of_studies_are_collected(tmp_path: Path) -> None:
    plain = write_study(tmp_path / "plain", "plain", 2)
    fused = write_study(tmp_path / "fused", "bfloat16", 3)
    out = tmp_path / "accuracy.json"
    finished = CliRunner().invoke(accuracy.main, [str(fused), str(plain), "--out", str(out)])
    assert finished.exit_code == 0, finished.output
    assert "plain: 2 runs" in finished.output and "bfloat16: 3 runs" in finished.output
    found = load_json(out, Accuracy)
    assert [(run.arithmetic, run.seed) for run in found.runs] == [
        ("plain", 0), ("plain", 1), ("bfloat16", 0), ("bfloat16", 1), ("bfloat16", 2),
    ]  # fmt: skip
    assert (found.ablation, found.num_epochs, found.num_train_images) == ("target", 2, 60_000)
    assert found.runs[0].digest == found.runs[2].digest
    [record, *_] = read_runs([plain])
    assert found.runs[0].accuracy_pct == record.last_epoch.test_accuracy_pct


def test_studies_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    plain = write_study(tmp_path / "plain", "plain", 2)
    longer = write_study(tmp_path / "longer", "bfloat16", 2, num_epochs=3)
    with pytest.raises(StudyError, match="seed 0 \\(bfloat16\\) is another experiment"):
        collect_accuracy(read_runs([plain, longer]))
    with pytest.raises(StudyError, match="seed 0 is there 2 times in plain"):
        collect_accuracy(read_runs([plain, plain]))
    with pytest.raises(StudyError, match="no runs yet"):
        collect_accuracy([])
    (run_folder(plain, "target", 1) / RECORD_FILE).write_text("{}")
    finished = CliRunner().invoke(accuracy.main, [str(plain), "--out", str(tmp_path / "a.json")])
    assert finished.exit_code == 1 and "record.json" in finished.output
