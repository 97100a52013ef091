"""Download a data set through torchvision, so that it is there whole or not at all."""

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from ablations.data_files import FILE_SHAPES, DataSource, inspect_folder, read_folder
from ablations.idx import DataError, describe_start

SOCKET_TIMEOUT_SECONDS = 10.0
"""How long a server may be silent. A download itself may take as long as it moves on."""

LOCK_TIMEOUT_SECONDS = 900.0
"""How long to wait for another process that downloads the same data set."""


def raw_folder(source: DataSource, root: Path) -> Path:
    """The folder of the four files in torchvision's layout, under the folder of all data sets."""
    return root / source.torchvision_class / "raw"


def fetch_files(source: DataSource, target: Path, say: Callable[[str], None]) -> Path:
    """Download the four files under `target`, unless another process has done so meanwhile.

    Returns the folder with the files, uncompressed and verified. When it fails, whatever was in
    that folder is as it was.

    Raises:
        DataError: the reason, without a way out: the caller knows which there are.
    """
    folder = raw_folder(source, target)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with acquire(FileLock(target / f".{source.name}.lock"), source, say):
            if any(file.status != "verified" for file in inspect_folder(source, folder)):
                say(f"downloading {source.title} into {folder}")
                download(source, target, folder)
    except Timeout as error:
        raise DataError(f"another process holds {error.lock_file}") from error
    except OSError as error:
        place, reason = error.filename or target, error.strerror or str(error)
        raise DataError(f"{place}: cannot be written ({reason})") from error
    return folder


@contextmanager
def acquire(lock: BaseFileLock, source: DataSource, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock; say so when that means to wait."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another process that downloads {source.title}")
        lock.acquire(timeout=LOCK_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        lock.release()


def download(source: DataSource, target: Path, folder: Path) -> None:
    """Download into a temporary folder, verify, and move each file into place.

    Only for whoever holds the lock: a temporary folder that is there already was left by a
    process that was killed, and is removed.
    """
    temporary = target / f".{source.name}.download"
    downloaded = raw_folder(source, temporary)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with socket_timeout(SOCKET_TIMEOUT_SECONDS):
            download_with_torchvision(source, temporary)
        read_folder(source, downloaded)
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILE_SHAPES:
            (downloaded / name).replace(folder / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def download_with_torchvision(source: DataSource, root: Path) -> None:
    """Let torchvision download and unpack a data set; it knows the mirrors and checks MD5s.

    Raises:
        DataError: it failed, and why.
    """
    import torchvision.datasets

    try:
        getattr(torchvision.datasets, source.torchvision_class)(root=root, download=True)
    # Servers, proxies, disks and archives fail in more ways than torchvision documents, and all
    # of them mean the same here: the reason is passed on, nothing is swallowed.
    except Exception as error:
        for path in sorted(raw_folder(source, root).glob("*.gz")):
            if describe_start(path.read_bytes()[:64]) == "a web page":
                raise DataError(f"the server sent a web page instead of {path.name}") from error
        raise DataError(" ".join(str(error).split()) or type(error).__name__) from error


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """Let no new connection of this process be silent for longer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
