"""The report's tables in a browser: sorted as Python sorts, filtered, linked, downloaded."""

import io
import json
import re
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path

import pandas
import pytest
from playwright.sync_api import Locator, Page, expect

from ablations.analysis.summary import Results, results_csv
from tests.factories import make_results
from tests.reports.html.pages import HOSTILE, write_page

VIEWS = ("numbers", "evidence", "combinations")


def table(page: Page, view: str) -> Locator:
    return page.locator(f"table[data-view={view}]")


def header(page: Page, view: str, sort: str) -> Locator:
    return table(page, view).locator(f"th[data-sort={sort}]")


def click(page: Page, view: str, sort: str) -> None:
    header(page, view, sort).get_by_role("button").click()


def field(page: Page, view: str) -> Locator:
    return page.locator(f"#{view}-tools").get_by_label("Show rows with")


def cells(page: Page, view: str, sort: str = "name") -> list[tuple[str, str, str | None]]:
    """Of each visible row from top to bottom: its name, what the cell shows, and its sort key."""
    found = header(page, view, sort).evaluate(
        """header => {
            const shown = cell => (cell.querySelector("a, strong") ?? cell.firstChild)?.textContent.trim();
            return [...header.closest("table").tBodies[0].rows].filter(row => !row.hidden).map(row => {
                let end = 0; // A cell can span several columns.
                const cell = [...row.cells].find(cell => (end += cell.colSpan) > header.cellIndex);
                return [shown(row.cells[0]), shown(cell), cell.dataset.value ?? null];
            });
        }"""
    )
    return [tuple(row) for row in found]


def names(page: Page, view: str) -> list[str]:
    return [name for name, *_ in cells(page, view)]


def in_order(rows: list[tuple[str, str, str | None]], is_descending: bool = False) -> list[str]:
    """As Python sorts: equal rows keep their order, missing values are last."""
    missing = [row for row in rows if row[2] is None]
    if len(missing) == len(rows):
        return [name for name, *_ in sorted(rows, key=itemgetter(1), reverse=is_descending)]
    there = [row for row in rows if row[2] is not None]
    there.sort(key=lambda row: float(row[2] or 0), reverse=is_descending)
    return [name for name, *_ in (*there, *missing)]


def fragment(page: Page) -> str:
    """What is after the `#` in the address; `page.url` is updated later."""
    return str(page.evaluate("location.hash.slice(1)"))


@pytest.mark.parametrize("view", VIEWS)
def test_every_column_is_sorted_as_python_sorts(page: Page, view: str) -> None:
    original = names(page, view)
    headers = table(page, view).locator("th[data-sort]").all()
    assert len(headers) >= 5
    for sort in [str(found.get_attribute("data-sort")) for found in headers]:
        rows = cells(page, view, sort)
        button = header(page, view, sort).get_by_role("button")
        for order, key in (("ascending", "Enter"), ("descending", "Space")):
            button.press(key)
            expect(button).to_be_focused()
            assert names(page, view) == in_order(rows, order == "descending")
            assert header(page, view, sort).get_attribute("aria-sort") == order
            expect(table(page, view).locator("[aria-sort]")).to_have_count(1)
            assert fragment(page) == f"{view}?sort={sort}&order={order}"
        # The key of each cell is the number that it shows.
        numbers = [as_number(shown) for _, shown, key in cells(page, view, sort) if key is not None]
        assert numbers == sorted(numbers, reverse=True)
        click(page, view, sort)
        assert names(page, view) == original and fragment(page) == view
        expect(table(page, view).locator("[aria-sort]")).to_have_count(0)


def as_number(shown: str) -> float:
    return float(re.sub(r"[,%\s]", "", shown.replace("−", "-").replace("< 0.001", "0")))


def test_filter_shows_rows_that_have_all_words(page: Page, results: Results) -> None:
    button = header(page, "numbers", "difference").get_by_role("button")
    expect(button).to_have_accessible_name("removing it mean, points")
    count = page.locator("#numbers-tools .count")
    num_rows, by_accuracy = len(results.rows), in_order(cells(page, "numbers", "accuracy"))
    all_numbers, all_evidence = names(page, "numbers"), names(page, "evidence")
    expect(count).to_have_text(f"{num_rows} of {num_rows} rows")
    field(page, "numbers").fill("  DROPOUT core ")
    assert names(page, "numbers") == ["no-dropout"]
    expect(count).to_have_text(f"1 of {num_rows} rows")
    assert fragment(page) == "numbers?show=DROPOUT+core"
    # A hyphen finds a minus sign, and two lines of a cell are two words.
    mean = results.rows[1].difference_pct
    assert mean
    field(page, "numbers").fill(f"-{abs(mean.mean):.2f} seeds")
    assert "no-batchnorm" in names(page, "numbers")
    field(page, "numbers").fill("nothing like it")
    assert names(page, "numbers") == []
    expect(page.get_by_text("No row contains “nothing like it”.").first).to_be_visible()
    page.locator("#numbers-tools").get_by_role("button", name="Clear").click()
    expect(field(page, "numbers")).to_be_focused()
    expect(page.locator(".no-rows:visible")).to_have_count(0)
    assert names(page, "numbers") == all_numbers and fragment(page) == "numbers"
    page.get_by_label("core concepts only").check()
    core = [row.ablation.name for row in results.rows if row.ablation.is_core]
    assert names(page, "numbers") == core and fragment(page) == "numbers?core=only"
    click(page, "numbers", "accuracy")
    assert names(page, "numbers") == [name for name in by_accuracy if name in core]
    assert names(page, "evidence") == all_evidence


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


