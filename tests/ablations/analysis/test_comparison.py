"""Comparing two ablations of a study, and planning one."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ablations.analysis.comparison import compare_ablations
from ablations.analysis.runs import accuracy_by_seed, runs_of
from ablations.records.study import Study
from tests.factories import DIGITS, make_spec, make_study, write_study
from tests.test_cli import run_cli


def test_two_ablations_of_a_study() -> None:
    study = make_study({"target": range(3), "no-relu": range(4), "no-momentum": range(4)})
    found = compare_ablations(study, "no-momentum", "no-relu")
    assert found.difference_pct.num_seeds == (4, 4)
    means = {name: np.mean([*by_seed.values()]) for name, by_seed in accuracies(study).items()}
    assert found.difference_pct.mean == pytest.approx(means["no-momentum"] - means["no-relu"])
    assert (found.verdict.direction, found.verdict.size) == ("helps", "above")
    # By itself, each with its own spread.
    assert found.difference_pct.critical_value == pytest.approx(stats.t.isf(0.025, 3), abs=1e-5)
    assert found.difference_pct.spreads[0] == pytest.approx(
        np.std([*accuracies(study)["no-momentum"].values()], ddof=1)
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


def test_compare_command(tmp_path: Path) -> None:
    study = write_study(tmp_path / "one", make_study({"target": range(3), "no-relu": range(3)}))
    for arguments, exit_code, message in (
        (["no-relu", "target", study], 0, "no-relu minus target"),
        (["relu", "no-relu", study], 2, "'no-relu' is given twice"),
        (["no-relu", "target", tmp_path / "x"], 1, "x is not a study: there is no such folder"),
        (["no-relu", "no-gap", study], 1, "no run of 'no-gap'; it has no-relu, target"),
        ([study, study, study], 2, "unknown ablation"),
    ):
        result = run_cli("compare", *arguments)
        assert result.exit_code == exit_code, result.output
        assert message in result.output


def test_compare_prints_notices(tmp_path: Path) -> None:
    spec = make_spec(DIGITS, "digits", num_epochs=2)
    study = make_study({"target": range(2), "no-gap": range(2)}, spec=spec)
    folder = write_study(tmp_path / "digits", study)
    (folder / "no-gap" / "seed-1" / "record.json").write_text('{"broken": ', encoding="utf-8")
    result = run_cli("compare", "no-gap", "target", folder)
    assert result.exit_code == 1
    assert "These are not MNIST's numbers" in result.stderr
    assert "Training was shorter" in result.stderr
    assert "Left out: " in result.stderr and "no-gap" in result.stderr


def test_plan(tmp_path: Path) -> None:
    study = write_study(
        tmp_path, make_study({n: range(4) for n in ("target", "no-gap", "no-relu")})
    )
    result = run_cli("plan", study)
    assert result.exit_code == 0, result.output
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
    assert f"{one[4]} seeds, target {one[4]} ({2 * one[4]} runs)" in line
    at_margin = run_cli("plan", "--effect", "0.1", study)
    assert "no number of seeds decides an effect equal to the margin" in at_margin.output
    few = write_study(tmp_path / "few", make_study({"target": [0], "no-gap": [0]}))
    refused = run_cli("plan", few)
    assert refused.exit_code == 1
    assert "at least two seeds" in refused.output
