"""The lock of a study's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from ablations.records.atomic_io import is_leftover
from ablations.records.checksums import write_with_checksum
from ablations.records.study import Study, load_study
from ablations.records.study_spec import (
    STUDY_FILE,
    StudyError,
    StudySpec,
    check_folder,
    create_study,
)


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
    try:
        lock.acquire()
    except Timeout as error:
        raise StudyError(
            f"another process uses {study_dir}; wait until it ends, or choose another folder with "
            "--out"
        ) from error
    try:
        for path in [*study_dir.iterdir(), *study_dir.glob("*/seed-*/*")]:
            if is_leftover(path):
                path.unlink(missing_ok=True)
        study = load_study(study_dir)
        # Another process may have made another study there before the lock was taken.
        check_folder(study_dir, study.spec, spec)
        if study.spec != spec:  # Another plan, which is allowed as long as there are no verdicts.
            write_with_checksum(study_dir / STUDY_FILE, spec)
        yield replace(study, spec=spec)
    finally:
        lock.release()
