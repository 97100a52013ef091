"""One report for most tests, and pages in a real browser, offline.

Whatever a page requests or reports to the console fails the test.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from ablations.analysis.summary import Results
from ablations.catalogue.designs import CORE, design_ablations
from ablations.inspection.load import Exhibits
from tests.factories import ENVIRONMENT, make_exhibits, make_results, make_spec, make_timing
from tests.reports.html.pages import HOSTILE, PAINTED, write_page


@pytest.fixture(scope="session")
def results() -> Results:
    """Core concepts, combinations, divergence, missing numbers of every kind, and hostile text."""
    factorial = [ablation.name for ablation in design_ablations("factorial", CORE[:3])]
    found = make_results(
        dict.fromkeys((*factorial, "no-gap-matched", "no-fc-head", "no-relu"), range(3))
        | {"no-lr-schedule": range(2), "no-momentum": [0]}
        # Without a seed of the target.
        | {"no-augmentation": [9], "no-gap+no-fc-head": [7]},
        # Matplotlib would set a text between two dollars as a formula.
        spec=make_spec(title=f"$x_1$ {HOSTILE}"),
        environment=msgspec.structs.replace(
            ENVIRONMENT, device_name=HOSTILE, device_type=f'a,"b"\nc\r\n{HOSTILE}', commit=HOSTILE
        ),
        timing=make_timing(["target", "no-gap", "no-relu"]),
        diverged=["no-lr-schedule"],
        problems=(HOSTILE,),
    )
    *rows, last = found.rows
    fields = dict.fromkeys(("removes", "question", "expectation", "source"), HOSTILE)
    rows.append(msgspec.structs.replace(last, ablation=replace(last.ablation, **fields)))
    return msgspec.structs.replace(found, study=replace(found.study, name=HOSTILE), rows=rows)


@pytest.fixture(scope="session")
def exhibits(results: Results) -> Exhibits:
    """Images and networks of that study."""
    return replace(make_exhibits(results.study), problems=(HOSTILE,))


@pytest.fixture(scope="session")
def report(results: Results, exhibits: Exhibits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on that study."""
    return write_page(tmp_path_factory.mktemp("page") / "report.html", results, exhibits)


@pytest.fixture
def problems() -> list[str]:
    """Requests, console messages and errors of the pages; a test that expects one clears the list."""
    return []


@pytest.fixture
def open_page(browser: Browser, problems: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens a file at a fragment and a width, with the options of a browser context."""
    contexts: list[BrowserContext] = []

    def opened(path: Path, fragment: str = "", width: int = 1280, **options: object) -> Page:
        usual = {"offline": True, "reduced_motion": "reduce", "has_touch": True}
        viewport = {"width": width, "height": 900}
        context = browser.new_context(viewport=viewport, **(usual | options))
        contexts.append(context)
        page = context.new_page()

        def check_request(address: str) -> None:
            if not address.startswith((path.as_uri(), "data:", "blob:")):
                problems.append(address)

        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: check_request(request.url))
        page.goto(path.as_uri() + fragment)
        if options.get("java_script_enabled", True):
            page.evaluate(PAINTED)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def page(open_page: Callable[..., Page], report: Path) -> Page:
    """The report as it is opened."""
    return open_page(report)
