"""The whole report in a real browser: offline, for everybody, on paper."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page

from reports.html.page import render_page
from tests.factories import make_exhibits, make_results, make_timing

SCHEMES = ("light", "dark")
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def page_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report with some of everything: a factorial, live networks, images, times, divergence."""
    single = ("target", "no-batchnorm", "no-dropout", "no-gap", "no-fc-head", "no-relu")
    combined = ("no-batchnorm+no-dropout", "no-batchnorm+no-gap", "no-dropout+no-gap",
                "no-batchnorm+no-dropout+no-gap")  # fmt: skip
    results = make_results(
        {**{name: range(3) for name in (*single, *combined)}, "no-momentum": [0]},
        timing=make_timing(),
        diverged=["no-momentum"],
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(results, make_exhibits(results.study)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def open_page(browser: Browser, page_url: str) -> Iterator[object]:
    """Opens the report offline, as a reader of given habits; fails on anything in the console."""
    contexts: list[BrowserContext] = []
    messages: list[str] = []
    requests: list[str] = []

    def opened(fragment: str = "", **habits: object) -> Page:
        context = browser.new_context(offline=True, **habits)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_url + fragment)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert messages == []
    assert {url.partition("#")[0] for url in requests if not url.startswith("data:")} <= {page_url}


def open_everything(page: Page) -> None:
    """Every answer and every table behind a figure."""
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1300), ("dark", 360)])
def test_axe_finds_nothing(open_page, scheme: str, width: int) -> None:  # type: ignore[no-untyped-def]
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    open_everything(page)
    results = Axe().run(page, options={"runOnly": {"type": "tag", "values": WCAG}})
    found = [
        (violation["id"], node["html"][:200])
        for violation in results.response["violations"]
        for node in violation["nodes"]
    ]
    assert found == []
    assert results.response["passes"]


@pytest.mark.parametrize("width", [320, 360, 768, 1600])
def test_nothing_is_wider_than_the_window(open_page, width: int) -> None:  # type: ignore[no-untyped-def]
    page = open_page(viewport={"width": width, "height": 900})
    open_everything(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    clipped = page.evaluate(
        """[...document.querySelectorAll('svg text')].filter(text => {
            const inner = text.getBoundingClientRect();
            const outer = text.ownerSVGElement.getBoundingClientRect();
            return inner.left < outer.left - 1 || inner.right > outer.right + 1;
        }).map(text => text.textContent)"""
    )
    assert clipped == []
    assert page.locator("svg text").count() > 100


def test_first_columns_are_wide_enough_for_their_words(open_page) -> None:  # type: ignore[no-untyped-def]
    page = open_page(viewport={"width": 390, "height": 900})
    cells = page.locator("th.sticky:visible")
    narrow = cells.evaluate_all(
        """cells => cells.filter(cell => cell.getBoundingClientRect().width < 8 * parseFloat(getComputedStyle(cell).fontSize) - 1)
            .map(cell => cell.textContent)"""
    )
    # A line may end at a space or behind a hyphen, and nowhere else.
    broken = cells.evaluate_all(
        """cells => cells.flatMap(cell => {
            const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), found = [];
            while (walker.nextNode()) {
                for (const part of walker.currentNode.data.matchAll(/[^\\s-]+/g)) {
                    const range = document.createRange();
                    range.setStart(walker.currentNode, part.index);
                    range.setEnd(walker.currentNode, part.index + part[0].length);
                    if (range.getClientRects().length > 1) found.push(part[0]);
                }
            }
            return found; })"""
    )
    assert cells.count() > 30
    assert (narrow, broken) == ([], [])


def test_tools_stand_where_the_headings_do(open_page) -> None:  # type: ignore[no-untyped-def]
    page = open_page(viewport={"width": 1300, "height": 900})
    left = page.locator("#entries-heading").bounding_box()["x"]
    for place in ("#numbers-tools", "#entries .contents"):
        assert page.locator(place).bounding_box()["x"] == left, place


def test_every_section_leads_back_to_the_top(open_page) -> None:  # type: ignore[no-untyped-def]
    page = open_page("#noise", reduced_motion="reduce")
    assert page.evaluate("scrollY") > 1000
    page.locator("#noise").get_by_role("link", name="To the top").click()
    page.wait_for_function("scrollY === 0")


def test_tab_reaches_what_can_be_used_and_shows_where_it_is(open_page) -> None:  # type: ignore[no-untyped-def]
    page = open_page(viewport={"width": 900, "height": 900})
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            """(() => { const one = document.activeElement, style = getComputedStyle(one);
            return [one.tagName, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2] })()"""
        )
        seen.add(name)
        assert outline, name
    assert {"A", "BUTTON", "DIV"} <= seen


def test_every_figure_has_a_name_and_numbers(open_page) -> None:  # type: ignore[no-untyped-def]
    page = open_page()
    for figure in page.locator("main svg[role=img], main img").all():
        name = figure.evaluate(
            """one => one.alt || one.getAttribute('aria-label') || (one.getAttribute('aria-labelledby') || '')
            .split(' ').map(id => document.getElementById(id).textContent).join(' ')"""
        )
        assert len(name.strip()) > 5
    without = page.evaluate(
        """[...document.querySelectorAll('main .wide-plot')].filter(plot => {
            const section = plot.closest('article') || plot.closest('section');
            return !section.querySelector('table') }).length"""
    )
    assert without == 0


def test_paper_has_every_answer_and_no_controls(open_page, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    page = open_page()
    page.emulate_media(media="print")
    pdf = page.pdf(format="A4")
    (tmp_path / "report.pdf").write_bytes(pdf)
    num_pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 10 < num_pages < 60
    # What is printed is what a reader of paper needs: answers, and nothing to press.
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    answers = page.locator("article.entry .finding")
    assert answers.count() == 6
    assert all(answer.is_visible() for answer in answers.all())
    assert not any(
        button.is_visible() for button in page.locator("main button:not(th button)").all()
    )


def test_links_inside_the_page_lead_somewhere(open_page) -> None:  # type: ignore[no-untyped-def]
    page = open_page("#entry-no-gap", reduced_motion="reduce")
    top = page.locator("#entry-no-gap").bounding_box()
    assert top is not None and abs(top["y"]) < 100
    broken = page.evaluate(
        """[...document.querySelectorAll('a[href^="#"]')]
        .filter(link => !document.getElementById(link.getAttribute('href').slice(1)))
        .map(link => link.href)"""
    )
    assert broken == []


def test_motion_is_reduced_where_that_is_wished(open_page) -> None:  # type: ignore[no-untyped-def]
    behaviours = [
        open_page(reduced_motion=wish).evaluate(
            "getComputedStyle(document.documentElement).scrollBehavior"
        )
        for wish in ("reduce", "no-preference")
    ]
    assert behaviours == ["auto", "smooth"]


def test_colours_follow_the_scheme(open_page) -> None:  # type: ignore[no-untyped-def]
    light, dark = (
        open_page(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in SCHEMES
    )
    assert light == "rgb(255, 255, 255)" and dark != light
