"""The report's tables in a browser: sorted as Python sorts, filtered, linked, saved."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from ablations.analysis.summary import (
    CSV_COLUMNS,
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
"""One has but one seed, the other none beside the target."""


@pytest.fixture(scope="module")
def results() -> Results:
    """Combinations, missing numbers of every kind, equal numbers, and hostile words."""
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
def open_page(browser: Browser, report: str) -> Iterator[Callable[[str], Page]]:
    """Opens the page at a fragment, without a network; what it complains about fails the test."""
    context = browser.new_context(offline=True, reduced_motion="reduce", accept_downloads=True)
    complaints: list[str] = []

    def open_at(fragment: str = "") -> Page:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(report + fragment)
        return page

    yield open_at
    context.close()
    assert complaints == []


def table(page: Page, view: str) -> Locator:
    return page.locator(f"table[data-view={view}]")


def header(page: Page, view: str, sort: str) -> Locator:
    return table(page, view).locator(f"th[data-sort={sort}]")


def names(page: Page, view: str) -> list[str]:
    """The first column's own text, in the order on the page; rows that are hidden are left out."""
    return (
        table(page, view)
        .locator("tbody tr:visible th")
        .evaluate_all(
            "cells => cells.map(cell => (cell.querySelector('a') ?? cell.firstChild).textContent.trim())"
        )
    )


def address(page: Page) -> str:
    """What stands in the address field now; `page.url` learns of it later."""
    found = page.evaluate("location.href")
    assert isinstance(found, str)
    return found


def shown(page: Page, view: str) -> str:
    return page.locator(f"#{view}-tools .count").inner_text()


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


def rows_of(results: Results, view: str) -> list[AblationResult]:
    """In the order of the page."""
    if view == "combinations":
        return results.combinations
    return [row for row in results.rows if view == "numbers" or row.difference_pct]


def own_names(rows: list[AblationResult], view: str) -> list[str]:
    return [row.ablation.removes if view == "combinations" else row.ablation.name for row in rows]


def sorted_names(results: Results, view: str, sort: str, is_descending: bool) -> list[str]:
    """As Python sorts: equal ones keep their order, and what is missing stands last."""
    rows, key = rows_of(results, view), COLUMNS[view][sort]
    there = [row for row in rows if key(row) is not None]
    there.sort(key=key, reverse=is_descending)  # type: ignore[arg-type]
    return own_names([*there, *(row for row in rows if key(row) is None)], view)


@pytest.mark.parametrize("view", COLUMNS)
def test_every_column_is_sorted_as_python_sorts(
    open_page: Callable[..., Page], results: Results, view: str
) -> None:
    page = open_page()
    original = own_names(rows_of(results, view), view)
    assert names(page, view) == original
    headers = table(page, view).locator("th[data-sort]")
    assert [cell.get_attribute("data-sort") for cell in headers.all()] == list(COLUMNS[view])
    for sort in COLUMNS[view]:
        cell = header(page, view, sort)
        for order in ("ascending", "descending"):
            cell.get_by_role("button").click()
            assert names(page, view) == sorted_names(results, view, sort, order == "descending")
            assert cell.get_attribute("aria-sort") == order
            expect(table(page, view).locator("[aria-sort]")).to_have_count(1)
            assert address(page).endswith(f"#{view}?sort={sort}&order={order}")
        cell.get_by_role("button").click()
        assert names(page, view) == original
        expect(table(page, view).locator("[aria-sort]")).to_have_count(0)
        assert address(page).endswith(f"#{view}")


def test_some_numbers_are_missing_and_some_are_equal(results: Results) -> None:
    """Or the test above would not show where they go."""
    for view, sort in (
        ("numbers", "epoch-time"),
        ("evidence", "loss"),
        ("combinations", "difference"),
    ):
        keys = [COLUMNS[view][sort](row) for row in rows_of(results, view)]
        assert None in keys[:-1]
    parameters = [row.parameters for row in results.rows]
    assert len(set(parameters)) < len(parameters)


def test_sorting_by_keyboard_keeps_the_focus(
    open_page: Callable[..., Page], results: Results
) -> None:
    page = open_page()
    button = header(page, "numbers", "difference").get_by_role("button")
    button.focus()
    for key, order in (("Enter", "ascending"), ("Space", "descending")):
        page.keyboard.press(key)
        expect(button).to_be_focused()
        found = sorted_names(results, "numbers", "difference", order == "descending")
        assert names(page, "numbers") == found
    page.keyboard.press("Tab")
    # The column beside it cannot be sorted, so the next one is this.
    expect(header(page, "numbers", "accuracy").get_by_role("button")).to_be_focused()


