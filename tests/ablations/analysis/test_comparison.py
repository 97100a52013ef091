"""Comparing two ablations of a study, or two studies; and planning one."""

import re
from dataclasses import replace
from pathlib import Path
from unittest import mock

import msgspec
import numpy as np
import pytest
from scipy import stats

from ablations.analysis.comparison import compare_ablations, compare_studies
from ablations.analysis.intervals import pool_variance, resolution_pct
from ablations.analysis.power import seconds_a_run
from ablations.analysis.summary import accuracy_by_seed, runs_of
from ablations.data.dataset import Dataset
from ablations.data.datasets import DataError
from ablations.records.study import Study
from ablations.records.study_spec import StudyError, StudySpec
from tests.factories import DIGITS, ENVIRONMENT, make_spec, make_study, write_study
from tests.test_cli import run_cli


def test_two_ablations_of_a_study() -> None:
    study = make_study({"target": range(3), "no-relu": range(4), "no-momentum": range(4)})
    found = compare_ablations(study, "no-momentum", "no-relu")
    assert found.name == "no-momentum minus no-relu"
    assert found.difference_pct.num_seeds == (4, 4)
    assert found.difference_pct.mean == pytest.approx(
        found.accuracies_pct[0] - found.accuracies_pct[1]
    )
    assert (found.verdict.direction, found.verdict.size) == ("helps", "above")
    # By itself, with the spread of the whole study.
    pool = pool_variance(
        {name: list(by_seed.values()) for name, by_seed in accuracies(study).items()},
        resolution_pct(10_000),
    )
    freedom = pool.degrees_of_freedom
    assert found.difference_pct.critical_value == pytest.approx(
        stats.t.isf(0.025, freedom), abs=1e-5
    )
    assert found.difference_pct.spreads[0] == pytest.approx(
        max(pool.standard_deviation, np.std([*accuracies(study)["no-momentum"].values()], ddof=1))
    )


def accuracies(study: Study) -> dict[str, dict[int, float]]:
    return {
        name: accuracy_by_seed(runs_of(study, name))
        for name in {record.run_spec.ablation for record in study.records}
    }


def test_seeds_need_not_be_shared_and_one_seed_gives_no_verdict() -> None:
    study = make_study({"target": [0], "no-relu": [1]})
    found = compare_ablations(study, "no-relu", "target")
    assert found.verdict is None
    assert found.difference_pct.mean < -1


def test_intervals_of_two_studies_hold_together() -> None:
    names = ("target", "no-gap", "no-relu")
    study = make_study({name: range(4) for name in names})
    found = compare_studies(study, study)
    assert len(found.comparisons) == 3
    for one in found.comparisons:
        # Sidak's level: these comparisons share no side.
        assert one.difference_pct.critical_value > stats.t.isf((1 - 0.95 ** (1 / 3)) / 2, 18) - 0.03
        assert one.verdict.direction == "no clear effect"


def test_other_margins_are_labelled() -> None:
    study = make_study({"target": range(3), "no-gap": range(3)})
    assert compare_studies(study, study).mixed == []
    wide = replace(study, spec=msgspec.structs.replace(study.spec, margin_pct=5.0))
    assert compare_studies(study, wide).mixed == ["margin_pct: 0.1, which is used, and 5"]


