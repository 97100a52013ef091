"""Download a data set: every file whole or not at all, from the first mirror that has it.

torchvision keeps the list of mirrors. Its own download is not used: a mirror that hangs up or falls
silent ends it though the next one may be well, and it reads on for as long as a server sends.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from filelock import BaseFileLock, FileLock, Timeout

from ablations.data.sources import (
    FILE_SHAPES,
    DataSource,
    check_file,
    inspect_folder,
    is_there,
    max_stored_bytes,
    possible_paths,
)
from ablations.data.idx import ContentError, DataError, idx_bytes, unpack

SOCKET_TIMEOUT_SECONDS = 10.0
"""How long a server may be silent. A download itself may take as long as it moves on."""

LOCK_TIMEOUT_SECONDS = 900.0
"""How long to wait for another process that downloads the same data set."""

USER_AGENT = "mnist-ablations"
"""Some servers refuse the name under which Python asks by itself."""


def raw_folder(source: DataSource, root: Path) -> Path:
    """The folder of the four files in torchvision's layout, under the folder of all data sets."""
    return root / source.torchvision_class / "raw"


def fetch_files(source: DataSource, target: Path, log: Callable[[str], None]) -> Path:
    """Download what is missing or bad of the four files under `target`.

    Returns the folder with the files, verified. Files that were good are left alone, also when it
    fails; a bad one is set aside once the file that takes its place is there.

    Raises:
        DataError: the reason, without a way out: the caller knows which there are.
    """
    folder, lock_path = raw_folder(source, target), target / f".{source.name}.lock"
    try:
        target.mkdir(parents=True, exist_ok=True)
        check_inside(target, folder)
        check_inside(target, lock_path)
        with acquire(FileLock(lock_path), source, log):
            # Another process may have downloaded them meanwhile.
            statuses = [file.status for file in inspect_folder(source, folder)]
            names = [
                name
                for name, status in zip(FILE_SHAPES, statuses, strict=True)
                if status != "verified"
            ]
            if names:
                log(f"downloading {source.title} into {folder}")
                folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                put_in_place(source, folder, name, download(source, name, log), log)
    except Timeout as error:
        raise DataError(f"another process holds {error.lock_file}") from error
    except OSError as error:
        place, reason = error.filename or target, error.strerror or str(error)
        raise DataError(f"{place}: cannot be written ({reason})") from error
    return folder


def check_inside(target: Path, path: Path) -> None:
    """See that what is written at `path` arrives under `target`, which itself may be a link.

    Raises:
        DataError: a link on the way leads elsewhere.
    """
    real_path, real_target = os.path.realpath(path), os.path.realpath(target)
    if not Path(real_path).is_relative_to(real_target):
        raise DataError(f"a link leads from {path} out of {target}, to {real_path}")


@contextmanager
def acquire(lock: BaseFileLock, source: DataSource, log: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock; say so when that means to wait."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log(f"waiting for another process that downloads {source.title}")
        lock.acquire(timeout=LOCK_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        lock.release()


def download(source: DataSource, name: str, log: Callable[[str], None]) -> bytes:
    """One of the four files, gzipped and verified, from the first mirror that has it.

    Raises:
        DataError: none has, and why.
    """
    problems = []
    for mirror in mirrors_of(source):
        url = f"{mirror}{name}.gz"
        log(f"downloading {url}")
        try:
            packed = receive(url, max_stored_bytes(name))
            check_file(source, name, packed, gzipped=True)
            return packed
        # ValueError: a server may redirect to what is no address.
        except (OSError, HTTPException, ValueError, ContentError) as error:
            problems.append(f"{url}: {reason_of(error)}")
            log(f"warning: {problems[-1]}")
    raise DataError("; ".join(problems))


def mirrors_of(source: DataSource) -> list[str]:
    """The addresses to which a file's name is appended, the most trusted first."""
    import torchvision.datasets

    mirrors: list[str] = getattr(torchvision.datasets, source.torchvision_class).mirrors
    # In some schools a proxy opens what is encrypted, with a certificate that Python does not
    # know. What is verified by its content need not be encrypted.
    plain = [mirror.replace("https:", "http:", 1) for mirror in mirrors]
    return list(dict.fromkeys([*mirrors, *plain]))


def receive(url: str, max_bytes: int) -> bytes:
    """What a server sends, or `max_bytes + 1` bytes of it if that is more.

    Raises:
        ContentError: it sent less than it announced.
        OSError, HTTPException, ValueError: it cannot be reached, falls silent, refuses, or answers
            something other than HTTP.
    """
    request = Request(url, headers={"User-Agent": USER_AGENT})
    with urlopen(request, timeout=SOCKET_TIMEOUT_SECONDS) as response:
        announced_bytes = response.length
        content: bytes = response.read(max_bytes + 1)
    if announced_bytes and len(content) < min(announced_bytes, max_bytes):
        raise ContentError(f"sent {len(content):,} of {announced_bytes:,} bytes")
    return content


def reason_of(error: Exception) -> str:
    """Why a download failed, in one line."""
    if type(error) is URLError:
        error = error.reason if isinstance(error.reason, Exception) else error
    return " ".join(str(error).split()) or type(error).__name__


def put_in_place(
    source: DataSource, folder: Path, name: str, packed: bytes, log: Callable[[str], None]
) -> None:
    """Write one of the four files, and set aside what was there in its place.

    Only for whoever holds the lock: a temporary file that is there already was left by a process
    that was killed, and is removed.
    """
    path = folder / f"{name}{source.suffix}"
    content = packed if source.suffix else unpack(packed, idx_bytes(FILE_SHAPES[name]))
    temporary = folder / f".{path.name}.part"
    temporary.unlink(missing_ok=True)
    try:
        # Made anew ("x"), so that it is no link to a file elsewhere.
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            # Some file systems tell only now that they are full.
            os.fsync(file.fileno())
        for bad_path in possible_paths(source, folder, name):
            if is_there(bad_path):
                set_aside(bad_path, log)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def set_aside(path: Path, log: Callable[[str], None]) -> None:
    """Rename a bad file, or whatever has its name; where a link leads is left alone."""
    number = 1
    aside = path.with_name(f"{path.name}.bad")
    while is_there(aside):
        number += 1
        aside = path.with_name(f"{path.name}.bad{number}")
    path.rename(aside)
    log(f"set aside the bad {path} as {aside.name}")
