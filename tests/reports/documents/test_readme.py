"""What the documents say is what the committed records and the code say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ablations.analysis.summary import results_csv, summarise
from ablations.catalogue.designs import CORE
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.catalogue.presets import FULL
from ablations.inspection.load import load_exhibits
from ablations.records.run import load_predictions
from ablations.records.study import Study, load_study
from reports.documents.markers import BEGIN, END
from reports.documents.readme import insert_results, results_section, summary_page
from reports.html.page import render_page
from reports.html.replication import render_replication
from reports.text.wording import signed
from tests.ablations.catalogue.test_catalogue import EXPECTED_NAMES
from tests.factories import DIGITS, make_results, make_spec

REPOSITORY = Path(__file__).resolve().parents[3]
REFERENCE = REPOSITORY / "docs" / "reference"
FASHION = REPOSITORY / "docs" / "fashion-mnist"
README = (REPOSITORY / "README.md").read_text()


@pytest.fixture(scope="module")
def reference() -> Study:
    return load_study(REFERENCE)


@pytest.fixture(scope="module")
def fashion() -> Study:
    return load_study(FASHION)


def test_reference_study_is_whole(reference: Study) -> None:
    assert reference.problems == ()
    assert reference.spec.is_mnist
    assert reference.spec.is_full_length
    seeds: dict[str, set[int]] = {}
    for record in reference.records:
        seeds.setdefault(record.run_spec.ablation, set()).add(record.run_spec.seed)
    # An entry that is new may wait for its reference runs; the report says that it has none.
    assert seeds.keys() >= EXPECTED_NAMES
    for name, found in seeds.items():
        entry = find_ablation(name)
        has_five = entry.kind != "network" or entry.is_core
        assert found >= set(range(5 if has_five and not entry.parts else 3)), name
    [attribution] = summarise(reference).attributions
    assert attribution.is_factorial
    assert set(attribution.names) == {entry.name for entry in CORE}
    assert len(attribution.seeds) >= 3
    assert reference.timing is not None
    assert reference.timing.by_ablation.keys() >= seeds.keys()


def test_study_of_other_data_is_whole(fashion: Study) -> None:
    assert fashion.problems == ()
    assert fashion.spec.dataset.name == "fashion-mnist"
    assert fashion.spec.num_epochs == FULL.num_epochs and fashion.spec.num_train_images is None
    seeds: dict[str, set[int]] = {}
    for record in fashion.records:
        seeds.setdefault(record.run_spec.ablation, set()).add(record.run_spec.seed)
    training = [entry for entry in CATALOGUE if entry.kind == "training"]
    assert seeds.keys() >= {entry.name for entry in (CATALOGUE[0], *CORE, *training)}
    assert all(found >= set(range(5)) for found in seeds.values())


def test_reference_runs_are_of_the_catalogue_as_it_is(reference: Study, fashion: Study) -> None:
    for record in (*reference.records, *fashion.records):
        entry = find_ablation(record.run_spec.ablation)
        assert record.run_spec.network == entry.network_spec
        assert record.run_spec.training == entry.training_spec


def test_reference_predictions_are_those_of_the_records(reference: Study) -> None:
    # Those of the first seed are enough: a record names the images that were wrong.
    for record in reference.records:
        run = record.run_spec
        if run.seed > 0 or find_ablation(run.ablation).parts:
            continue
        load_predictions(REFERENCE / run.ablation / f"seed-{run.seed}", record)


def test_reference_reports_and_tables_are_fresh(reference: Study, fashion: Study) -> None:
    results = summarise(reference)
    assert (REFERENCE / "results.csv").read_text() == results_csv(results)
    for folder, found in ((REFERENCE, results), (FASHION, summarise(fashion))):
        # Another version of matplotlib may draw the same figures with other bytes.
        page = (folder / "report.html").read_text()
        assert words(page) == words(render_page(found, load_exhibits(folder, found.study)))


def test_reference_report_has_networks_images_and_explanations(reference: Study) -> None:
    exhibits = load_exhibits(REFERENCE, reference)
    names = {ablation.name for ablation in CATALOGUE}
    assert set(exhibits.weights) == names and exhibits.problems == ()
    assert exhibits.gallery and exhibits.gallery.variants.keys() == names - {"target"}
    singles = [record for record in reference.records if "+" not in record.run_spec.ablation]
    assert len(exhibits.observations) == len(singles)
    page = (REFERENCE / "report.html").read_text()
    for anchor in ("why", "draw", "entries", "score"):
        assert f'id="{anchor}"' in page
    assert page.count('class="confusion"') == len(names)
    assert page.count('class="diagram') >= len(names)


def test_page_of_both_studies_is_fresh(reference: Study, fashion: Study) -> None:
    page = (REPOSITORY / "docs" / "transfer.html").read_text()
    fresh = render_replication([summarise(reference), summarise(fashion)])
    assert words(page) == words(fresh)


def test_reference_figure_is_fresh(reference: Study) -> None:
    drawn = (REFERENCE / "differences.svg").read_text()
    for row in summarise(reference).rows:
        if row.difference_pct:
            assert row.ablation.name in drawn
            assert f">{signed(row.difference_pct.mean)}<" in drawn


def words(page: str) -> str:
    """A page's text without its figures and white space."""
    without_figures = re.sub(
        r"<svg.*?</svg>|<style.*?</style>|<script.*?</script>", "", page, flags=re.DOTALL
    )
    return " ".join(re.sub(r"<[^>]+>", " ", without_figures).split())


