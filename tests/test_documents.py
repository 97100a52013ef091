"""Every path, link, command and ablation that the documents name exists."""

import re
from pathlib import Path

import pytest

import cli
from ablations.catalogue.entries import find_ablation

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    REPOSITORY / "benchmarks" / "gpu_suite.sh",
]
FILE = re.compile(r"(?<![\w/.~$-])((?:\.\./)?[\w.-]+(?:/[\w.-]+)*\.(?:py|sh|md|ipynb|toml|yml))\b")
TREE = re.compile(r"^ {4,6}([\w/]+/(?:\w+\.html)?) ", re.MULTILINE)
"""A line of the README's tree of folders."""
EXAMPLES = {"my_network.py", "FILE.py", "my-ablation"}
"""A reader's own."""
FOLDERS = ("mnist_blocks", "speed", "ablations", "reports", "benchmarks", "tests")
NAMES = {path.name for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*")}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_everything_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = set(re.findall(r"\]\(([^)#:]+)\)", text))
    assert not {link for link in links if not (document.parent / link).exists()}
    # Without addresses, and the labels of links.
    prose = re.sub(r"https?://\S+|\[[^\]]*\](?=\()", "", text)
    paths = {*FILE.findall(prose), *TREE.findall(prose)} - EXAMPLES
    missing = {
        path
        for path in paths
        if not any((folder / path).exists() for folder in (REPOSITORY, document.parent))
        # A name without a folder names any of the project's files.
        and ("/" in path or path not in NAMES)
    }
    assert not missing
    assert set(re.findall(r"python cli\.py (\w+)", text)) <= cli.main.commands.keys()
    for name in re.findall(r"python cli\.py (?:show|ablate) ([a-z]+-[a-z-]+)", text):
        assert name in EXAMPLES or find_ablation(name)
    targets = set(re.findall(r"^ {4}make (\w+)", text, re.MULTILINE))
    assert targets <= set(
        re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
