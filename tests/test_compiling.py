"""Compiled loops on the disk, which several processes share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from speed import compiling

# Every process makes its own versions of one function, which differ in a constant.
SCRIPT = """
import sys
import time
from numba.core.caching import IndexDataCacheFile
from speed.compiling import kept_on_disk

# The moment in which another process may take the same number is made long.
save_index = IndexDataCacheFile._save_index

def save_slowly(file, versions):
    time.sleep(0.1)
    save_index(file, versions)

IndexDataCacheFile._save_index = save_slowly

def version(number):
    @kept_on_disk(set())
    def add(value):
        return value + number
    return add

first = int(sys.argv[1])
for number in range(first, first + 4):
    assert version(number)(1000) == 1000 + number
"""


def start(script: Path, folder: Path, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(script), str(number)],
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_compile_at_once_never_mix_up_their_code(tmp_path: Path) -> None:
    script = tmp_path / "versions.py"
    script.write_text(SCRIPT)
    # Many processes, so that they meet in the cache's folder.
    started = [start(script, tmp_path / "cache", number) for number in range(0, 16, 4)]
    for process in started:
        process.communicate(timeout=120)
        assert process.returncode == 0
    # What they left is right for everybody: each version is read back as itself.
    again = [start(script, tmp_path / "cache", number) for number in range(0, 16, 4)]
    for process in again:
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert len(list((tmp_path / "cache").rglob("*.nbc"))) == 16


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
    def refuse(*_: object) -> None:
        raise NotImplementedError("no locks here")

    monkeypatch.setattr(compiling, "FileLock", refuse)
    with compiling.alone_in(str(tmp_path)):
        pass
