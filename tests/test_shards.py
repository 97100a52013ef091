"""Parts of a study that know nothing of each other, and are copied into one folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import cli
from ablations.catalogue import CATALOGUE
from ablations.experiment import Experiment
from ablations.grouping import Shard, replicas_for_all, split_into_groups
from ablations.study import load_study, plan_runs
from tests.factories import make_spec
from tests.test_chaos import assert_equal_studies, records_in

REPOSITORY = Path(__file__).resolve().parents[1]


@given(
    num_entries=st.integers(1, 5),
    num_seeds=st.integers(1, 40),
    count=st.integers(1, 50),
    max_replicas=st.sampled_from([1, 2, 32]),
)
def test_parts_are_the_whole_each_run_once(
    num_entries: int, num_seeds: int, count: int, max_replicas: int
) -> None:
    runs = plan_runs(make_spec(), CATALOGUE[:num_entries], range(num_seeds))
    parts = [Shard(number, count).part_of(runs, max_replicas) for number in range(1, count + 1)]
    together = [run for part in parts for run in part]
    assert len(together) == len(runs)
    assert set(together) == set(runs)
    # Seeds that share a network stay together, and parts are about equally large.
    groups = [len(split_into_groups(part, max_replicas)) for part in parts]
    assert max(groups) - min(groups) <= 1
    for part in parts:
        assert part == [run for run in runs if run in set(part)]


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    max_replicas=st.integers(2, 32),
    num_slots=st.integers(1, 300),
)
def test_seeds_share_networks_as_far_as_that_leaves_no_slot_idle(
    sizes: list[int], max_replicas: int, num_slots: int
) -> None:
    spec = make_spec()
    runs: list[Experiment] = []
    for entry, size in zip(CATALOGUE, sizes, strict=False):
        runs += plan_runs(spec, [entry], range(size))
    found = replicas_for_all(runs, max_replicas, num_slots)
    assert 2 <= found <= max_replicas
    if found > 2:
        assert len(split_into_groups(runs, found - 1)) > num_slots
    if found < max_replicas:
        assert len(split_into_groups(runs, found)) <= num_slots


@pytest.mark.parametrize("words", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/5", ""])
def test_part_that_there_is_not(words: str) -> None:
    found = CliRunner().invoke(cli.main, ["ablate", "--all", f"--shard={words}"])
    assert found.exit_code == 2
    assert "write 1/8 to 8/8" in found.output


def ablate(out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(REPOSITORY / "cli.py"),
        "ablate",
        "no-momentum",
        "no-lr-schedule",
    ]
    command += ["--dataset", "digits", "--device", "cpu", "--arithmetic", "float32"]
    command += ["--epochs", "1", "--seeds", "0-1", "--out", str(out), *more]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)


def test_parts_that_are_copied_together_are_the_study(tmp_path: Path) -> None:
    whole, merged = tmp_path / "whole", tmp_path / "merged"
    merged.mkdir()
    for number in (1, 2, 3):
        part = tmp_path / f"part-{number}"
        finished = ablate(part, "--shard", f"{number}/3")
        assert finished.returncode == 0, finished.stderr
        assert f"part {number} of 3: 2 runs" in finished.stdout
        assert len(records_in(part)) == 2
        assert not (part / "timing.json").exists()
        shutil.copytree(part, merged, dirs_exist_ok=True)
    before = records_in(merged)
    for out in (merged, whole):
        finished = ablate(out)
        assert finished.returncode == 0, finished.stderr
    assert "6 of 6 runs are there already" in ablate(merged, "--dry-run").stdout
    assert records_in(merged) == before, "nothing is done twice"
    assert_equal_studies(whole, merged, 6)
    study = load_study(merged)
    assert study.timing and set(study.timing.by_ablation) >= {"target", "no-momentum"}


def test_part_of_another_study_is_not_mixed_in(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert ablate(one, "--shard", "1/3").returncode == 0
    assert ablate(other, "--shard", "2/3", "--epochs", "2").returncode == 0
    for folder in other.glob("*/seed-*"):
        shutil.copytree(folder, one / folder.relative_to(other), dirs_exist_ok=True)
    study = load_study(one)
    assert len(study.records) == 2
    assert len(study.problems) == 2
    assert all("is of another study" in problem for problem in study.problems)
