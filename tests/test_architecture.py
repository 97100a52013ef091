"""The structure of the project: who imports whom, and what never appears in it."""

import ast
import re
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("mnist_blocks", "speed", "ablations", "reports")
LAYERS = (
    "mnist_blocks",
    "speed.cpu", "speed.gpu", "speed",
    "ablations.__init__", "ablations.version", "ablations.words", "ablations.operating_system",
    # The training loop needs no downloader, no record storage and no console.
    "ablations.catalogue", "ablations.data.__init__", "ablations.data.dataset", "ablations.training",
    "ablations.data", "ablations.records", "ablations.inspection", "ablations.runner",
    "ablations.analysis", "ablations.commands", "ablations.grader",
    "reports.__init__", "reports.text", "reports.exports", "reports.figures", "reports.html", "reports.documents",
    "benchmarks", "cli", "tests",
)  # fmt: skip
"""Bottom to top: a module imports those of its own layer and of the layers before it."""
MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path
    for package in PACKAGES
    for path in sorted((REPOSITORY / package).rglob("*.py"))
}
MAY_USE_THE_CONSOLE = (
    "ablations.commands.",
    "ablations.runner.progress",
    "ablations.grader.command",
)


def layer(module: str) -> int:
    """Where a module is in `LAYERS`; -1: nowhere."""
    return next((n for n, name in enumerate(LAYERS) if f"{module}.".startswith(f"{name}.")), -1)


def imported_modules(path: Path) -> set[str]:
    """Dotted names, also of imports inside functions: `from a.b import c` counts as `a.b.c`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_libraries(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported_modules(path)}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    assert layer(module) >= 0, "it is in no layer"
    imported = imported_modules(MODULES[module])
    assert not {name for name in imported if layer(name) > layer(module)}


def test_no_import_cycle() -> None:
    imports = {
        module: {
            target
            for name in imported_modules(path)
            for target in (name, name.rpartition(".")[0])
            if target in MODULES and target != module
        }
        for module, path in MODULES.items()
    }
    TopologicalSorter(imports).prepare()  # Raises CycleError.


def test_console_and_statistics_are_used_where_they_belong() -> None:
    for module, path in MODULES.items():
        used = imported_libraries(path)
        if not module.startswith(MAY_USE_THE_CONSOLE):
            assert not used & {"rich", "click"}, module
        if module.startswith("reports."):
            assert not used & {"scipy", "statsmodels", "statistics"}, module


def test_public_functions_have_names_of_their_own() -> None:
    """One name, one meaning: no two modules define the same public function or class."""
    places: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(module)
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_nothing_is_unpickled() -> None:
    for module, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        assert "pickle" not in imported_libraries(path), module
        assert "torch.load(" not in text, module
        assert "allow_pickle=True" not in text, module


def test_no_ablation_is_known_by_name_outside_the_catalogue() -> None:
    from ablations.catalogue.entries import CATALOGUE

    names = {ablation.name for ablation in CATALOGUE} - {"target"}
    for module, path in MODULES.items():
        if module != "ablations.catalogue.entries":
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            constants = {node.value for node in nodes if isinstance(node, ast.Constant)}
            assert not names & constants, module


def test_no_data_set_and_no_clutter_is_committed() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, encoding="utf-8"
    ).stdout.splitlines()
    if not tracked:
        pytest.skip("not a git checkout")
    assert not [name for name in tracked if re.search(r"ubyte|\.pyc$|\.egg-info|^runs/", name)]
    large = [name for name in tracked if (REPOSITORY / name).stat().st_size > 1_500_000]
    # The reference report holds sixteen trained networks.
    assert set(large) <= {"docs/reference/report.html"}
