"""Which runs each look needs: open ablations go on, decided ones stop, the target has more seeds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.catalogue.presets import FULL
from ablations.commands.looks import first_look, make_plan, next_look
from ablations.commands.prepare import prepare
from ablations.commands.run_study import run_study
from ablations.records.study import Study, load_study
from ablations.records.study_spec import SeedPlan, StudyError, StudySpec, load_spec
from ablations.training.seed_groups import Shard
from tests.factories import make_request, make_spec, make_study

NAMES = ["target", "no-relu", "no-gap", "no-dropout", "no-batchnorm+no-dropout"]


def spec_with(looks: Sequence[int], margin_pct: float = 0.1) -> StudySpec:
    plan = make_plan([find_ablation(name) for name in NAMES], looks)
    return msgspec.structs.replace(make_spec(), seed_plan=plan, margin_pct=margin_pct)


def count(run_specs: Sequence[RunSpec]) -> dict[str, int]:
    for name, number in Counter(one.ablation for one in run_specs).items():
        assert {one.seed for one in run_specs if one.ablation == name} == set(range(number))
    return dict(Counter(one.ablation for one in run_specs))


def test_the_first_look_gives_the_target_more_seeds() -> None:
    ablations = [find_ablation(name) for name in NAMES]
    assert make_plan(ablations, [5, 10]) == SeedPlan((5, 10), ("no-relu", "no-gap", "no-dropout"))
    assert make_plan([ablations[0], ablations[-1]], [5]) is None
    others = dict.fromkeys(NAMES[1:], 5)
    # 5 times the square root of 3, rounded up.
    assert count(first_look(make_spec(), ablations, [5, 10])) == {"target": 9, **others}
    assert set(count(first_look(make_spec(), ablations, [5])).values()) == {5}


SEEDS = {"target": range(9), "no-relu": range(5), "no-gap": range(5), "no-dropout": range(5)}
"""The first look at 5 seeds."""


def wanted(study: Study) -> dict[str, int]:
    return dict(Counter(one.ablation for one in next_look(study)))


def test_only_what_is_open_goes_on_and_the_plan_ends() -> None:
    # The factories' no-relu is far below the target; the others are within some hundredths of it.
    narrow = spec_with([5, 8, 20], margin_pct=0.001)
    # 8 times the square root of 2 is 12 seeds of the target.
    assert wanted(make_study(SEEDS, spec=narrow)) == {"target": 3, "no-gap": 3, "no-dropout": 3}
    wide = spec_with([5, 8, 20], margin_pct=0.5)
    assert next_look(make_study(SEEDS, spec=wide)) == []
    most = dict.fromkeys(SEEDS, range(29))
    assert next_look(make_study(most, spec=narrow)) == []
    assert next_look(make_study(SEEDS, spec=make_spec())) == []


def test_it_does_not_matter_where_a_study_was_stopped() -> None:
    spec = spec_with([5, 8, 20], margin_pct=0.001)
    # In the first look, and in the second: what is there does not decide before the look is complete.
    assert wanted(make_study(SEEDS | {"no-relu": range(4)}, spec=spec)) == {"no-relu": 1}
    assert wanted(make_study(SEEDS | {"target": range(7)}, spec=spec)) == {"target": 2}
    second = {"no-gap": range(8), "no-dropout": range(7), "target": range(10)}
    assert wanted(make_study(SEEDS | second, spec=spec)) == {"target": 2, "no-dropout": 1}
    complete = SEEDS | {"no-gap": range(8), "no-dropout": range(8), "target": range(12)}
    third = {"target": 17, "no-gap": 12, "no-dropout": 12}
    assert wanted(make_study(complete, spec=spec)) == third
    # Other seeds than those of the plan take no part.
    assert wanted(make_study(dict.fromkeys(SEEDS, range(100, 120)), spec=spec)) == {
        name: len(seeds) for name, seeds in SEEDS.items()
    }


def test_an_ablation_that_the_catalogue_lost_is_left_out() -> None:
    spec = spec_with([5, 8], margin_pct=0.5)
    assert spec.seed_plan
    plan = msgspec.structs.replace(spec.seed_plan, ablations=("gone", "no-relu"))
    spec = msgspec.structs.replace(spec, seed_plan=plan)
    assert wanted(make_study({"target": range(8), "no-relu": range(5)}, spec=spec)) == {}


@pytest.mark.parametrize(
    "options", [{"shard": Shard(1, 2)}, {"seeds": [0]}, {"preset_name": "quick"}]
)
def test_until_decided_needs_the_looks_of_a_whole_study(
    options: dict[str, Any], tmp_path: Path
) -> None:
    request = make_request(
        tmp_path / "study", ["target"], **{"seeds": None, "until_decided": True, **options}
    )
    with pytest.raises(StudyError, match="leave out --seeds, --shard and --preset quick"):
        prepare(request, Console(), None)


def test_the_plan_is_that_of_the_first_verdicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan_after(names: Sequence[str], seeds: Sequence[int]) -> SeedPlan | None:
        request = make_request(tmp_path / "study", names, seeds=seeds, arithmetic_name="plain")
        assert run_study(request, lambda folder: folder) == 0
        return load_spec(tmp_path / "study").seed_plan

    few = ["target", "no-gap"]
    assert plan_after(few, [0]) == SeedPlan((1,), ("no-gap",))
    assert plan_after([*few, "single-fc"], [0, 1, 2]) == SeedPlan((3,), ("no-gap", "single-fc"))
    assert "Not in the study's plan" not in capsys.readouterr().out
    assert plan_after(few, [0, 1, 2, 3]) == SeedPlan((3,), ("no-gap", "single-fc"))
    assert "Not in the study's plan: so many seeds of no-gap" in capsys.readouterr().out


def test_until_decided_runs_the_looks_of_its_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ablations.catalogue.presets.FULL", replace(FULL, looks=(3, 4)))
    # What three short runs decide is not what this is about.
    monkeypatch.setattr("ablations.commands.looks.open_ablations", lambda _: ["no-gap"])
    request = make_request(
        tmp_path / "study", ["target", "no-gap"], seeds=None, until_decided=True,
        arithmetic_name="plain",
    )  # fmt: skip
    assert run_study(request, lambda folder: folder) == 0
    study = load_study(tmp_path / "study")
    assert Counter(record.run_spec.ablation for record in study.records) == {
        "target": 4,
        "no-gap": 4,
    }
    assert "Next in the plan: 2 runs of" in capsys.readouterr().out
