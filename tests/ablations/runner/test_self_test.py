"""The self-test of a device: what passes, what is caught, and what a study then does."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from ablations.analysis.summary import summarise
from ablations.commands import prepare, run_study
from ablations.records.study import load_study
from ablations.runner import self_test
from ablations.runner.process_pool import call_in_process
from ablations.runner.self_test import (
    FLOAT32_TOLERANCES,
    DeviceCheck,
    check_device,
    check_device_safely,
)
from ablations.training import replicas
from ablations.training.replicas import EpochDraws, ReplicaGroup, train_steps
from ablations.training.seed_groups import Shard
from reports.html.page import render_page
from reports.text import answer
from speed.cpu import fused
from speed.gpu.capture import Capture, Steps
from tests.ablations.training.test_replicas import OUT_OF_MEMORY
from tests.factories import make_request
from tests.reports.html.pages import text_of

CPU = torch.device("cpu")
SEVERAL, GRAPHS = "several seeds as one network", "CUDA graphs"


def record_and_replay(steps: Steps, device: torch.device) -> Steps:
    """A stand-in for CUDA graphs: each pair of arguments is called, then recorded and replayed."""
    recorded: dict[tuple[int, int], Callable[[], None] | None] = {}

    def captured(first: int, second: int) -> None:
        if (first, second) not in recorded:
            recorded[first, second] = None
            return steps(first, second)
        replay = recorded[first, second] or partial(steps, first, second)
        recorded[first, second] = replay
        return replay()

    return captured


def with_stale(field: str) -> Capture:
    """A wrong stand-in: a replay reads this field of the chunk as it was when it was recorded."""

    def capture(steps: Steps, device: torch.device) -> Steps:
        assert isinstance(steps, partial)
        [group] = steps.args
        kept: dict[tuple[int, int], Any] = {}

        def replay(*arguments: int) -> None:
            chunk = group.chunk
            value = getattr(chunk, field)
            copies = {k: v.clone() for k, v in value.items()} if field == "masks" else value.clone()
            stale = replace(chunk, **{field: kept.setdefault(arguments, copies)})
            train_steps(replace(group, chunk=stale), *arguments)

        return replay

    return capture


def failing(checks: list[DeviceCheck]) -> list[str]:
    for check in checks:
        assert bool(check.problem) == bool(check.advice) == (not check.has_passed)
    return [check.name for check in checks if not check.has_passed]


def test_cpu_passes_with_room_for_other_rounding() -> None:
    checks = check_device("cpu", record_and_replay)
    assert failing(checks) == []
    assert [check.name for check in checks] == [
        "fused kernels, float32",
        "fused kernels, bfloat16",
        SEVERAL,
        GRAPHS,
    ]
    for check in checks:
        assert check.difference is not None
        assert check.difference < check.tolerance / 1.5
    assert checks[-1].difference == 0


@pytest.mark.parametrize("field", ["inputs", "labels", "masks", "learning_rates"])
def test_graphs_that_read_stale_tensors_are_caught(
    monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    assert failing(check_groups_only(monkeypatch, with_stale(field))) == [GRAPHS]


def change_gradient(monkeypatch: pytest.MonkeyPatch, number: int, factor: float) -> None:
    """Scale the gradient of one parameter, for a group of seeds."""
    real = replicas.descend

    def descend(group: ReplicaGroup, gradients: list[Tensor], learning_rate: Tensor) -> None:
        gradients[number] = gradients[number] * factor
        real(group, gradients, learning_rate)

    monkeypatch.setattr(replicas, "descend", descend)


@pytest.mark.parametrize("factor", [1.01, 0.0])
@pytest.mark.parametrize("number", [0, 14, 20, 26])
def test_wrong_gradient_of_one_layer_is_caught(
    monkeypatch: pytest.MonkeyPatch, number: int, factor: float
) -> None:
    """Of the first, a middle and the last convolution, and of the last linear layer."""
    change_gradient(monkeypatch, number, factor)
    assert SEVERAL in failing(check_groups_only(monkeypatch))


def check_groups_only(
    monkeypatch: pytest.MonkeyPatch, stand_in: Capture | None = None
) -> list[DeviceCheck]:
    """The checks without those of the fused kernels, which take longer."""
    real = self_test._check
    skipped = DeviceCheck("fused", True, 0.0, 1.0, "", "")
    monkeypatch.setattr(
        self_test,
        "_check",
        lambda name, *rest, **options: (
            skipped if name.startswith("fused") else real(name, *rest, **options)
        ),
    )
    return check_device("cpu", stand_in)


def test_seeds_with_swapped_images_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = replicas.draw_epoch

    def draw_swapped(group: ReplicaGroup, num_images: int, epoch: int) -> EpochDraws:
        draws = real(group, num_images, epoch)
        return replace(draws, order=draws.order.view(2, num_images).flip(0).flatten())

    monkeypatch.setattr(replicas, "draw_epoch", draw_swapped)
    assert failing(check_groups_only(monkeypatch)) == [SEVERAL]


def test_rounding_to_tf32_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = replicas.widen

    def widen_rounded(networks: Any) -> Any:
        wide = real(networks)
        for layer in wide.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(lambda layer, inputs, output: _Tf32.apply(output))
        return wide

    monkeypatch.setattr(replicas, "widen", widen_rounded)
    assert failing(check_groups_only(monkeypatch)) == [SEVERAL]


class _Tf32(torch.autograd.Function):
    """Keeps 10 of the 23 fractional bits of a result, and of its gradient."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return ((values.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return _Tf32.forward(context, gradients[0])


