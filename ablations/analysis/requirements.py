"""The assignment's requirements, and whether runs meet them. Pure functions of records."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from statistics import fmean
from typing import Literal

import msgspec

from ablations.analysis.statistics import t_interval_95
from ablations.records.run import RunRecord
from ablations.words import plural
from mnist_blocks import NetworkSpec

WANTED_ACCURACY_PCT = 99.4
PARAMETER_LIMIT = 20_000
EPOCH_LIMIT = 20
CONCEPTS: Mapping[str, Callable[[NetworkSpec], bool]] = {
    "batch normalisation": lambda network: "bn" in network.block,
    "dropout": lambda network: network.dropout > 0,
    "a fully connected layer": lambda network: network.head == "fc",
    "global average pooling": lambda network: network.pooling == "gap",
}
"""Name, and whether a network of this project uses it."""
WANTED_ACCURACY = f"at least {WANTED_ACCURACY_PCT:.1f} % of the test images right"
WANTED_PARAMETERS = f"fewer than {PARAMETER_LIMIT:,} parameters"
WANTED_CONCEPTS = ", ".join(CONCEPTS)
GUESSING_PCT = 10.0
"""Accuracy of a guess among ten classes."""
HARDLY_LEARNT_PCT = 2 * GUESSING_PCT
"""Below it a network's parts cannot be compared."""
FAR_POINTS = 1.0
"""A mean this far below the wanted accuracy fails without an interval, also with one seed or diverged
runs. In the reference study, the target's seeds are within 0.1 points of their mean."""

RequirementVerdict = Literal["pass", "fail", "undecided"]


class Requirement(msgspec.Struct, frozen=True):
    """One line of the assignment, and whether a network meets it."""

    wanted: str
    verdict: RequirementVerdict
    measured: str


def check_requirements(target_runs: Sequence[RunRecord]) -> list[Requirement]:
    """The assignment's four requirements against the target's runs.

    The assignment asks for fewer than 20 epochs: a longer recipe is checked after epoch 19, a shorter
    one after its last. That epoch is fixed, not the best one.
    """
    final_pct = [run.last_epoch.test_accuracy_pct for run in target_runs]
    num_epochs = [min(len(run.epochs), EPOCH_LIMIT - 1) for run in target_runs]
    allowed_pct = [
        run.epochs[last - 1].test_accuracy_pct
        for run, last in zip(target_runs, num_epochs, strict=True)
    ]
    parameters = target_runs[0].parameters
    over_seeds, lowest = plural(len(target_runs), "seed"), ""
    if len(target_runs) > 1:
        over_seeds, lowest = f"mean of {over_seeds}", f" (lowest {min(final_pct):.2f} %)"
    diverged = ", or where a run diverged," if min(num_epochs) < max(num_epochs) else ""
    is_last = ", the last," if max(len(run.epochs) for run in target_runs) < EPOCH_LIMIT else ""
    network = target_runs[0].run_spec.network
    used = [name for name, is_used in CONCEPTS.items() if is_used(network)]
    return [
        Requirement(
            WANTED_ACCURACY,
            judge_accuracy(final_pct),
            f"{in_pct(fmean(final_pct))} after the last epoch, {over_seeds}{lowest}{interval_words(final_pct)}",
        ),
        Requirement(WANTED_PARAMETERS, judge_parameters(parameters), f"{parameters:,}"),
        Requirement(WANTED_CONCEPTS, judge_concepts(used), "uses " + ", ".join(used)),
        Requirement(
            f"that accuracy in fewer than {EPOCH_LIMIT} epochs",
            judge_accuracy(allowed_pct),
            f"{in_pct(fmean(allowed_pct))} after epoch {max(num_epochs)}{is_last}{diverged} of the same "
            f"runs, {over_seeds}{interval_words(allowed_pct)}",
        ),
    ]


def judge_parameters(parameters: int) -> RequirementVerdict:
    """Fewer than 20,000."""
    return "pass" if parameters < PARAMETER_LIMIT else "fail"


def judge_concepts(used: Sequence[str]) -> RequirementVerdict:
    """All four."""
    return "pass" if set(used) >= set(CONCEPTS) else "fail"


def judge_accuracy(accuracies_pct: Sequence[float]) -> RequirementVerdict:
    """Whether the mean over all seeds reaches 99.4 %: decided where its whole 95 % interval lies on one
    side, or where the mean is far below."""
    low, high = t_interval_95(accuracies_pct) or (-inf, inf)
    if low >= WANTED_ACCURACY_PCT:
        return "pass"
    is_far_below = fmean(accuracies_pct) < WANTED_ACCURACY_PCT - FAR_POINTS
    return "fail" if high < WANTED_ACCURACY_PCT or is_far_below else "undecided"


def interval_words(accuracies_pct: Sequence[float]) -> str:
    """The interval, or why there is none."""
    interval = t_interval_95(accuracies_pct)
    if interval:
        low, high = max(interval[0], 0.0), min(interval[1], 100.0)
        return f", 95 % interval {in_pct(low)} to {in_pct(high)}"
    if len(accuracies_pct) == 1:
        return "; an interval needs at least two seeds"
    return f"; all {len(accuracies_pct)} seeds agree, so there is no interval"


def mean_accuracy_pct(runs: Sequence[RunRecord]) -> float:
    """After the last epoch."""
    return fmean(run.last_epoch.test_accuracy_pct for run in runs)


def in_pct(accuracy_pct: float) -> str:
    """An accuracy with the fewest digits, 2 to 5, that print it on its side of 99.4 %."""
    is_reached = accuracy_pct >= WANTED_ACCURACY_PCT
    digits = next(
        (n for n in (2, 3, 4) if (round(accuracy_pct, n) >= WANTED_ACCURACY_PCT) == is_reached), 5
    )
    return f"{accuracy_pct:.{digits}f} %"
