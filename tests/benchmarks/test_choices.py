"""The measurements of single choices and of a step's parts do what they say."""

import pytest
from click.testing import CliRunner

from benchmarks import choices, profile, ways
from benchmarks.choices import measure, summarise
from benchmarks.ways import Way, all_ways
from speed.arithmetic import ARITHMETICS, Arithmetic

COMPILED = ("compiled", "compiled-autocast")


def test_every_way_is_compared_with_another_of_the_same_kind() -> None:
    ways = {way.name: way for way in all_ways()}
    assert len(ways) == len(all_ways())
    for way in ways.values():
        other = ways[way.compared_with]
        assert (way.unit, way.count) == (other.unit, other.count)
        assert other is not way or way.name == "contiguous"


@pytest.mark.parametrize(
    "way", [way for way in all_ways() if way.name not in COMPILED], ids=lambda way: way.name
)
def test_every_way_works(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "STEPS_IN_A_ROUND", 1)
    monkeypatch.setattr(ways, "TEST_IMAGES", 1000)
    way.prepare()()


def test_ways_take_turns_and_ratios_are_within_a_round() -> None:
    ways = [way for way in all_ways() if way.name in ("no-bias-gradients", "bias-gradients")]
    seconds = measure(ways, num_rounds=2)
    assert all(len(values) == 2 for values in seconds.values())
    rows = {
        row.name: row
        for row in summarise(
            ways, {"no-bias-gradients": [0.1, 0.1, 0.3], "bias-gradients": [0.2, 0.4, 0.3]}
        )
    }
    assert rows["no-bias-gradients"].ratio.median == pytest.approx(2)
    assert rows["no-bias-gradients"].ratio.low == pytest.approx(1)
    assert rows["bias-gradients"].milliseconds.median == pytest.approx(300)


@pytest.mark.parametrize("arithmetic", ARITHMETICS[1:])
def test_the_parts_of_a_step_make_up_the_step(arithmetic: Arithmetic) -> None:
    result = profile.measure("digits", None, arithmetic, rounds=1)
    assert result.num_steps == 12
    assert [part.name for part in result.parts] == [*profile.PARTS, "rest"]
    assert all(part.milliseconds > 0 for part in result.parts)
    assert result.step_milliseconds.median > 0


def test_commands_have_help() -> None:
    for command in (choices.main, profile.main):
        assert "--out" in CliRunner().invoke(command, ["--help"]).output
