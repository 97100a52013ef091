"""Loads a student's network from its file, and explains in one line whatever fails there.

Loading runs the file, so only worker processes do it (`worker.py`).
"""

import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from ablations.grader.protocol import LimitError, NetworkError, UnknownNameError, WorkerTask
from mnist_blocks import NetworkSpec
from mnist_blocks.network import build_network

IMAGES_SHAPE = (4, 1, 28, 28)


def load_student_network(task: WorkerTask, seed: int) -> nn.Module:
    """The network that a file defines under a name, with initial weights for a seed.

    It may be a class or function that is called without arguments, a module or a `NetworkSpec`.

    Raises:
        UnknownNameError: the file does not define the name.
        NetworkError: the file raises an exception, or the name is none of these.
    """
    torch.manual_seed(seed)
    with explain_errors("importing the file", task.file):
        module = _import_file(Path(task.file))
    if not hasattr(module, task.name):
        own = {name: getattr(value, "__module__", "") for name, value in vars(module).items()}
        names = ", ".join(name for name in own if own[name] == module.__name__) or "nothing"
        raise UnknownNameError(
            f"{Path(task.file).name} does not define {task.name}; it defines {names}"
        )
    found = getattr(module, task.name)
    torch.manual_seed(seed)  # The file may have set another seed.
    if isinstance(found, NetworkSpec):
        found = build_network(found)
    if not isinstance(found, nn.Module) and callable(found):
        with explain_errors(f"calling {task.name}() without arguments", task.file):
            found = found()
    if isinstance(found, torch.jit.ScriptModule):
        raise NetworkError(
            f"{task.name} is a TorchScript module; give the module that was scripted"
        )
    if not isinstance(found, nn.Module):
        raise NetworkError(
            f"{task.name} has type {type(found).__name__}; it must be an nn.Module, a "
            "NetworkSpec, or a class or function that returns a module when called without arguments"
        )
    with explain_errors(f"classifying images of shape {IMAGES_SHAPE}", task.file):
        found(torch.zeros(IMAGES_SHAPE))  # Lazy layers learn their sizes from their first images.
    return found


def _import_file(path: Path) -> ModuleType:
    sys.argv = [str(path)]
    # The file can import its neighbours, as when it is run by itself.
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader, path
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def explain_errors(activity: str, file: str) -> Iterator[None]:
    """Turn any exception into one line with the activity and the line of the student's file.

    Raises:
        LimitError: there is not enough memory.
        NetworkError: anything else.
    """
    try:
        yield
    except NetworkError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == Path(file)]
        where = f" ({Path(file).name}, line {lines[-1]})" if lines else ""
        message = next(iter(str(error).strip().splitlines()), "")[:300]
        if isinstance(error, MemoryError) or re.search("can't allocate memory|bad_alloc", message):
            raise LimitError(
                f"{activity}: not enough memory{where}; use smaller layers, or fewer --jobs"
            ) from error
        raise NetworkError(f"{activity}: {type(error).__name__}: {message}{where}") from error
