"""A download leaves each file complete and verified, or absent, whatever servers and disks do.

The data set has ten images; the servers run on this machine.
"""

import errno
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from filelock import FileLock

import cli
from ablations.data import download
from ablations.data.datasets import DataError, load_dataset, resolve_dataset
from ablations.data.search import search_folder
from ablations.data.sources import FILE_SHAPES, SOURCES
from tests.faults import count_fault
from tests.tiny_data import (
    CLOSED_MIRROR,
    FAULTS,
    TEST_LABELS,
    WEB_PAGE,
    Mirror,
    gzipped,
    refusal,
    serving,
    use_mirrors,
    write_files,
)

RAW = Path("data/MNIST/raw")
TRAIN_LABELS = "train-labels-idx1-ubyte"
PUBLISHED = [f"{name}.gz" for name in FILE_SHAPES]


@pytest.fixture
def mirror(tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """The only mirror of the tiny data set."""
    with serving(gzipped(tiny)) as running:
        use_mirrors(monkeypatch, running.url)
        yield running


def ignore(line: str) -> None:
    """Print nothing."""


def files_under(folder: Path) -> set[str]:
    """All files except for the lock, which may stay."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {file for file in files if not file.endswith(".lock")}


# --- what is downloaded, and into which folder


@pytest.mark.parametrize("named_by", ["argument", "environment", "default"])
def test_download_goes_where_the_user_wants_it(
    mirror: Mirror, checkout: Path, monkeypatch: pytest.MonkeyPatch, named_by: str
) -> None:
    monkeypatch.setenv("MNIST_DATA_DIR", "" if named_by == "default" else "from-environment")
    data_dir = Path("given/deep") if named_by == "argument" else None
    target = {"argument": "given/deep", "environment": "from-environment", "default": "data"}
    for name in target.values():
        Path(name).mkdir(parents=True)
    lines: list[str] = []
    message = refusal(lambda: resolve_dataset("mnist", data_dir, fetch=False, log=ignore))
    assert "was not downloaded" in message
    assert mirror.requests == []
    _, folder = resolve_dataset("mnist", data_dir, log=lines.append)
    assert folder == Path(target[named_by]) / "MNIST" / "raw"
    assert files_under(checkout) == {f"{folder}/{name}" for name in PUBLISHED}
    addresses = [f"downloading {mirror.url}{name}" for name in PUBLISHED]
    lines = [line for line in lines if not line.startswith("warning: ")]
    assert lines == [f"downloading MNIST into {folder}", *addresses]
    resolve_dataset("mnist", data_dir)
    assert mirror.requests == PUBLISHED, "the second time nothing is downloaded"


def test_a_misspelt_folder_is_not_made(
    mirror: Mirror, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_DATA_DIR", "mispelt")
    lines: list[str] = []
    _, folder = resolve_dataset("mnist", Path("mispellt"), log=lines.append)
    assert lines[:2] == [
        "warning: mispellt (--data-dir): there is no such folder",
        "warning: mispelt ($MNIST_DATA_DIR): there is no such folder",
    ]
    assert folder == RAW and list(checkout.iterdir()) == [checkout / "data"]
    # A folder for a download is another matter.
    options = ["data", "--dataset", "mnist", "--fetch", "--data-dir", "new/folder"]
    result = CliRunner().invoke(cli.main, options)
    assert result.exit_code == 0, result.output


def test_what_a_folder_has_is_not_downloaded(mirror: Mirror, tiny: dict[str, bytes]) -> None:
    """Also where good files have names of others, and a download takes the place of one."""
    [first, second, third, fourth] = FILE_SHAPES
    write_files(Path("given"), {"any name": tiny[first], "another": tiny[third]})
    assert resolve_dataset("mnist", Path("given"), log=ignore)[1] == Path("given")
    assert mirror.requests == [f"{second}.gz", f"{fourth}.gz"]
    raw = write_files(RAW, {second: tiny[first], third: tiny[second], fourth: tiny[fourth]})
    load_dataset(*resolve_dataset("mnist", log=ignore))
    assert mirror.requests[2:] == [f"{third}.gz", f"{second}.gz", f"{first}.gz"]
    assert (raw / f"{third}.bad").read_bytes() == tiny[second]


def test_every_bit_of_kmnist_is_verified(mirror: Mirror, tiny: dict[str, bytes]) -> None:
    """Only the MD5 of the gzipped files is known, so it is checked when they are read, too."""
    mirror.fault = "labelled as compressed"
    _, folder = resolve_dataset("kmnist", log=ignore)
    assert folder == Path("data/KMNIST/raw")
    path = folder / "train-images-idx3-ubyte.gz"
    # The date in the header: gzip's own checksum does not cover it.
    path.write_bytes(path.read_bytes()[:4] + b"\1" + path.read_bytes()[5:])
    assert "its digest is wrong" in refusal(lambda: load_dataset("kmnist", folder))
    resolve_dataset("kmnist", log=ignore)
    load_dataset("kmnist", folder)
    assert mirror.requests[4:] == [path.name]


# --- mirrors


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if fault.reason])
def test_failed_download_changes_nothing_and_the_next_mirror_is_tried(
    mirror: Mirror, tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The error states the reasons and the fix; no file that was there is touched, none is left."""
    raw = write_files(RAW, tiny)
    (raw / TRAIN_LABELS).unlink()
    (raw / "train-images-idx3-ubyte").write_bytes(b"half")
    before = {path.name: path.stat().st_mtime_ns for path in raw.iterdir()}
    with serving(mirror.files, fault) as bad, monkeypatch.context() as patch:
        if FAULTS[fault].stalls:
            patch.setattr(download, "SERVER_TIMEOUT_SECONDS", 0.5)
        use_mirrors(monkeypatch, CLOSED_MIRROR, bad.url)
        message = refusal(lambda: resolve_dataset("mnist", log=ignore))
        parts = "refused", FAULTS[fault].reason, "--dataset digits"
        for part in (*parts, f"put {PUBLISHED[0]}, {PUBLISHED[1]} into data"):
            assert part in message
        assert files_under(raw) == set(before)
        assert all((raw / name).stat().st_mtime_ns == time for name, time in before.items())
        use_mirrors(monkeypatch, CLOSED_MIRROR, bad.url, mirror.url)
        lines: list[str] = []
        load_dataset(*resolve_dataset("mnist", log=lines.append))
    assert mirror.requests == PUBLISHED[:2]
    addresses = [f"{url}{name}: " for name in PUBLISHED[:2] for url in (CLOSED_MIRROR, bad.url)]
    warnings = [line for line in lines if line.startswith("warning: http")]
    for address, warning in zip(addresses, warnings, strict=True):
        assert warning.startswith(f"warning: {address}") and "\n" not in warning
    count_fault("data files", "no mirror has the right file", "one line; the good files untouched")
    fault = "a mirror fails or sends wrong bytes"
    count_fault("data files", fault, "the next one is tried", times=2)


# --- good files stay, bad ones are quarantined


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_only_missing_or_bad_files_are_downloaded(
    mirror: Mirror, tiny: dict[str, bytes], suffix: str
) -> None:
    raw = write_files(RAW, tiny, suffix=suffix)
    bad, missing, *good = [raw / f"{name}{suffix}" for name in FILE_SHAPES]
    bad.write_bytes(WEB_PAGE)
    missing.unlink()
    inodes = [path.stat().st_ino for path in good]
    lines: list[str] = []
    load_dataset(*resolve_dataset("mnist", log=lines.append))
    assert mirror.requests == PUBLISHED[:2]
    assert [path.stat().st_ino for path in good] == inodes
    assert list(raw.glob("*.bad")) == [Path(f"{bad}.bad")]
    assert f"quarantined the bad {bad} as {bad.name}.bad" in lines


def test_command_lists_files_and_reports_the_quarantine(
    mirror: Mirror, tiny: dict[str, bytes]
) -> None:
    raw = write_files(RAW, tiny)
    (raw / TRAIN_LABELS).write_bytes(b"bad")
    (raw / TEST_LABELS).unlink()
    refused, fetched = (
        CliRunner().invoke(cli.main, ["data", "--dataset", "mnist", *fetch])
        for fetch in ([], ["--fetch"])
    )
    assert (refused.exit_code, fetched.exit_code) == (1, 0), fetched.output
    found = refused.output.splitlines()
    assert found.pop(0).startswith(f"bad       {raw / TRAIN_LABELS}: not an idx file")
    verified = [name for name in FILE_SHAPES if name not in (TRAIN_LABELS, TEST_LABELS)]
    assert found[:2] == [f"verified  {raw / name}" for name in verified]
    quarantined = f"quarantined the bad {raw / TRAIN_LABELS} as {TRAIN_LABELS}.bad"
    assert quarantined in fetched.output.splitlines()


ODD_FILES: dict[str, Callable[[Path], object]] = {
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to a device without end": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    **({"pipe": os.mkfifo} if hasattr(os, "mkfifo") else {}),
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", ODD_FILES)
def test_odd_file_is_refused_and_quarantined(
    mirror: Mirror, tiny: dict[str, bytes], kind: str, suffix: str
) -> None:
    raw = write_files(RAW, tiny)
    (raw / TEST_LABELS).unlink()
    odd = raw / f"{TEST_LABELS}{suffix}"
    ODD_FILES[kind](odd)
    message = refusal(lambda: load_dataset("mnist", RAW))
    assert message.startswith(f"{odd}: a folder, a device or a broken link, not a file; for")
    load_dataset(*resolve_dataset("mnist", log=ignore))
    assert os.path.lexists(f"{odd}.bad")
    count_fault("data files", "a folder, pipe, device or broken link", "refused, quarantined")


def test_files_outside_the_download_folder_stay(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path
) -> None:
    folders = [checkout / "data" / "mnist", checkout / "given", checkout / "../shared/mnist"]
    for folder in folders:
        write_files(folder, tiny)
        (folder / TEST_LABELS).write_bytes(WEB_PAGE)
    lines: list[str] = []
    _, folder = resolve_dataset("mnist", Path("given"), log=lines.append)
    assert folder == Path("given")
    assert Path(f"given/MNIST/raw/{TEST_LABELS}.gz").exists()
    assert all((other / TEST_LABELS).read_bytes() == WEB_PAGE for other in folders)
    assert len([line for line in lines if "a web page" in line]) == len(folders)


def test_a_link_in_place_of_the_partial_file_is_not_followed(mirror: Mirror) -> None:
    Path("precious").write_text("precious", encoding="utf-8")
    RAW.mkdir(parents=True)
    (RAW / f".{TRAIN_LABELS}.gz").symlink_to(Path("precious").absolute())
    load_dataset(*resolve_dataset("mnist", log=ignore))
    assert Path("precious").read_text(encoding="utf-8") == "precious"
    assert files_under(RAW) == set(PUBLISHED)


# --- disks and processes


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (OSError(errno.ENOSPC, "disk full"), "could not be downloaded: disk full; put"),
        (KeyboardInterrupt("Ctrl-C"), "Ctrl-C"),
    ],
)
def test_interrupted_while_moving_a_file(
    mirror: Mirror,
    tiny: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    message: str,
) -> None:
    raw = write_files(RAW, tiny)
    (raw / TRAIN_LABELS).write_bytes(b"bad")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", Mock(side_effect=failure))
        with pytest.raises((DataError, KeyboardInterrupt), match=message):
            resolve_dataset("mnist", log=ignore)
    assert files_under(raw) == set(FILE_SHAPES)
    assert (raw / TRAIN_LABELS).read_bytes() == b"bad"
    load_dataset(*resolve_dataset("mnist", log=ignore))


