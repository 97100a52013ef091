"""Several studies side by side: which verdicts replicate?"""

from pathlib import Path

import msgspec
import pytest

from ablations.analysis.replication import agreement, replication_rows
from ablations.analysis.summary import Results
from ablations.analysis.verdicts import Verdict
from reports.html.page import render_replication
from reports.text.replication import study_labels
from tests.factories import DIGITS, make_results, make_spec, make_study, make_timing, write_study
from tests.reports.html.pages import HOSTILE, PageReader
from tests.test_cli import run_cli

HURTS = Verdict("hurts", "above")
HELPS = Verdict("helps", "above")
SMALL = Verdict("hurts", "below")
NOTHING = Verdict("no clear effect", "below")
OPEN = Verdict("no clear effect", "uncertain")
OPEN_HURTS = Verdict("hurts", "uncertain")
OPEN_HELPS = Verdict("helps", "uncertain")


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([HURTS, HURTS], "replicated"),
        ([NOTHING, NOTHING], "replicated"),
        ([HURTS, HELPS], "reversed"),
        ([HURTS, OPEN_HELPS], "reversed"),
        ([HURTS, SMALL], "same direction"),
        ([HURTS, OPEN_HURTS], "same direction"),
        ([OPEN_HURTS, OPEN_HURTS], "same direction"),
        ([HURTS, NOTHING], "different"),
        ([HURTS, OPEN], "inconclusive"),
        ([OPEN, OPEN], "inconclusive"),
        ([NOTHING, None], "inconclusive"),
        ([HURTS, HURTS, NOTHING], "different"),
    ],
)
def test_agreement(verdicts: list[Verdict | None], expected: str) -> None:
    [_, row] = make_results({"target": [0], "no-gap": [0]}).rows
    rows = [msgspec.structs.replace(row, verdict=one) for one in verdicts]
    assert agreement(rows) == expected
    assert agreement(rows[::-1]) == expected
    missing = "reversed" if expected == "reversed" else "missing"
    assert agreement([*rows, None]) == missing


@pytest.fixture(scope="module")
def studies() -> list[Results]:
    names = ["target", "no-gap", "no-relu", "no-batchnorm"]
    return [
        make_results({name: range(5) for name in names}, timing=make_timing()),
        make_results(
            {name: range(3) for name in names[:3]} | {"no-momentum": range(2)},
            spec=make_spec(DIGITS, "scikit-learn digits"),
        ),
    ]


def test_page_is_complete_and_the_same_each_time(studies: list[Results]) -> None:
    rows = replication_rows(studies)
    names = ["no-batchnorm", "no-gap", "no-relu", "no-momentum"]
    assert [row.ablation.name for row in rows] == names
    assert rows[0].agreement == rows[3].agreement == "missing"
    assert rows[0].rows[1] is None
    page = render_replication(studies)
    assert render_replication(studies) == page
    reader = PageReader(page)
    assert max(reader.ids.values()) == 1
    assert all(reference in reader.ids for reference in reader.references)
    assert all(link.startswith("#") for link in reader.links)
    text = " ".join(reader.text.split())
    for word in (*names, "MNIST", "not run in every study"):
        assert word in text
    assert "Please note, of scikit-learn digits: These are not MNIST's numbers." in text
    assert "Please note, of MNIST" not in text


def test_page_of_nothing_and_of_hostile_names() -> None:
    empty = make_results({})
    PageReader(render_replication([empty, empty]))
    hostile = make_results(
        {"target": [0], "no-gap": [0]}, spec=make_spec(DIGITS, HOSTILE), problems=(HOSTILE,)
    )
    page = render_replication([hostile, hostile])
    assert "<script" not in page
    assert HOSTILE in PageReader(page).text


def test_labels_tell_studies_apart(studies: list[Results]) -> None:
    one, other = (study.study for study in studies)
    assert study_labels([one, other]) == ["MNIST", "scikit-learn digits"]
    assert study_labels([one, one]) == ["MNIST, example (1)", "MNIST, example (2)"]


def test_command(tmp_path: Path) -> None:
    study, out = make_study({"target": range(3), "no-relu": range(3)}), tmp_path / "page.html"
    one, other = (write_study(tmp_path / name, study) for name in ("one", "other"))
    result = run_cli("report", one, other, "--out", out)
    assert result.exit_code == 0, result.output
    assert "no-relu" in out.read_text()
