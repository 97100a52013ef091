"""Which runs share a network: on a GPU, seeds of one experiment train as one (`group_training.py`).

On a CPU every run is by itself, whatever else is to be done.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from ablations.experiment import Experiment

MAX_REPLICAS = 32
"""On a GPU, at most this many seeds share a network; fewer where memory is short."""


def default_num_replicas(device: str) -> int:
    """How many seeds may share a network on this kind of device; 1 is the plain loop."""
    return MAX_REPLICAS if device == "cuda" else 1


def split_into_groups(runs: Sequence[Experiment], max_size: int) -> list[list[Experiment]]:
    """All the runs, in groups that differ in their seeds alone.

    Groups come in the order of their first runs. With `max_size` 1 that is the order of the runs.
    """
    if max_size == 1:
        return [[run] for run in runs]
    seeds: dict[Experiment, list[Experiment]] = {}
    for run in runs:
        seeds.setdefault(replace(run, seed=0), []).append(run)
    return [part for group in seeds.values() for part in even_parts(group, max_size)]


def even_parts(runs: Sequence[Experiment], max_size: int) -> list[list[Experiment]]:
    """The runs in order, in as few parts as the size allows, about equally large."""
    num_parts = ceil(len(runs) / max_size)
    size = ceil(len(runs) / num_parts)
    return [list(runs[start : start + size]) for start in range(0, len(runs), size)]