def test_wrong_fused_kernels_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = fused.FusedLayer.backward

    def backward(*arguments: Any, **options: Any) -> Any:
        of_inputs, (of_weight, *others) = real(*arguments, **options)
        return of_inputs, (of_weight * 1.1, *others)

    monkeypatch.setattr(fused.FusedLayer, "backward", backward)
    checks = check_device("cpu")
    assert failing(checks) == ["fused kernels, float32", "fused kernels, bfloat16"]
    assert checks[0].advice == "use --arithmetic plain"


@pytest.mark.parametrize(
    "error", [RuntimeError("operation not permitted when stream is capturing\nmore"), OUT_OF_MEMORY]
)
def test_error_is_a_failed_check(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def capture(steps: Steps, device: torch.device) -> Steps:
        raise error

    [*others, graphs] = check_groups_only(monkeypatch, capture)
    assert failing(others) == []
    assert (graphs.has_passed, graphs.difference) == (False, None)
    assert graphs.problem == f"{type(error).__name__}: {error}".splitlines()[0]


def test_nan_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    change_gradient(monkeypatch, 0, float("nan"))
    [_, _, several] = check_groups_only(monkeypatch)
    assert several.difference == float("inf")
    assert several.tolerance in FLOAT32_TOLERANCES


def test_own_process_returns_the_result_and_outlives_crash_and_hang() -> None:
    assert call_in_process(abs, -2, 60.0) == 2
    with pytest.raises(RuntimeError, match=r"its process died \(exit code 3\)"):
        call_in_process(os._exit, 3, 60.0)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="no result within 1 s"):
        call_in_process(time.sleep, 600.0, 1.0)
    assert time.monotonic() - started < 60


def test_crash_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablations.runner.self_test.LIMIT_SECONDS", 0.0)
    [check] = check_device_safely("cpu")
    assert not check.has_passed
    assert check.problem == "no result within 0 s"
    assert "one network at a time" in check.advice


def pretend_gpu(monkeypatch: pytest.MonkeyPatch, stand_in: Capture) -> None:
    """Let a study on the CPU train groups of seeds, and test itself first, as on a GPU."""
    monkeypatch.setattr(prepare, "default_num_replicas", lambda device: 32)
    monkeypatch.setattr(
        self_test, "call_in_process", lambda *_: check_groups_only(monkeypatch, stand_in)
    )


@pytest.mark.parametrize("is_right", [True, False])
def test_study_after_a_failed_self_test_trains_one_network_at_a_time_and_says_so(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    is_right: bool,
) -> None:
    pretend_gpu(monkeypatch, record_and_replay if is_right else with_stale("inputs"))
    out, timed = tmp_path / "study", []
    monkeypatch.setattr(
        run_study, "measure_epoch_times", lambda *_, num_replicas: timed.append(num_replicas)
    )
    monkeypatch.setattr(run_study, "write_with_checksum", lambda *_: None)
    request = make_request(out, ["target"], seeds=[0, 1], arithmetic_name="plain")
    assert run_study.run_study(request, lambda folder: folder) == 0
    study = load_study(out)
    assert [record.num_replicas for record in study.records] == ([2, 2] if is_right else [1, 1])
    assert timed == [int(is_right)]
    [reason] = {record.fallback_reason for record in study.records}
    found = " ".join(answer.notices(study.spec, study.records))
    printed = " ".join(capsys.readouterr().out.split())
    if is_right:
        assert reason == "" and "self-test" not in found + printed
    else:
        assert reason.startswith("CUDA graphs: its results are wrong by 1.")
        assert "2 of 2 runs were trained one network at a time and without CUDA graphs" in found
        assert reason in found and reason in text_of(render_page(summarise(study)))
        assert f"The self-test of cpu: {reason}; a study trains one network at a time" in printed


def test_parts_of_a_study_are_the_same_after_a_failed_self_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else parts on several machines would miss some runs, and do others twice."""
    plans = []
    for name, has_passed in (("one", True), ("other", False)):
        pretend_gpu(monkeypatch, record_and_replay)
        check = DeviceCheck(GRAPHS, has_passed, 0.0, 1.0, "wrong", "")
        monkeypatch.setattr(self_test, "call_in_process", lambda *_, check=check: [check])
        request = make_request(
            tmp_path / name, ["target", "no-gap"], seeds=range(4), shard=Shard(2, 2)
        )
        found = prepare.prepare(request, Console(), None)
        assert found.setup.num_replicas == (32 if has_passed else 1)
        assert found.setup.fallback_reason == ("" if has_passed else f"{GRAPHS}: wrong")
        plans.append(found.run_specs)
    assert plans[0] == plans[1]
    assert len(plans[0]) == 4
