"""Every path in the documents exists."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    REPOSITORY / "benchmarks" / "gpu_suite.sh",
]
PATH = re.compile(r"(?<![\w/.~$-])((?:\.\./)?[\w.-]+(?:/[\w.-]+)*\.(?:py|sh|md|ipynb|toml|yml))\b")
EXAMPLES = {"my_network.py", "FILE.py"}
"""A reader's own files."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_in_a_document_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    # Addresses, and the labels of links.
    text = re.sub(r"https?://\S+|\[[^\]]*\](?=\()", "", text)
    paths = set(PATH.findall(text)) - EXAMPLES
    missing = {
        path
        for path in paths
        if not any((folder / path).exists() for folder in (REPOSITORY, document.parent))
        # A name without a folder names any of the project's files.
        and ("/" in path or not list_files(path))
    }
    assert not missing


def list_files(name: str) -> list[Path]:
    folders = ("mnist_blocks", "speed", "ablations", "reports", "benchmarks", "tests")
    return [path for folder in folders for path in (REPOSITORY / folder).rglob(name)]