def test_direction_is_said_by_shape_and_the_caption_says_what_sorts(
    open_page: Callable[..., Page],
) -> None:
    page = open_page()
    cell = header(page, "numbers", "accuracy")
    arrow = "button => getComputedStyle(button.querySelector('.arrow'), '::before').content"
    shapes = [cell.get_by_role("button").evaluate(arrow)]
    for _ in range(2):
        cell.get_by_role("button").click()
        shapes.append(cell.get_by_role("button").evaluate(arrow))
    assert len(set(shapes)) == 3
    expect(cell.get_by_role("button")).to_have_accessible_name("accuracy (%) mean")
    expect(table(page, "numbers").locator("caption")).to_contain_text(
        "column headers with buttons sort the rows"
    )


def test_filter_shows_rows_that_have_all_words(
    open_page: Callable[..., Page], results: Results
) -> None:
    page = open_page()
    original = names(page, "numbers")
    assert shown(page, "numbers") == f"{len(original)} of {len(original)} rows"
    field = page.locator("#numbers-tools").get_by_label("Show rows with")
    field.fill("  DROPOUT core ")
    assert names(page, "numbers") == ["no-dropout"]
    assert shown(page, "numbers") == f"1 of {len(original)} rows"
    assert address(page).endswith("#numbers?show=DROPOUT+core")
    # A hyphen finds a real minus sign, and what stands in two lines of a cell is two words.
    mean = results.rows[1].difference_pct
    assert mean
    field.fill(f"-{abs(mean.mean):.2f} seeds")
    assert FIRST in names(page, "numbers")
    field.fill("nothing like it")
    assert names(page, "numbers") == []
    assert shown(page, "numbers") == f"0 of {len(original)} rows"
    expect(page.get_by_text("No row contains “nothing like it”.").first).to_be_visible()
    page.locator("#numbers-tools").get_by_role("button", name="Clear").click()
    expect(field).to_be_focused()
    expect(page.locator(".no-rows:visible")).to_have_count(0)
    assert address(page).endswith("#numbers")
    assert names(page, "numbers") == original
    assert names(page, "evidence") == own_names(rows_of(results, "evidence"), "evidence")


HEAR = """selector => {
    window.heard = [];
    for (const status of document.querySelectorAll(selector)) {
        new MutationObserver(() => heard.push(status.textContent)).observe(status, { childList: true });
    }
}"""


def test_count_is_said_once_after_typing_and_only_when_it_changes(
    open_page: Callable[..., Page], results: Results
) -> None:
    page = open_page()
    page.clock.install()
    page.evaluate(HEAR, "#numbers [role=status]")
    expect(page.locator("#numbers-tools .count")).to_have_attribute("aria-hidden", "true")
    header(page, "numbers", "accuracy").get_by_role("button").click()
    page.clock.run_for(2000)
    assert page.evaluate("heard") == []
    field = page.locator("#numbers-tools").get_by_label("Show rows with")
    field.press_sequentially("dropout")
    found = f"{len(names(page, 'numbers'))} of {len(results.rows)} rows"
    assert shown(page, "numbers") == found
    page.clock.run_for(300)
    assert page.evaluate("heard") == []
    page.clock.run_for(2000)
    assert page.evaluate("heard") == [found]
    header(page, "numbers", "accuracy").get_by_role("button").click()
    page.clock.run_for(2000)
    assert page.evaluate("heard") == [found]
    field.fill("dropout zzz")
    page.clock.run_for(2000)
    assert page.evaluate("heard") == [found, "No row contains “dropout zzz”."]


def test_broken_downloads_leave_the_rest_working(
    browser: Browser, report: str, tmp_path: Path
) -> None:
    text = Path(report.removeprefix("file://")).read_text(encoding="utf-8")
    begin = '<script type="application/json" id="results-data">'
    assert begin in text
    path = tmp_path / "report.html"
    path.write_text(text.replace(begin, f"{begin}broken"), encoding="utf-8")
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{path.as_uri()}#numbers?sort=name&order=descending")
    assert len(errors) == 1
    expect(page.locator("#downloads")).not_to_be_visible()
    assert header(page, "numbers", "name").get_attribute("aria-sort") == "descending"
    expect(page.get_by_role("button", name="Predict first")).to_be_visible()
    page.close()


def test_core_concepts_only(open_page: Callable[..., Page], results: Results) -> None:
    page = open_page()
    page.get_by_label("core concepts only").check()
    core = [row.ablation.name for row in results.rows if row.ablation.is_core]
    assert names(page, "numbers") == core
    assert address(page).endswith("#numbers?core=only")
    header(page, "numbers", "accuracy").get_by_role("button").click()
    accuracies = sorted_names(results, "numbers", "accuracy", False)
    assert names(page, "numbers") == [name for name in accuracies if name in core]