def test_other_versions_are_labelled_and_other_definitions_left_out() -> None:
    one = make_study({"target": range(3), "no-gap": range(3), "no-relu": [0], "no-momentum": [0]})
    newer = msgspec.structs.replace(ENVIRONMENT, torch_version="2.99.0", arithmetic="bfloat16")
    other = make_study({"target": range(1, 4), "no-gap": [7], "no-relu": [0]}, environment=newer)
    [changed] = [r for r in other.records if r.run_spec.ablation == "no-relu"]
    run_spec = replace(changed.run_spec, training=replace(changed.run_spec.training, momentum=0.5))
    records = [
        msgspec.structs.replace(r, run_spec=run_spec) if r is changed else r for r in other.records
    ]
    found = compare_studies(one, replace(other, records=tuple(records)))
    assert [c.name for c in found.comparisons] == ["no-gap", "target"]
    assert found.comparisons[1].difference_pct.num_seeds == (3, 3)
    assert "torch_version: 2.15.0 and 2.99.0" in found.mixed
    assert "arithmetic: plain and bfloat16" in found.mixed
    assert sorted(found.left_out) == [
        "no-momentum: only in example",
        "no-relu: it was defined differently",
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (make_spec(DIGITS, "digits"), "differ in their data .mnist and digits."),
        (make_spec(num_epochs=3), "differ in their epochs .20 and 3."),
        (make_spec(num_train_images=9000), "differ in their training images .None and 9000."),
    ],
)
def test_studies_without_comparable_runs_are_refused(spec: StudySpec, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        compare_studies(make_study({"target": [0]}), make_study({"target": [0]}, spec=spec))


def test_studies_without_a_common_ablation_are_refused() -> None:
    with pytest.raises(StudyError, match="share no run: no-gap: only in example"):
        compare_studies(make_study({"no-gap": [0]}), make_study({"target": [0]}))


def test_compare_command(tmp_path: Path) -> None:
    one = write_study(tmp_path / "one", make_study({"target": range(3), "no-relu": range(3)}))
    other = write_study(tmp_path / "other", make_study({"target": range(3), "no-gap": range(3)}))
    for arguments, exit_code, message in (
        (["no-relu", "target", one], 0, "no-relu minus target"),
        ([one, other], 0, "no-gap: only in other"),
        ([one, one], 0, "verdict at an equivalence margin of 0.10 points: no clear effect"),
        (["relu", other], 1, "relu is not a study: there is no such folder"),
        (["no-relu", one], 2, "such as no-gap target docs/reference"),
        (["no-relu", "no-gap", one], 1, "no run of 'no-gap'; it has no-relu, target"),
        ([one], 2, "two ablations and a study"),
    ):
        result = run_cli("compare", *arguments)
        assert result.exit_code == exit_code, result.output
        assert message in result.output


def test_compare_prints_notices(tmp_path: Path) -> None:
    spec = make_spec(DIGITS, "digits", num_epochs=2)
    study = make_study({"target": range(2), "no-gap": range(2)}, spec=spec)
    folder = write_study(tmp_path / "digits", study)
    (folder / "no-gap" / "seed-1" / "record.json").write_text('{"broken": ')
    result = run_cli("compare", "no-gap", "target", folder)
    assert result.exit_code == 1
    assert "These are not MNIST's numbers" in result.stderr
    assert "Training was shorter" in result.stderr
    assert "Left out: " in result.stderr and "no-gap" in result.stderr


def test_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_data = mock.Mock(side_effect=DataError("there is none"))
    monkeypatch.setattr("ablations.analysis.power.resolve_dataset", no_data)
    study = write_study(
        tmp_path, make_study({n: range(4) for n in ("target", "no-gap", "no-relu")})
    )
    result = run_cli("plan", study)
    assert result.exit_code == 0, result.output
    assert "no data set here to measure" in result.output
    effects = dict.fromkeys(re.findall(r"effect (\S+):", result.output))
    assert list(effects) == ["0", "0.05", "0.15", "0.2", "0.3"]
    one = [int(words) for words in re.findall(r"one ablation: (\d+) seeds, target", result.output)]
    of_all = [
        int(words) for words in re.findall(r"ablations, each: (\d+) seeds, target", result.output)
    ]
    # The nearer to the margin, the more; and all ablations need more than one.
    assert one[0] < one[1] == one[2] > one[3] > one[4]
    assert all(fewer <= more for fewer, more in zip(one, of_all, strict=True))
    line = next(line for line in result.output.splitlines() if "effect 0.3" in line)
    assert f"{one[4]} seeds, target {one[4]} ({2 * one[4]} runs, about" in line
    at_margin = run_cli("plan", "--effect", "0.1", study)
    assert "no number of seeds decides an effect equal to the margin" in at_margin.output
    few = write_study(tmp_path / "few", make_study({"target": [0], "no-gap": [0]}))
    refused = run_cli("plan", few)
    assert refused.exit_code == 1
    assert "at least two seeds" in refused.output


def test_time_is_tried_out_on_this_machine(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without kernels that would be compiled first.
    monkeypatch.setattr("speed.arithmetic.choose_arithmetic", lambda *_: "plain")
    spec = make_spec(digits.id, "digits", num_epochs=1)
    seconds, num_jobs, where = seconds_a_run(make_study({"target": [0]}, spec=spec), None)
    assert seconds > 0
    assert num_jobs >= 1
    assert "on this machine" in where
