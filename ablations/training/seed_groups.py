"""Which runs share a network, and which share a machine.

On a GPU, seeds of one experiment train as one network (`training/replicas.py`). On a CPU every run
trains alone.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from ablations.catalogue.experiment import RunSpec

MAX_REPLICAS = 32
"""On a GPU, at most this many seeds share a network; fewer if memory is short."""


@dataclass(frozen=True)
class Shard:
    """One of several parts of a study's runs, for machines that do not communicate.

    Raises:
        ValueError: the number is not between 1 and the count.
    """

    number: int
    """From 1."""
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"{self.number}/{self.count}: there is no such part")

    def part_of(self, run_specs: Sequence[RunSpec], max_size: int) -> list[RunSpec]:
        """This part of the runs: every `count`-th group of those that may share a network.

        Each run is in exactly one part.
        """
        groups = split_into_groups(run_specs, max_size)[self.number - 1 :: self.count]
        mine = {run_spec for group in groups for run_spec in group}
        return [run_spec for run_spec in run_specs if run_spec in mine]


def default_num_replicas(device: str) -> int:
    """How many seeds may share a network on this kind of device; 1 means `training/loop.py`."""
    return MAX_REPLICAS if device == "cuda" else 1


def replicas_for_all(run_specs: Sequence[RunSpec], max_replicas: int, num_slots: int) -> int:
    """The smallest group size with which all groups can start at once; else `max_replicas`."""
    sizes = Counter(replace(run_spec, seed=0) for run_spec in run_specs).values()
    # At least 2: a single seed is trained by another loop.
    for num_replicas in range(2, max_replicas):
        if sum(ceil(size / num_replicas) for size in sizes) <= num_slots:
            return num_replicas
    return max_replicas


def split_into_groups(run_specs: Sequence[RunSpec], max_size: int) -> list[list[RunSpec]]:
    """All runs, in groups that differ only in their seeds, in the order of their first runs."""
    if max_size == 1:
        return [[run_spec] for run_spec in run_specs]
    seeds: dict[RunSpec, list[RunSpec]] = {}
    for run_spec in run_specs:
        seeds.setdefault(replace(run_spec, seed=0), []).append(run_spec)
    return [part for group in seeds.values() for part in even_parts(group, max_size)]


def even_parts(run_specs: Sequence[RunSpec], max_size: int) -> list[list[RunSpec]]:
    """The runs in order, in as few parts as the size allows, of about equal size."""
    num_parts = ceil(len(run_specs) / max_size)
    size = ceil(len(run_specs) / num_parts)
    return [list(run_specs[start : start + size]) for start in range(0, len(run_specs), size)]
