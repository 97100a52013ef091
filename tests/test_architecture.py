"""The shape of the project: who imports whom, and what never stands in it."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("mnist_blocks", "speed", "ablations", "reports")
MAY_IMPORT = {
    "mnist_blocks": {"mnist_blocks"},
    "speed": {"mnist_blocks", "speed"},
    "ablations": {"mnist_blocks", "speed", "ablations"},
    "reports": {"mnist_blocks", "speed", "ablations", "reports"},
}


def sources(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).glob("*.py"))


def imported_packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    assert sources(package)
    for path in sources(package):
        own = imported_packages(path) & {*PACKAGES, "cli", "tests", "benchmarks"}
        assert own <= MAY_IMPORT[package], path.name


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_is_unpickled(package: str) -> None:
    for path in sources(package):
        text = path.read_text()
        assert "pickle" not in imported_packages(path), path.name
        assert "torch.load(" not in text, path.name
        assert "allow_pickle=True" not in text, path.name


@pytest.mark.parametrize("package", PACKAGES)
def test_public_things_have_docstrings(package: str) -> None:
    for path in sources(package):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path.name
        for node in tree.body:
            is_definition = isinstance(node, ast.FunctionDef | ast.ClassDef)
            if is_definition and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_no_ablation_is_known_by_name_outside_the_catalogue() -> None:
    from ablations.catalogue import CATALOGUE

    names = {ablation.name for ablation in CATALOGUE} - {"target"}
    for package in PACKAGES:
        for path in sources(package):
            if path.name == "catalogue.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    assert node.value not in names, f"{path.name}: {node.value}"


def test_no_data_set_and_no_clutter_is_committed() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True
    ).stdout.splitlines()
    if not tracked:
        pytest.skip("not a git checkout")
    assert not [name for name in tracked if re.search(r"ubyte|\.pyc$|\.egg-info|^runs/", name)]
    large = [name for name in tracked if (REPOSITORY / name).stat().st_size > 1_500_000]
    # The reference report holds sixteen trained networks.
    assert set(large) <= {"docs/reference/report.html"}
