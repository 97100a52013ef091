"""The lock of a study's folder."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ablations.records.atomic_io import is_leftover
from ablations.records.study_spec import StudyError

_OWNER_FILE = ".owner"
"""Names the process that holds the lock: on Windows, nobody else can read the lock file itself."""


@contextmanager
def study_lock(study_dir: Path) -> Iterator[None]:
    """Hold the lock of a study's folder, and remove incomplete files of a process that was killed.

    The operating system releases the lock when its process ends. StudyError when it is held already.
    """
    lock = FileLock(study_dir / ".lock", timeout=0)
    owner_file = study_dir / _OWNER_FILE
    try:
        lock.acquire()
    except Timeout as error:
        owner = ""
        with suppress(OSError):
            owner = owner_file.read_text().strip()
        raise StudyError(
            f"{owner or 'another process'} uses {study_dir}; wait until it ends, or choose another "
            "folder with --out"
        ) from error
    try:
        owner_file.write_text(f"process {os.getpid()} on {platform.node()}\n")
        for path in [*study_dir.iterdir(), *study_dir.glob("*/seed-*/*")]:
            if is_leftover(path):
                path.unlink(missing_ok=True)
        yield
    finally:
        with suppress(OSError):  # on a disk that has become read-only
            owner_file.unlink()
        lock.release()
