"""The comparison of `make bench`: what is counted, and how rounds become a table."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from ablations.catalogue.entries import find_ablation
from ablations.data.datasets import DataError
from ablations.records.atomic_io import write_json
from ablations.records.checksums import write_with_checksum
from ablations.records.run import RECORD_FILE, load_record
from ablations.records.study import plan_runs, run_folder
from ablations.records.study_spec import create_study
from benchmarks import compare, memory
from benchmarks.baselines.recipe import BaselineEpoch, BaselineResult
from benchmarks.compare import (
    all_contenders,
    comparison_table,
    measure_in_rounds,
    ratios,
    summarise_contender,
)
from benchmarks.contenders import (
    BASELINE_FILE,
    Contender,
    ContenderFailed,
    Measurement,
    Outcome,
    Plan,
    measure,
    read_baseline,
    read_study,
)
from benchmarks.measurements import Spread, spread
from benchmarks.memory import process_tree, run_watched, tree_memory_mib
from tests.factories import make_record, make_spec

PLAN = Plan(
    dataset_name="mnist",
    num_epochs=2,
    is_quick=False,
    num_train_images=60_000,
    num_test_images=10_000,
    device="cpu",
    num_rounds=3,
    num_study_runs=2,
)
MEGABYTES_100 = "block = bytearray(b'x') * 100_000_000; import time; time.sleep(4)"


def measurement(
    contender: str, round_number: int, seconds: float, memory_mib: float | None = 500.0
) -> Measurement:
    return Measurement(
        contender=contender,
        round_number=round_number,
        num_images=60_000,
        training_seconds=seconds,
        seconds_from_launch=seconds + 10,
        peak_memory_mib=memory_mib,
        peak_device_memory_mib=None,
        last_accuracy_pct=98.0 + round_number / 10,
    )


CANNED = [
    *(measurement("dataloader-tuned", number, 20) for number in (1, 2, 3)),
    *(
        measurement("dataloader", number, seconds)
        for number, seconds in [(1, 30), (2, 60), (3, 40)]
    ),
    *(
        measurement("study", number, seconds, 900)
        for number, seconds in [(3, 10), (1, 10), (2, 10)]
    ),
]


def contender(name: str, command: list[str] | None = None) -> Contender:
    def read(results: Path) -> Outcome:
        return Outcome(100, 2.0, results.stat().st_mtime, 97.5)

    return Contender(name, f"the {name}", lambda plan, data_dir, results: command or [], read)


def test_ratios_are_taken_within_rounds() -> None:
    found = ratios(CANNED, "study", lambda item: item.images_per_second)
    assert sorted(found) == pytest.approx([3, 4, 6])
    assert spread([6, 3, 4]) == Spread(median=4, low=3, high=6)
    # Not the ratio of the medians, which mixes rounds.
    from_launch = ratios(CANNED, "study", lambda item: item.images_per_second_from_launch)
    assert sorted(from_launch) == pytest.approx([2, 2.5, 3.5])
    assert set(ratios(CANNED, "dataloader", lambda item: item.images_per_second)) == {1.0}


def test_row_of_a_contender() -> None:
    row = summarise_contender(contender("study"), [*CANNED, measurement("study", 1, 12, None)])
    assert row.images_per_second.high == 6000
    assert row.ratio_to_tuned == Spread(median=2, low=20 / 12, high=2)
    assert row.peak_memory_mib == 900
    assert row.peak_device_memory_mib is None
    assert row.last_accuracy_pct == pytest.approx(98.15)


def test_table_has_medians_and_spreads() -> None:
    rows = [summarise_contender(contender(name), CANNED) for name in ("dataloader", "study")]
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(comparison_table(rows, num_rounds=3))
    text = console.export_text()
    assert "Median of 3 rounds" in text
    [baseline] = [line for line in text.splitlines() if "the dataloader" in line]
    [study] = [line for line in text.splitlines() if "the study" in line]
    assert "1,500 (1,000–2,000)" in baseline and "1.00 (1.00–1.00)" in baseline
    assert "4.00 (3.00–6.00)" in study and "2.50 (2.00–3.50)" in study
    assert "900 MiB" in study and "98.20 %" in study
    assert "GPU memory" not in text


def test_contenders_take_turns() -> None:
    contenders = [contender(name) for name in "abc"]
    order = list(
        measure_in_rounds(contenders, 2, lambda one, number: measurement(one.name, number, 1))
    )
    assert [item.contender for item in order] == ["a", "b", "c", "b", "c", "a"]
    assert [item.round_number for item in order] == [1, 1, 1, 2, 2, 2]


def test_contenders_are_asked_for_the_same() -> None:
    for one in all_contenders(PLAN):
        command = one.command(PLAN, Path("mnist files"), Path("results"))
        for option, value in [("--epochs", "2"), ("--dataset", "mnist"), ("--device", "cpu")]:
            assert command[command.index(option) + 1] == value
        assert "mnist files" in command
        finished = subprocess.run(
            [*command, "--help"], cwd=Path(__file__).parents[2], capture_output=True
        )
        assert finished.returncode == 0, one.name
    commands = {one.name: one.command(PLAN, None, Path("out")) for one in all_contenders(PLAN)}
    one_run, study = commands["one-run"], commands["study"]
    assert one_run[one_run.index("--seeds") + 1] == "0-0"
    assert study[study.index("--seeds") + 1] == "0-1"
    assert "--jobs" not in study
    longer = msgspec.structs.replace(PLAN, num_project_epochs=6)
    for one in all_contenders(longer):
        command = one.command(longer, None, Path("out"))
        wanted = "6" if "cli.py" in command else "2"
        assert command[command.index("--epochs") + 1] == wanted, one.name
    quick = msgspec.structs.replace(PLAN, is_quick=True, num_train_images=9000)
    commands = [one.command(quick, None, Path("out")) for one in all_contenders(quick)]
    assert all("9000" in command or "quick" in command for command in commands)


def test_baseline_is_counted_by_its_epochs(tmp_path: Path) -> None:
    epochs = [BaselineEpoch(number, 0.01, 469, 98.0 + number, 20.0 + number) for number in (1, 2)]
    write_json(tmp_path / BASELINE_FILE, BaselineResult(18_962, 60_000, epochs, None))
    outcome = read_baseline(tmp_path)
    assert outcome.num_images == 120_000
    assert outcome.training_seconds == 43
    assert outcome.last_accuracy_pct == 100


def write_canned_study(study_dir: Path, written_at: list[float], wall_seconds: float) -> None:
    """Runs of 2 epochs of 24 s each."""
    spec = make_spec(num_epochs=2)
    create_study(study_dir, spec)
    runs = plan_runs(spec, [find_ablation("target")], range(len(written_at)))
    for run, seconds in zip(runs, written_at, strict=True):
        record = msgspec.structs.replace(make_record(run), wall_seconds=wall_seconds)
        path = run_folder(study_dir, run.ablation, run.seed) / RECORD_FILE
        write_with_checksum(path, record)
        os.utime(path, (seconds, seconds))


def test_one_run_is_counted_by_its_epochs(tmp_path: Path) -> None:
    write_canned_study(tmp_path / "study", [1000.0], wall_seconds=49.5)
    outcome = read_study(tmp_path / "study")
    assert outcome.num_images == 120_000
    assert outcome.training_seconds == pytest.approx(48)
    assert outcome.finished_at == 1000


def test_study_is_counted_from_its_first_epoch_to_its_last(tmp_path: Path) -> None:
    # The second run begins 5 seconds after the first: both wait for one another.
    write_canned_study(tmp_path / "study", [1000.0, 1005.0], wall_seconds=49.5)
    outcome = read_study(tmp_path / "study")
    assert outcome.num_images == 240_000
    assert outcome.training_seconds == pytest.approx(53)
    assert outcome.finished_at == 1005


def test_seeds_trained_as_one_network_shared_its_seconds(tmp_path: Path) -> None:
    # Each of the two is recorded with half of the network's 99 seconds.
    write_canned_study(tmp_path / "study", [1000.0, 1000.1], wall_seconds=49.5)
    for path in (tmp_path / "study").rglob(RECORD_FILE):
        written_at = path.stat().st_mtime
        write_with_checksum(path, msgspec.structs.replace(load_record(path.parent), num_replicas=2))
        os.utime(path, (written_at, written_at))
    outcome = read_study(tmp_path / "study")
    assert outcome.training_seconds == pytest.approx(2 * 48, abs=0.2)


def test_study_that_is_not_whole_is_not_counted(tmp_path: Path) -> None:
    write_canned_study(tmp_path / "study", [1000.0, 1005.0], wall_seconds=49.5)
    path = run_folder(tmp_path / "study", "target", 1) / RECORD_FILE
    path.write_text("{}")
    with pytest.raises(ContenderFailed, match="not all runs are whole"):
        read_study(tmp_path / "study")


def test_contender_is_measured_from_its_launch(tmp_path: Path) -> None:
    script = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('done')"
    one = contender("writer")
    one = Contender(
        one.name,
        one.title,
        lambda plan, data, out: [sys.executable, "-c", script, str(out)],
        one.read,
    )
    found = measure(one, PLAN, None, tmp_path / "scratch", round_number=2)
    assert (found.contender, found.round_number, found.num_images) == ("writer", 2, 100)
    assert found.images_per_second == 50
    assert 0 <= found.seconds_from_launch < 60
    assert found.last_accuracy_pct == 97.5


def test_contender_that_fails_says_why(tmp_path: Path) -> None:
    one = contender("loser", [sys.executable, "-c", "raise SystemExit('no such luck')"])
    with pytest.raises(ContenderFailed, match="the loser failed:\nno such luck"):
        measure(one, PLAN, None, tmp_path / "scratch", round_number=1)


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="memory is measured on Linux only"
)
def test_memory_of_children_counts(tmp_path: Path) -> None:
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {MEGABYTES_100!r}])"
    watched = run_watched(
        [sys.executable, "-c", parent], tmp_path / "log", tmp_path, watches_gpu=False
    )
    assert watched.exit_code == 0
    assert watched.peak_memory_mib is not None
    assert 95 < watched.peak_memory_mib < 200
    assert os.getpid() in process_tree(os.getppid())
    assert tree_memory_mib(os.getpid()) > 10  # type: ignore[operator]


def test_gpu_memory_is_what_the_driver_adds_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.name == "nt":
        pytest.skip("the stand-in for nvidia-smi is a shell script")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert memory.gpu_memory_mib() is None
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 1200\necho 34\n")
    program.chmod(0o755)
    assert memory.gpu_memory_mib() == 1234


def test_missing_mnist_is_one_line_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*rest: object, **options: object) -> None:
        raise DataError("MNIST is not in data; use --dataset digits, which needs no files")

    monkeypatch.setattr(compare, "resolve_dataset", nowhere)
    finished = CliRunner().invoke(compare.main, ["--device", "cpu"])
    assert finished.exit_code == 1
    assert finished.output.strip().splitlines() == [
        "Error: MNIST is not in data; use --dataset digits, which needs no files"
    ]