def test_reference_is_small() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "docs/reference", "docs/fashion-mnist"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    assert sum((REPOSITORY / name).stat().st_size for name in tracked) < 7_500_000


def test_readme_has_the_reference_numbers(reference: Study, fashion: Study) -> None:
    fresh = insert_results(README, summarise(reference), [summarise(fashion)])
    assert fresh == README, "stale: run `make readme`"


def test_targets_accuracy_is_that_of_the_seeds_that_are_compared() -> None:
    results = make_results({"target": [0, 5], "no-relu": [0, 1, 2]})
    assert results.target is not None
    [line] = [line for line in results_section(results).splitlines() if "`no-relu`" in line]
    cells = [cell.strip() for cell in line.split("|")]
    assert f"{results.target.accuracy_pct.by_seed[0]:.2f} %" in cells
    assert "one seed" in cells and "none: one seed" in cells
    assert "1" in cells and "3" not in cells


def test_stale_readme_is_noticed(reference: Study) -> None:
    results = summarise(reference)
    assert results.target is not None
    number = f"{results.target.accuracy_pct.mean:.2f} %"
    stale = README.replace(number, "99.99 %")
    assert stale != README
    assert insert_results(stale, results) != stale
    with pytest.raises(ValueError, match="needs the lines"):
        insert_results(README.replace(END, ""), results)
    assert README.index(BEGIN) < README.index("## Run it"), "the table opens the README"


def test_summary_says_first_what_numbers_cannot_be_trusted() -> None:
    seeds = {"target": range(3), "no-gap": range(3)}
    whole = summary_page(make_results(seeds))
    assert "Please note" not in whole and "diverged" not in whole
    # Invented runs diverge in the fourth epoch.
    problem = "no-relu/seed-0/record.json: not the file that was written: it was changed or cut off"
    results = make_results(
        seeds,
        spec=make_spec(DIGITS, "digits", num_epochs=5),
        diverged=["no-gap"],
        problems=(problem,),
    )
    text = summary_page(results)
    [line] = [line for line in text.splitlines() if line.startswith("| `no-gap` ")]
    assert "(3 of 3 runs diverged, in epoch 4)" in line
    before, table, _ = text.partition("| ablation |")
    assert table
    assert "These are not MNIST's numbers" in before
    assert "Training was shorter" in before
    assert f"**Please note:** Left out: {problem}." in before


def test_every_command_of_the_readme_is_one(reference: Study) -> None:
    commands = re.findall(r"python cli\.py (\w+)", README)
    assert len(set(commands)) >= 5
    for command in set(commands):
        finished = subprocess.run(
            [sys.executable, "cli.py", command, "--help"], cwd=REPOSITORY, capture_output=True
        )
        assert finished.returncode == 0, command


def test_files_that_the_readme_points_at_exist() -> None:
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (REPOSITORY / document).read_text()
        for path in re.findall(r"\]\(([^)#]+)\)", text):
            assert (REPOSITORY / path).exists(), path
