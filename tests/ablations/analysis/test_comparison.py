"""Comparing two ablations of a study, or two studies; and planning one."""

import re
from dataclasses import replace
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from ablations.analysis.comparison import compare_ablations, compare_studies
from ablations.analysis.power import seconds_a_run
from ablations.data.dataset import Dataset
from ablations.data.datasets import DataError
from ablations.records.study_spec import StudyError, StudySpec
from tests.factories import DIGITS, ENVIRONMENT, make_spec, make_study, write_study
from tests.test_cli import run_cli


def test_two_ablations_of_a_study() -> None:
    study = make_study({"target": range(3), "no-relu": range(4), "no-momentum": range(4)})
    found = compare_ablations(study, "no-momentum", "no-relu")
    assert found.name == "no-momentum minus no-relu"
    assert len(found.difference_pct.by_seed) == 4
    assert found.difference_pct.mean == pytest.approx(
        found.one_accuracy_pct - found.other_accuracy_pct
    )
    assert (found.verdict.kind, found.verdict.effect) == ("matters", "helps")


def test_one_seed_gets_mcnemars_test() -> None:
    found = compare_ablations(make_study({"target": [0], "no-relu": [0]}), "no-relu", "target")
    assert found.verdict.kind == "one seed"
    assert found.mcnemar_p < 0.001


def test_ablations_without_a_shared_seed_are_refused() -> None:
    study = make_study({"target": [0], "no-relu": [1]})
    with pytest.raises(StudyError, match="share no seed"):
        compare_ablations(study, "no-relu", "target")


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
    assert [c.name for c in found.comparisons] == ["target"]
    assert list(found.comparisons[0].difference_pct.by_seed) == [1, 2]
    assert "torch_version: 2.15.0 and 2.99.0" in found.mixed
    assert "arithmetic: plain and bfloat16" in found.mixed
    assert sorted(found.left_out) == [
        "no-gap: no seed in both",
        "no-momentum: only in example",
        "no-relu: it was defined differently",
    ]


@pytest.mark.parametrize(
    ("spec", "seed", "message"),
    [
        (make_spec(DIGITS, "digits"), 0, "differ in their data .mnist and digits."),
        (make_spec(num_epochs=3), 0, "differ in their epochs .20 and 3."),
        (make_spec(num_train_images=9000), 0, "differ in their training images .None and 9000."),
        (make_spec(), 1, "share no run: target: no seed in both"),
    ],
)
def test_studies_without_comparable_runs_are_refused(
    spec: StudySpec, seed: int, message: str
) -> None:
    with pytest.raises(StudyError, match=message):
        compare_studies(make_study({"target": [0]}), make_study({"target": [seed]}, spec=spec))


def test_compare_command(tmp_path: Path) -> None:
    one = write_study(tmp_path / "one", make_study({"target": range(3), "no-relu": range(3)}))
    other = write_study(tmp_path / "other", make_study({"target": range(3), "no-gap": range(3)}))
    for arguments, exit_code, message in (
        (["no-relu", "target", one], 0, "no-relu minus target"),
        ([one, other], 0, "no-gap: only in other"),
        ([one, one], 0, "the same number of correct test images at every seed"),
        (["relu", "target"], 1, "relu is not a study"),
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
    num_seeds = []
    for effect in ("0.05", "0.1"):
        result = run_cli("plan", "--effect", effect, "--power", "0.8", study)
        assert result.exit_code == 0, result.output
        assert "no data set here to measure" in result.output
        for words in (r"80 % of studies .*: (\d+) seeds", r"Holm-adjusted, (\d+) seeds"):
            num_seeds.append(int(re.search(words, result.output)[1]))
        num_runs = 2 * num_seeds[-2]
        assert f"the target: {num_seeds[-2]} seeds, {num_runs} runs" in result.output
    one, of_all, fewer, _ = num_seeds
    assert fewer < one < of_all
    few = write_study(tmp_path / "few", make_study({"target": [0], "no-gap": [0]}))
    refused = run_cli("plan", few)
    assert refused.exit_code == 1
    assert "two seeds" in refused.output


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
