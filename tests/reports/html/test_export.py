"""The files that the page offers, saved by a browser that runs no script."""

import io
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen
from xml.etree import ElementTree

from PIL import Image
from playwright.sync_api import Page, expect

from ablations.analysis.summary import Results
from reports.exports.files import downloads


def test_files_are_saved_without_a_script(
    open_page: Callable[..., Page], report: Path, results: Results
) -> None:
    page = open_page(report, java_script_enabled=False)
    page.get_by_text("Learning curves").click()
    saved, endings = {}, set()
    for link in page.locator("a[download]").all():
        if not link.is_visible():
            page.get_by_label("effects against cost").check()
        expect(link).to_be_visible()
        name, address = link.get_attribute("download"), link.get_attribute("href")
        assert name and address and name not in saved
        saved[name] = urlopen(address).read()
        # Chromium loses a few of twenty quick clicks: save one file of each kind.
        if (ending := Path(name).suffix) not in endings:
            endings.add(ending)
            with page.expect_download() as download:
                link.click()
            assert download.value.suggested_filename == name
            assert Path(download.value.path()).read_bytes() == saved[name]
    assert endings == {".svg", ".png", ".csv", ".tex", ".md", ".bib"}
    for one in downloads(results):
        assert saved.pop(one.name) == urlopen(one.url).read()
    # What is left are figures.
    figures = ["effects", "costs", "combinations", "curves"]
    figures += [f"why-{row.ablation.name}" for row in results.rows if row.ablation.is_core]
    for name, content in saved.items():
        stem, _, ending = name.rpartition(".")
        assert any(stem.endswith(f"-{figure}") for figure in figures)
        if ending == "svg":
            assert b"var(" not in content and ElementTree.fromstring(content).tag.endswith("svg")
        else:
            assert Image.open(io.BytesIO(content)).format == "PNG"
            assert len(content) < 60_000
    assert len(saved) == 2 * len(figures)
