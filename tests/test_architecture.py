"""The structure of the project: who imports whom, and what never appears in it."""

import ast
import re
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TOP_PACKAGES = ("mnist_blocks", "speed", "ablations", "reports")
"""Bottom to top, like every list here: a package imports itself and those before it."""
NESTED_PACKAGES = {
    "mnist_blocks": (),
    "speed": ("cpu", "gpu"),
    "ablations": (
        "catalogue",
        "data",
        "training",
        "records",
        "inspection",
        "runner",
        "analysis",
        "commands",
        "grader",
    ),
    "reports": ("text", "figures", "html", "documents"),
}
FLAT_MODULES = {
    # Every package of `ablations` may import these, and they import none of them.
    "ablations": {"__init__", "version", "words"},
    # Chooses between the packages, so it lies above them.
    "speed": {"__init__", "arithmetic"},
    "reports": {"__init__"},
}
CONSOLE_LIBRARIES = {"rich", "click"}
MAY_USE_THE_CONSOLE = (
    "ablations/commands/",
    "ablations/runner/progress.py",
    "ablations/grader/command.py",
)


def sources(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


def every_source() -> list[Path]:
    return [path for package in TOP_PACKAGES for path in sources(package)]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


def imported_modules(path: Path) -> set[str]:
    """Dotted names, also of imports inside functions: `from a.b import c` counts as `a.b.c`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def nested_package(module: str) -> str | None:
    """The package inside a top package: `data` of `ablations.data.sources`."""
    top, *rest = module.split(".")
    return rest[0] if rest and rest[0] in NESTED_PACKAGES.get(top, ()) else None


def test_every_package_is_listed() -> None:
    for top, nested in NESTED_PACKAGES.items():
        folders = {path.parent.name for path in (REPOSITORY / top).glob("*/__init__.py")}
        assert folders == set(nested)
        code = {path.parent for path in sources(top)}
        assert code == {REPOSITORY / top, *(REPOSITORY / top / name for name in nested)}
    for top, modules in FLAT_MODULES.items():
        assert {path.stem for path in (REPOSITORY / top).glob("*.py")} == modules


@pytest.mark.parametrize("path", every_source(), ids=module_name)
def test_imports_go_one_way(path: Path) -> None:
    top = module_name(path).partition(".")[0]
    position = TOP_PACKAGES.index(top)
    imported = imported_modules(path)
    above = {*TOP_PACKAGES[position + 1 :], "cli", "tests", "benchmarks"}
    assert not {name for name in imported if name.partition(".")[0] in above}
    own = nested_package(module_name(path))
    nested = NESTED_PACKAGES[top]
    above_nested = nested[nested.index(own) + 1 :] if own else nested
    if own is None and path.stem not in ("version", "words", "__init__"):
        above_nested = ()
    same_top = {name for name in imported if name.startswith(f"{top}.")}
    assert not {name for name in same_top if nested_package(name) in above_nested}


def project_imports() -> dict[str, set[str]]:
    """For each module, the modules of the project that it imports."""
    modules = {module_name(path): path for path in every_source()}
    return {
        name: {
            target
            for imported in imported_modules(path)
            for target in (imported, imported.rpartition(".")[0])
            if target in modules and target != name
        }
        for name, path in modules.items()
    }


def test_no_import_cycle() -> None:
    TopologicalSorter(project_imports()).prepare()  # Raises CycleError.


def test_the_training_loop_stands_alone() -> None:
    """A reader of the loop needs no downloader, no record storage and no console for it."""
    imports = project_imports()
    seen: set[str] = set()
    waiting = {"ablations.training.loop"}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        waiting |= imports[name] - seen
    forbidden = ("ablations.records", "ablations.runner", "ablations.data.download")
    assert not {name for name in seen if name.startswith(forbidden)}


def imported_libraries(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported_modules(path)}


def test_the_console_is_used_in_few_places() -> None:
    for path in every_source():
        place = path.relative_to(REPOSITORY).as_posix()
        if not place.startswith(MAY_USE_THE_CONSOLE):
            assert not imported_libraries(path) & CONSOLE_LIBRARIES, place


def test_no_statistics_in_reports() -> None:
    for path in sources("reports"):
        statistics = {"scipy", "statsmodels", "statistics"}
        assert not imported_libraries(path) & statistics, path.name


def test_public_functions_have_names_of_their_own() -> None:
    """One name, one meaning: no two modules define the same public function or class."""
    places: dict[str, list[str]] = {}
    for path in every_source():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(module_name(path))
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_nothing_is_unpickled() -> None:
    for path in every_source():
        text = path.read_text()
        assert "pickle" not in imported_modules(path), path.name
        assert "torch.load(" not in text, path.name
        assert "allow_pickle=True" not in text, path.name


def test_no_ablation_is_known_by_name_outside_the_catalogue() -> None:
    from ablations.catalogue.entries import CATALOGUE

    names = {ablation.name for ablation in CATALOGUE} - {"target"}
    for path in every_source():
        if module_name(path) == "ablations.catalogue.entries":
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