def test_an_address_restores_the_view(open_page: Callable[..., Page], report: Path) -> None:
    page = open_page(report)
    click(page, "evidence", "spread")
    field(page, "evidence").fill("pool")
    page.get_by_label("core concepts only").check()
    field(page, "numbers").fill("no-")
    for _ in range(2):
        click(page, "numbers", "difference")
    # What is invalid in it changes nothing.
    invalid = "combinations?%E0%A4%A&sort=constructor&order=sideways&core=yes;%;nowhere?sort=name"
    other = open_page(report, f"#{fragment(page)};{invalid}")
    for view in VIEWS:
        assert names(other, view) == names(page, view)
    assert header(other, "numbers", "difference").get_attribute("aria-sort") == "descending"
    expect(other.locator("[aria-sort]")).to_have_count(2)
    expect(field(other, "numbers")).to_have_value("no-")
    expect(other.get_by_label("core concepts only")).to_be_checked()
    # It begins at the view that was changed last.
    expect(other.locator("#numbers")).to_be_focused()
    assert abs(other.locator("#numbers").evaluate("box => box.getBoundingClientRect().top")) < 40


def test_any_text_survives_the_address(page: Page) -> None:
    page.get_by_label("core concepts only").check()
    for words in (HOSTILE, "a;evidence?sort=name", "100 % &core=only?#%41", "−0.35 ü #"):
        field(page, "numbers").fill(words)
        page.reload()
        expect(field(page, "numbers")).to_have_value(words)
        page.get_by_label("core concepts only").uncheck()
        assert names(page, "numbers") == (["no-momentum"] if words == HOSTILE else [])
        page.reload()
        expect(page.get_by_label("core concepts only")).not_to_be_checked()
    expect(page.locator("[aria-sort], #numbers img")).to_have_count(0)


def test_anchors_and_history(open_page: Callable[..., Page], report: Path) -> None:
    page = open_page(report, "#evidence")
    by_accuracy = in_order(cells(page, "numbers", "accuracy"))
    by_parameters = in_order(cells(page, "numbers", "parameters"), is_descending=True)
    assert abs(page.locator("#evidence").evaluate("box => box.getBoundingClientRect().top")) < 40
    click(page, "numbers", "accuracy")
    page.get_by_role("link", name="Numbers").click()
    expect(page.locator("#numbers")).to_be_in_viewport()
    assert fragment(page) == "numbers"
    assert names(page, "numbers") == by_accuracy
    # An address of a view also works in a page that is already open, and so does the one before.
    page.evaluate("location.hash = '#numbers?sort=parameters&order=descending&core=yes'")
    page.wait_for_function("document.activeElement.id === 'numbers'")
    assert names(page, "numbers") == by_parameters
    page.evaluate("location.hash = '#numbers?show=pool'")
    page.wait_for_function("!document.querySelector('[aria-sort]')")
    page.go_back()
    page.wait_for_function("document.querySelector('[aria-sort]')")
    assert names(page, "numbers") == by_parameters


def test_link_to_a_view_is_copied_or_shown(page: Page) -> None:
    click(page, "evidence", "spread")
    click(page, "numbers", "accuracy")
    page.evaluate(
        "() => { navigator.clipboard.writeText = async (text) => { window.copied = text } }"
    )
    copy = page.locator("#evidence-tools").get_by_role("button")
    copy.click()
    status = page.locator("#evidence-tools .copied")
    expect(status).to_have_text("Link copied.")
    assert page.evaluate("copied").endswith("report.html#evidence?sort=spread&order=ascending")
    click(page, "evidence", "spread")
    expect(status).to_have_text("")
    page.evaluate("() => { navigator.clipboard.writeText = async () => { throw new Error() } }")
    copy.click()
    expect(page.locator("#evidence-tools .link")).to_be_focused()
    selected = page.evaluate("getSelection().toString()")
    assert selected.endswith("report.html#evidence?sort=spread&order=descending")


def downloaded(page: Page, button: str) -> tuple[str, str]:
    """The name and the text of the file that a button saves."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes().decode()


def test_downloads_are_the_results(page: Page, results: Results) -> None:
    text = results_csv(results)
    # Of the study's name, what is safe in a file's name.
    name = "script-alert-x-script-img-src-x-onerror-alert-1-7-7-style-amp-results"
    assert downloaded(page, "Download CSV") == (f"{name}.csv", text)
    json_name, found = downloaded(page, "Download JSON")
    assert json_name == f"{name}.json"
    lines = pandas.read_csv(io.StringIO(text))
    pandas.testing.assert_frame_equal(pandas.DataFrame(json.loads(found)), lines, rtol=1e-12)


def test_a_table_of_one_row_has_no_tools(open_page: Callable[..., Page], tmp_path: Path) -> None:
    page = open_page(write_page(tmp_path / "report.html", make_results({"target": [0]})))
    expect(page.locator("#numbers-tools")).not_to_be_visible()
    expect(page.locator(".sort")).to_have_count(0)
