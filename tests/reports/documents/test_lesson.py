"""The lesson plan says what the reference study says, and claims no more."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ablations.analysis.summary import Results, summarise
from ablations.analysis.verdicts import Verdict
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.records.study import load_study
from mnist_blocks import TARGET
from mnist_blocks.summary import count_parameters
from reports.documents.by_hand import formula, paired_steps, sized_layers
from reports.documents.lesson import PARTS, guess_words, insert_lesson
from reports.documents.markers import BEGIN, END, PART, fill_parts
from reports.text.wording import interval
from tests.factories import make_results

REPOSITORY = Path(__file__).resolve().parents[3]
PATH = REPOSITORY / "docs" / "lesson.md"
LESSON = PATH.read_text()
BY_HAND = PART.sub("", LESSON)
"""What of it no study made."""
ASSIGNMENT = {"99.4", "20,000"}


@pytest.fixture(scope="module")
def studies() -> list[Results]:
    return [
        summarise(load_study(REPOSITORY / "docs" / name)) for name in ("reference", "fashion-mnist")
    ]


def part(words: str, results: Results, *others: Results) -> str:
    """What a lesson of this one part says."""
    lesson = insert_lesson(f"{BEGIN}{words} -->\nSTALE\n{END}", [results, *others])
    assert "STALE" not in lesson
    return PART.sub(lambda found: found.group()[len(found.group(1)) : -len(END)], lesson)


def test_lesson_has_the_reference_numbers(studies: list[Results]) -> None:
    assert insert_lesson(LESSON, studies) == LESSON, "stale: run `make readme`"


def test_stale_lesson_is_noticed(studies: list[Results]) -> None:
    for number in ("99.39 %", "18,962", "−0.27", "25,104"):
        stale = LESSON.replace(number, "77.77")
        assert stale != LESSON
        assert insert_lesson(stale, studies) == LESSON


def test_no_number_of_the_study_is_typed_by_hand() -> None:
    without_code = re.sub(r"```.*?```|`[^`]+`", "", BY_HAND, flags=re.DOTALL)
    numbers = set(re.findall(r"\d+\.\d+|\d{1,3},\d{3}", without_code))
    assert numbers == ASSIGNMENT


def test_every_part_is_used() -> None:
    assert {words.split()[0] for _, words, _ in PART.findall(LESSON)} == set(PARTS)


def test_a_mark_must_name_what_there_is(studies: list[Results]) -> None:
    for words, message in (
        ("nothing", "no part 'nothing'"),
        ("seeds no-such-thing", "no ablation 'no-such-thing'"),
        ("seeds", "needs 1 to 1 ablations"),
        ("interaction no-gap", "needs 2 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            part(words, studies[0])


def test_a_mark_needs_its_other_end() -> None:
    def make(name: str, arguments: object) -> str:
        return f"{name}\n"

    assert fill_parts(f"a\n{BEGIN}b; c -->\nold\n{END}\nd", make) == (
        f"a\n{BEGIN}b; c -->\nb\n{END}\nd"
    )
    for broken in ("", f"{BEGIN}b -->\n", END, f"{BEGIN}b -->\n{BEGIN}c -->\n{END}"):
        with pytest.raises(ValueError, match="needs the lines"):
            fill_parts(broken, make)


def test_parts_of_a_study_that_lacks_runs() -> None:
    results = make_results({"target": [0, 1], "no-dropout": [0], "no-gap": [0, 1]})
    assert "Not run in this study yet: no-batchnorm" in part("seeds no-batchnorm", results)
    assert "one seed" in part("guesses no-dropout", results)
    assert "takes two" in part("paired no-dropout", results)
    assert "has not been run" in part("interaction no-dropout no-gap", results)
    assert "no study of other data" in part("elsewhere", results)
    without_target = make_results({"no-gap": [0, 1]})
    assert "Not run in this study yet: " in part("numbers", without_target)


def test_parts_hold_of_every_ablation(studies: list[Results]) -> None:
    for entry in CATALOGUE[1:]:
        for name in ("guesses", "resized", "verdict", "seeds", "paired", "epochs"):
            assert part(f"{name} {entry.name}", studies[0]).strip(), (name, entry.name)


def test_guesses_are_called_right_only_where_the_verdict_says_so() -> None:
    def guess(kind: str, effect: str) -> str:
        return guess_words(
            msgspec.convert(
                dict.fromkeys(Verdict.__struct_fields__) | {"kind": kind, "effect": effect}, Verdict
            )
        )

    assert guess("matters", "hurts") == "worse by more than the margin"
    assert guess("matters", "helps").startswith("better")
    assert guess("negligible", "unclear") == "hardly any difference"
    assert guess("real but small", "hurts") == "hardly any difference"
    for kind, effect in (
        ("undecided", "unclear"),
        ("undecided", "hurts"),
        ("undecided", "helps"),
        ("one seed", "unclear"),
    ):
        assert guess(kind, effect).startswith("open")


def test_undecided_is_said_to_be_undecided(studies: list[Results]) -> None:
    for row in studies[0].rows:
        if row.verdict and row.verdict.kind == "undecided":
            assert "*undecided" in part(f"verdict {row.ablation.name}", studies[0])
            assert "| open: " in part(f"guesses {row.ablation.name}", studies[0])


def test_interval_by_hand_is_the_reports(studies: list[Results]) -> None:
    for row in studies[0].rows:
        difference = row.difference_pct
        if difference and difference.interval_95:
            assert f"({interval(difference.interval_95)})" in part(
                f"paired {row.ablation.name}", studies[0]
            )


def test_steps_by_hand_are_those_of_an_example() -> None:
    # Differences 1, 2, 3: mean 2, s = 1; t with two degrees of freedom is 4.303.
    steps = paired_steps({0: 11, 1: 12, 2: 13}, {0: 10, 1: 10, 2: 10}, num_test=1000)
    assert "mean = +6 / 3 = +2.00 images" in steps
    assert "s = √(2.00 / (3 − 1)) = 1.00 images" in steps
    assert "4.303" in steps
    assert "−0.48 to +4.48 images" in steps  # 2 ± 4.303 / √3
    assert "+0.20 (−0.05 to +0.45)" in steps
    same = paired_steps({0: 11, 1: 12}, {0: 10, 1: 11}, num_test=1000)
    assert "no spread" in same


def test_formulas_give_the_counts() -> None:
    for entry in CATALOGUE:
        for layer in sized_layers(entry.network_spec).values():
            assert eval(formula(layer).replace("×", "*")) == count_parameters(layer)
    assert sum(map(count_parameters, sized_layers(TARGET).values())) == 18_962


def test_interaction_of_two_is_half_the_difference_of_their_gains() -> None:
    names = ("no-batchnorm", "no-gap")
    both = "+".join(names)
    results = make_results({name: [0, 1, 2] for name in ("target", *names, both)})
    accuracy = {
        row.ablation.name: row.accuracy_pct.mean for row in (*results.rows, *results.combinations)
    }
    beside = accuracy["target"] - accuracy["no-batchnorm"]
    alone = accuracy["no-gap"] - accuracy[both]
    text = part(f"interaction {' '.join(names)}", results)
    for value in (beside, alone, (beside - alone) / 2):
        assert f"{value:+.3f}".replace("-", "−") + " points" in text


def test_differences_after_the_last_epoch_are_the_reports(studies: list[Results]) -> None:
    for row in studies[0].rows:
        if row.difference_pct:
            text = part(f"epochs {row.ablation.name}", studies[0])
            [line] = [line for line in text.splitlines() if row.ablation.name in line]
            shown = line.split("|")[-2].strip().replace("−", "-")
            assert float(shown) == pytest.approx(row.difference_pct.mean, abs=0.006)


def test_code_of_the_lesson_prints_what_it_says() -> None:
    [code] = re.findall(r"```python\n(.*?)```", LESSON, re.DOTALL)
    assert "prints `True`" in LESSON
    assert output_of(code) == "True\n"
    # It can fail: without batch norm nothing takes the bias off again.
    other = code.replace(
        "(TARGET)", "(__import__('dataclasses').replace(TARGET, block='conv-relu'))"
    )
    assert output_of(other) == "False\n"


def output_of(code: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_commands_and_files_of_the_lesson_exist() -> None:
    commands = set(re.findall(r"python cli\.py (\w+)", LESSON))
    assert len(commands) >= 5
    for command in commands:
        finished = subprocess.run(
            [sys.executable, "cli.py", command, "--help"], cwd=REPOSITORY, capture_output=True
        )
        assert finished.returncode == 0, command
    for name in re.findall(r"python cli\.py (?:show|ablate) ([a-z-]+)", LESSON):
        find_ablation(name)
    for path in re.findall(r"\]\(([^)#]+)\)", LESSON):
        assert (PATH.parent / path).exists(), path
