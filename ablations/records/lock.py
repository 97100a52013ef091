"""The lock of a study's folder, and what only the process that holds it may do."""

import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from ablations.records.atomic_io import DamagedFileError, is_leftover
from ablations.records.study import Study, load_study, within_study
from ablations.records.study_spec import StudyError, StudySpec, check_folder, create_study

QUARANTINE_DIR = "quarantine"
_OWNER_FILE = ".owner"
"""Names the process that holds the lock: on Windows, nobody else can read the lock file itself."""


@contextmanager
def study_lock(study_dir: Path, spec: StudySpec) -> Iterator[Study]:
    """Hold the lock of a study's folder, and load the study, which is created if there is none.

    The operating system releases the lock when its process ends. Incomplete files of a process that
    was killed are removed.

    Raises:
        StudyError: the lock is held already, or the folder holds another study.
    """
    create_study(study_dir, spec)
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
        study = load_study(study_dir)
        # Another process may have made another study there before the lock was taken.
        check_folder(study_dir, study.spec, spec)
        yield study
    finally:
        with suppress(OSError):  # on a disk that has become read-only
            owner_file.unlink()
        lock.release()


def quarantine_damaged_runs(study_dir: Path, study: Study) -> list[str]:
    """Move damaged runs and a damaged `timing.json` into `quarantine/`; returns a line for each.

    Call it only while you hold `study_lock`, with a study that was loaded since. Nothing is deleted.
    """
    lines = []
    for path, error in study.rejected.items():
        if isinstance(error, DamagedFileError):
            name = "-".join(path.parts)
            places = (study_dir / QUARANTINE_DIR / f"{name}-{number}" for number in count(1))
            place = next(place for place in places if not place.exists())
            place.parent.mkdir(exist_ok=True)
            # A link may lead to another disk, where renaming fails.
            shutil.move(study_dir / path, place)
            lines.append(
                f"Quarantined: {within_study(str(error), study_dir)}; it is kept as "
                f"{place.relative_to(study_dir)}"
            )
    return lines
