"""Several studies side by side: which verdicts replicate?"""

from pathlib import Path

import msgspec
import pytest

from ablations.analysis.replication import agreement, replication_rows
from ablations.analysis.summary import Results
from ablations.analysis.verdicts import Verdict
from reports.html.page import render_page
from reports.text.replication import study_labels
from tests.factories import DIGITS, make_results, make_spec, make_study, make_timing, write_study
from tests.reports.html.pages import HOSTILE, PageReader, text_of
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
    third = {"target": range(3), "no-momentum": range(3), "no-batchnorm": range(3)}
    return [
        make_results({name: range(5) for name in names}, timing=make_timing()),
        make_results(
            {name: range(3) for name in names[:3]} | {"no-momentum": range(2)},
            spec=make_spec(DIGITS, "scikit-learn digits"),
        ),
        make_results(third | {"no-dropout": range(3)}),
    ]


def test_page_is_complete_and_the_same_each_time(studies: list[Results]) -> None:
    rows = replication_rows(studies)
    names = ["no-batchnorm", "no-gap", "no-relu", "no-momentum"]
    assert [row.ablation.name for row in rows] == names
    assert rows[0].agreement == rows[3].agreement == "missing"
    assert rows[0].rows[1] is None
    # One study alone compares nothing.
    assert [row.ablation.name for row in replication_rows(studies[:2])] == names[1:3]
    page = render_page(studies[0], others=studies[1:])
    assert render_page(studies[0], others=studies[1:]) == page
    section = page.partition('<section class="result" id="elsewhere"')[2].partition("</section>")[0]
    text = text_of(f"<p>{section.partition('>')[2]}</p>")
    for row in rows:
        assert row.ablation.removes in text
    assert "not run everywhere" in text and "MNIST" in text
    assert text.count("These are not MNIST's numbers.") == 1
    assert 'id="elsewhere"' not in render_page(studies[0])


def test_page_of_nothing_and_of_hostile_names() -> None:
    empty = make_results({})
    PageReader(render_page(empty, others=[empty]))
    hostile = make_results({"target": [0], "no-gap": [0]}, spec=make_spec(DIGITS, HOSTILE))
    assert PageReader(render_page(hostile, others=[hostile])).text.count(HOSTILE) > 2


def test_labels_tell_studies_apart(studies: list[Results]) -> None:
    one, other, _ = (study.study for study in studies)
    assert study_labels([one, other]) == ["MNIST", "scikit-learn digits"]
    assert study_labels([one, one]) == ["MNIST, example (1)", "MNIST, example (2)"]


def test_command(tmp_path: Path) -> None:
    study = make_study({"target": range(3), "no-relu": range(3)})
    one, other = (write_study(tmp_path / name, study) for name in ("one", "other"))
    result = run_cli("report", one, other)
    assert result.exit_code == 0, result.output
    assert 'id="elsewhere"' in (one / "report.html").read_text(encoding="utf-8")
    assert not (other / "report.html").exists()
