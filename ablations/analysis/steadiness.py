"""Whether the machine was steady while epochs were timed."""

from statistics import median

from ablations.records.timing import Timing

DISTURBED_RATIO = 2.0
"""Slowest over fastest round of one ablation; 1.5 in the reference study."""
UNSTEADY_RATIO = 1.1
"""Slowest over fastest round, each a median over all ablations."""


def disturbed_ablations(timing: Timing) -> list[str]:
    """The ablations whose rounds differ by more than that, probably because of another program."""
    return [
        name
        for name, found in timing.by_ablation.items()
        if max(found.seconds_by_round) > DISTURBED_RATIO * min(found.seconds_by_round)
    ]


def slowest_round(timing: Timing) -> tuple[int, float] | None:
    """The round of timing in which the whole machine was slowest; None on a steady machine.

    Its number, from 1, and its time over that of the fastest round, relative to each ablation's median.
    """
    relative = [
        [seconds / found.median_seconds for seconds in found.seconds_by_round]
        for found in timing.by_ablation.values()
    ]
    rounds = [median(of_round) for of_round in zip(*relative, strict=True)]
    if not rounds or max(rounds) < UNSTEADY_RATIO * min(rounds):
        return None
    return 1 + rounds.index(max(rounds)), max(rounds) / min(rounds)
