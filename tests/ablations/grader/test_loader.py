"""Files that cannot be loaded have no grade, with the reason and a fix; others are loaded from anywhere."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from ablations.grader.loader import import_network
from ablations.grader.protocol import NoGradeError, WorkerTask
from ablations.grader.supervisor import check_network
from ablations.grader.worker import inspect_network

StudentTask = Callable[..., WorkerTask]
NOTEBOOK_COMMAND = r"line {} is a notebook command; export with jupyter nbconvert"
MAIN_GUARD = "below if __name__"
LAST_LINE = "class Net(Layers): ..."


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import nothing_of_this_name",
            r"line \d+\); install it: pip install nothing_of_this_name$",
        ),
        ("import yaml_missing.part", "pip install yaml_missing$"),
        ("!pip install x", NOTEBOOK_COMMAND.format(r"\d+")),
        ("%matplotlib inline", NOTEBOOK_COMMAND.format(r"\d+")),
        ("files = !ls", NOTEBOOK_COMMAND.format(r"\d+")),
        ("get_ipython().run_line_magic('time', '')", NOTEBOOK_COMMAND.format(r"\d+")),
        ("from google.colab import drive", NOTEBOOK_COMMAND.format(r"\d+")),
        (
            "raise RuntimeError('Error downloading a.gz:\\nTried b, got:\\nc')",
            "Error downloading a.gz: Tried b, got: c .*downloads something",
        ),
        ("from urllib.request import *; urlopen('http://127.0.0.1:9')", "downloads something"),
        ("open('missing.csv')", r"relative to Path\(__file__\)"),
        ("import argparse; argparse.ArgumentParser().parse_args(['x'])", MAIN_GUARD),
        ("raise SystemExit", f"importing the file: SystemExit: .*{MAIN_GUARD}"),
        ("raise KeyboardInterrupt", "importing the file: KeyboardInterrupt"),
        ("def f(:", "importing the file: SyntaxError: .*line"),
        ("def Net(width, *more, depth, **others): ...", r"^Net needs width, depth; .*Net\(width="),
        (
            "class Net(Layers):\n    def __init__(self, norm): ...",
            "^Net needs norm; name a function",
        ),
        (
            "class Net(Layers):\n    def __init__(self): 1 / 0",
            r"calling Net\(\) .*ZeroDivisionError",
        ),
        ("Net = 5", "Net has type int; it must be an nn.Module"),
        ("Net = torch.jit.script(nn.ReLU())", "Net is a TorchScript module; give the module"),
        ("class Net(Layers):\n    def forward(self, x): import no_such", "pip install no_such$"),
    ],
)
def test_a_file_that_gives_no_network_has_no_grade_but_a_fix(
    student_task: StudentTask, source: str, message: str
) -> None:
    with pytest.raises(NoGradeError, match=message) as error:
        inspect_network(student_task("Net", source))
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a cuda device")
@pytest.mark.parametrize("where", ["always = Layers().to('cuda')", "def Net(): Layers().cuda()"])
def test_a_network_that_needs_a_gpu_has_no_grade(student_task: StudentTask, where: str) -> None:
    with pytest.raises(NoGradeError, match="check trains on the CPU"):
        inspect_network(student_task("Net", where))


def move(task: WorkerTask, path: Path) -> WorkerTask:
    """The task with its file at another place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return msgspec.structs.replace(task, file=str(Path(task.file).rename(path)))


@pytest.mark.parametrize("init", [None, "", "from .network import Net"])
def test_a_file_of_a_package_is_graded_from_anywhere(
    student_task: StudentTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: str | None
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    package = f"model_{init is None}_{bool(init)}"
    source = f"""
from .parts import PART
from {package}.parts import PART
from shared_{package} import SHARED
with open(__file__ + ".runs", "a") as file: file.write("once")
class Net(Layers): ...
"""
    folder = tmp_path / "their course" / package
    task = move(student_task("Net", source), folder / "network.py")
    (folder / "parts.py").write_text("PART = 1")
    (folder.parent / f"shared_{package}.py").write_text("SHARED = 1")
    if init is not None:
        (folder / "__init__.py").write_text(init)
    assert not inspect_network(task).notes
    assert (folder / "network.py.runs").read_text() == "once"


def test_a_module_of_a_folder_above_is_named(student_task: StudentTask, tmp_path: Path) -> None:
    task = move(student_task("Net", "import helpers_above"), tmp_path / "nets" / "network.py")
    (tmp_path / "helpers_above").mkdir()
    with pytest.raises(NoGradeError, match=f"it is in {tmp_path}: set PYTHONPATH={tmp_path}$"):
        import_network(task, 0)


def test_a_module_with_the_name_of_another_is_to_be_renamed(
    student_task: StudentTask, tmp_path: Path
) -> None:
    (tmp_path / "statistics.py").write_text("def of_mine(): ...")
    for source in ("from statistics import of_mine", "import statistics; statistics.of_mine()"):
        with pytest.raises(NoGradeError, match=r"has the name of .*statistics\.py; rename it$"):
            import_network(student_task("Net", source), 0)


def test_a_notebook_is_read(student_task: StudentTask, tmp_path: Path) -> None:
    path = Path(student_task("Net").file)
    cells = [
        {"cell_type": "markdown", "source": ["# no code"]},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "!pip install x"]},
        {"cell_type": "code", "source": path.read_text(encoding="utf-8")},
        {"cell_type": "code", "source": ["class Net(Layers):\n", "    '''A network.'''"]},
    ]
    notebook = path.with_suffix(".ipynb")
    notebook.write_text(json.dumps({"cells": cells}))
    task = msgspec.structs.replace(student_task("Net"), file=str(notebook))
    assert inspect_network(task).parameters == 186


@pytest.mark.parametrize("name", ["network.v2", "random", "torch", "ablations"])
def test_a_file_runs_once_beside_others_and_leaves_nothing(
    student_task: StudentTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source = """
import helper_of_mine, matplotlib.pyplot as plt
torch.multiprocessing.set_start_method("spawn")
plt.plot([1, 2])
plt.show()
assert Path("beside.txt").read_text() == "read"
Path("written").mkdir()
class Net(Layers): ...
"""
    folder = tmp_path / "submission"
    task = move(student_task("Net", source), folder / f"{name}.py")
    (folder / "beside.txt").write_text("read")
    (folder / "helper_of_mine.py").touch()
    for shadow in {"statistics", "random", "torch", "ablations", "msgspec", "sklearn"} - {name}:
        (folder / f"{shadow}.py").write_text("raise SystemExit('wrong module')")
    before = {*folder.iterdir()}
    monkeypatch.chdir(folder)
    grade = check_network(task, [], 1, 3600)
    assert (grade.problem, grade.verdict) == ("", "undecided")
    assert grade.inspection and not grade.inspection.notes
    assert {*folder.iterdir()} == before
