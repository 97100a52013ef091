"""Files of any kind are written and stay what they are."""

import os
import threading
from pathlib import Path

import pytest

from ablations.records.atomic_io import write_atomically


@pytest.mark.parametrize("exists", [True, False])
def test_link_stays_and_its_target_is_written(tmp_path: Path, exists: bool) -> None:
    target, link = tmp_path / "elsewhere" / "grade.json", tmp_path / "grade.json"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"old")
    link.symlink_to("elsewhere/grade.json")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["grade.json"]


def test_pipe_is_written_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=write_atomically, args=(pipe, b"content"), daemon=True)
    writer.start()
    assert pipe.read_bytes() == b"content"
    writer.join()
    assert pipe.is_fifo()


def test_device_stays(tmp_path: Path) -> None:
    link = tmp_path / "stdout"
    link.symlink_to("/dev/null")
    write_atomically(link, b"content")
    assert link.is_symlink()
    assert Path("/dev/null").is_char_device()


def test_longest_name_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("g" * 255)
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"