def test_view_is_the_same_in_another_window(open_page: Callable[..., Page]) -> None:
    page = open_page()
    header(page, "evidence", "effect-size").get_by_role("button").click()
    page.locator("#evidence-tools").get_by_label("Show rows with").fill("pool")
    page.get_by_label("core concepts only").check()
    page.locator("#numbers-tools").get_by_label("Show rows with").fill("no-")
    for _ in range(2):
        header(page, "numbers", "difference").get_by_role("button").click()
    other = open_page("#" + address(page).split("#")[1])
    for view in COLUMNS:
        assert names(other, view) == names(page, view)
        assert shown(other, view) == shown(page, view)
    assert header(other, "numbers", "difference").get_attribute("aria-sort") == "descending"
    assert other.locator("#numbers-tools").get_by_label("Show rows with").input_value() == "no-"
    expect(other.get_by_label("core concepts only")).to_be_checked()
    # It begins where the view was changed last.
    expect(other.locator("#numbers")).to_be_focused()
    assert abs(other.locator("#numbers").evaluate("box => box.getBoundingClientRect().top")) < 40


@pytest.mark.parametrize(
    "words", [HOSTILE, "a;evidence?sort=name", "100 % &core=only", "−0.35 ü #"]
)
def test_any_words_survive_the_address(open_page: Callable[..., Page], words: str) -> None:
    page = open_page()
    page.locator("#numbers-tools").get_by_label("Show rows with").fill(words)
    other = open_page("#" + address(page).split("#")[1])
    assert other.locator("#numbers-tools").get_by_label("Show rows with").input_value() == words
    assert names(other, "numbers") == names(page, "numbers")
    assert names(page, "numbers") == ([THIRD] if words == HOSTILE else [])
    expect(other.get_by_label("core concepts only")).not_to_be_checked()
    expect(other.locator("[aria-sort], img")).to_have_count(0)


@pytest.mark.parametrize(
    "fragment",
    [
        "#numbers?sort=nothing&order=sideways&core=yes",
        "#numbers?sort=constructor",
        "#numbers?%E0%A4%A",
        "#nowhere?sort=name",
        "#%",
    ],
)
def test_address_that_makes_no_sense_changes_nothing(
    open_page: Callable[..., Page], results: Results, fragment: str
) -> None:
    page = open_page(fragment)
    for view in COLUMNS:
        assert names(page, view) == own_names(rows_of(results, view), view)
    expect(page.locator("[aria-sort]")).to_have_count(0)


def test_anchors_lead_where_they_led_and_leave_views_alone(
    open_page: Callable[..., Page], results: Results
) -> None:
    page = open_page("#evidence")
    assert abs(page.locator("#evidence").evaluate("box => box.getBoundingClientRect().top")) < 40
    header(page, "numbers", "accuracy").get_by_role("button").click()
    page.get_by_role("link", name="Numbers").click()
    expect(page.locator("#numbers")).to_be_in_viewport()
    assert address(page).endswith("#numbers")
    assert names(page, "numbers") == sorted_names(results, "numbers", "accuracy", False)
    # A view in the address is shown also in a page that is open already, and so is the one before.
    page.evaluate("location.hash = '#numbers?sort=parameters&order=descending'")
    page.wait_for_function("document.activeElement.id === 'numbers'")
    assert names(page, "numbers") == sorted_names(results, "numbers", "parameters", True)
    page.evaluate("location.hash = '#numbers?show=pool'")
    page.wait_for_function("!document.querySelector('[aria-sort]')")
    page.go_back()
    page.wait_for_function("document.querySelector('[aria-sort]')")
    assert names(page, "numbers") == sorted_names(results, "numbers", "parameters", True)


def test_link_is_copied_or_stands_there_to_be_copied(open_page: Callable[..., Page]) -> None:
    page = open_page()
    header(page, "evidence", "loss").get_by_role("button").click()
    header(page, "numbers", "accuracy").get_by_role("button").click()
    page.evaluate(
        "() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }"
    )
    copy = page.locator("#evidence-tools").get_by_role("button")
    copy.click()
    expect(page.locator("#evidence-tools .copied")).to_have_text("Link copied.")
    header(page, "evidence", "loss").get_by_role("button").click()
    expect(page.locator("#evidence-tools .copied")).to_have_text("")
    for _ in range(2):
        header(page, "evidence", "loss").get_by_role("button").click()
    # The link is to this table's view alone.
    assert page.evaluate("copied").endswith("report.html#evidence?sort=loss&order=ascending")
    page.evaluate(NO_CLIPBOARD)
    copy.click()
    expect(page.locator("#evidence-tools .link")).to_be_focused()
    assert page.evaluate("getSelection().toString()") == page.evaluate("copied")


