"""The measurements of single choices and of a step's parts."""

import pytest

from ablations.data.dataset import Dataset
from benchmarks import choices, implementations, profile
from benchmarks.implementations import Implementation, all_implementations
from benchmarks.steps import one_thread
from speed.arithmetic import ARITHMETICS, Arithmetic

COMPILED = ("compiled", "compiled-autocast")


def test_every_implementation_is_compared_with_another_of_the_same_unit() -> None:
    by_name = {one.name: one for one in all_implementations()}
    assert len(by_name) == len(all_implementations())
    for one in by_name.values():
        other = by_name[one.compared_with]
        assert (one.unit, one.count) == (other.unit, other.count)
        assert other is not one or one.name == "contiguous"


@pytest.mark.parametrize(
    "one", [one for one in all_implementations() if one.name not in COMPILED], ids=lambda one: one.name
)  # fmt: skip
def test_every_implementation_works(one: Implementation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implementations, "STEPS_IN_A_ROUND", 1)
    monkeypatch.setattr(implementations, "TEST_IMAGES", 300)
    one.prepare()()


def test_ratios_are_taken_within_a_round() -> None:
    names = ("no-bias-gradients", "bias-gradients")
    chosen = [one for one in all_implementations() if one.name in names]
    seconds = choices.measure(chosen, num_rounds=1)
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys(names, 1)
    times = {"no-bias-gradients": [0.1, 0.1, 0.3], "bias-gradients": [0.2, 0.4, 0.3]}
    rows = {row.name: row for row in choices.summarise(chosen, times)}
    assert rows["no-bias-gradients"].ratio.median == pytest.approx(2)
    assert rows["no-bias-gradients"].ratio.low == pytest.approx(1)
    assert rows["bias-gradients"].milliseconds.median == pytest.approx(300)


@pytest.mark.parametrize("arithmetic", ARITHMETICS[1:])
def test_every_part_of_a_step_is_timed(
    arithmetic: Arithmetic, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "STEPS_IN_A_ROUND", 2)
    with one_thread():
        result = profile.measure(digits, arithmetic, num_rounds=1)
    assert result.num_steps == 2
    assert [part.name for part in result.parts] == list(profile.PARTS)
    assert all(part.milliseconds > 0 for part in result.parts)
    assert result.step_milliseconds.median > 0
