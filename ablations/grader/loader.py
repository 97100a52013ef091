"""Loads somebody's own network from its file, and turns whatever goes wrong there into one line.

The file is run, so only processes of their own import this (`worker.py`).
"""

import difflib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from ablations.grader.protocol import (
    LimitError,
    MachineError,
    NetworkError,
    Task,
    UnknownNameError,
)
from mnist_blocks import NetworkSpec
from mnist_blocks.network import build_network


def load_network(task: Task, seed: int) -> nn.Module:
    """The network that a file defines under a name, with initial weights that the seed decides.

    That may be a class of modules or a function, which is called without arguments, a module, or
    a `NetworkSpec`.

    Raises:
        UnknownNameError: the file has no such name.
        NetworkError: the file raises, or what it has under the name is none of these.
    """
    torch.manual_seed(seed)
    module = import_file(Path(task.file).resolve())
    if not hasattr(module, task.name):
        raise UnknownNameError(f"{Path(task.file).name} has no {task.name}{hint(module, task)}")
    found = getattr(module, task.name)
    if isinstance(found, torch.jit.ScriptModule):
        raise NetworkError(f"{task.name} is scripted; give the module that it was scripted from")
    torch.manual_seed(seed)  # The file may have set another.
    if isinstance(found, NetworkSpec):
        found = build_network(found)
    if not isinstance(found, nn.Module) and callable(found):
        with told(f"calling {task.name}() without arguments", task.file):
            found = found()
    if not isinstance(found, nn.Module):
        raise NetworkError(
            f"{task.name} is of type {type(found).__name__}; it must be an nn.Module, a class or function "
            "that gives one without arguments, or a NetworkSpec"
        )
    return found


def import_file(path: Path) -> ModuleType:
    """Run a Python file as a module of its own.

    Raises:
        NetworkError: it raises.
    """
    with told("importing the file", str(path)):
        sys.argv = [str(path)]
        # Neighbouring files can be imported, as when the file is run by itself.
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise NetworkError(f"{path.name} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    return module


def hint(module: ModuleType, task: Task) -> str:
    """What the name could have been meant to be."""
    names = [name for name, value in vars(module).items() if is_network_class(value)]
    close = difflib.get_close_matches(task.name, names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; it has {', '.join(names)}" if names else ""


def is_network_class(value: object) -> bool:
    """Whether a name of a file could have been meant."""
    is_class = isinstance(value, type) and issubclass(value, nn.Module)
    return is_class and not value.__module__.startswith("torch")


@contextmanager
def told(doing: str, file: str) -> Iterator[None]:
    """Turn whatever goes wrong meanwhile into one line that names it, and where in the file.

    Raises:
        LimitError: there is not enough memory.
        NetworkError: anything else.
    """
    try:
        yield
    except (NetworkError, MachineError):
        raise
    except SystemExit as error:
        raise NetworkError(f"{doing}: it ends the program (exit {error.code})") from error
    except Exception as error:
        first_line = next(iter(str(error).strip().splitlines()), "")
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename) == Path(file).resolve()
        ]
        where = f" ({Path(file).name}, line {lines[-1]})" if lines else ""
        kind = type(error).__name__
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise LimitError(f"{doing}: there is not enough memory{where}") from error
        raise NetworkError(f"{doing}: {kind}: {first_line[:300]}{where}") from error
