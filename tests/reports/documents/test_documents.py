"""README, lesson and guide: numbers from the records, and commands and paths that exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import cli
from ablations.analysis.summary import Results
from ablations.catalogue.entries import CATALOGUE, find_ablation
from reports.documents import lesson as lesson_module
from reports.documents.lesson import parameter_counts, render_lesson
from reports.documents.readme import render_readme, render_summary
from reports.text.wording import interval, signed
from tests.factories import DIGITS, make_results, make_spec

REPOSITORY = Path(__file__).resolve().parents[3]
TEMPLATES = Path(lesson_module.__file__).parent / "templates"
README = (REPOSITORY / "README.md").read_text()
LESSON = (REPOSITORY / "docs" / "lesson.md").read_text()
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/lesson.md", "docs/guide.md")


def test_readme_and_lesson_are_fresh(reference: Results, fashion: Results) -> None:
    assert render_readme(reference, [fashion]) == README, "stale: run `make readme`"
    assert render_lesson([reference, fashion]) == LESSON, "stale: run `make readme`"
    assert len(README.splitlines()) <= 150


def test_no_number_of_the_study_is_in_a_template() -> None:
    for name in ("README.jinja", "results.jinja", "lesson.jinja"):
        template = (TEMPLATES / name).read_text()
        prose = re.sub(r"```.*?```|`[^`]+`|\{\{.*?\}\}|\{%.*?%\}", "", template, flags=re.DOTALL)
        numbers = set(re.findall(r"\d+\.\d+|\d{1,3},\d{3}", prose))
        # The assignment, the Python version, the level of the tests, and an example's effect size.
        assert numbers <= {"99.4", "20,000", "3.11", "0.05", "0.8"}, name


def test_table_has_every_ablation_with_its_numbers(reference: Results) -> None:
    for row in reference.rows:
        [line] = [
            line for line in README.splitlines() if line.startswith(f"| `{row.ablation.name}`")
        ]
        assert f"{row.parameters:,}" in line and f"{row.accuracy_pct.mean:.2f} %" in line
        if row.difference_pct and row.difference_pct.interval_95:
            bounds = interval(row.difference_pct.interval_95)
            assert f"{signed(row.difference_pct.mean)} ({bounds})" in line


def test_summary_puts_notices_before_numbers() -> None:
    seeds = {"target": range(3), "no-gap": range(3), "no-relu": [7]}
    assert "Please note" not in render_summary(make_results(seeds))
    # Invented runs diverge in the fourth epoch.
    problem = "no-relu/seed-0/record.json: damaged"
    spec = make_spec(DIGITS, "digits", num_epochs=5)
    text = render_summary(make_results(seeds, spec=spec, diverged=["no-gap"], problems=(problem,)))
    before, table, after = text.partition("| ablation |")
    assert "These are not MNIST's numbers" in before and "Training was" in before
    assert table and f"**Please note:** Left out: {problem}." in before
    assert "(3 of 3 runs diverged, in epoch 4)" in after
    # `no-relu` shares no seed with the target: neither effect nor verdict.
    [line] = [line for line in after.splitlines() if line.startswith("| `no-relu`")]
    assert line.endswith("|  |  | 1 |  |")
    assert "no run yet" in render_summary(make_results({"no-gap": [0]}))
    assert "(no interval)" in render_summary(make_results({"target": [0], "no-gap": [0]}))


def test_lesson_needs_the_runs_that_it_shows() -> None:
    with pytest.raises(ValueError, match="no run of 'no-batchnorm'"):
        render_lesson([make_results({"target": [0, 1], "no-dropout": [0, 1]})])


def test_parameter_formulas_give_the_counts() -> None:
    for entry in CATALOGUE:
        for _, formula, number in parameter_counts(entry.network_spec):
            assert eval(formula.replace("×", "*")) == number
    assert sum(number for *_, number in parameter_counts()) == 18_962
    assert "18,962" in README


def test_code_of_the_lesson_prints_what_the_lesson_states() -> None:
    [code] = re.findall(r"```python\n(.*?)```", LESSON, re.DOTALL)
    assert "prints `True`" in LESSON
    # Without batch norm nothing cancels the bias.
    without = code.replace("(TARGET)", "(find_ablation('no-batchnorm').network_spec)")
    without = f"from ablations.catalogue.entries import find_ablation\n{without}"
    for source, expected in ((code, "True\n"), (without, "False\n")):
        finished = subprocess.run(
            [sys.executable, "-c", source], cwd=REPOSITORY, capture_output=True, text=True
        )
        assert (finished.stdout, finished.returncode) == (expected, 0), finished.stderr


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_ablations_and_links_exist(name: str) -> None:
    text = (REPOSITORY / name).read_text()
    for command in re.findall(r"python cli\.py (\w+)", text):
        assert command in cli.main.commands, command
    for ablation in re.findall(r"python cli\.py (?:show|ablate) (no-[a-z-]+)", text):
        find_ablation(ablation)
    for path in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((REPOSITORY / name).parent / path).exists(), path
    targets = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"^ {4}make (\w+)", text, re.MULTILINE):
        assert f"\n{target}:" in targets, target


def test_every_path_of_the_readme_exists() -> None:
    tree = README.split("## Read it")[1].split("## More")[0]
    paths = re.findall(r"[\w./]*\w(?:/|\.py|\.html)(?=\s|,|$|;)", tree)
    assert len(paths) > 20
    for path in paths:
        assert (REPOSITORY / path).exists(), path
