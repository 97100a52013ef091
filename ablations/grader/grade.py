"""Checks somebody's own network against the assignment. Pure functions of what was measured.

`worker.py` looks at the network and trains it, in processes of its own; here is what is
made of that: for each requirement pass, fail or undecided, with the figure.
"""

from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import NamedTuple

import msgspec

from ablations.analysis.requirements import (
    CONCEPTS,
    EPOCH_LIMIT,
    WANTED_ACCURACY,
    WANTED_ACCURACY_PCT,
    WANTED_CONCEPTS,
    WANTED_PARAMETERS,
    Requirement,
    RequirementVerdict,
    interval_words,
    judge_accuracy,
    judge_concepts,
    judge_parameters,
)
from ablations.analysis.statistics import Estimate, estimate
from ablations.analysis.verdicts import LEVEL, one_sided_power, smallest_sample
from ablations.words import plural

WANTED_EPOCHS = f"fewer than {EPOCH_LIMIT} epochs"
NOT_MEASURED = "not measured"
EXIT_CODES: Mapping[RequirementVerdict, int] = {"pass": 0, "fail": 1, "undecided": 3}
NO_GRADE_EXIT_CODE = 4
"""The network was not judged: the data, the disk or the machine is in the way. 2 is a command that
was misused."""


class Inspection(msgspec.Struct, frozen=True):
    """What a look at a network found, before it was trained."""

    parameters: int
    frozen_parameters: int
    """Of them, those that training leaves alone."""
    concepts: list[str]
    """Of `CONCEPTS`, those that were at work while it classified a batch in training."""
    notes: list[str]
    """What its author should know."""


class TrainedSeed(msgspec.Struct, frozen=True):
    """One training."""

    seed: int
    num_epochs: int
    accuracy_pct: float
    """Test accuracy after the last epoch."""
    has_diverged: bool


class Grade(msgspec.Struct, frozen=True):
    """All requirements, for one network."""

    network: str
    """As it was named: `file.py:Name`."""
    dataset: str
    num_epochs: int
    """That it was to be trained for."""
    verdict: RequirementVerdict
    """`fail` if any requirement fails or there is a problem with the network itself, else
    `undecided` if any is, else `pass`."""
    requirements: list[Requirement]
    problem: str = ""
    """Why the network could not be checked to the end, in one line; empty if it could."""
    inspection: Inspection | None = None
    accuracy_pct: Estimate | None = None


class Problem(NamedTuple):
    """Why a network could not be trained as often as was asked."""

    text: str
    is_limit: bool = False
    """It was a limit of time or memory, which the assignment does not set."""


def grade(
    network: str,
    dataset: str,
    num_epochs: int,
    inspection: Inspection,
    trained: Sequence[TrainedSeed],
    problem: Problem | None = None,
) -> Grade:
    """Judge a network that could be looked at, and perhaps trained."""
    found = estimate({run.seed: run.accuracy_pct for run in trained}) if trained else None
    requirements = [
        check_parameters(inspection),
        check_concepts(inspection),
        check_epochs(num_epochs, trained),
        check_accuracy(found, trained, dataset),
    ]
    if problem and problem.is_limit:
        requirements.append(
            Requirement("the trainings that were asked for", "undecided", problem.text)
        )
    elif problem:
        requirements[-1] = Requirement(WANTED_ACCURACY, "fail", problem.text)
    verdicts = {requirement.verdict for requirement in requirements}
    verdict: RequirementVerdict = "pass"
    if "fail" in verdicts:
        verdict = "fail"
    elif "undecided" in verdicts:
        verdict = "undecided"
    text = problem.text if problem else ""
    return Grade(network, dataset, num_epochs, verdict, requirements, text, inspection, found)


def failed(network: str, dataset: str, num_epochs: int, problem: Problem) -> Grade:
    """The grade of a network that could not even be looked at."""
    wanted = (WANTED_PARAMETERS, WANTED_CONCEPTS, WANTED_EPOCHS, WANTED_ACCURACY)
    return Grade(
        network,
        dataset,
        num_epochs,
        "undecided" if problem.is_limit else "fail",
        [Requirement(words, "undecided", NOT_MEASURED) for words in wanted],
        problem.text,
    )


def check_parameters(inspection: Inspection) -> Requirement:
    """Fewer than 20,000."""
    frozen = inspection.frozen_parameters
    return Requirement(
        WANTED_PARAMETERS,
        judge_parameters(inspection.parameters),
        f"{inspection.parameters:,}" + (f", of which {frozen:,} are not trained" if frozen else ""),
    )


def check_concepts(inspection: Inspection) -> Requirement:
    """All four at work."""
    missing = [concept for concept in CONCEPTS if concept not in inspection.concepts]
    return Requirement(
        WANTED_CONCEPTS,
        judge_concepts(inspection.concepts),
        f"not found at work: {', '.join(missing)} (looked for: PyTorch's layers and functions that the "
        "outputs depend on)"
        if missing
        else "all at work",
    )


def check_epochs(num_epochs: int, trained: Sequence[TrainedSeed]) -> Requirement:
    """Fewer than 20."""
    if not trained:
        return Requirement(WANTED_EPOCHS, "undecided", NOT_MEASURED)
    return Requirement(
        WANTED_EPOCHS,
        "pass" if num_epochs < EPOCH_LIMIT else "fail",
        f"trained for {num_epochs}"
        + (
            "" if all(run.num_epochs == num_epochs for run in trained) else ", or until it diverged"
        ),
    )


def check_accuracy(
    found: Estimate | None, trained: Sequence[TrainedSeed], dataset: str
) -> Requirement:
    """At least 99.4 %: decided where the whole 95 % interval of the mean is on one side."""
    if found is None:
        return Requirement(WANTED_ACCURACY, "undecided", NOT_MEASURED)
    num_seeds = len(found.by_seed)
    lowest, highest = min(found.by_seed.values()), max(found.by_seed.values())
    measured = f"{found.mean:.3f} % after the last epoch, " + (
        f"mean of {num_seeds} seeds ({lowest:.2f} to {highest:.2f})"
        if num_seeds > 1
        else "one seed"
    )
    num_diverged = sum(run.has_diverged for run in trained)
    if num_diverged:
        measured += f"; {num_diverged} of {plural(num_seeds, 'training')} diverged"
    accuracies_pct = list(found.by_seed.values())
    measured += interval_words(accuracies_pct)
    verdict = judge_accuracy(accuracies_pct)
    if dataset != "mnist":
        return Requirement(WANTED_ACCURACY, "undecided", f"{measured}; the assignment means MNIST")
    if verdict == "undecided" and found.interval_95:
        more = None if num_diverged else seeds_to_decide(found)
        measured += f"; about {plural(more, 'more seed')} would decide" if more else ""
    elif verdict == "undecided":
        measured += ": give it more with --seeds"
    return Requirement(WANTED_ACCURACY, verdict, measured)


def seeds_to_decide(found: Estimate) -> int | None:
    """How many more seeds would decide in 80 % of cases; None: more than a thousand."""
    deviation = stdev(found.by_seed.values())
    distance = abs(found.mean - WANTED_ACCURACY_PCT) / deviation
    needed = smallest_sample(lambda size: one_sided_power(distance, size, LEVEL / 2))
    return None if needed is None else max(1, needed - len(found.by_seed))