def test_sorting_works_where_the_address_cannot_be_changed(
    open_page: Callable[..., Page], results: Results
) -> None:
    page = open_page()
    page.evaluate("() => { history.replaceState = () => { throw new DOMException('no'); }; }")
    header(page, "numbers", "accuracy").get_by_role("button").click()
    assert names(page, "numbers") == sorted_names(results, "numbers", "accuracy", False)


def saved(page: Page, button: str) -> tuple[str, str]:
    """What a button saves: the file's name and its text."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    path = Path(download.value.path())
    return download.value.suggested_filename, path.read_bytes().decode()


def test_downloads_are_the_results(open_page: Callable[..., Page], results: Results) -> None:
    page = open_page()
    name, text = saved(page, "Download CSV")
    assert name == "example-results.csv"
    assert text == results_csv(results)
    name, text = saved(page, "Download JSON")
    assert name == "example-results.json"
    assert json.loads(text) == as_objects(results_csv(results))


def as_objects(text: str) -> list[dict[str, object]]:
    """A results file's lines, with numbers as numbers."""
    return [
        {
            key: None if value == "" else value if key in TEXT_COLUMNS else float(value)
            for key, value in line.items()
        }
        for line in csv.DictReader(io.StringIO(text))
    ]


def test_quoted_fields_of_the_csv_are_read_back(
    browser: Browser, results: Results, tmp_path: Path
) -> None:
    hostile = 'a,"b"\nc\r\n</script><!-- \'&'
    row = results.rows[0]
    run_spec = row.runs[0].run_spec
    dataset = replace(run_spec.dataset, name=hostile)
    run = msgspec.structs.replace(row.runs[0], run_spec=replace(run_spec, dataset=dataset))
    found = msgspec.structs.replace(
        results,
        rows=[msgspec.structs.replace(row, runs=[run, *row.runs[1:]])],
        combinations=[],
        attributions=[],
    )
    path = tmp_path / "report.html"
    path.write_text(render_page(found), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    assert saved(page, "Download CSV")[1] == results_csv(found)
    objects = json.loads(saved(page, "Download JSON")[1])
    assert objects[0]["dataset"] == hostile
    assert len(objects) == len(row.runs)
    # A table of one row needs no tools.
    expect(page.locator("#numbers-tools")).not_to_be_visible()
    expect(page.locator(".sort")).to_have_count(0)
    page.close()


def test_text_columns_are_those_that_hold_no_numbers(results: Results) -> None:
    assert set(TEXT_COLUMNS) < set(CSV_COLUMNS)
    as_objects(results_csv(results))
    for line in csv.DictReader(io.StringIO(results_csv(results))):
        for name in TEXT_COLUMNS:
            assert not re.fullmatch(r"[\d.]+", line[name])


def test_tables_are_plain_without_a_script(browser: Browser, report: str, results: Results) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{report}#numbers?sort=accuracy")
    for view in COLUMNS:
        assert names(page, view) == own_names(rows_of(results, view), view)
    expect(page.locator("button:visible, input:visible")).to_have_count(0)
    context.close()


def test_paper_says_what_it_leaves_out(open_page: Callable[..., Page]) -> None:
    page = open_page("#numbers?show=pool")
    page.emulate_media(media="print")
    expect(page.locator(".controls button:visible, input:visible")).to_have_count(0)
    expect(page.locator("#numbers-tools .count")).to_be_visible()
    expect(page.locator("#evidence-tools")).not_to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_tables_are_accessible(browser: Browser, report: str, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{report}#numbers?sort=difference&order=descending&show=no;evidence?sort=loss")
    page.evaluate(NO_CLIPBOARD)
    page.locator("#numbers-tools").get_by_role("button").click()
    sections = [["#numbers"], ["#evidence"], ["#combinations"]]
    found = Axe().run(page, context={"include": sections})
    assert found.response["violations"] == [], found.generate_report()
    page.close()


@pytest.mark.parametrize("width", [360, 1200])
def test_tables_fit_their_window(browser: Browser, report: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(report)
    page.evaluate(NO_CLIPBOARD)
    page.locator("#numbers-tools").get_by_role("button").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for control in page.locator("button:visible, label:visible, input:visible").all():
        box = control.bounding_box()
        assert box and box["width"] >= 24 and box["height"] >= 24
    page.close()


def test_table_of_all_numbers_fits_a_laptop(open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.set_viewport_size({"width": 1300, "height": 900})
    assert len(names(page, "numbers")) == len(ALL_NAMES)
    frame = page.locator("#numbers .scroll")
    assert frame.evaluate("frame => frame.scrollWidth <= frame.clientWidth")
