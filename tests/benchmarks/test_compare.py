"""The comparison of `make bench`: what is counted, and how rounds become rows."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import msgspec
import pytest
from click.testing import CliRunner

import cli
from ablations.data.datasets import DataError
from ablations.records.atomic_io import write_json
from ablations.records.run import RECORD_FILE
from benchmarks import compare, options
from benchmarks.baselines import dataloader
from benchmarks.baselines.recipe import BaselineEpoch, BaselineResult
from benchmarks.compare import summarise_method
from benchmarks.measurements import Measurement, Plan, Spread, rotated_rounds
from benchmarks.memory import run_watched, tree_memory_mib
from benchmarks.methods import (
    BASELINE_FILE,
    Method,
    MethodFailed,
    Outcome,
    all_methods,
    measure,
    read_baseline,
    read_study,
)
from tests.factories import make_spec, make_study, write_study

PLAN = Plan("mnist", 2, False, 60_000, 10_000, "cpu", num_rounds=3, num_study_runs=2)


def make_method(name: str, command: list[str]) -> Method:
    def read(results: Path) -> Outcome:
        return Outcome(100, 2.0, results.stat().st_mtime, 97.5)

    return Method(name, f"the {name}", lambda plan, data_dir, out: [*command, str(out)], read)


def test_row_of_a_method() -> None:
    measurements = [
        Measurement(method, number, 60_000, seconds, seconds + 10, memory, 98.0 + number / 10)
        for number in (3, 1, 2)
        for method, seconds, memory in (
            ("dataloader-tuned", 20, 500),
            ("dataloader", 15 * number, 500),
            ("study", 10, 900 + number),
        )
    ]
    row = summarise_method(make_method("study", []), measurements)
    assert row.images_per_second.high == 6000
    assert row.ratio_to_tuned == Spread(median=2, low=2, high=2)
    assert row.ratio_from_launch == Spread(median=2, low=1.25, high=2.75)
    assert row.peak_memory_mib == 903
    assert row.last_accuracy_pct == pytest.approx(98.2)
    assert row.ratio.text(1) == "3.0 (1.5–4.5)"
    # Methods take turns.
    assert "".join(item for _, item in rotated_rounds("abc", 2)) == "abcbca"


def test_methods_get_the_same_options() -> None:
    plan = msgspec.structs.replace(PLAN, num_project_epochs=6)
    for method in all_methods(plan):
        command = method.command(plan, Path("mnist files"), Path("results"))
        is_project = "cli.py" in command
        common = (
            f"--dataset mnist --device cpu --epochs {6 if is_project else 2} --data-dir mnist files"
        )
        assert common in " ".join(command)
        assert ("0-1" in command, "--jobs" in command) == (
            method.name.startswith("study"), method.name.startswith("one-run"),
        )  # fmt: skip
        recipe = "tuned" if method.name.endswith("tuned") else "published"
        assert not is_project or f"--recipe {recipe}" in " ".join(command)
        parsed, arguments = (
            (cli.main, command[2:]) if is_project else (dataloader.COMMAND, command[3:])
        )
        assert CliRunner().invoke(parsed, [*arguments, "--help"]).exit_code == 0, method.name
    quick = msgspec.structs.replace(PLAN, is_quick=True, num_train_images=9000)
    for method in all_methods(quick):
        assert {"9000", "quick"} & {*method.command(quick, None, Path("out"))}


def test_baseline_is_counted_by_its_epochs(tmp_path: Path) -> None:
    epochs = [BaselineEpoch(number, 0.01, 469, 98.0 + number, 20.0 + number) for number in (1, 2)]
    write_json(tmp_path / BASELINE_FILE, BaselineResult(18_962, 60_000, epochs))
    outcome = read_baseline(tmp_path)
    assert (outcome.num_images, outcome.training_seconds) == (120_000, 43)
    assert outcome.last_accuracy_pct == 100


@pytest.mark.parametrize(
    ("written_at", "num_replicas", "training_seconds"),
    [
        pytest.param([1000.0], 1, 48, id="one run"),
        # The second run begins 5 seconds after the first.
        pytest.param([1000.0, 1005.0], 1, 53, id="from the first epoch to the last"),
        # Each of the two is recorded with half of the network's 99 seconds.
        pytest.param([1000.0, 1000.0], 2, 96, id="two seeds as one network"),
    ],
)
def test_seconds_of_a_study(
    tmp_path: Path, written_at: list[float], num_replicas: int, training_seconds: float
) -> None:
    study = make_study({"target": range(len(written_at))}, spec=make_spec(num_epochs=2))
    # Two epochs of 24 s each, and 1.5 s outside of them.
    times = {"wall_seconds": 49.5, "num_replicas": num_replicas}
    records = [msgspec.structs.replace(record, **times) for record in study.records]
    write_study(tmp_path, replace(study, records=tuple(records)))
    for seed, seconds in enumerate(written_at):
        os.utime(tmp_path / "target" / f"seed-{seed}" / RECORD_FILE, (seconds, seconds))
    outcome = read_study(tmp_path)
    assert outcome.num_images == 120_000 * len(written_at)
    assert outcome.training_seconds == pytest.approx(training_seconds)
    assert outcome.finished_at == max(written_at)
    (tmp_path / "target" / "seed-0" / RECORD_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(MethodFailed, match="not all runs finished"):
        read_study(tmp_path)


def test_method_is_measured_from_its_launch_or_shows_its_output(tmp_path: Path) -> None:
    script = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('done')"
    method = make_method("writer", [sys.executable, "-c", script])
    found = measure(method, PLAN, None, tmp_path / "scratch", round_number=2)
    assert (found.method, found.round_number, found.images_per_second) == ("writer", 2, 50)
    assert found.seconds_from_launch > 0
    assert found.last_accuracy_pct == 97.5
    method = make_method("loser", [sys.executable, "-c", "raise SystemExit('no such luck')"])
    with pytest.raises(MethodFailed, match="the loser failed:\nno such luck"):
        measure(method, PLAN, None, tmp_path / "failed", round_number=1)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux only")
def test_memory_of_children_counts() -> None:
    child = "block = b'x' * 100_000_000; print('ready', flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    command = [sys.executable, "-c", parent]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        assert 95 < tree_memory_mib(process.pid) < 200
        process.communicate(b"\n")


def test_peak_is_the_largest_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.memory.tree_memory_mib", lambda root: 7.0)
    watched = run_watched([sys.executable, "-c", "exit(3)"], tmp_path / "log", tmp_path)
    assert (watched.exit_code, watched.peak_memory_mib) == (3, 7)


def test_missing_mnist_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "resolve_dataset", mock.Mock(side_effect=DataError("no MNIST")))
    for command in (compare.main, dataloader.COMMAND):
        finished = CliRunner().invoke(command, ["--device", "cpu"])
        assert (finished.exit_code, finished.output) == (1, "Error: no MNIST\n")
