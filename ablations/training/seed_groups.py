"""Which runs share a network, and which share a machine.

On a GPU, seeds of one experiment train as one network (`training/replicas.py`). On a CPU every run is
by itself, whatever else is to be done.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from ablations.catalogue.experiment import RunSpec

MAX_REPLICAS = 32
"""On a GPU, at most this many seeds share a network; fewer where memory is short."""


@dataclass(frozen=True)
class Shard:
    """One of several parts of a study's runs, for as many machines that know nothing of each other.

    Raises ValueError for a part that there is not.
    """

    number: int
    """From 1."""
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"{self.number}/{self.count}: there is no such part")

    def part_of(self, run_specs: Sequence[RunSpec], max_size: int) -> list[RunSpec]:
        """This part of the runs: every `count`-th group of those that may share a network.

        All parts together are all the runs, each once.
        """
        groups = split_into_groups(run_specs, max_size)[self.number - 1 :: self.count]
        mine = {run_spec for group in groups for run_spec in group}
        return [run_spec for run_spec in run_specs if run_spec in mine]


def default_num_replicas(device: str) -> int:
    """How many seeds may share a network on this kind of device; 1 is the plain loop."""
    return MAX_REPLICAS if device == "cuda" else 1


def replicas_for_all(run_specs: Sequence[RunSpec], max_replicas: int, num_slots: int) -> int:
    """How many seeds at most should share a network, so that no slot is idle while others have many.

    The fewest with which every group starts at once, or as many as may where they cannot.
    """
    sizes = Counter(replace(run_spec, seed=0) for run_spec in run_specs).values()
    # Two at least: one by itself would be trained by another loop.
    for num_replicas in range(2, max_replicas):
        if sum(ceil(size / num_replicas) for size in sizes) <= num_slots:
            return num_replicas
    return max_replicas


def split_into_groups(run_specs: Sequence[RunSpec], max_size: int) -> list[list[RunSpec]]:
    """All the runs, in groups that differ in their seeds alone.

    Groups come in the order of their first runs. With `max_size` 1 that is the order of the runs.
    """
    if max_size == 1:
        return [[run_spec] for run_spec in run_specs]
    seeds: dict[RunSpec, list[RunSpec]] = {}
    for run_spec in run_specs:
        seeds.setdefault(replace(run_spec, seed=0), []).append(run_spec)
    return [part for group in seeds.values() for part in even_parts(group, max_size)]


def even_parts(run_specs: Sequence[RunSpec], max_size: int) -> list[list[RunSpec]]:
    """The runs in order, in as few parts as the size allows, about equally large."""
    num_parts = ceil(len(run_specs) / max_size)
    size = ceil(len(run_specs) / num_parts)
    return [list(run_specs[start : start + size]) for start in range(0, len(run_specs), size)]
