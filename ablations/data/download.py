"""Download a data set: each file complete and verified, or not at all."""

import os
from pathlib import Path
from typing import Any

from filelock import FileLock

from ablations.data.search import (
    ContentError,
    folders_under,
    possible_paths,
    read_file,
    search_folder,
)
from ablations.data.sources import FILE_SHAPES, DataError, DataSource, Log
from ablations.operating_system import replace_file
from ablations.words import in_one_line

SERVER_TIMEOUT_SECONDS = 10.0
"""How long a server may be silent. A download may take any time while data arrives."""

LOCK_TIMEOUT_SECONDS = 900.0
"""How long to wait for another process that downloads the same data set."""


def fetch_files(source: DataSource, root: Path, log: Log) -> Path:
    """Download what a folder lacks of the four files, into the folders that torchvision uses in it.

    A file moves there when it is verified. The bad file that it replaces is renamed to
    `NAME.bad` just before. Good files stay as they are.

    Returns the folder with the four files.

    Raises:
        DataError: why the download failed.
    """
    folder = folders_under(source, root)[0]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_SECONDS):
            # Searched each time: another process may have downloaded them meanwhile, and a good
            # file under the name of another is quarantined with it.
            for _ in FILE_SHAPES:
                if missing := search_folder(source, root).missing:
                    _replace_file(source, folder, missing[0], log)
    except OSError as error:
        raise DataError(in_one_line(error)) from error
    found = search_folder(source, root)
    if found.missing:
        raise DataError(f"{root}: {found.lack}")
    return found.folder


def _replace_file(source: DataSource, folder: Path, name: str, log: Log) -> None:
    """Download one of the four files, and quarantine what was in its place."""
    # A killed process leaves this file.
    partial = folder / f".{name}.gz"
    # A link of that name would lead the download to another file.
    partial.unlink(missing_ok=True)
    try:
        _download(source, name, partial, log)
        for bad_path in filter(os.path.lexists, possible_paths(source, folder, name)):
            bad_path.replace(f"{bad_path}.bad")
            log(f"quarantined the bad {bad_path} as {bad_path.name}.bad")
        replace_file(partial, folder / f"{name}.gz")
    finally:
        partial.unlink(missing_ok=True)


def _download(source: DataSource, name: str, path: Path, log: Log) -> None:
    """Download one of the four files, gzipped, from the first mirror that has the verified file."""
    # Imported late because most commands need no network.
    from pooch import HTTPDownloader

    receive = HTTPDownloader(
        timeout=SERVER_TIMEOUT_SECONDS,
        # Some servers refuse the default name of Python's clients.
        headers={"User-Agent": "mnist-ablations"},
        hooks={"response": _keep_gzipped},
    )
    problems = []
    for mirror in source.mirrors:
        url = f"{mirror}{name}.gz"
        log(f"downloading {url}")
        try:
            receive(url, str(path), None)
            found, _ = read_file(source, path)
            if found == name:
                return
            raise ContentError(f"it is {found}")
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
