"""The committed studies."""

from pathlib import Path

import pytest

from ablations.analysis.summary import Results, summarise
from ablations.records.study import load_study

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="session")
def reference() -> Results:
    return summarise(load_study(DOCS / "reference"))


@pytest.fixture(scope="session")
def fashion() -> Results:
    return summarise(load_study(DOCS / "fashion-mnist"))
