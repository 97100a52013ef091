"""Loads a student's network from its file, and explains in one line whatever fails there.

Loading runs the file, so only worker processes do it (`worker.py`).
"""

import ast
import importlib.util
import inspect
import json
import re
import sys
import textwrap
import tokenize
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ablations.grader.protocol import (
    MAIN_GUARD,
    MEMORY_LIMIT_GIB,
    LimitError,
    NetworkError,
    NoGradeError,
    UnknownNameError,
    WorkerTask,
)
from mnist_blocks import NetworkSpec
from mnist_blocks.network import build_network

_NOTEBOOK_ADVICE = (
    "line {line} is a notebook command; export with jupyter nbconvert --to script and remove it"
)
_LACKING = {
    r"NameError: name '(get_ipython|display)' is|No module named '(google|IPython)": _NOTEBOOK_ADVICE,
    r"^(Runtime|Assertion|Accelerator|NotImplemented)Error: .*(CUDA|cuda|NVIDIA|\bmps\b)": "check trains on the CPU; remove .cuda() and the like, or use them only "
    "if torch.cuda.is_available()",
    r"No module named '(?P<package>\w+)'": "install it: pip install {package}",
}
"""What the machine lacks and the network may not need, by a pattern of the error, each with advice."""
_ADVICE_ON_LOADING = {
    r"[Dd]ownload|urlopen|Connection|name resolution|service not known": f"the file downloads something; {MAIN_GUARD}",
    r"^SystemExit|^EOFError": MAIN_GUARD,
    r"^FileNotFoundError": "name files relative to Path(__file__).parent",
}
_PACKAGES = {"cv2": "opencv-python", "skimage": "scikit-image", "yaml": "pyyaml"}
"""Where a package has another name than its module."""


def import_network(task: WorkerTask, seed: int) -> object:
    """What a file defines under a name. The file is executed, so call this once in a process.

    Raises:
        UnknownNameError: the file does not define the name.
        NoGradeError: the file raises an exception.
    """
    torch.manual_seed(seed)
    with explain_errors("importing the file", task.file, is_loading=True):
        module = _import_file(Path(task.file))
    if not hasattr(module, task.name):
        own = {name: getattr(value, "__module__", "") for name, value in vars(module).items()}
        names = ", ".join(name for name in own if own[name] == module.__name__) or "nothing"
        raise UnknownNameError(
            f"{Path(task.file).name} does not define {task.name}; it defines {names}"
        )
    return getattr(module, task.name)


def make_network(found: Any, task: WorkerTask, seed: int, batch_size: int) -> nn.Module:
    """The network, with initial weights for a seed, after a first batch of images.

    It may be a class or function that is called without arguments, a module or a `NetworkSpec`.

    Raises:
        NoGradeError: it is none of these, or calling it raises an exception.
        NetworkError: it cannot classify images.
    """
    torch.manual_seed(seed)  # The file may have set another seed.
    name = task.name
    if isinstance(found, NetworkSpec):
        found = build_network(found)
    if not isinstance(found, nn.Module) and callable(found):
        with explain_errors(f"calling {name}() without arguments", task.file, is_loading=True):
            if missing := _required_arguments(found):
                raise NoGradeError(
                    f"{name} needs {', '.join(missing)}; name a function or a subclass without "
                    f"arguments: def network(): return {name}({missing[0]}=...)"
                )
            found = found()
    if isinstance(found, torch.jit.ScriptModule):
        raise NoGradeError(f"{name} is a TorchScript module; give the module that was scripted")
    if not isinstance(found, nn.Module):
        raise NoGradeError(
            f"{name} has type {type(found).__name__}; it must be an nn.Module, a "
            "NetworkSpec, or a class or function that returns a module when called without arguments"
        )
    shape = (batch_size, 1, 28, 28)
    with explain_errors(f"classifying images of shape {shape}", task.file):
        found(torch.zeros(shape))  # Lazy layers learn their sizes from their first images.
    return found


