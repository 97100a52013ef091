"""Epoch times and estimates of duration."""

import itertools
from dataclasses import replace
from unittest import mock

import pytest
import torch

from ablations.catalogue.experiment import RunSpec
from ablations.catalogue.presets import TimingPlan
from ablations.data.dataset import Dataset
from ablations.runner import epoch_timing as timing
from ablations.runner.duration import STARTUP_SECONDS, estimate_seconds
from ablations.runner.epoch_timing import measure_epoch_times, time_epoch
from ablations.runner.scheduler import WorkerSetup
from speed.arithmetic import ARITHMETICS, Arithmetic
from tests.factories import make_record, run_specs_on

CPU = torch.device("cpu")
SETUP = WorkerSetup("digits", None, "cpu", "float32", "a commit")
NAMES = ("target", "no-gap", "no-relu")


def experiments_on(dataset: Dataset) -> list[RunSpec]:
    return [run_spec for name in NAMES for run_spec in run_specs_on(dataset, name, num_epochs=2)]


def test_rounds_are_interleaved_and_the_warm_up_is_not_counted(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = mock.Mock(side_effect=itertools.count())
    monkeypatch.setattr(timing, "time_epoch", measured)
    result = measure_epoch_times(
        experiments_on(digits), digits, CPU, "plain", TimingPlan(num_rounds=2)
    )
    order = [call.args[0].ablation for call in measured.call_args_list]
    assert order[:3] == ["target", "no-gap", "no-relu"]
    assert order[3:6] == ["no-gap", "no-relu", "target"]
    assert order[6:] == ["no-relu", "target", "no-gap"]
    assert result.by_ablation["target"].seconds_by_round == [5.0, 7.0]
    assert result.by_ablation["no-gap"].median_seconds == pytest.approx((3 + 8) / 2)
    assert result.environment.device_type == "cpu"


def test_epoch_time_is_scaled_up_from_what_was_timed(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that advances by one second for each training image, and two for each test image.
    seconds: list[int] = []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: sum(seconds))
    monkeypatch.setattr(
        timing.loop, "train_epoch", lambda trainee, images, epoch: seconds.append(len(images))
    )
    monkeypatch.setattr(
        timing.loop, "evaluate", lambda trainee, images: seconds.append(2 * len(images))
    )
    run_spec = experiments_on(digits)[0]
    for plan in (TimingPlan(1, 1, 100), TimingPlan(1, 100, 10_000)):
        assert time_epoch(run_spec, digits, CPU, "plain", plan) == pytest.approx(1437 + 2 * 360)


@pytest.mark.parametrize(
    ("arithmetic", "num_replicas"),
    [*((name, 0) for name in ARITHMETICS), ("plain", 1), ("plain", 2)],
)
def test_real_epoch_is_timed(digits: Dataset, arithmetic: Arithmetic, num_replicas: int) -> None:
    run_spec, plan = experiments_on(digits)[0], TimingPlan(1, 2, 250)
    assert time_epoch(run_spec, digits, CPU, arithmetic, plan, num_replicas) > 0


def test_estimate_is_from_finished_runs_where_there_are_some(digits: Dataset) -> None:
    runs = experiments_on(digits)
    done = [make_record(run) for run in runs]
    mean = sum(record.wall_seconds for record in done) / len(done)
    # Three runs on two workers take as long as four.
    assert estimate_seconds(runs, done, 2, digits, SETUP) == STARTUP_SECONDS + 2 * mean
    assert estimate_seconds(runs, [], 1, digits, SETUP) > STARTUP_SECONDS
    sharing = replace(SETUP, num_replicas=2)
    assert estimate_seconds(runs, [], 1, digits, sharing) > STARTUP_SECONDS
