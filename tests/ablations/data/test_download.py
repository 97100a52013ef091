"""A download leaves every file whole or not at all, whatever servers, disks and links do to it.

The data set is one of ten images; the servers are real ones, on this machine.
"""

import errno
import gzip
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torchvision.datasets
from click.testing import CliRunner

import cli
from ablations.data import download as data_fetch
from ablations.data.datasets import load_dataset, resolve_dataset
from ablations.data.sources import FILE_SHAPES, SOURCES, inspect_folder
from tests.faults import tell_fault
from tests.tiny_data import (
    BODY_FAULTS,
    MIRROR_FAULTS,
    STATUS_FAULTS,
    TEST_LABELS,
    WEB_PAGE,
    Mirror,
    closed_port,
    gzipped,
    isolate,
    make_tiny,
    refusal,
    serving,
    write_files,
)

RAW = Path("data/MNIST/raw")
TRAIN_LABELS = "train-labels-idx1-ubyte"
NOBODY = 65_534

SILENT_SECONDS = 0.5
"""How long a server may be silent in a test of silence; good ones answer in a few milliseconds."""


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, no folder in the environment, and no mirror that answers."""
    return isolate(tmp_path / "checkout", monkeypatch)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make `mnist` and `kmnist` a data set of ten images; the content of its files."""
    return make_tiny(monkeypatch)