def _required_arguments(function: Any) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # It is not written in Python.
        return []
    is_variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        one.name for one in parameters if one.default is one.empty and one.kind not in is_variable
    ]


def _import_file(path: Path) -> ModuleType:
    sys.argv = [str(path)]
    source = _read_source(path)
    levels = [
        node.level for node in ast.walk(ast.parse(source, path)) if isinstance(node, ast.ImportFrom)
    ]
    folder, package = path.parent, ""
    while (folder / "__init__.py").is_file() or package.count(".") < max(levels, default=0):
        folder, package = folder.parent, f"{folder.name}.{package}"
    # The file can import its neighbours, as when it is run by itself. They come last, so that a
    # `random.py` is not imported in place of Python's.
    sys.path += [str(path.parent), str(folder)]
    if package:
        return importlib.import_module(f"{package}{path.stem}".removesuffix(".__init__"))
    name = path.stem.replace(".", "_")
    other = sys.modules.get(name) or importlib.util.find_spec(name)
    if other and getattr(other, "origin", "") != str(path):
        name += "_of_a_student"
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(path)
    exec(compile(source, path, "exec"), vars(module))  # noqa: S102 (see the supervisor)
    return module


def _read_source(path: Path) -> str:
    """A Python file's text or, of a notebook, that of its code cells without lines for IPython."""
    if path.suffix != ".ipynb":
        with tokenize.open(path) as file:
            return file.read()
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return re.sub(r"(?m)^[%!].*", "", "\n".join(code))


@contextmanager
def explain_errors(activity: str, file: str, *, is_loading: bool = False) -> Iterator[None]:
    """Turn any exception into one line with the activity and the line of the student's file.

    Raises:
        LimitError: there is not enough memory.
        NoGradeError: this machine lacks something that the file needs, or it is being loaded.
        NetworkError: anything else.
    """
    try:
        yield
    except (NetworkError, NoGradeError):
        raise
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == Path(file)]
        where = f" ({Path(file).name}, line {lines[-1]})" if lines else ""
        message = textwrap.shorten(str(error), 1000, placeholder=" ...")
        if isinstance(error, MemoryError) or re.search("can't allocate memory|bad_alloc", message):
            raise LimitError(
                f"{activity}: needed more than {MEMORY_LIMIT_GIB} GiB of memory{where}; use smaller layers"
            ) from error
        text = f"{type(error).__name__}: {message}"
        is_lacking, advice = _advice(error, text, lines[-1] if lines else None, Path(file))
        kind = NoGradeError if is_lacking or is_loading else NetworkError
        raise kind(f"{activity}: {text}{where}" + (f"; {advice}" if advice else "")) from error


def _advice(error: BaseException, text: str, line: int | None, file: Path) -> tuple[bool, str]:
    """Whether an error shows that the machine lacks something, and what to do about the error."""
    if isinstance(error, SyntaxError) and re.match(r"\s*(\w+ *= *)?[!%?]", error.text or ""):
        return True, _NOTEBOOK_ADVICE.format(line=error.lineno)
    if isinstance(error, ModuleNotFoundError) and error.name:
        for folder in file.parents:
            if (folder / error.name).is_dir() or (folder / f"{error.name}.py").is_file():
                return True, f"it is in {folder}: set PYTHONPATH={folder}"
    if found := re.search(r"(from|module) '(\w+)' (\(|has no attribute)", text):
        neighbour = file.parent / f"{found[2]}.py"
        if neighbour.is_file():
            return True, f"another module has the name of {neighbour}; rename it"
    for is_lacking, advices in ((True, _LACKING), (False, _ADVICE_ON_LOADING)):
        for pattern, advice in advices.items():
            if found := re.search(pattern, text):
                package = found.groupdict().get("package", "")
                return is_lacking, advice.format(line=line, package=_PACKAGES.get(package, package))
    return False, ""
