"""The disk cache of compiled kernels, which several processes share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speed.cpu import compiling

REPOSITORY = Path(__file__).resolve().parents[3]

# Functions that differ in a constant, or in what they return, and are called with two types.
SCRIPT = """
import sys
import numpy as np
from speed.cpu.compiling import cached_njit

def make(number, is_pair):
    @cached_njit(set())
    def add(values):
        if is_pair:
            return values + number, values
        return values + number
    return add

for word in sys.argv[1:]:
    number, is_pair = int(word.rstrip("p")), word.endswith("p")
    function = make(number, is_pair)
    for dtype in (np.float32, np.int64):
        found = function(np.full(2, 1000, dtype))
        assert isinstance(found, tuple) == is_pair
        assert list(found[0] if is_pair else found) == [1000 + number] * 2
    print(len(function.stats.cache_hits), end=" ")
"""


def start(folder: Path, *command: str) -> "subprocess.Popen[str]":
    """A process with a cache in this folder, which imports from it first."""
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": path}
    command = (sys.executable, *command)
    return subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, encoding="utf-8"
    )


def test_processes_that_compile_at_once_never_mix_up_their_code(tmp_path: Path) -> None:
    script = tmp_path / "versions.py"
    script.write_text(SCRIPT, encoding="utf-8")
    # The same function first in one process and second in another: the names that Numba gives
    # their machine code depend on the order.
    orders = [("1", "2p", "3"), ("2p", "3", "1"), ("3", "1", "2p")]
    for process in [start(tmp_path, str(script), *order) for order in orders]:
        process.communicate()
        assert process.returncode == 0
    # Every version is read back as itself, also by a process that compiles a new one.
    for order, hits in ((("2p", "1", "3"), "2 2 2 "), (("1p", "1"), "0 2 "), (("2", "1p"), "0 2 ")):
        process = start(tmp_path, str(script), *order)
        assert process.communicate()[0] == hits
        assert process.returncode == 0


def test_a_change_in_another_file_is_noticed(tmp_path: Path) -> None:
    # `write_row` of direct.py contains the machine code of `store` from kernels.py.
    shutil.copytree(
        REPOSITORY / "speed", tmp_path / "speed", ignore=shutil.ignore_patterns("__pycache__")
    )
    code = """
import numpy as np
from speed.cpu.direct import write_row
out = np.empty((1, 4), np.float32)
write_row(np.ones(4, np.float32), 2, 2, np.zeros(4, np.float32), out, 0)
print(out.sum())
"""
    assert start(tmp_path, "-c", code).communicate()[0] == "4.0\n"
    kernels = tmp_path / "speed/cpu/kernels.py"
    source = kernels.read_text(encoding="utf-8")
    old = "            matrix[np.uintp(row), np.uintp(column)] = value\n"
    assert source.count(old) == 1
    kernels.chmod(0o644)  # It may be a copy of a file that is read-only.
    kernels.write_text(
        source.replace(old, old.replace("= value", "= value + 100")), encoding="utf-8"
    )
    assert start(tmp_path, "-c", code).communicate()[0] == "404.0\n"


def test_without_a_folder_for_the_cache_it_still_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr("numba.core.dispatcher.FunctionCache", fail)
    double = compiling.cached_njit(set())(lambda value: 2 * value)
    assert double(21) == 42


def test_user_without_a_home_gets_no_folder_of_that_name(tmp_path: Path) -> None:
    code = (
        "import pwd\n"
        "def no_such_user(number): raise KeyError(number)\n"
        "pwd.getpwuid = no_such_user\n"
        "import speed.cpu.compiling as compiling\n"
        "from numba.core.caching import UserWideCacheLocator\n"
        "function = compiling.cached_njit\n"
        "print(UserWideCacheLocator.from_function(function, compiling.__file__))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    environment.pop("XDG_CACHE_HOME", None)
    environment["PYTHONPATH"] = str(REPOSITORY)
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True
    )
    assert (found.stdout, found.stderr) == (b"None\n", b"")
    assert not list(tmp_path.iterdir())
