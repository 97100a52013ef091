"""The section "Explore" and "Predict first" in a browser, and what a network's panel states."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from ablations.analysis.summary import AblationResult, Results
from ablations.analysis.verdicts import Verdict
from ablations.inspection.load import Exhibits
from reports.html.confusion import confusion_of
from reports.html.live import image_picture
from reports.text.wording import (
    decimal,
    estimate_words,
    right_guesses,
    signed,
    two_digits,
    verdict_name,
)
from tests.factories import make_results
from tests.reports.html.pages import write_page


def row_named(results: Results, name: str) -> AblationResult:
    every = (*results.rows, *results.combinations)
    return next(row for row in every if row.ablation.name == name)


def switch(page: Page, name: str) -> Locator:
    return page.locator(f'.switches input[data-name="{name}"]')


def shown(page: Page) -> Locator:
    return page.locator(".panel:visible")


def check_shown(page: Page, row: AblationResult) -> None:
    """One panel is visible, with this network's numbers, and the switches show what is removed."""
    expect(shown(page)).to_have_count(1)
    expect(shown(page)).to_have_id(f"entry-{row.ablation.name}")
    facts = shown(page).locator(".facts")
    expect(facts).to_contain_text(decimal(row.accuracy_pct.mean))
    expect(facts).to_contain_text(f"{row.parameters:,}")
    if row.difference_pct:
        expect(facts).to_contain_text(signed(row.difference_pct.mean))
    removed = page.locator(".switches input:not(:checked)")
    names = removed.evaluate_all("all => all.map(one => one.dataset.name)")
    expected = [] if row.ablation.kind == "target" else row.ablation.name.split("+")
    assert sorted(names) == sorted(expected)


def test_concepts_combine_and_other_ingredients_are_removed_alone(
    page: Page, results: Results
) -> None:
    check_shown(page, row_named(results, "target"))
    switch(page, "no-gap").uncheck()
    check_shown(page, row_named(results, "no-gap"))
    expect(page.locator("#switched")).to_contain_text("Without global average pooling: ")
    switch(page, "no-dropout").press("Space")
    check_shown(page, row_named(results, "no-dropout+no-gap"))
    # Only these four concepts' combinations with no-fc-head that were run can be reached.
    switch(page, "no-dropout").check()
    switch(page, "no-fc-head").uncheck()
    check_shown(page, row_named(results, "no-gap+no-fc-head"))
    expect(switch(page, "no-batchnorm")).to_be_enabled()
    switch(page, "no-relu").uncheck()
    check_shown(page, row_named(results, "no-relu"))
    switch(page, "no-batchnorm").uncheck()
    check_shown(page, row_named(results, "no-batchnorm"))
    page.get_by_role("button", name="Restore all").click()
    check_shown(page, row_named(results, "target"))


