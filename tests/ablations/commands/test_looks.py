"""Which runs each look needs: open ablations go on, decided ones stop, the target has more seeds."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.commands.looks import first_look, make_plan, next_look
from ablations.records.study_spec import SeedPlan, StudySpec
from tests.factories import make_spec, make_study

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
    others = dict.fromkeys(NAMES[1:], 5)
    # 5 times the square root of 3, rounded up.
    assert count(first_look(spec_with([5]), ablations, 5)) == {"target": 9, **others}
    assert set(count(first_look(spec_with([2]), ablations, 2)).values()) == {2}


def test_only_what_is_open_goes_on_and_the_plan_ends() -> None:
    # The factories' no-relu is far below the target; the others are within some hundredths of it.
    seeds = {"target": range(9), "no-relu": range(5), "no-gap": range(5), "no-dropout": range(5)}
    narrow = spec_with([5, 8, 20], margin_pct=0.001)
    wanted = count(next_look(make_study(seeds, spec=narrow)))
    assert wanted == {"target": 12, "no-gap": 8, "no-dropout": 8}
    wide = spec_with([5, 8, 20], margin_pct=0.5)
    assert next_look(make_study(seeds, spec=wide)) == []
    # A look that was interrupted is completed, whatever its numbers show so far.
    assert count(next_look(make_study(seeds | {"no-gap": range(6)}, spec=wide))) == {
        "target": 8,
        "no-gap": 8,
    }
    most = dict.fromkeys(seeds, range(20))
    assert next_look(make_study(most, spec=narrow)) == []
    assert next_look(make_study(seeds, spec=make_spec())) == []
