"""The committed studies are complete, and their reports are those of their records."""

import re
import subprocess
from pathlib import Path

import pytest

from ablations.analysis.summary import Results, results_csv
from ablations.catalogue.designs import CORE
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.catalogue.presets import FULL
from ablations.inspection.load import load_exhibits
from ablations.records.run import load_predictions
from ablations.records.study import Study
from reports.documents.readme import render_summary
from reports.html.page import render_page
from reports.html.replication import render_replication
from reports.text.wording import signed

REPOSITORY = Path(__file__).resolve().parents[3]
REFERENCE = REPOSITORY / "docs" / "reference"
FASHION = REPOSITORY / "docs" / "fashion-mnist"


def seeds_by_name(study: Study) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for record in study.records:
        found.setdefault(record.run_spec.ablation, set()).add(record.run_spec.seed)
    return found


def page_text(page: str) -> str:
    """A page's text without white space; other versions of matplotlib draw other bytes."""
    figures = r"<svg.*?</svg>|<style.*?</style>|<script.*?</script>"
    without_figures = re.sub(figures, "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", without_figures).split())


def test_reference_study_is_complete(reference: Results) -> None:
    study = reference.study
    assert study.problems == () and study.spec.is_mnist and study.spec.is_full_length
    seeds = seeds_by_name(study)
    # The target and fifteen ablations; a new entry may wait for its reference runs.
    assert len([name for name in seeds if "+" not in name]) >= 16
    for name, found in seeds.items():
        entry = find_ablation(name)
        has_five = entry.kind != "network" or entry.is_core
        assert found >= set(range(5 if has_five and not entry.parts else 3)), name
    [attribution] = reference.attributions
    assert attribution.is_factorial and len(attribution.seeds) >= 3
    assert set(attribution.names) == {entry.name for entry in CORE}
    assert study.timing and study.timing.by_ablation.keys() >= seeds.keys()


def test_study_of_other_data_is_complete(fashion: Results) -> None:
    spec = fashion.study.spec
    assert fashion.study.problems == () and spec.dataset.name == "fashion-mnist"
    assert spec.num_epochs == FULL.num_epochs and spec.num_train_images is None
    seeds = seeds_by_name(fashion.study)
    training = [entry for entry in CATALOGUE if entry.kind == "training"]
    assert seeds.keys() >= {entry.name for entry in (CATALOGUE[0], *CORE, *training)}
    assert all(found >= set(range(5)) for found in seeds.values())


def test_records_are_of_the_current_catalogue(reference: Results, fashion: Results) -> None:
    for record in (*reference.study.records, *fashion.study.records):
        entry = find_ablation(record.run_spec.ablation)
        assert record.run_spec.network == entry.network_spec
        assert record.run_spec.training == entry.training_spec


def test_predictions_match_their_records(reference: Results) -> None:
    for record in reference.study.records:
        run_spec = record.run_spec
        if run_spec.seed == 0 and not find_ablation(run_spec.ablation).parts:
            load_predictions(REFERENCE / run_spec.ablation / "seed-0", record)


def test_reports_and_tables_are_fresh(reference: Results, fashion: Results) -> None:
    assert (REFERENCE / "results.csv").read_text() == results_csv(reference)
    for folder, results in ((REFERENCE, reference), (FASHION, fashion)):
        page = (folder / "report.html").read_text()
        fresh = render_page(results, load_exhibits(folder, results.study))
        assert page_text(page) == page_text(fresh), "stale: run `make readme`"
        assert (folder / "report.md").read_text() == render_summary(results)
    page = (REPOSITORY / "docs" / "transfer.html").read_text()
    assert page_text(page) == page_text(render_replication([reference, fashion]))
    drawn = (REFERENCE / "differences.svg").read_text()
    for row in reference.rows:
        if row.difference_pct:
            assert row.ablation.name in drawn and f">{signed(row.difference_pct.mean)}<" in drawn


def test_reference_report_has_networks_and_images(reference: Results) -> None:
    exhibits = load_exhibits(REFERENCE, reference.study)
    names = {ablation.name for ablation in CATALOGUE}
    assert set(exhibits.weights) == names and exhibits.problems == ()
    assert exhibits.gallery and exhibits.gallery.variants.keys() == names - {"target"}
    page = (REFERENCE / "report.html").read_text()
    assert all(f'id="{anchor}"' in page for anchor in ("why", "draw", "entries", "score"))
    assert page.count('class="confusion"') == len(names)


def test_committed_studies_are_small() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "docs/reference", "docs/fashion-mnist"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    assert sum((REPOSITORY / name).stat().st_size for name in tracked) < 7_500_000
