"""The assignment's requirements, and whether runs meet them. Pure functions of records."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal

import msgspec

from ablations.analysis.statistics import sampling_noise_pct, t_interval_95
from ablations.records.run import RunRecord
from ablations.words import plural
from mnist_blocks import NetworkSpec

WANTED_ACCURACY_PCT = 99.4
PARAMETER_LIMIT = 20_000
EPOCH_LIMIT = 20
CONCEPTS = (
    "batch normalisation",
    "dropout",
    "a fully connected layer",
    "global average pooling",
)
WANTED_ACCURACY = f"at least {WANTED_ACCURACY_PCT:.1f} % of the test images right"
WANTED_PARAMETERS = f"fewer than {PARAMETER_LIMIT:,} parameters"
WANTED_CONCEPTS = ", ".join(CONCEPTS)
GUESSING_PCT = 10.0
"""Accuracy of a guess among ten classes."""
HARDLY_LEARNT_PCT = 2 * GUESSING_PCT
"""Below it nothing can be said of what a network's parts do."""
FAR_POINTS = 1.0
"""So far below what is wanted that a single run, or a mean over runs of which some diverged, is
enough to say so. The target's seeds lie within 0.1 points of their mean in the reference study."""

RequirementVerdict = Literal["pass", "fail", "undecided"]


class Requirement(msgspec.Struct, frozen=True):
    """One line of the assignment, and whether a network meets it."""

    wanted: str
    verdict: RequirementVerdict
    measured: str
    note: str = ""
    """How far it was missed, and what to make of that."""
    reached_and_kept: list[str] = []
    """Ablations of the study that reach what the target misses, and keep the other requirements."""
    reached_and_broke: list[str] = []
    """Those that reach it and break another one, with which."""


def check_requirements(
    target_runs: Sequence[RunRecord], other_runs: Mapping[str, Sequence[RunRecord]]
) -> list[Requirement]:
    """The assignment's four requirements against the target's runs.

    The assignment asks for fewer than 20 epochs, and the reference recipe has 20. Its learning
    rate is constant after epoch 15, so its state after epoch 19 is exactly that of the same run
    stopped there, which is what this check looks at: a fixed epoch, not the best one.

    `other_runs` are those of each ablation.
    """
    accuracies_pct = [run.last_epoch.test_accuracy_pct for run in target_runs]
    parameters = target_runs[0].parameters
    last_allowed_pct = [
        run.epochs[min(len(run.epochs), EPOCH_LIMIT - 1) - 1].test_accuracy_pct
        for run in target_runs
    ]
    num_runs = plural(len(target_runs), "seed")
    over_seeds = f"mean of {num_runs}" if len(target_runs) > 1 else num_runs
    lowest = f" (lowest {min(accuracies_pct):.2f} %)" if len(target_runs) > 1 else ""
    num_epochs = [min(len(run.epochs), EPOCH_LIMIT - 1) for run in target_runs]
    diverged = ", or where a run diverged," if min(num_epochs) < max(num_epochs) else ""
    used = used_concepts(target_runs[0].run_spec.network)
    is_missed = fmean(accuracies_pct) < WANTED_ACCURACY_PCT
    return [
        Requirement(
            WANTED_ACCURACY,
            judge_accuracy(accuracies_pct),
            f"{in_pct(fmean(accuracies_pct))} after the last epoch, {over_seeds}{lowest}{interval_words(accuracies_pct)}",
            explain_shortfall(target_runs),
            *(others_that_reach_it(other_runs) if is_missed else ([], [])),
        ),
        Requirement(WANTED_PARAMETERS, judge_parameters(parameters), f"{parameters:,}"),
        Requirement(WANTED_CONCEPTS, judge_concepts(used), "uses " + ", ".join(used)),
        Requirement(
            f"that accuracy in fewer than {EPOCH_LIMIT} epochs",
            judge_accuracy(last_allowed_pct),
            f"{in_pct(fmean(last_allowed_pct))} after epoch {max(num_epochs)}{diverged} of the same runs, "
            f"{over_seeds}{interval_words(last_allowed_pct)}",
        ),
    ]


def used_concepts(network: NetworkSpec) -> list[str]:
    """Those of the four that a network of our own uses."""
    is_used = (
        "bn" in network.block,
        network.dropout > 0,
        network.head == "fc",
        network.pooling == "gap",
    )
    return [concept for concept, used in zip(CONCEPTS, is_used, strict=True) if used]


