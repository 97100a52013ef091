"""The table of all ablations: its numbers, and sorting in a browser as Python sorts."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from ablations.analysis.summary import Results
from reports.text import wording


def table(page: Page) -> Locator:
    return page.locator("#data table")


def names(page: Page) -> list[str]:
    return table(page).locator("tbody th code").all_inner_texts()


def test_table_has_every_number(page: Page, results: Results) -> None:
    page.get_by_label("more statistics").check()
    for row in results.rows[:-1]:
        line = table(page).locator("tbody tr").filter(has_text=row.ablation.name).first.inner_text()
        texts = [wording.decimal(row.accuracy_pct.mean), f"{row.parameters:,}"]
        texts += [f"{row.multiply_adds:,}", wording.decimal(row.best_epoch_accuracy_pct.mean)]
        if row.difference_pct:
            texts += [wording.signed(row.difference_pct.mean), wording.verdict_name(row, 0.1)]
            texts.append(wording.decimal(row.difference_pct.spreads[0], 3))
        if row.verdict:
            texts += [
                wording.interval(row.difference_pct.interval_95),
                wording.interval(row.difference_pct.new_images_interval_95),
                wording.verdict_details(row),
            ]
        if row.epoch_time:
            texts.append(wording.decimal(row.epoch_time.median_seconds, 1))
        assert all(text in line for text in texts), (row.ablation.name, texts)


def test_more_statistics_need_no_script(open_page: Callable[..., Page], report: Path) -> None:
    page = open_page(report, java_script_enabled=False)
    columns = table(page).locator("thead th:visible")
    expect(columns).to_have_count(7)
    page.get_by_label("more statistics").check()
    expect(columns).to_have_count(14)


def test_columns_are_sorted_as_python_sorts(page: Page, results: Results) -> None:
    assert names(page) == [row.ablation.name for row in results.rows]
    effects = [row.difference_pct.mean for row in results.rows if row.difference_pct]
    missing = [None] * (len(results.rows) - len(effects))
    values = "cells => cells.map(cell => cell.dataset.value === undefined ? null : Number(cell.dataset.value))"
    button = table(page).get_by_role("button", name="effect")
    header = table(page).locator("th").filter(has=page.get_by_role("button", name="effect"))
    for key, order, is_reversed in (("Enter", "ascending", False), ("Space", "descending", True)):
        button.press(key)
        expect(header).to_have_attribute("aria-sort", order)
        expect(button).to_be_focused()
        # Networks without a number come last in either order.
        found = table(page).locator("tbody td:nth-child(3)").evaluate_all(values)
        assert found == [*sorted(effects, reverse=is_reversed), *missing]
    table(page).get_by_role("button", name="without").click()
    words = table(page).locator("tbody th").all_inner_texts()
    assert words == sorted(words, key=str.lower)
    expect(table(page).locator("[aria-sort]")).to_have_count(1)
