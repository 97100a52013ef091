"""Which arithmetic is chosen, and that every one of them trains."""

import pytest
import torch
from llvmlite import binding

from ablations.data.dataset import Dataset
from ablations.training.loop import train
from speed.arithmetic import ARITHMETICS, Arithmetic, choose_arithmetic
from tests.factories import run_specs_on


@pytest.mark.parametrize(
    ("feature", "chosen"), [("avx512bf16", "bfloat16"), ("avx512f", "float32"), ("avx2", "float32")]
)
def test_auto_uses_bfloat16_where_the_processor_has_it(
    feature: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: {feature: True})
    assert choose_arithmetic("auto", "cpu") == chosen
    assert choose_arithmetic("auto", "cuda") == "plain"
    assert choose_arithmetic("auto", "mps") == "plain"
    for name in ARITHMETICS:
        assert choose_arithmetic(name, "cpu") == name


def test_unavailable_arithmetic_is_an_error() -> None:
    with pytest.raises(ValueError, match="for a CPU"):
        choose_arithmetic("float32", "cuda")
    with pytest.raises(ValueError, match="unknown arithmetic 'float16'"):
        choose_arithmetic("float16", "cpu")


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_every_arithmetic_learns_and_is_deterministic(
    digits: Dataset, arithmetic: Arithmetic
) -> None:
    [run_spec] = run_specs_on(digits, "no-gap", num_epochs=3)
    trained = [
        train(run_spec, digits, torch.device("cpu"), arithmetic=arithmetic) for _ in range(2)
    ]
    assert trained[0].epochs[-1].train_accuracy_pct > 50
    # To the last bit.
    for first, second in zip(*(run.network.state_dict().values() for run in trained), strict=True):
        assert torch.equal(first, second)