def broken_requirements(run: RunRecord) -> list[str]:
    """What a run's network fails but for its accuracy, in a few words each."""
    used = used_concepts(run.run_spec.network)
    too_large = (
        [] if judge_parameters(run.parameters) == "pass" else [f"{run.parameters:,} parameters"]
    )
    return too_large + [f"without {concept}" for concept in CONCEPTS if concept not in used]


def judge_parameters(parameters: int) -> RequirementVerdict:
    """Fewer than 20,000."""
    return "pass" if parameters < PARAMETER_LIMIT else "fail"


def judge_concepts(used: Sequence[str]) -> RequirementVerdict:
    """All four."""
    return "pass" if set(used) >= set(CONCEPTS) else "fail"


def judge_accuracy(accuracies_pct: Sequence[float]) -> RequirementVerdict:
    """Whether the mean over all seeds reaches 99.4 %: decided where the whole 95 % interval of the
    mean lies on one side, and where the mean is far below, for example because a run diverged.
    One seed decides nothing else."""
    interval = t_interval_95(accuracies_pct)
    if fmean(accuracies_pct) < WANTED_ACCURACY_PCT - FAR_POINTS:
        return "fail"
    if interval is None:
        return "undecided"
    low, high = interval
    if low >= WANTED_ACCURACY_PCT:
        return "pass"
    return "fail" if high < WANTED_ACCURACY_PCT else "undecided"


def interval_words(accuracies_pct: Sequence[float]) -> str:
    """The interval that decides, or why there is none."""
    interval = t_interval_95(accuracies_pct)
    if interval:
        low, high = max(interval[0], 0.0), min(interval[1], 100.0)
        return f", 95 % interval {in_pct(low)} to {in_pct(high)}"
    if len(accuracies_pct) == 1:
        return "; one seed does not say what others do"
    return "; all seeds agree, so there is no interval"


def explain_shortfall(target_runs: Sequence[RunRecord]) -> str:
    """By how much the target misses the accuracy, and what to make of that; empty if it does not."""
    num_test = target_runs[0].run_spec.dataset.num_test
    accuracy_pct = mean_accuracy_pct(target_runs)
    shortfall_pct = WANTED_ACCURACY_PCT - accuracy_pct
    if shortfall_pct <= 0:
        return ""
    noise_pct = sampling_noise_pct(accuracy_pct, num_test)
    size = "less" if shortfall_pct < noise_pct else "more"
    num_reached = sum(
        run.last_epoch.test_accuracy_pct >= WANTED_ACCURACY_PCT for run in target_runs
    )
    num_short = f"{shortfall_pct * num_test / 100:,.1f}".removesuffix(".0")
    average = " on average" if len(target_runs) > 1 else ""
    return (
        f"{num_short} images of {num_test:,} short{average}, {size} than "
        f"another draw of as many test images would change one accuracy (±{noise_pct:.2f} points); "
        f"{num_reached} of {plural(len(target_runs), 'run')} reached it."
    )


def others_that_reach_it(
    other_runs: Mapping[str, Sequence[RunRecord]],
) -> tuple[list[str], list[str]]:
    """The ablations that reach the accuracy on average: those that keep the other requirements, and
    those that break one."""
    keeping: list[str] = []
    breaking: list[str] = []
    for name, runs in other_runs.items():
        mean_pct = mean_accuracy_pct(runs)
        if mean_pct >= WANTED_ACCURACY_PCT:
            broken = broken_requirements(runs[0])
            details = [in_pct(mean_pct), plural(len(runs), "seed"), *broken]
            (breaking if broken else keeping).append(f"{name} ({', '.join(details)})")
    return keeping, breaking


def mean_accuracy_pct(runs: Sequence[RunRecord]) -> float:
    """After the last epoch."""
    return fmean(run.last_epoch.test_accuracy_pct for run in runs)


def in_pct(accuracy_pct: float) -> str:
    """An accuracy with two digits, or as many more as show on which side of 99.4 % it is."""
    digits = 2
    while digits < 5 and (
        (round(accuracy_pct, digits) >= WANTED_ACCURACY_PCT)
        != (accuracy_pct >= WANTED_ACCURACY_PCT)
    ):
        digits += 1
    return f"{accuracy_pct:.{digits}f} %"
