"""Grades from measurements."""

import msgspec
import pytest

from ablations.analysis.requirements import CONCEPTS
from ablations.grader.grade import Grade, grade_network
from ablations.grader.protocol import Inspection, LimitError, NetworkError, TrainedSeed
from ablations.grader.wordings import WORDINGS

INSPECTION = Inspection(18_962, 0, list(CONCEPTS), [])


def trained(*accuracies_pct: float, num_epochs: int = 19) -> list[TrainedSeed]:
    return [TrainedSeed(seed, num_epochs, pct, False) for seed, pct in enumerate(accuracies_pct)]


@pytest.mark.parametrize(
    ("accuracies_pct", "num_epochs", "verdict", "words"),
    [
        ((99.50, 99.52, 99.48), 19, "pass", "mean of 3 seeds"),
        ((99.30, 99.32, 99.28), 19, "fail", "95 % interval"),
        ((99.40, 99.45, 99.37), 19, "undecided", "use more --seeds, about "),
        ((99.60,), 19, "undecided", "use more --seeds"),
        ((99.39,), 19, "undecided", "use more --seeds"),
        ((99.60, 99.60), 19, "undecided", "use more --seeds"),
        ((10.0,), 19, "fail", "a guess among ten classes"),
        ((9.8, 9.8, 9.8), 19, "fail", "all 3 seeds agree"),
        ((99.50, 99.50, 99.52, 99.48, 9.8), 19, "fail", "mean of 5 seeds"),
        ((99.50, 99.52, 99.48), 20, "fail", "mean of 3 seeds"),
    ],
)
def test_the_interval_decides_about_accuracy(
    accuracies_pct: tuple[float, ...], num_epochs: int, verdict: str, words: str
) -> None:
    runs = trained(*accuracies_pct, num_epochs=num_epochs)
    grade = grade_network("x", "mnist", num_epochs, INSPECTION, runs)
    assert grade.verdict == verdict
    assert words in grade.requirements[3].measured
    assert msgspec.json.decode(msgspec.json.encode(grade), type=Grade) == grade


@pytest.mark.parametrize(
    ("error", "inspection", "runs", "verdicts"),
    [
        (NetworkError, None, [], "undecided undecided undecided fail"),
        (LimitError, None, [], "undecided undecided undecided undecided undecided"),
        (NetworkError, INSPECTION, [], "pass pass undecided fail"),
        (LimitError, INSPECTION, [], "pass pass undecided undecided undecided"),
        (LimitError, INSPECTION, trained(99.50, 99.52, 99.48), "pass pass pass pass undecided"),
    ],
)
def test_a_failing_network_fails_and_a_limit_leaves_it_undecided(
    error: type[NetworkError],
    inspection: Inspection | None,
    runs: list[TrainedSeed],
    verdicts: str,
) -> None:
    grade = grade_network("x", "mnist", 19, inspection, runs, error("why"))
    assert [requirement.verdict for requirement in grade.requirements] == verdicts.split()
    assert grade.requirements[-1].measured == grade.problem == "why"
    assert grade.verdict == ("undecided" if error is LimitError else "fail")


def test_frozen_parameters_count() -> None:
    grade = grade_network("x", "mnist", 19, Inspection(20_500, 20_000, list(CONCEPTS), []))
    assert grade.requirements[0].verdict == "fail"
    assert "20,000 are not trained" in grade.requirements[0].measured


@pytest.mark.parametrize(
    ("has_fc", "has_gap", "wordings"),
    [
        (True, True, {"fc-and-gap", "fc-or-gap"}),
        (True, False, {"fc-or-gap"}),
        (False, True, {"fc-or-gap", "no-fc"}),
        (False, False, set()),
    ],
)
def test_courses_require_different_concepts(
    has_fc: bool, has_gap: bool, wordings: set[str]
) -> None:
    used = [name for name, has in zip(CONCEPTS, (True, True, has_fc, has_gap), strict=True) if has]
    passed = set()
    for wording in WORDINGS:
        inspection = Inspection(18_962, 0, used, [])
        concepts = grade_network("x", "mnist", 19, inspection, wording=wording).requirements[1]
        assert f"--requirements {wording}" in concepts.wanted
        passed |= {wording} if concepts.verdict == "pass" else set()
        without_dropout = grade_network(
            "x", "mnist", 19, Inspection(1, 0, [*{*used} - {"dropout"}], []), wording=wording
        )
        assert without_dropout.requirements[1].verdict == "fail"
    assert passed == wordings


def test_divergence_is_reported() -> None:
    runs = [TrainedSeed(0, 1, 10.0, True), TrainedSeed(1, 19, 99.5, False)]
    grade = grade_network("x", "mnist", 19, INSPECTION, runs)
    assert grade.requirements[2].measured == "trained for 19, or until it diverged"
    assert "1 of 2 trainings diverged" in grade.requirements[3].measured
