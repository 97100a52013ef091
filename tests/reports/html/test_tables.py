"""The report's tables in a browser: sorted as Python sorts, filtered, linked, downloaded."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Locator, Page, expect

from ablations.analysis.summary import (
    TEXT_COLUMNS,
    AblationResult,
    Results,
    results_csv,
)
from reports.html.page import render_page
from reports.text.evidence import verdict_name
from tests.factories import ALL_NAMES, make_results, make_timing

HOSTILE = "<img src=x onerror=alert(1)>\"'&;?#%41"
NO_CLIPBOARD = "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }"
FIRST, SECOND, THIRD = ALL_NAMES[1:4]
SINGLE, ALONE = ALL_NAMES[-2:]
"""One has a single seed, the other shares none with the target."""

Keys = dict[str, Callable[[AblationResult], float | str | None]]
NUMBERS: Keys = {
    "name": lambda row: row.ablation.name,
    "difference": lambda row: row.difference_pct and row.difference_pct.mean,
    "accuracy": lambda row: row.accuracy_pct.mean,
    "parameters": lambda row: row.parameters,
    "epoch-time": lambda row: row.epoch_time and row.epoch_time.median_seconds,
    "multiply-adds": lambda row: row.multiply_adds,
    "best-epoch": lambda row: row.best_epoch_accuracy_pct.mean,
}
EVIDENCE: Keys = {
    "name": lambda row: row.ablation.name,
    "verdict": lambda row: verdict_name(row.verdict) if row.verdict else None,
    "seeds": lambda row: row.difference_pct and len(row.difference_pct.by_seed),
    "difference": lambda row: row.difference_pct and row.difference_pct.mean,
    "effect-size": lambda row: row.difference_pct and row.difference_pct.cohens_d_z,
    "seeds-won": lambda row: row.difference_pct and row.difference_pct.share_above,
    "t-test": lambda row: row.verdict and row.verdict.differs_p,
    "sign-flips": lambda row: row.difference_pct and row.difference_pct.sign_flip_p,
    "beyond": lambda row: row.verdict and row.verdict.beyond_margin_p,
    "within": lambda row: row.verdict and row.verdict.within_margin_p,
    "loss": lambda row: row.loss_difference and row.loss_difference.mean,
    "epoch-time": lambda row: row.time_ratio and row.time_ratio.mean,
}
COMBINATIONS: Keys = {
    "name": lambda row: row.ablation.removes,
    "seeds": lambda row: len(row.runs),
    "accuracy": lambda row: row.accuracy_pct.mean,
    "difference": lambda row: row.difference_pct and row.difference_pct.mean,
    "parameters": lambda row: row.parameters,
}
COLUMNS = {"numbers": NUMBERS, "evidence": EVIDENCE, "combinations": COMBINATIONS}


@pytest.fixture(scope="module")
def results() -> Results:
    """Combinations, missing numbers of every kind, equal numbers, and hostile text."""
    seeds = {name: range(3) for name in ALL_NAMES} | {SINGLE: [0], ALONE: [9]}
    pairs = {f"{FIRST}+{SECOND}": [7], f"{FIRST}+{THIRD}": [0], f"{SECOND}+{THIRD}": range(2)}
    found = make_results(
        seeds | pairs,
        timing=make_timing(["target", FIRST, THIRD, SINGLE]),
        diverged=[FIRST],
    )
    rows = list(found.rows)
    rows[3] = msgspec.structs.replace(rows[3], ablation=replace(rows[3].ablation, removes=HOSTILE))
    return msgspec.structs.replace(found, rows=rows)


@pytest.fixture(scope="module")
def report(results: Results, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the page."""
    path = tmp_path_factory.mktemp("tables") / "report.html"
    path.write_text(render_page(results), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(open_page: Callable[..., Page], report: str) -> Page:
    return open_page(report)


def table(page: Page, view: str) -> Locator:
    return page.locator(f"table[data-view={view}]")


def header(page: Page, view: str, sort: str) -> Locator:
    return table(page, view).locator(f"th[data-sort={sort}]")


def click(page: Page, view: str, sort: str) -> None:
    header(page, view, sort).get_by_role("button").click()


def field(page: Page, view: str) -> Locator:
    return page.locator(f"#{view}-tools").get_by_label("Show rows with")


def names(page: Page, view: str) -> list[str]:
    """The text of the first column in the order of the page, of visible rows."""
    cells = table(page, view).locator("tbody tr:visible th")
    return cells.evaluate_all(
        "cells => cells.map(cell => (cell.querySelector('a') ?? cell.firstChild).textContent.trim())"
    )


def fragment(page: Page) -> str:
    """What is after the `#` in the address; `page.url` is updated later."""
    return str(page.evaluate("location.hash.slice(1)"))


def rows_of(results: Results, view: str) -> list[AblationResult]:
    if view == "combinations":
        return results.combinations
    return [row for row in results.rows if view == "numbers" or row.difference_pct]


def own_names(rows: list[AblationResult], view: str) -> list[str]:
    return [row.ablation.removes if view == "combinations" else row.ablation.name for row in rows]


def original(results: Results, view: str) -> list[str]:
    return own_names(rows_of(results, view), view)


def sorted_names(results: Results, view: str, sort: str, is_descending: bool = False) -> list[str]:
    """As Python sorts: equal rows keep their order, missing values are last."""
    rows, key = rows_of(results, view), COLUMNS[view][sort]
    there = [row for row in rows if key(row) is not None]
    there.sort(key=key, reverse=is_descending)  # type: ignore[arg-type]
    return own_names([*there, *(row for row in rows if key(row) is None)], view)


@pytest.mark.parametrize("view", COLUMNS)
def test_every_column_is_sorted_as_python_sorts(page: Page, results: Results, view: str) -> None:
    assert names(page, view) == original(results, view)
    headers = table(page, view).locator("th[data-sort]")
    assert [cell.get_attribute("data-sort") for cell in headers.all()] == list(COLUMNS[view])
    for sort in COLUMNS[view]:
        for order in ("ascending", "descending"):
            click(page, view, sort)
            assert names(page, view) == sorted_names(results, view, sort, order == "descending")
            assert header(page, view, sort).get_attribute("aria-sort") == order
            expect(table(page, view).locator("[aria-sort]")).to_have_count(1)
            assert fragment(page) == f"{view}?sort={sort}&order={order}"
        click(page, view, sort)
        assert names(page, view) == original(results, view) and fragment(page) == view
        expect(table(page, view).locator("[aria-sort]")).to_have_count(0)


def test_sorting_by_keyboard(page: Page, results: Results) -> None:
    button = header(page, "numbers", "difference").get_by_role("button")
    expect(button).to_have_accessible_name("removing it mean, points")
    button.focus()
    for key, is_descending in (("Enter", False), ("Space", True)):
        page.keyboard.press(key)
        expect(button).to_be_focused()
        found = sorted_names(results, "numbers", "difference", is_descending)
        assert names(page, "numbers") == found


def test_filter_shows_rows_that_have_all_words(page: Page, results: Results) -> None:
    count = page.locator("#numbers-tools .count")
    num_rows = len(results.rows)
    expect(count).to_have_text(f"{num_rows} of {num_rows} rows")
    field(page, "numbers").fill("  DROPOUT core ")
    assert names(page, "numbers") == ["no-dropout"]
    expect(count).to_have_text(f"1 of {num_rows} rows")
    assert fragment(page) == "numbers?show=DROPOUT+core"
    # A hyphen finds a minus sign, and two lines of a cell are two words.
    mean = results.rows[1].difference_pct
    assert mean
    field(page, "numbers").fill(f"-{abs(mean.mean):.2f} seeds")
    assert FIRST in names(page, "numbers")
    field(page, "numbers").fill("nothing like it")
    assert names(page, "numbers") == []
    expect(page.get_by_text("No row contains “nothing like it”.").first).to_be_visible()
    page.locator("#numbers-tools").get_by_role("button", name="Clear").click()
    expect(field(page, "numbers")).to_be_focused()
    expect(page.locator(".no-rows:visible")).to_have_count(0)
    assert names(page, "numbers") == original(results, "numbers") and fragment(page) == "numbers"
    page.get_by_label("core concepts only").check()
    core = [row.ablation.name for row in results.rows if row.ablation.is_core]
    assert names(page, "numbers") == core and fragment(page) == "numbers?core=only"
    click(page, "numbers", "accuracy")
    accuracies = sorted_names(results, "numbers", "accuracy")
    assert names(page, "numbers") == [name for name in accuracies if name in core]
    assert names(page, "evidence") == original(results, "evidence")


def test_screen_readers_get_one_update_after_typing(page: Page, results: Results) -> None:
    page.clock.install(time=0)
    page.clock.pause_at(10_000)
    page.evaluate(
        """() => {
            window.heard = [];
            for (const status of document.querySelectorAll("#numbers [role=status]"))
                new MutationObserver(() => heard.push(status.textContent)).observe(status, { childList: true });
        }"""
    )
    expect(page.locator("#numbers-tools .count")).to_have_attribute("aria-hidden", "true")
    click(page, "numbers", "accuracy")
    page.clock.run_for(2000)
    assert page.evaluate("heard") == []
    field(page, "numbers").press_sequentially("dropout")
    found = f"{len(names(page, 'numbers'))} of {len(results.rows)} rows"
    page.clock.run_for(300)
    assert page.evaluate("heard") == []
    page.clock.run_for(2000)
    assert page.evaluate("heard") == [found]
    click(page, "numbers", "accuracy")
    field(page, "numbers").fill("dropout zzz")
    page.clock.run_for(2000)
    assert page.evaluate("heard") == [found, "No row contains “dropout zzz”."]


def test_an_address_restores_the_view(open_page: Callable[..., Page], report: str) -> None:
    page = open_page(report)
    click(page, "evidence", "effect-size")
    field(page, "evidence").fill("pool")
    page.get_by_label("core concepts only").check()
    field(page, "numbers").fill("no-")
    for _ in range(2):
        click(page, "numbers", "difference")
    other = open_page(f"{report}#{fragment(page)}")
    for view in COLUMNS:
        assert names(other, view) == names(page, view)
    assert header(other, "numbers", "difference").get_attribute("aria-sort") == "descending"
    expect(field(other, "numbers")).to_have_value("no-")
    expect(other.get_by_label("core concepts only")).to_be_checked()
    # It begins at the view that was changed last.
    expect(other.locator("#numbers")).to_be_focused()
    assert abs(other.locator("#numbers").evaluate("box => box.getBoundingClientRect().top")) < 40


def test_any_text_survives_the_address(page: Page) -> None:
    page.get_by_label("core concepts only").check()
    for words in (HOSTILE, "a;evidence?sort=name", "100 % &core=only", "−0.35 ü #"):
        field(page, "numbers").fill(words)
        page.reload()
        expect(field(page, "numbers")).to_have_value(words)
        page.get_by_label("core concepts only").uncheck()
        assert names(page, "numbers") == ([THIRD] if words == HOSTILE else [])
        page.reload()
        expect(page.get_by_label("core concepts only")).not_to_be_checked()
    expect(page.locator("[aria-sort], #numbers img")).to_have_count(0)


def test_invalid_addresses_change_nothing(
    open_page: Callable[..., Page], report: str, results: Results
) -> None:
    page = open_page(report)
    for invalid in (
        "numbers?sort=nothing&order=sideways&core=yes",
        "numbers?sort=constructor",
        "numbers?%E0%A4%A",
        "nowhere?sort=name",
        "%",
    ):
        page.evaluate("fragment => { location.hash = fragment; }", invalid)
        page.reload()
        assert all(names(page, view) == original(results, view) for view in COLUMNS)
        expect(page.locator("[aria-sort]")).to_have_count(0)


def test_anchors_and_history(open_page: Callable[..., Page], report: str, results: Results) -> None:
    page = open_page(f"{report}#evidence")
    assert abs(page.locator("#evidence").evaluate("box => box.getBoundingClientRect().top")) < 40
    click(page, "numbers", "accuracy")
    page.get_by_role("link", name="Numbers").click()
    expect(page.locator("#numbers")).to_be_in_viewport()
    assert fragment(page) == "numbers"
    assert names(page, "numbers") == sorted_names(results, "numbers", "accuracy")
    # An address of a view also works in a page that is already open, and so does the one before.
    page.evaluate("location.hash = '#numbers?sort=parameters&order=descending'")
    page.wait_for_function("document.activeElement.id === 'numbers'")
    assert names(page, "numbers") == sorted_names(results, "numbers", "parameters", True)
    page.evaluate("location.hash = '#numbers?show=pool'")
    page.wait_for_function("!document.querySelector('[aria-sort]')")
    page.go_back()
    page.wait_for_function("document.querySelector('[aria-sort]')")
    assert names(page, "numbers") == sorted_names(results, "numbers", "parameters", True)


def test_link_to_a_view_is_copied_or_shown(page: Page) -> None:
    click(page, "evidence", "loss")
    click(page, "numbers", "accuracy")
    page.evaluate(
        "() => { navigator.clipboard.writeText = async (text) => { window.copied = text } }"
    )
    copy = page.locator("#evidence-tools").get_by_role("button")
    copy.click()
    status = page.locator("#evidence-tools .copied")
    expect(status).to_have_text("Link copied.")
    assert page.evaluate("copied").endswith("report.html#evidence?sort=loss&order=ascending")
    click(page, "evidence", "loss")
    expect(status).to_have_text("")
    page.evaluate(NO_CLIPBOARD)
    copy.click()
    expect(page.locator("#evidence-tools .link")).to_be_focused()
    selected = page.evaluate("getSelection().toString()")
    assert selected.endswith("report.html#evidence?sort=loss&order=descending")


def downloaded(page: Page, button: str) -> tuple[str, str]:
    """The name and the text of the file that a button saves."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes().decode()


def as_objects(text: str) -> list[dict[str, object]]:
    return [
        {
            key: None if value == "" else value if key in TEXT_COLUMNS else float(value)
            for key, value in line.items()
        }
        for line in csv.DictReader(io.StringIO(text))
    ]


def test_downloads_are_the_results(page: Page, results: Results) -> None:
    text = results_csv(results)
    assert downloaded(page, "Download CSV") == ("example-results.csv", text)
    name, found = downloaded(page, "Download JSON")
    assert name == "example-results.json" and json.loads(found) == as_objects(text)


def test_quoted_fields_are_downloaded_and_small_tables_have_no_tools(
    open_page: Callable[..., Page], results: Results, tmp_path: Path
) -> None:
    hostile = 'a,"b"\nc\r\n</script><!-- \'&'
    row = results.rows[0]
    run_spec = row.runs[0].run_spec
    dataset = replace(run_spec.dataset, name=hostile)
    run = msgspec.structs.replace(row.runs[0], run_spec=replace(run_spec, dataset=dataset))
    rows = [msgspec.structs.replace(row, runs=[run, *row.runs[1:]])]
    found = msgspec.structs.replace(results, rows=rows, combinations=[], attributions=[])
    path = tmp_path / "report.html"
    path.write_text(render_page(found), encoding="utf-8")
    page = open_page(path.as_uri())
    assert downloaded(page, "Download CSV")[1] == results_csv(found)
    objects = json.loads(downloaded(page, "Download JSON")[1])
    assert objects[0]["dataset"] == hostile and len(objects) == len(row.runs)
    expect(page.locator("#numbers-tools")).not_to_be_visible()
    expect(page.locator(".sort")).to_have_count(0)
