"""What tests of pages share: hostile text, a strict reader, and files for the browser."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

from ablations.analysis.summary import Results
from ablations.inspection.load import Exhibits
from reports.html.page import NO_EXHIBITS, render_page

VOID_ELEMENTS = {"meta", "br", "link", "img", "hr", "input"}
PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}</style>&amp;"


class PageReader(HTMLParser):
    """Reads a page strictly: every element is closed in order, without handlers and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open_elements: list[str] = []
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.references: list[str] = []
        self.headings: list[int] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open_elements == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID_ELEMENTS:
            self.open_elements.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        for name, value in attrs:
            value = value or ""
            assert not name.startswith("on") and name != "style", f"{tag} has {name}"
            if name == "id":
                self.ids[value] += 1
            elif name in ("href", "xlink:href", "src", "srcset", "action", "data"):
                self.links.append(value)
            elif name in ("aria-labelledby", "aria-describedby"):
                self.references += value.split()
            else:
                self.links += re.findall(r"url\(([^)]*)\)", value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_elements.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open_elements):
            self.text += data


def text_of(page: str) -> str:
    return " ".join(PageReader(page).text.split())


def write_page(path: Path, results: Results, exhibits: Exhibits = NO_EXHIBITS) -> Path:
    path.write_text(render_page(results, exhibits), encoding="utf-8")
    return path
