"""Whether the machine was steady while epochs were timed: pure functions of a study's timing."""

from statistics import median
from typing import NamedTuple

from ablations.records.timing import Timing

DISTURBED_RATIO = 2.0
"""Slowest over fastest round of one ablation; 1.5 in the reference study."""
UNSTEADY_RATIO = 1.1
"""Slowest over fastest round, each a median over all ablations."""


class SlowestRound(NamedTuple):
    """The round of timing in which the whole machine was slowest."""

    number: int
    """From 1."""
    num_rounds: int
    ratio: float
    """Over the fastest round."""


def disturbed_ablations(timing: Timing) -> list[str]:
    """The ablations whose rounds differ so much that another program must have run meanwhile."""
    return [
        name
        for name, found in timing.by_ablation.items()
        if max(found.seconds_by_round) > DISTURBED_RATIO * min(found.seconds_by_round)
    ]


def slowest_round(timing: Timing) -> SlowestRound | None:
    """The slowest round, relative to each ablation's median; None on a steady machine."""
    relative = [
        [seconds / median(found.seconds_by_round) for seconds in found.seconds_by_round]
        for found in timing.by_ablation.values()
    ]
    rounds = [median(of_round) for of_round in zip(*relative, strict=True)]
    if not rounds or max(rounds) < UNSTEADY_RATIO * min(rounds):
        return None
    slowest = max(rounds)
    return SlowestRound(1 + rounds.index(slowest), len(rounds), slowest / min(rounds))