@pytest.fixture
def mirror(tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """The only mirror of the tiny data set."""
    with serving(gzipped(tiny)) as running:
        use_mirrors(monkeypatch, running)
        yield running


def use_mirrors(monkeypatch: pytest.MonkeyPatch, *mirrors: Mirror) -> None:
    for name in ("MNIST", "KMNIST"):
        dataset_class = getattr(torchvision.datasets, name)
        monkeypatch.setattr(dataset_class, "mirrors", [mirror.url for mirror in mirrors])


def quiet(line: str) -> None:
    """Say nothing."""


def files_under(folder: Path) -> set[str]:
    """All files, but for the lock, which may stay."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {file for file in files if not file.endswith(".lock")}


def asked(*names: str) -> Counter[str]:
    return Counter(f"{name}.gz" for name in names)


COMPLETE = {f"MNIST/raw/{name}" for name in FILE_SHAPES}


# --- what is downloaded, and where to


def test_download_of_the_real_files(
    mnist_folder: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {}
    for name in FILE_SHAPES:
        path = mnist_folder / f"{name}.gz"
        plain = mnist_folder / name
        packed = path.read_bytes() if path.exists() else gzip.compress(plain.read_bytes(), 1)
        files[path.name] = packed
    with serving(files) as running:
        use_mirrors(monkeypatch, running)
        found = resolve_dataset("auto", log=quiet)
    assert found == ("mnist", RAW)
    assert files_under(checkout / "data") == COMPLETE
    assert load_dataset(*found).mean == 0.1307


@pytest.mark.parametrize("named_by", ["argument", "environment", "default"])
def test_download_goes_where_the_user_said(
    mirror: Mirror, checkout: Path, monkeypatch: pytest.MonkeyPatch, named_by: str
) -> None:
    monkeypatch.setenv("MNIST_DATA_DIR", "" if named_by == "default" else "from-environment")
    data_dir = Path("given/deep") if named_by == "argument" else None
    target = {"argument": "given/deep", "environment": "from-environment", "default": "data"}
    said: list[str] = []
    _, folder = resolve_dataset("mnist", data_dir, log=said.append)
    assert folder == Path(target[named_by]) / "MNIST" / "raw"
    assert files_under(checkout) == {f"{folder}/{name}" for name in FILE_SHAPES}
    if data_dir:
        warning = f"warning: no file of MNIST in {data_dir} (--data-dir); looking elsewhere"
        assert said.pop(0) == warning
    addresses = [f"downloading {mirror.url}{name}.gz" for name in FILE_SHAPES]
    assert said == [f"downloading MNIST into {folder}", *addresses]
    resolve_dataset("mnist", data_dir)
    assert Counter(mirror.requests) == asked(*FILE_SHAPES), "the second time nothing is downloaded"


def test_nothing_is_downloaded_unless_asked_to(mirror: Mirror, checkout: Path) -> None:
    message = refusal(lambda: resolve_dataset("mnist", fetch=False))
    assert "was not downloaded" in message
    assert mirror.requests == []
    assert files_under(checkout) == set()


def test_of_kmnist_what_can_be_verified_is_kept(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path
) -> None:
    """Only the gzipped files' digests are known: every bit of them counts, later as well."""
    _, folder = resolve_dataset("kmnist", log=quiet)
    assert folder == Path("data/KMNIST/raw")
    packed = gzipped(tiny)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == packed
    path = folder / "train-images-idx3-ubyte.gz"
    # The date in the header: no checksum of gzip's own covers it.
    path.write_bytes(packed[path.name][:4] + b"\1" + packed[path.name][5:])
    assert "its MD5 differs" in refusal(lambda: load_dataset("kmnist", folder))
    resolve_dataset("kmnist", log=quiet)
    load_dataset("kmnist", folder)
    assert mirror.requests[4:] == [path.name]


def test_encrypted_mirror_whose_certificate_is_not_known(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are verified by their content: they are asked for without encryption."""
    encrypted = mirror.url.replace("http:", "https:")
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [encrypted])
    monkeypatch.setattr(data_fetch, "SOCKET_TIMEOUT_SECONDS", SILENT_SECONDS)
    resolve_dataset("mnist", log=quiet)
    assert set(mirror.requests) >= set(mirror.files)


# --- mirrors


@pytest.mark.parametrize("fault", MIRROR_FAULTS)
def test_next_mirror_is_tried(
    mirror: Mirror, checkout: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if "silent" in fault:
        monkeypatch.setattr(data_fetch, "SOCKET_TIMEOUT_SECONDS", SILENT_SECONDS)
    said: list[str] = []
    with serving(mirror.files, fault) as faulty:
        use_mirrors(monkeypatch, faulty, mirror)
        assert resolve_dataset("mnist", log=said.append) == ("mnist", RAW)
    assert set(faulty.requests) == set(mirror.files)
    assert Counter(mirror.requests) == asked(*FILE_SHAPES)
    warnings = [line for line in said if line.startswith("warning: ")]
    assert len(warnings) == len(FILE_SHAPES)
    for name, warning in zip(FILE_SHAPES, warnings, strict=True):
        assert warning.startswith(f"warning: {faulty.url}{name}.gz: ")
        assert "\n" not in warning
    assert files_under(checkout / "data") == COMPLETE
    load_dataset("mnist", RAW)
    if fault in STATUS_FAULTS:
        kind = "refuses or redirects (403, 404, 429, 503, in a circle, to a file)"
    elif fault in BODY_FAULTS:
        kind = "sends something else (login page, half a file, bad content, gzip bomb)"
    else:
        kind = "hangs up, resets, falls silent, answers no HTTP, sends without end"
    tell_fault("data files", f"a mirror {kind}", "the next one is tried", times=len(FILE_SHAPES))


def test_last_of_many_mirrors(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """All the others are faulty, each in its own way, and one is not there at all."""
    monkeypatch.setattr(data_fetch, "SOCKET_TIMEOUT_SECONDS", SILENT_SECONDS)
    with ExitStack() as stack:
        faulty = [stack.enter_context(serving(mirror.files, fault)) for fault in MIRROR_FAULTS]
        nobody = Mirror(f"http://127.0.0.1:{closed_port()}/", {})
        use_mirrors(monkeypatch, nobody, *faulty, mirror)
        resolve_dataset("mnist", log=quiet)
    load_dataset("mnist", RAW)
    assert Counter(mirror.requests) == asked(*FILE_SHAPES)


# What each fault is called in the line that says why a download failed.
REASONS = {
    "403": "403",
    "404": "404",
    "login page": "starts with a web page, so it is not gzipped",
    "gzipped login page": "starts with a web page, not 00000803",
    "half a file": "sent ",
    "half a file, announced as one": "damaged gzip file",
    "other values": "not MNIST's file, its SHA-256 differs",
    "gzip bomb": "goes on after its 4,720 bytes",
    "sends without end": "starts with 00000000, so it is not gzipped",
    "falls silent": "timed out",
    "answers no HTTP": "220 mail.example.org ready",
    "nobody there": "refused",
}


@pytest.mark.parametrize("fault", REASONS)
def test_failed_download(
    mirror: Mirror,
    tiny: dict[str, bytes],
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """It says why and what to do, leaves nothing behind, and touches no file that was there."""
    if "silent" in fault:
        monkeypatch.setattr(data_fetch, "SOCKET_TIMEOUT_SECONDS", SILENT_SECONDS)
    raw = write_files(checkout / RAW, tiny)
    (raw / TRAIN_LABELS).unlink()
    (raw / "train-images-idx3-ubyte").write_bytes(b"half")
    before = {path.name: path.stat().st_mtime_ns for path in raw.iterdir()}
    mirror.fault = fault
    if fault == "nobody there":
        use_mirrors(monkeypatch, Mirror(f"http://127.0.0.1:{closed_port()}/", {}))
    message = refusal(lambda: resolve_dataset("mnist", log=quiet))
    assert REASONS[fault] in message
    assert "train-images-idx3-ubyte.gz" in message
    assert "data/MNIST/raw" in message
    assert "--dataset digits" in message
    assert all(name in message for name in FILE_SHAPES)
    assert {path.name: path.stat().st_mtime_ns for path in raw.iterdir()} == before
    assert files_under(checkout) == {str(RAW / name) for name in before}
    tell_fault("data files", "no mirror has the right file", "one line; the good files untouched")
    mirror.fault = ""
    use_mirrors(monkeypatch, mirror)
    # Good by now, however slow the machine is.
    monkeypatch.setattr(data_fetch, "SOCKET_TIMEOUT_SECONDS", 10.0)
    resolve_dataset("mnist", log=quiet)
    load_dataset("mnist", RAW)


@pytest.mark.parametrize("fault", BODY_FAULTS)
def test_mirrors_of_kmnist(mirror: Mirror, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """No SHA-256 is known, but the MD5 of what is sent."""
    with serving(mirror.files, fault) as faulty:
        use_mirrors(monkeypatch, faulty, mirror)
        resolve_dataset("kmnist", log=quiet)
    assert set(mirror.requests) == set(mirror.files)


@pytest.mark.parametrize("fault", ["sends without end", "gzip bomb"])
def test_memory_is_bounded(mirror: Mirror, checkout: Path, fault: str) -> None:
    mirror.fault = fault
    if fault == "gzip bomb":
        bomb = BODY_FAULTS[fault](mirror.files["train-images-idx3-ubyte.gz"])
        mirror.fault, mirror.files = "", dict.fromkeys(mirror.files, bomb)
    tracemalloc.start()
    try:
        refusal(lambda: resolve_dataset("mnist", log=quiet))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 6_000_000
    assert mirror.sent_bytes < 20_000_000


# --- good files are kept, bad ones set aside


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_only_what_is_missing_or_bad_is_downloaded(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path, suffix: str
) -> None:
    """Every choice of good, bad and missing files."""
    states = [(a, b, c, d) for a in range(3) for b in range(3) for c in range(3) for d in range(3)]
    for state in states:
        shutil.rmtree(checkout / "data", ignore_errors=True)
        mirror.requests.clear()
        raw = write_files(checkout / RAW, tiny, suffix=suffix)
        kinds = dict(zip(FILE_SHAPES, state, strict=True))
        for name, kind in kinds.items():
            if kind == 1:
                (raw / f"{name}{suffix}").unlink()
            elif kind == 2:
                (raw / f"{name}{suffix}").write_bytes(WEB_PAGE)
        good = {path: path.stat().st_ino for path in raw.iterdir() if path.read_bytes() != WEB_PAGE}
        said: list[str] = []
        resolve_dataset("mnist", log=said.append)
        load_dataset("mnist", RAW)
        not_good = [name for name, kind in kinds.items() if kind]
        bad = [f"{name}{suffix}" for name, kind in kinds.items() if kind == 2]
        assert Counter(mirror.requests) == asked(*not_good)
        assert {path: path.stat().st_ino for path in good} == good
        assert {path.name for path in raw.glob("*.bad*")} == {f"{name}.bad" for name in bad}
        assert all((raw / f"{name}.bad").read_bytes() == WEB_PAGE for name in bad)
        lines = [line for line in said if line.startswith("set aside")]
        assert lines == [f"set aside the bad {RAW / name} as {name}.bad" for name in bad]
        assert len([line for line in said if "a web page" in line]) == len(bad)
    num_files = len(states) * len(FILE_SHAPES)
    outcome = "downloaded alone, bad ones set aside, good ones kept"
    tell_fault("data files", "some of the files bad or missing", outcome, times=num_files * 2 // 3)


def test_command_tells_what_it_sets_aside(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path
) -> None:
    damaged_raw(checkout, tiny)
    refused = CliRunner().invoke(cli.main, ["data", "--dataset", "mnist"])
    assert refused.exit_code == 1
    assert f"bad       {RAW / TRAIN_LABELS}: starts with 626164" in refused.output
    fetched = CliRunner().invoke(cli.main, ["data", "--dataset", "mnist", "--fetch"])
    assert fetched.exit_code == 0, fetched.output
    line = f"set aside the bad {RAW / TRAIN_LABELS} as {TRAIN_LABELS}.bad"
    assert line in fetched.output.splitlines()


def test_bad_files_are_numbered(mirror: Mirror, tiny: dict[str, bytes], checkout: Path) -> None:
    raw = write_files(checkout / RAW, tiny)
    for number in range(3):
        (raw / TEST_LABELS).write_bytes(b"bad %d" % number)
        resolve_dataset("mnist", log=quiet)
    names = [f"{TEST_LABELS}.{ending}" for ending in ("bad", "bad2", "bad3")]
    assert [(raw / name).read_bytes() for name in names] == [b"bad 0", b"bad 1", b"bad 2"]
    load_dataset("mnist", RAW)


def test_plain_and_gzipped_file_both_bad(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path
) -> None:
    raw = write_files(checkout / RAW, tiny)
    (raw / TEST_LABELS).write_bytes(b"bad")
    (raw / f"{TEST_LABELS}.gz").write_bytes(WEB_PAGE)
    resolve_dataset("mnist", log=quiet)
    bad = {f"{TEST_LABELS}.bad", f"{TEST_LABELS}.gz.bad"}
    assert {path.name for path in raw.iterdir()} == {*FILE_SHAPES, *bad}


def test_folder_in_place_of_a_file_is_set_aside(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path
) -> None:
    raw = write_files(checkout / RAW, tiny)
    (raw / TEST_LABELS).unlink()
    (raw / TEST_LABELS).mkdir()
    (raw / TEST_LABELS / "notes").write_text("mine")
    resolve_dataset("mnist", log=quiet)
    load_dataset("mnist", RAW)
    assert (raw / f"{TEST_LABELS}.bad" / "notes").read_text() == "mine"


def test_files_where_nothing_is_downloaded_to_are_left_alone(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path
) -> None:
    """The user's own folders, of which one is named, and one that others share."""
    folders = [checkout / "data" / "mnist", checkout / "given", checkout / "../shared/mnist"]
    for folder in folders:
        write_files(folder, tiny)
        (folder / TEST_LABELS).write_bytes(WEB_PAGE)
    before = {path: path.stat().st_mtime_ns for folder in folders for path in folder.iterdir()}
    said: list[str] = []
    _, folder = resolve_dataset("mnist", Path("given"), log=said.append)
    assert folder == Path("given/MNIST/raw")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(checkout.parent.rglob("*.bad"))
    assert len([line for line in said if "a web page" in line]) == len(folders)


def test_named_folder_with_nothing_but_a_bad_file(mirror: Mirror, checkout: Path) -> None:
    """It is mended where a download goes, and refused elsewhere, or without a download."""
    raw = write_files(checkout / "given/MNIST/raw", {TEST_LABELS: b"half"})
    message = refusal(lambda: resolve_dataset("mnist", Path("given"), fetch=False, log=quiet))
    assert message.startswith(f"given/MNIST/raw/{TEST_LABELS}: ")
    refusal(lambda: resolve_dataset("mnist", raw, log=quiet))
    assert files_under(checkout) == {f"given/MNIST/raw/{TEST_LABELS}"}
    resolve_dataset("mnist", Path("given"), log=quiet)
    assert files_under(raw) == {*FILE_SHAPES, f"{TEST_LABELS}.bad"}


# --- links


def make_odd_file(kind: str, path: Path, outside: Path) -> None:
    """Something that is no file, or a link to it."""
    if kind == "link to nothing":
        path.symlink_to(outside / "nothing")
    elif kind == "link to itself":
        path.symlink_to(path.name)
    elif kind == "two links to each other":
        path.symlink_to(f"{path.name}.other")
        path.with_name(f"{path.name}.other").symlink_to(path.name)
    elif kind == "link to a folder":
        path.symlink_to(outside)
    elif kind == "link to a bad file":
        path.symlink_to(outside / "precious")
    elif kind == "link to a device without end":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a pipe":
        os.mkfifo(outside / "pipe")
        path.symlink_to(outside / "pipe")


ODD_FILES = (
    "link to nothing",
    "link to itself",
    "two links to each other",
    "link to a folder",
    "link to a bad file",
    "link to a device without end",
    "pipe",
    "link to a pipe",
)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", ODD_FILES)
def test_odd_file_is_refused_and_set_aside(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path, kind: str, suffix: str
) -> None:
    """At once, in little memory; where a link leads nothing is touched."""
    raw = write_files(checkout / RAW, tiny)
    (raw / TEST_LABELS).unlink()
    outside = checkout.parent / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    odd = raw / f"{TEST_LABELS}{suffix}"
    make_odd_file(kind, odd, outside)
    before = sorted(outside.iterdir())
    tracemalloc.start()
    try:
        message = refusal(lambda: load_dataset("mnist", RAW))
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()
    assert message.startswith(f"{RAW / odd.name}: ")
    assert "; " in message, "the way out is missing"
    resolve_dataset("mnist", log=quiet)
    load_dataset("mnist", RAW)
    assert (raw / TEST_LABELS).is_file()
    assert not (raw / TEST_LABELS).is_symlink()
    assert os.path.lexists(raw / f"{odd.name}.bad")
    assert sorted(outside.iterdir()) == before
    assert (outside / "precious").read_bytes() == b"precious"
    fault = "a pipe, or a link to nothing, itself, a folder or a device, in place of a file"
    tell_fault("data files", fault, "refused at once, set aside")


def test_good_files_are_read_through_links(tiny: dict[str, bytes], checkout: Path) -> None:
    """Linked file by file, or with their folder: what is read is verified."""
    elsewhere = write_files(checkout.parent / "elsewhere", tiny)
    (checkout / "data/mnist").mkdir(parents=True)
    for name in FILE_SHAPES:
        (checkout / "data/mnist" / name).symlink_to(elsewhere / name)
    assert resolve_dataset("mnist", fetch=False) == ("mnist", Path("data/mnist"))
    shutil.rmtree(checkout / "data")
    (checkout / "data").symlink_to(elsewhere)
    assert resolve_dataset("mnist", fetch=False) == ("mnist", Path("data"))


def contents_under(folder: Path) -> dict[Path, bytes | str]:
    """Everything in a folder: files' contents, and where links lead."""
    return {
        path: str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("link", ["data/MNIST/raw", "data/MNIST", "data/.mnist.lock"])
@pytest.mark.parametrize("leads_to", ["there", "nothing"])
def test_nothing_is_written_through_a_link_out_of_the_folder(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path, link: str, leads_to: str
) -> None:
    outside = checkout.parent / "outside"
    write_files(outside / "there" / "raw", tiny)
    write_files(outside / "there", tiny)
    for folder in (outside / "there", outside / "there" / "raw"):
        (folder / TEST_LABELS).write_bytes(b"bad, and precious to somebody")
    before = contents_under(outside)
    path = checkout / link
    path.parent.mkdir(parents=True)
    is_file = link.endswith(".lock") and leads_to == "there"
    path.symlink_to(outside / leads_to / TEST_LABELS if is_file else outside / leads_to)
    message = refusal(lambda: resolve_dataset("mnist", log=quiet))
    assert f"a link leads from {link}" in message
    assert f" out of data, to {outside}" in message
    assert contents_under(outside) == before
    assert mirror.requests == []
    tell_fault("data files", "a link out of the folder to download into", "nothing is written")


def test_temporary_file_that_is_a_link(mirror: Mirror, checkout: Path) -> None:
    precious = checkout / "precious"
    precious.write_text("precious")
    (checkout / RAW).mkdir(parents=True)
    for name in FILE_SHAPES:
        (checkout / RAW / f".{name}.part").symlink_to(precious)
    resolve_dataset("mnist", log=quiet)
    load_dataset("mnist", RAW)
    assert precious.read_text() == "precious"
    tell_fault("data files", "a temporary file is a link", "what it leads to is untouched", times=4)


def test_folder_to_download_into_may_be_a_link(mirror: Mirror, checkout: Path) -> None:
    """It is the one that the user named."""
    (checkout.parent / "large-disk").mkdir()
    (checkout / "data").symlink_to(checkout.parent / "large-disk")
    assert resolve_dataset("mnist", log=quiet) == ("mnist", RAW)
    assert files_under(checkout.parent / "large-disk") == COMPLETE


# --- disks and rights


def damaged_raw(checkout: Path, contents: dict[str, bytes]) -> Path:
    """Two good files; the training labels are bad and the test images are missing."""
    shutil.rmtree(checkout / "data", ignore_errors=True)
    raw = write_files(checkout / RAW, contents)
    (raw / TRAIN_LABELS).write_bytes(b"bad")
    (raw / "t10k-images-idx3-ubyte").unlink()
    return raw


def see_nothing_half(raw: Path, contents: dict[str, bytes]) -> None:
    """Every file is whole, missing, or the bad one of before; the two good ones are there."""
    for name, content in contents.items():
        path = raw / name
        if name == TRAIN_LABELS:
            assert not path.exists() or path.read_bytes() in (b"bad", content)
        elif name == "t10k-images-idx3-ubyte":
            assert not path.exists() or path.read_bytes() == content
        else:
            assert path.read_bytes() == content
    kept = [path for path in raw.iterdir() if path.name.startswith(TRAIN_LABELS)]
    assert b"bad" in [path.read_bytes() for path in kept], "the bad file is gone"


def failing_at(call: int, real: Callable[..., Any], code: int) -> Callable[..., Any]:
    """A function that fails as the operating system's would at one of its calls."""
    num_calls = 0

    def function(*arguments: Any, **options: Any) -> Any:
        nonlocal num_calls
        num_calls += 1
        if num_calls == call:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    return function


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_disk_that_fails(mirror: Mirror, tiny: dict[str, bytes], checkout: Path, code: int) -> None:
    """At each step of putting each file in place; the next time it works."""
    num_tried = 0
    for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "open")):
        for call in (1, 2):
            raw = damaged_raw(checkout, tiny)
            with pytest.MonkeyPatch.context() as patch:
                if name == "open":
                    patch.setattr(Path, "open", failing_to_create(call, Path.open, code))
                else:
                    patch.setattr(owner, name, failing_at(call, getattr(owner, name), code))
                if (name, call) == ("rename", 2):
                    continue
                message = refusal(lambda: resolve_dataset("mnist", log=quiet))
            assert f"cannot be written ({os.strerror(code)})" in message
            see_nothing_half(raw, tiny)
            assert not list(raw.glob(".*.part"))
            resolve_dataset("mnist", log=quiet)
            load_dataset("mnist", RAW)
            assert (raw / f"{TRAIN_LABELS}.bad").read_bytes() == b"bad"
            num_tried += 1
    fault = f"while a file is put in place: {os.strerror(code).lower()}"
    tell_fault("data files", fault, "one line, good files kept", times=num_tried)


def failing_to_create(call: int, real: Callable[..., Any], code: int) -> Callable[..., Any]:
    """`Path.open` that fails at one of the files that it is to make."""
    create = failing_at(call, real, code)
    return lambda path, mode="r", *rest: (create if mode == "xb" else real)(path, mode, *rest)


def run_in_child(work: Callable[[], None]) -> int:
    """Start a process that does some work and ends; its number."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:  # noqa: BLE001 (a failed assertion, and whatever else)
        traceback.print_exc()
    finally:
        os._exit(1)


def exit_code_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_limit_on_a_files_size(mirror: Mirror, tiny: dict[str, bytes], checkout: Path) -> None:
    """A write that really breaks off in the middle of a file, in a process of its own."""
    for limit_bytes in (1, 10, 1_000, 3_000):
        raw = damaged_raw(checkout, tiny)

        def fail(limit_bytes: int = limit_bytes) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
            message = refusal(lambda: resolve_dataset("mnist", log=quiet))
            assert "cannot be written (File too large)" in message

        assert exit_code_of(run_in_child(fail)) == 0
        see_nothing_half(raw, tiny)
        assert not list(raw.glob(".*.part"))
        resolve_dataset("mnist", log=quiet)
        load_dataset("mnist", RAW)
    tell_fault("data files", "a write breaks off", "one line, good files kept", times=4)


@pytest.mark.parametrize("folder", ["data", "data/MNIST/raw"])
def test_folder_that_may_not_be_written_to(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path, folder: str
) -> None:
    raw = damaged_raw(checkout, tiny)
    before = contents_under(raw)
    if folder == "data/MNIST/raw":
        (checkout / "data").chmod(0o777)
    (checkout / folder).chmod(0o555)

    def fail() -> None:
        # Missing rights do not stop the superuser.
        if os.geteuid() == 0:
            os.seteuid(NOBODY)
        message = refusal(lambda: resolve_dataset("mnist", log=quiet))
        assert "cannot be written (Permission denied)" in message
        assert folder in message

    assert exit_code_of(run_in_child(fail)) == 0
    assert contents_under(raw) == before
    (checkout / folder).chmod(0o755)
    resolve_dataset("mnist", log=quiet)
    load_dataset("mnist", RAW)
    tell_fault("data files", "no right to write in the folder", "one line, nothing changed")


def test_target_that_cannot_be_written_to(mirror: Mirror, checkout: Path) -> None:
    (checkout / "data").write_text("a file, not a folder")
    message = refusal(lambda: resolve_dataset("mnist"))
    assert "could not be downloaded: data: cannot be written" in message


# --- processes


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_killed_while_downloading(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path, name: str
) -> None:
    """At many moments of a slow download; the next call fetches what is missing."""
    num_tried, left_by_killed = 25, Counter[int]()
    folder = checkout / "data" / name.upper() / "raw"
    for number in range(num_tried):
        shutil.rmtree(checkout / "data", ignore_errors=True)
        mirror.silent_seconds, mirror.num_pieces = 0.003, 4
        mirror.requests.clear()
        child = run_in_child(lambda: resolve_dataset(name, log=quiet) and None)
        # Before the first request, or some milliseconds after one of the four.
        wait_until(lambda: len(mirror.requests) >= number % 5)  # noqa: B023
        time.sleep(0.004 * (number // 5))
        os.kill(child, signal.SIGKILL)
        assert exit_code_of(child) in (-signal.SIGKILL, 0)
        mirror.silent_seconds, mirror.num_pieces = 0.0, 1
        statuses = [file.status for file in inspect_folder(SOURCES[name], folder)]
        assert "bad" not in statuses
        left_by_killed[statuses.count("verified")] += 1
        mirror.requests.clear()
        _, found = resolve_dataset(name, log=quiet)
        load_dataset(name, found)
        assert set(mirror.requests) == {
            f"{file}.gz"
            for file, status in zip(FILE_SHAPES, statuses, strict=True)
            if status == "missing"
        }
        assert not list(folder.glob(".*.part"))
    assert len(left_by_killed) >= 3, "the moments are too alike"
    outcome = "no half file; the next call works"
    tell_fault("data files", "killed while downloading", outcome, times=num_tried)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def dying(real: Callable[..., Any], *, afterwards: bool) -> Callable[..., Any]:
    """A function in which the process is killed, before or after what it does."""

    def function(*arguments: Any, **options: Any) -> Any:
        if afterwards:
            real(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    return function


@pytest.mark.parametrize("step", ["fsync", "rename", "replace"])
@pytest.mark.parametrize("afterwards", [False, True])
def test_killed_while_putting_a_file_in_place(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path, step: str, afterwards: bool
) -> None:
    """The narrow moments: the file is written, the bad one is set aside, the new one is there."""
    raw = damaged_raw(checkout, tiny)

    def work() -> None:
        owner = os if step == "fsync" else Path
        setattr(owner, step, dying(getattr(owner, step), afterwards=afterwards))
        resolve_dataset("mnist", log=quiet)

    assert exit_code_of(run_in_child(work)) == -signal.SIGKILL
    see_nothing_half(raw, tiny)
    resolve_dataset("mnist", log=quiet)
    load_dataset("mnist", RAW)
    see_nothing_half(raw, tiny)
    assert {path.name for path in raw.iterdir()} == {*FILE_SHAPES, f"{TRAIN_LABELS}.bad"}
    outcome = "no half file; the next call works"
    tell_fault("data files", "killed while a file is put in place", outcome)


def test_interrupted_while_downloading(
    mirror: Mirror, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control-C is passed on, and leaves nothing half."""

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            resolve_dataset("mnist", log=quiet)
    assert files_under(checkout) == set()
    resolve_dataset("mnist", log=quiet)


def test_concurrent_downloads_leave_one_good_copy(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path
) -> None:
    raw = damaged_raw(checkout, tiny)
    mirror.silent_seconds = 0.03
    num_threads = 4
    together = threading.Barrier(num_threads)

    def fetch(_: int) -> tuple[str, Path | None]:
        together.wait()
        return resolve_dataset("mnist", log=quiet)

    with ThreadPoolExecutor(num_threads) as pool:
        found = set(pool.map(fetch, range(num_threads)))
    assert found == {("mnist", RAW)}
    assert Counter(mirror.requests) == asked(TRAIN_LABELS, "t10k-images-idx3-ubyte")
    assert {path.name for path in raw.iterdir()} == {*FILE_SHAPES, f"{TRAIN_LABELS}.bad"}
    load_dataset("mnist", RAW)


def test_waiting_for_another_process_is_said_and_ends(
    mirror: Mirror, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process is a real one, which holds the lock until it is killed."""
    monkeypatch.setattr(data_fetch, "LOCK_TIMEOUT_SECONDS", 0.1)
    program = (
        "import filelock, time, pathlib; pathlib.Path('data').mkdir();"
        "lock = filelock.FileLock('data/.mnist.lock'); lock.acquire(); print('locked', flush=True);"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", program]
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
            message = refusal(lambda: resolve_dataset("mnist", log=said.append))
        finally:
            other.kill()
    assert "another process holds data/.mnist.lock" in message
    assert said == ["waiting for another process that downloads MNIST"]
    resolve_dataset("mnist", log=quiet)
    assert files_under(checkout / "data") == COMPLETE


# --- what stands in for MNIST


def test_auto_falls_back_to_digits_and_says_so_loudly(checkout: Path) -> None:
    said: list[str] = []
    assert resolve_dataset("auto", log=said.append) == ("digits", None)
    loud = "\n".join(said)
    assert "These are NOT MNIST's numbers" in loud
    assert "refused" in loud
    assert "put train-images-idx3-ubyte" in loud
    assert "--dataset mnist" in loud
    assert len([line for line in said if line.startswith("!!!")]) >= 5
    assert files_under(checkout) == set()


def test_auto_is_mnist_where_mnist_is(tiny: dict[str, bytes], checkout: Path) -> None:
    write_files(checkout / "data", tiny)
    said: list[str] = []
    assert resolve_dataset("auto", log=said.append) == ("mnist", Path("data"))
    assert said == []


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_a_data_set_asked_for_by_name_has_no_substitute(name: str, checkout: Path) -> None:
    message = refusal(lambda: resolve_dataset(name, log=quiet))
    assert "refused" in message
    assert "--dataset digits" in message
    shutil.rmtree(checkout / "data")
    assert "was not downloaded" in refusal(lambda: resolve_dataset(name, fetch=False))
