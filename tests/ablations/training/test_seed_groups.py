"""Dividing runs into groups that share a network, and into parts of a study."""

from hypothesis import given
from hypothesis import strategies as st

from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.records.study import plan_runs
from ablations.training.seed_groups import Shard, replicas_for_all, split_into_groups
from tests.factories import make_spec


def test_groups_are_even_parts_of_the_seeds_of_one_experiment() -> None:
    run_specs = plan_runs(make_spec(), [find_ablation("target"), find_ablation("no-gap")], range(3))
    groups = split_into_groups(run_specs, 32)
    assert [[(run_spec.ablation, run_spec.seed) for run_spec in group] for group in groups] == [
        [("target", seed) for seed in range(3)],
        [("no-gap", seed) for seed in range(3)],
    ]
    assert [len(group) for group in split_into_groups(run_specs, 2)] == [2, 1, 2, 1]
    assert split_into_groups(run_specs, 1) == [[run_spec] for run_spec in run_specs]


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
    runs: list[RunSpec] = []
    for entry, size in zip(CATALOGUE, sizes, strict=False):
        runs += plan_runs(spec, [entry], range(size))
    found = replicas_for_all(runs, max_replicas, num_slots)
    assert 2 <= found <= max_replicas
    if found > 2:
        assert len(split_into_groups(runs, found - 1)) > num_slots
    if found < max_replicas:
        assert len(split_into_groups(runs, found)) <= num_slots
