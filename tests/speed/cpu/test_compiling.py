"""Compiled loops on the disk, which several processes share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speed.cpu import compiling

REPOSITORY = Path(__file__).resolve().parents[3]
CACHES = shutil.ignore_patterns("__pycache__")

# Every process makes its own versions of one function, which differ in a constant.
SCRIPT = """
import sys
import time
import numpy as np
from numba.core.caching import IndexDataCacheFile
from speed.cpu.compiling import kept_on_disk

# The moment in which another process may take the same number is made long.
save_index = IndexDataCacheFile._save_index

def save_slowly(file, versions):
    time.sleep(0.1)
    save_index(file, versions)

IndexDataCacheFile._save_index = save_slowly

def version(number):
    @kept_on_disk(set())
    def add(value):
        return np.full(2, value + number)
    return add

for number in map(int, sys.argv[1:]):
    assert list(version(number)(1000)) == [1000 + number] * 2
"""


def start(script: Path, folder: Path, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, words)],
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_compile_at_once_never_mix_up_their_code(tmp_path: Path) -> None:
    script = tmp_path / "versions.py"
    script.write_text(SCRIPT)
    # Many processes, so that they meet in the cache's folder.
    started = [
        start(script, tmp_path / "cache", *range(first, first + 4)) for first in range(0, 16, 4)
    ]
    for process in started:
        process.communicate(timeout=120)
        assert process.returncode == 0
    # What they left is right for everybody: each version is read back as itself.
    again = [
        start(script, tmp_path / "cache", *range(first, first + 4)) for first in range(0, 16, 4)
    ]
    for process in again:
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert len(list((tmp_path / "cache").rglob("*.nbc"))) == 16


def test_versions_from_the_disk_and_new_ones_are_told_apart(tmp_path: Path) -> None:
    # Numba counts a process's functions, and takes the number into the name of the machine code:
    # what one process compiled first, and another one first, had the same name. Versions that
    # return different things then took each other's constants.
    script = tmp_path / "halves.py"
    script.write_text("""
import sys
import numpy as np
from speed.cpu.compiling import kept_on_disk

def version(is_pair):
    @kept_on_disk(set())
    def halves(value):
        if is_pair:
            return np.full(2, value), np.full(2, value / 2)
        return np.full(2, value)
    return halves

versions = [version(word == "pair") for word in sys.argv[1:]]
for function, word in zip(versions * 2, sys.argv[1:] * 2):
    assert isinstance(function(10), tuple) == (word == "pair")
""")
    for words in (["one"], ["pair", "one"], ["one", "pair"]):
        assert start(script, tmp_path / "cache", *words).wait(120) == 0, words


def run(folder: Path, code: str) -> str:
    """What a process prints that has this folder's package first in its path."""
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, capture_output=True, text=True, timeout=120,
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(folder)},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_a_change_in_another_file_is_noticed(tmp_path: Path) -> None:
    # `finish_row` of convolution.py has taken `store` of kernels.py into its machine code.
    shutil.copytree(REPOSITORY / "speed", tmp_path / "speed", ignore=CACHES)
    code = """
import numpy as np
from speed.cpu.convolution import finish_row
out = np.empty((1, 4), np.float32)
finish_row(np.ones(4, np.float32), 2, 2, np.zeros(4, np.float32), out, 0)
print(out.sum())
"""
    assert run(tmp_path, code) == "4.0"
    kernels = tmp_path / "speed/cpu/kernels.py"
    source = kernels.read_text()
    old = "            matrix[np.uintp(row), np.uintp(column)] = value\n"
    assert source.count(old) == 1
    kernels.write_text(source.replace(old, old.replace("= value", "= value + 100")))
    assert run(tmp_path, code) == "404.0"


def test_a_process_that_dies_leaves_no_wrong_code(tmp_path: Path) -> None:
    script = tmp_path / "versions.py"
    script.write_text(SCRIPT)
    assert start(script, tmp_path / "cache", 0, 1, 2, 3).wait(120) == 0
    # The source changes, so that Numba begins anew, and the first process dies as it keeps its code.
    script.write_text(SCRIPT.replace("time.sleep(0.1)", "import os; os._exit(9)") + "# changed")
    assert start(script, tmp_path / "cache", 4).wait(120) == 9
    script.write_text(SCRIPT + "# changed")
    assert start(script, tmp_path / "cache", 4).wait(120) == 0


def test_without_a_place_for_the_cache_it_compiles_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nowhere(function: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(compiling, "SharedCache", nowhere)
    double = compiling.kept_on_disk(set())(lambda value: 2 * value)
    assert double(21) == 42


def test_a_file_system_without_locks_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("no locks here")

    monkeypatch.setattr(compiling, "FileLock", refuse)
    with compiling.alone_in(str(tmp_path)):
        pass