def start_download() -> Any:
    """Start a process that downloads the tiny data set into the current directory."""
    arguments = dict(FILE_SHAPES), dict(SOURCES)
    process = multiprocessing.get_context("spawn").Process(target=download_tiny, args=arguments)
    process.start()
    return process


def download_tiny(shapes: dict[str, Any], sources: dict[str, Any]) -> None:
    """In a process of its own: replace what the test has replaced, then download."""
    FILE_SHAPES.update(shapes)
    SOURCES.update(sources)
    resolve_dataset("mnist", log=ignore)


def test_killed_while_downloading(mirror: Mirror) -> None:
    mirror.fault = "silent"
    process = start_download()
    assert mirror.has_stalled.wait(120)
    process.kill()
    process.join()
    found = search_folder(SOURCES["mnist"], RAW)
    assert (found.missing, found.problems) == (list(FILE_SHAPES), [])
    mirror.fault = "none"
    load_dataset(*resolve_dataset("mnist", log=ignore))
    assert files_under(RAW) == set(PUBLISHED)
    count_fault("data files", "killed while downloading", "no half file; the next call works")


def test_two_processes_download_each_file_once(mirror: Mirror) -> None:
    processes = [start_download() for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert mirror.requests == PUBLISHED
    assert files_under(RAW) == set(PUBLISHED)
    load_dataset("mnist", RAW)


def test_waiting_for_another_process_ends(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LOCK_TIMEOUT_SECONDS", 0.1)
    RAW.mkdir(parents=True)
    with FileLock(RAW / ".lock"):
        message = refusal(lambda: resolve_dataset("mnist", log=ignore))
    assert f"'{RAW / '.lock'}' could not be acquired" in message
    assert mirror.requests == []


# --- what replaces MNIST


def test_auto_falls_back_to_digits_with_a_prominent_warning(checkout: Path) -> None:
    lines: list[str] = []
    assert resolve_dataset("auto", log=lines.append) == ("digits", None)
    assert len([line for line in lines if line.startswith("!!!")]) >= 5
    text = "\n".join(lines)
    parts = ["NOT MNIST's numbers", "refused", "put train-images-idx3-ubyte", "--dataset mnist"]
    assert all(part in text for part in parts)
    assert files_under(checkout) == set()