def test_what_was_not_run_is_disabled_and_says_so(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    results = make_results({"target": [0], "no-gap": [0]})
    page = open_page(write_page(tmp_path / "page.html", results))
    expect(switch(page, "no-dropout")).to_be_disabled()
    expect(page.locator("label:has(:disabled)").first).to_contain_text("(not run alone)")
    results_of_two = make_results({"target": [0], "no-gap": [0], "no-dropout": [0]})
    two = open_page(write_page(tmp_path / "two.html", results_of_two))
    switch(two, "no-gap").uncheck()
    switch(two, "no-dropout").uncheck()
    check_shown(two, row_named(results_of_two, "no-dropout"))
    expect(two.locator("#switched")).to_contain_text("(not measured with the others)")
    switch(page, "no-gap").uncheck()
    check_shown(page, row_named(results, "no-gap"))


def test_an_address_leads_to_its_network(
    open_page: Callable[..., Page], report: Path, results: Results
) -> None:
    page = open_page(report, "#entry-no-gap")
    check_shown(page, row_named(results, "no-gap"))
    page.locator('#data a[href="#entry-no-relu"]').click()
    check_shown(page, row_named(results, "no-relu"))
    expect(shown(page)).to_be_in_viewport()


@pytest.mark.parametrize(
    ("direction", "points", "is_right"), [("lower", "0.3", True), ("higher", "", False)]
)
def test_every_prediction_has_a_result(
    open_page: Callable[..., Page],
    report: Path,
    results: Results,
    direction: str,
    points: str,
    is_right: bool,
) -> None:
    page = open_page(report, "#predict")
    expect(page.locator(".result:visible")).to_have_count(0)
    row = row_named(results, "no-batchnorm")
    assert row.difference_pct and row.difference_pct.mean < -0.1
    expect(page.locator("#predict legend")).to_contain_text("Without batch normalisation")
    # Without a choice the browser asks for one.
    page.get_by_role("button", name="Show the result").click()
    expect(page.locator("#outcome")).to_be_empty()
    page.get_by_label(direction).check()
    page.get_by_label("by about").fill(points)
    page.keyboard.press("Enter")
    outcome = page.locator("#outcome")
    expect(outcome).to_contain_text(f"Measured {estimate_words(row.difference_pct)}")
    expect(outcome).to_contain_text(verdict_name(row, 0.1))
    words = "Your direction was right" if is_right else "Your direction was not right"
    expect(outcome).to_contain_text(words)
    if points:
        away = abs(-float(points) - row.difference_pct.mean)
        expect(outcome).to_contain_text(f"{away:.2f} points away")
    expect(outcome).to_be_focused()
    expect(page.locator("#score")).to_contain_text(f"{int(is_right)} of 1 directions right")
    expect(shown(page).locator(".facts")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(shown(page)).not_to_have_id("entry-no-batchnorm")
    expect(page.locator(".result:visible")).to_have_count(0)
    page.get_by_role("button", name="End").click()
    expect(page.locator("#effects")).to_be_in_viewport()
    expect(page.locator("#predict")).to_be_hidden()


def predict(page: Page, direction: str, points: str = "") -> None:
    page.get_by_label(direction).check()
    page.get_by_label("by about").fill(points)
    page.get_by_role("button", name="Show the result").click()


@pytest.mark.parametrize(
    ("verdict", "right"),
    [
        (None, []),
        (Verdict("hurts", "above"), [-1]),
        (Verdict("helps", "uncertain"), [1]),
        (Verdict("hurts", "below"), [-1, 0]),
        (Verdict("no clear effect", "below"), [0]),
        (Verdict("no clear effect", "uncertain"), []),
    ],
)
def test_the_verdict_decides_which_guesses_are_right(
    verdict: Verdict | None, right: list[int]
) -> None:
    assert right_guesses(verdict) == right


def test_predictions_of_undecided_effects_and_the_way_out(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    results = make_results({name: [0] for name in ("target", "placebo", "no-relu", "no-gap")})
    page = open_page(write_page(tmp_path / "page.html", results), "#entry-no-relu")
    page.get_by_role("link", name="Predict first").click()
    # Concepts come first; a placebo is no question.
    expect(shown(page)).to_have_id("entry-no-gap")
    predict(page, "about the same")
    expect(page.locator("#outcome")).to_contain_text("The study does not decide the direction")
    expect(page.locator("#outcome")).to_contain_text("your estimate was")
    page.get_by_role("button", name="Next").click()
    expect(shown(page)).to_have_id("entry-no-relu")
    predict(page, "lower")
    expect(page.locator("#outcome")).not_to_contain_text("your estimate")
    expect(page.locator("#score")).to_contain_text("0 of 0 directions right")
    expect(page.get_by_role("button", name="Next")).to_be_hidden()
    page.go_back()
    expect(page.locator("#predict")).to_be_hidden()
    check_shown(page, row_named(results, "no-relu"))
    # Again, after all are answered.
    page.get_by_role("link", name="Predict first").click()
    expect(shown(page)).to_have_id("entry-no-gap")
    expect(page.get_by_role("button", name="Next")).to_be_hidden()


def test_nothing_to_predict(open_page: Callable[..., Page], tmp_path: Path) -> None:
    results = make_results({"target": [0]})
    page = open_page(write_page(tmp_path / "page.html", results), "#predict")
    check_shown(page, row_named(results, "target"))
    expect(page.locator("#predict")).to_be_hidden()


def test_an_ingredient_comes_back_though_the_rest_was_not_measured(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    names = ("target", "no-fc-head", "no-dropout+no-gap", "no-dropout+no-gap+no-fc-head")
    results = make_results({name: [0] for name in names})
    page = open_page(write_page(tmp_path / "page.html", results), "#entry-no-dropout+no-gap")
    switch(page, "no-fc-head").uncheck()
    check_shown(page, row_named(results, names[3]))
    switch(page, "no-gap").check()
    check_shown(page, row_named(results, "target"))
    expect(page.locator("#switched")).to_contain_text("(not measured with the others)")


def test_confusion_is_summed_over_seeds(results: Results, exhibits: Exhibits) -> None:
    row = row_named(results, "no-relu")
    found = confusion_of(row, exhibits)
    assert found is not None and found.num_seeds == 3
    assert sum(map(sum, found.counts)) == 3 * results.study.spec.dataset.num_test
    wrong = sum(len(run.wrong_test_images or []) for run in row.runs)
    assert found.counts[4][9] == wrong >= found.most > 0
    assert confusion_of(row, Exhibits()) is None


def test_images_have_the_answers_of_both_networks(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    panel = page.partition('id="entry-no-batchnorm"')[2].partition('class="panel"')[0]
    described = re.findall(r'<img src="data:image/png;base64,[^"]+".*? alt="([^"]+)"', panel)
    assert len(described) == 16
    assert all(re.search(r"predicts \d \(.*this network \d \(", words) for words in described)


def test_pictures_are_the_images() -> None:
    pixels = bytes(range(196)) * 4
    content = base64.b64decode(image_picture(pixels).partition(",")[2])
    assert Image.open(io.BytesIO(content)).tobytes() == pixels


def test_measurements_have_two_digits() -> None:
    words = {0.0213: "0.021", 2.0: "2", 99.7: "100", 0.0000187: "0.000019", 43210.0: "43000"}
    assert {value: two_digits(value) for value in words} == words
