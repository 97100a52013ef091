"""Grades a network against the assignment's requirements. Pure functions of measurements."""

from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import Literal

import msgspec

from ablations.analysis import requirements as assignment
from ablations.analysis.requirements import Requirement, RequirementVerdict
from ablations.analysis.statistics import Estimate, estimate
from ablations.analysis.verdicts import seeds_to_detect
from ablations.grader.protocol import Inspection, LimitError, NetworkError, TrainedSeed
from ablations.grader.wordings import unmet_concepts, wanted_concepts
from ablations.words import plural

GradeVerdict = RequirementVerdict | Literal["no grade"]
EXIT_CODES: Mapping[GradeVerdict, int] = {"no grade": 4, "fail": 1, "undecided": 3, "pass": 0}
"""Of each verdict, the worst first. 2 means a misused command, which is no grade either."""

_Finding = tuple[RequirementVerdict, str]
"""Of a requirement: the verdict and what was measured."""


class Grade(msgspec.Struct, frozen=True):
    """All requirements, for one network."""

    network: str
    """`file.py:Name`."""
    dataset: str
    num_epochs: int
    """As requested."""
    verdict: GradeVerdict
    """The worst of the requirements: `fail`, then `undecided`, then `pass`. `no grade` without them."""
    requirements: list[Requirement]
    problem: str = ""
    """Why the check is incomplete, in one line; empty if it is complete."""
    inspection: Inspection | None = None
    accuracy_pct: Estimate | None = None


def grade_network(
    network: str,
    dataset: str,
    num_epochs: int,
    inspection: Inspection | None = None,
    trained: Sequence[TrainedSeed] = (),
    problem: NetworkError | None = None,
    wording: str = "fc-and-gap",
) -> Grade:
    """The grade of a network, from what could be measured before a problem, if there was one."""
    accuracy_pct = estimate({run.seed: run.accuracy_pct for run in trained}) if trained else None
    not_measured: _Finding = ("undecided", "not measured")
    parameters = concepts = epochs = accuracy = not_measured
    if inspection:
        parameters, concepts = _check_parameters(inspection), _check_concepts(inspection, wording)
    if accuracy_pct:
        epochs = _check_epochs(num_epochs, trained)
        accuracy = _check_accuracy(accuracy_pct, trained, dataset)
    if problem and not isinstance(problem, LimitError):
        accuracy = "fail", str(problem)
    requirements = [
        Requirement(assignment.WANTED_PARAMETERS, *parameters),
        Requirement(wanted_concepts(wording), *concepts),
        Requirement(f"fewer than {assignment.EPOCH_LIMIT} epochs", *epochs),
        Requirement(assignment.WANTED_ACCURACY, *accuracy),
    ]
    if isinstance(problem, LimitError):
        requirements.append(Requirement("all requested trainings", "undecided", str(problem)))
    return Grade(
        network,
        dataset,
        num_epochs,
        min((one.verdict for one in requirements), key=list(EXIT_CODES).index),
        requirements,
        str(problem or ""),
        inspection,
        accuracy_pct,
    )


def _check_parameters(inspection: Inspection) -> _Finding:
    """Fewer than 20,000, including those that are not trained."""
    measured = f"{inspection.parameters:,}"
    if inspection.frozen_parameters:
        measured += f", of which {inspection.frozen_parameters:,} are not trained"
    return assignment.judge_parameters(inspection.parameters), measured


def _check_concepts(inspection: Inspection, wording: str) -> _Finding:
    if unmet := ", ".join(unmet_concepts(inspection.concepts, wording)):
        measured = f"not met by the operations that the outputs depend on: {unmet}"
        if inspection.partial_average:
            measured += f"; {inspection.partial_average} is not global"
        return "fail", measured
    return "pass", "all met"


def _check_epochs(num_epochs: int, trained: Sequence[TrainedSeed]) -> _Finding:
    is_complete = all(run.num_epochs == num_epochs for run in trained)
    measured = f"trained for {num_epochs}" + ("" if is_complete else ", or until it diverged")
    return "pass" if num_epochs < assignment.EPOCH_LIMIT else "fail", measured


def _check_accuracy(
    accuracy_pct: Estimate, trained: Sequence[TrainedSeed], dataset: str
) -> _Finding:
    """At least 99.4 %: decided if the whole 95 % interval of the mean is on one side."""
    by_seed = list(accuracy_pct.by_seed.values())
    verdict = assignment.judge_accuracy(by_seed)
    measured = f"{accuracy_pct.mean:.3f} % after the last epoch, "
    if len(by_seed) > 1:
        measured += f"mean of {len(by_seed)} seeds ({min(by_seed):.2f} to {max(by_seed):.2f})"
    else:
        measured += "one seed"
    measured += assignment.interval_words(by_seed)
    num_diverged = sum(run.has_diverged for run in trained)
    if num_diverged:
        measured += f"; {num_diverged} of {plural(len(by_seed), 'training')} diverged"
    if accuracy_pct.mean < assignment.HARDLY_LEARNT_PCT:
        measured += f"; a guess among ten classes is right in {assignment.GUESSING_PCT:.0f} %"
    if dataset != "mnist":
        measured += "; the assignment requires MNIST"
        verdict = "undecided"
    elif verdict == "undecided":
        measured += "; use more --seeds"
        if accuracy_pct.interval_95:
            distance = accuracy_pct.mean - assignment.WANTED_ACCURACY_PCT
            num_seeds = seeds_to_detect(distance, stdev(by_seed))
            measured += f", about {num_seeds or 'more than 1,000'} in all"
    return verdict, measured
