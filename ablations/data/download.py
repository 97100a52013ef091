"""Download a data set: each file complete and verified, or not at all."""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout

from ablations.data.idx import ContentError
from ablations.data.sources import (
    FILE_SHAPES,
    DataError,
    DataSource,
    Log,
    inspect_folder,
    possible_paths,
    read_file,
)

SERVER_TIMEOUT_SECONDS = 10.0
"""How long a server may be silent. A download may take any time while data arrives."""

LOCK_TIMEOUT_SECONDS = 900.0
"""How long to wait for another process that downloads the same data set."""

_STAGING_PREFIX = ".download-"


def fetch_files(source: DataSource, folder: Path, log: Log) -> None:
    """Download into a folder what is missing or bad of the four files.

    A file moves into the folder when it is verified. The bad file that it replaces is renamed to
    `NAME.bad` just before. Good files stay as they are.

    Raises:
        DataError: why the download failed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_SECONDS):
            # Of a process that was killed.
            for leftover in folder.glob(f"{_STAGING_PREFIX}*"):
                shutil.rmtree(leftover, ignore_errors=True)
            # Another process may have downloaded them meanwhile.
            files = zip(FILE_SHAPES, inspect_folder(source, folder), strict=True)
            names = [name for name, file in files if file.status != "verified"]
            with TemporaryDirectory(prefix=_STAGING_PREFIX, dir=folder) as staging:
                for name in names:
                    staged = _download(source, name, Path(staging), log)
                    for bad_path in possible_paths(source, folder, name):
                        if os.path.lexists(bad_path):
                            bad_path.replace(f"{bad_path}.bad")
                            log(f"quarantined the bad {bad_path} as {bad_path.name}.bad")
                    staged.replace(folder / staged.name)
    except Timeout as error:
        raise DataError(f"another process holds {error.lock_file}") from error
    except OSError as error:
        place, reason = error.filename or folder, error.strerror or str(error)
        raise DataError(f"{place}: cannot be written ({reason})") from error


def _download(source: DataSource, name: str, staging: Path, log: Log) -> Path:
    """One of the four files, gzipped and verified, from the first mirror that has it.

    Raises:
        DataError: no mirror has it, and why.
    """
    # Imported late because most commands need no network.
    from pooch import HTTPDownloader

    receive = HTTPDownloader(
        timeout=SERVER_TIMEOUT_SECONDS,
        # Some servers refuse the default name of Python's clients.
        headers={"User-Agent": "mnist-ablations"},
        hooks={"response": _keep_gzipped},
    )
    path, problems = staging / f"{name}.gz", []
    for mirror in source.mirrors:
        url = f"{mirror}{name}.gz"
        log(f"downloading {url}")
        try:
            receive(url, str(path), None)
            read_file(source, path, name)
            return path
        # ValueError: bad content, or a redirection to an invalid address.
        except (OSError, ValueError) as error:
            problems.append(f"{url}: {_reason(error)}")
            log(f"warning: {problems[-1]}")
    raise DataError("; ".join(problems))


def _keep_gzipped(response: Any, **options: Any) -> None:
    """Keep the published file where a server labels it as a compressed transfer."""
    response.raw.headers.pop("Content-Encoding", None)


def _reason(error: BaseException) -> str:
    """The innermost cause of a failed download, in one line."""
    while error.__context__ and not isinstance(error, ContentError):
        error = error.__context__
    return " ".join(str(error).split()) or type(error).__name__
