"""One process at a time in a study's folder."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ablations.records.atomic_io import is_leftover
from ablations.records.study_spec import StudyError

OWNER_FILE = ".owner"
"""Who is at work in the study, while `.lock` is held."""


@contextmanager
def only_one_process(study_dir: Path) -> Iterator[None]:
    """Keep a second process out of a study: it would do the same runs, and disturb the timing.

    The system lets go of a lock when its process ends, however that went, so that a lock file
    that was left behind keeps nobody out.

    Raises:
        StudyError: another process is at work there.
    """
    lock = FileLock(study_dir / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise StudyError(
            f"{read_owner(study_dir)} is at work in {study_dir}; wait for it, or choose another "
            "folder with --out"
        ) from error
    try:
        write_owner(study_dir)
        remove_leftovers(study_dir)
        yield
    finally:
        with suppress(OSError):  # on a disk that has become read-only
            (study_dir / OWNER_FILE).unlink()
        lock.release()


def remove_leftovers(study_dir: Path) -> None:
    """Take away what a process that was killed had not finished writing. For who holds the lock."""
    for path in [*study_dir.iterdir(), *study_dir.glob("*/seed-*/*")]:
        if is_leftover(path):
            path.unlink(missing_ok=True)


def write_owner(study_dir: Path) -> None:
    """Leave word of who holds the lock. The lock file itself cannot be read on Windows."""
    (study_dir / OWNER_FILE).write_text(f"process {os.getpid()} on {platform.node()}\n")


def read_owner(study_dir: Path) -> str:
    """Who holds the lock, in words."""
    try:
        return (study_dir / OWNER_FILE).read_text().strip() or "another process"
    except OSError:
        return "another process"
