"""The committed studies, and the documents that are rendered from their records."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ablations.analysis.summary import Results, summarise
from ablations.catalogue.designs import CORE
from ablations.catalogue.entries import ENTRIES, find_ablation
from ablations.inspection.load import load_exhibits
from ablations.records.run import load_predictions
from ablations.records.study import load_study
from reports.documents.lesson import parameter_counts, render_lesson
from reports.documents.readme import render_readme, render_summary
from reports.exports.data import results_csv
from reports.html.page import render_page
from reports.text.wording import capitalised, interval, signed
from tests.factories import DIGITS, make_results, make_spec
from tests.reports.html.pages import text_of

REPOSITORY = Path(__file__).resolve().parents[3]
REFERENCE = REPOSITORY / "docs" / "reference"
FASHION = REPOSITORY / "docs" / "fashion-mnist"
TEMPLATES = REPOSITORY / "reports" / "documents" / "templates"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
LESSON = (REPOSITORY / "docs" / "lesson.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reference() -> Results:
    return summarise(load_study(REFERENCE))


@pytest.fixture(scope="module")
def fashion() -> Results:
    return summarise(load_study(FASHION))


def num_seeds(results: Results) -> dict[str, int]:
    rows = (*results.rows, *results.combinations)
    return {row.ablation.name: len(row.runs) for row in rows}


def page_text(page: str) -> str:
    """A page's text without figures: other versions of matplotlib draw other bytes."""
    return text_of(re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL))


def test_reference_study_is_complete(reference: Results) -> None:
    study = reference.study
    assert study.problems == () and study.spec.is_mnist and study.spec.is_full_length
    # The target and fifteen ablations; a new entry may wait for its reference runs.
    assert len(reference.rows) >= 16
    for name, number in num_seeds(reference).items():
        entry = find_ablation(name)
        has_five = entry.kind != "network" or entry.is_core
        assert number >= (5 if has_five and not entry.parts else 3), name
    [attribution] = reference.attributions
    assert attribution.is_factorial and min(attribution.num_seeds) >= 3
    assert set(attribution.names) == {entry.name for entry in CORE}
    assert study.timing and study.timing.by_ablation.keys() >= num_seeds(reference).keys()
    exhibits = load_exhibits(REFERENCE, reference.study)
    names = {entry.name for entry in ENTRIES if entry.control != "negative"}
    names -= {entry.name for entry in ENTRIES if "published" not in entry.recipes}
    assert set(exhibits.weights) == names and exhibits.problems == ()
    assert exhibits.gallery and exhibits.gallery.variants.keys() == names - {"target"}


def test_study_of_other_data_is_complete(fashion: Results) -> None:
    spec = fashion.study.spec
    assert fashion.study.problems == () and spec.dataset.name == "fashion-mnist"
    assert spec.is_full_length
    found = num_seeds(fashion)
    assert found.keys() >= {entry.name for entry in (ENTRIES[0], *CORE)}
    assert all(number >= 5 for number in found.values())


def test_records_are_of_the_current_catalogue(reference: Results, fashion: Results) -> None:
    for record in (*reference.study.records, *fashion.study.records):
        run_spec, entry = record.run_spec, find_ablation(record.run_spec.ablation)
        assert (run_spec.network, run_spec.training) == (
            entry.network_spec,
            entry.training_spec("published"),
        )
    for row in reference.rows:
        load_predictions(REFERENCE / row.ablation.name / "seed-0", row.runs[0])


def test_reports_and_tables_are_fresh(reference: Results, fashion: Results) -> None:
    assert (REFERENCE / "results.csv").read_text(encoding="utf-8") == results_csv(reference)
    for folder, results, others in ((REFERENCE, reference, [fashion]), (FASHION, fashion, [])):
        page = (folder / "report.html").read_text(encoding="utf-8")
        fresh = render_page(results, load_exhibits(folder, results.study), others)
        assert page_text(page) == page_text(fresh), "stale: run `make readme`"
        assert (folder / "report.md").read_text(encoding="utf-8") == render_summary(results)
    drawn = (REFERENCE / "differences.svg").read_text(encoding="utf-8")
    for row in reference.rows:
        if row.difference_pct:
            assert (
                capitalised(row.ablation.removes) in drawn
                and f">{signed(row.difference_pct.mean)} (" in drawn
            )


def test_committed_studies_are_small() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", REFERENCE, FASHION],
        cwd=REPOSITORY,
        capture_output=True,
        encoding="utf-8",
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    assert sum((REPOSITORY / name).stat().st_size for name in tracked) < 7_500_000


def test_readme_and_lesson_are_fresh(reference: Results, fashion: Results) -> None:
    assert render_readme(reference, [fashion]) == README, "stale: run `make readme`"
    assert render_lesson([reference, fashion]) == LESSON, "stale: run `make readme`"
    assert len(README.splitlines()) <= 150
    for row in reference.rows:
        [line] = re.findall(rf"^\| `{row.ablation.name}`.*$", README, re.MULTILINE)
        assert f"{row.parameters:,}" in line and f"{row.accuracy_pct.mean:.2f} %" in line
        if row.difference_pct and row.difference_pct.interval_95:
            bounds = interval(row.difference_pct.interval_95)
            assert f"{signed(row.difference_pct.mean)} ({bounds})" in line


@pytest.mark.parametrize("name", ["README.jinja", "results.jinja", "lesson.jinja"])
def test_no_number_of_the_study_is_in_a_template(name: str) -> None:
    template = (TEMPLATES / name).read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```|`[^`]+`|\{\{.*?\}\}|\{%.*?%\}", "", template, flags=re.DOTALL)
    numbers = set(re.findall(r"\d+\.\d+|\d{1,3},\d{3}", prose))
    # The assignment, the Python version, the level of the tests, and an example's effect size.
    assert numbers <= {"99.4", "20,000", "3.11", "0.05", "0.8"}


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
    assert "(3 of 3 runs failed)" in after
    # Seeds need not be shared, but one gives neither interval nor verdict.
    [line] = [line for line in after.splitlines() if line.startswith("| `no-relu`")]
    assert line.endswith("| large in this run; one seed | 1 |  |")
    assert "no run yet" in render_summary(make_results({"no-gap": [0]}))
    assert "no verdict from one seed" in render_summary(
        make_results({"target": [0], "no-gap": [0]})
    )


def test_lesson_needs_the_runs_that_it_shows() -> None:
    with pytest.raises(ValueError, match="no run of 'no-batchnorm'"):
        render_lesson([make_results({"target": [0, 1], "no-dropout": [0, 1]})])


def test_parameter_formulas_give_the_counts() -> None:
    for entry in ENTRIES:
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
            [sys.executable, "-c", source], cwd=REPOSITORY, capture_output=True, encoding="utf-8"
        )
        assert (finished.stdout, finished.returncode) == (expected, 0), finished.stderr
