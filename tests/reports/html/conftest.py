"""Pages in a real browser, offline. Whatever they request or report to the console fails the test."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page


@pytest.fixture
def problems() -> list[str]:
    """Requests, console messages and errors of the pages; a test that expects one clears the list."""
    return []


@pytest.fixture
def open_page(browser: Browser, problems: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens an address with the options of a browser context."""
    contexts: list[BrowserContext] = []

    def opened(url: str, **options: object) -> Page:
        usual = {"offline": True, "reduced_motion": "reduce", "has_touch": True}
        context = browser.new_context(**(usual | options))
        contexts.append(context)
        page = context.new_page()
        document = url.partition("#")[0]

        def check_request(address: str) -> None:
            if address.partition("#")[0] != document and not address.startswith(("data:", "blob:")):
                problems.append(address)

        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: check_request(request.url))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []
