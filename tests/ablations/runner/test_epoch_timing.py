"""Epoch times, estimates, and how durations are told."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.catalogue.presets import TimingPlan
from ablations.commands.prepare import StudyRequest
from ablations.commands.run_study import run_study
from ablations.data.datasets import Dataset
from ablations.records.study import load_study, plan_runs
from ablations.records.study_spec import StudySpec
from ablations.runner import epoch_timing as timing
from ablations.runner.duration import STARTUP_SECONDS, estimate_seconds
from ablations.runner.epoch_timing import measure_epoch_times, time_epoch
from ablations.runner.scheduler import WorkerSetup
from ablations.words import duration, plural
from speed.arithmetic import ARITHMETICS, Arithmetic
from tests.factories import make_record, make_request

CPU = torch.device("cpu")
SETUP = WorkerSetup("digits", None, "cpu", "float32", "a commit")
NAMES = ("target", "no-gap", "no-relu")


def experiments_on(dataset: Dataset) -> list[RunSpec]:
    spec = StudySpec(dataset.id, dataset.title, 2, None, "cpu")
    return plan_runs(spec, [find_ablation(name) for name in NAMES], [0])


def test_rounds_are_interleaved_and_the_warm_up_is_not_counted(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    order: list[str] = []

    def fake_time(run_spec: RunSpec, *rest: object) -> float:
        order.append(run_spec.ablation)
        return float(next(clock))

    monkeypatch.setattr(timing, "time_epoch", fake_time)
    advanced: list[None] = []

    def advance() -> None:
        advanced.append(None)

    result = measure_epoch_times(
        experiments_on(digits), digits, CPU, "plain", TimingPlan(num_rounds=2), advance
    )
    assert order[:3] == ["target", "no-gap", "no-relu"]
    assert order[3:6] == ["no-gap", "no-relu", "target"]
    assert order[6:] == ["no-relu", "target", "no-gap"]
    assert len(advanced) == 9
    assert result.by_ablation["target"].seconds_by_round == [5.0, 7.0]
    assert result.by_ablation["no-gap"].median_seconds == pytest.approx((3 + 8) / 2)
    assert result.environment.device_type == "cpu"


def test_epoch_time_is_scaled_up_from_what_was_timed(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that advances by one second for each training image, and two for each test image.
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def fake_train(trainee: object, images: object, epoch: int) -> None:
        now[0] += len(images)  # type: ignore[arg-type]

    def fake_evaluate(trainee: object, images: object) -> None:
        now[0] += 2 * len(images)  # type: ignore[arg-type]

    monkeypatch.setattr("ablations.training.loop.train_epoch", fake_train)
    monkeypatch.setattr("ablations.training.loop.evaluate", fake_evaluate)
    run_spec = experiments_on(digits)[0]
    for plan in (TimingPlan(1, 1, 100), TimingPlan(1, 100, 10_000)):
        assert time_epoch(run_spec, digits, CPU, "plain", plan) == pytest.approx(1437 + 2 * 360)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_real_epoch_is_timed(digits: Dataset, arithmetic: Arithmetic) -> None:
    seconds = time_epoch(experiments_on(digits)[0], digits, CPU, arithmetic, TimingPlan(1, 2, 250))
    assert seconds > 0


def test_share_of_an_epoch_of_several_seeds_is_timed(digits: Dataset) -> None:
    run_spec = experiments_on(digits)[0]
    assert time_epoch(run_spec, digits, CPU, "plain", TimingPlan(1, 2, 250), num_replicas=2) > 0


def test_estimate_is_from_finished_runs_where_there_are_some(digits: Dataset) -> None:
    runs = experiments_on(digits)
    done = [make_record(run) for run in runs]
    mean = sum(record.wall_seconds for record in done) / len(done)
    # Three runs on two workers take as long as four.
    assert estimate_seconds(runs, done, 2, digits, SETUP) == STARTUP_SECONDS + 2 * mean
    assert estimate_seconds([], done, 2, digits, SETUP) == 0
    assert estimate_seconds(runs, [], 1, digits, SETUP) > STARTUP_SECONDS
    sharing = replace(SETUP, num_replicas=2)
    assert estimate_seconds(runs, [], 1, digits, sharing) > STARTUP_SECONDS


def request(study_dir: Path, *, stops_at_failure: bool) -> StudyRequest:
    names = ["target", "no-gap"]
    return make_request(study_dir, names, preset_name="quick", stops_at_failure=stops_at_failure)


@pytest.mark.parametrize(("stops_at_failure", "num_done"), [(False, 1), (True, 0)])
def test_failed_run_is_told_and_makes_the_exit_code(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    stops_at_failure: bool,
    num_done: int,
) -> None:
    from ablations.commands import run_study as module

    # The first run asks for data that the worker does not find.
    real = module.execute

    def sabotage(runs: list[RunSpec], *rest: object) -> object:
        other = replace(runs[0].dataset, sha256="0" * 64)
        return real([replace(runs[0], dataset=other), *runs[1:]], *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "execute", sabotage)
    out = tmp_path / "study"
    code = run_study(
        request(out, stops_at_failure=stops_at_failure), lambda folder: folder / "report.html"
    )
    printed = capsys.readouterr().out
    assert code == 1
    assert "FAILED: target, seed 0: ValueError" in printed
    assert len(load_study(out).records) == num_done


def test_report_that_cannot_be_written_for_now_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Path] = []

    def held_open(folder: Path) -> Path:
        calls.append(folder)
        if len(calls) == 1:
            raise PermissionError(13, "Permission denied", "results.csv")
        return folder / "report.html"

    out = tmp_path / "study"
    assert run_study(request(out, stops_at_failure=False), held_open) == 0
    assert "No report for now: results.csv: Permission denied" in capsys.readouterr().out
    assert len(load_study(out).records) == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (5430, "1 h 30 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_plurals() -> None:
    assert plural(1, "seed") == "1 seed"
    assert plural(10_000, "image") == "10,000 images"
