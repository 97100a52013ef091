"""Merging the parts of a study that were made in separate folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.records.atomic_io import RecordError, read_content, write_atomically
from ablations.records.lock import study_lock
from ablations.records.run import (
    OBSERVATIONS_FILE,
    PREDICTIONS_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    RunRecord,
    read_verified,
    run_folder,
)
from ablations.records.study import (
    load_study,
    quarantine_damaged_runs,
)
from ablations.records.study_spec import (
    StudyError,
    check_folder,
    describe_difference,
    is_study,
    load_spec,
)


@dataclass(frozen=True)
class MergeResult:
    """What a merge did."""

    num_copied: int
    num_present: int
    """Runs that the folder had before."""
    problems: tuple[str, ...]
    """Runs that were not copied or were quarantined, and why."""


def merge_studies(parts: Sequence[Path], study_dir: Path) -> MergeResult:
    """Copy every intact run of the parts into one folder.

    The parts stay as they are; a part may still be growing. No run in the folder is replaced.

    Raises:
        StudyError: a part is not a study, the parts or the folder have different specs, or another
            process holds the folder's lock.
        RecordError: a `study.json` is damaged.
        OSError: the folder cannot be written.
    """
    studies = [load_study(part) for part in parts]
    spec = studies[0].spec
    for part, study in zip(parts, studies, strict=True):
        if study.spec != spec:
            raise StudyError(
                f"{part} and {parts[0]} are not parts of one study: the first has "
                f"{describe_difference(study.spec, spec)}"
            )
    found = load_spec(study_dir) if is_study(study_dir) else None
    check_folder(study_dir, found, spec)
    if found and found != spec:
        raise StudyError(
            f"{study_dir} and the parts have other plans; choose another folder with --out"
        )
    with study_lock(study_dir, spec) as whole:
        problems = quarantine_damaged_runs(study_dir, whole)
        present = {record.run_spec: record for record in whole.records}
        num_copied = num_present = 0
        for part, study in zip(parts, studies, strict=True):
            problems += [f"{part}: {problem}" for problem in study.problems]
            for record in study.records:
                run_spec = record.run_spec
                run_dir, destination = run_folder(part, run_spec), run_folder(study_dir, run_spec)
                if present.get(run_spec) == record:
                    num_present += 1
                elif (destination / RECORD_FILE).exists():
                    problems.append(f"{run_dir}: {destination} holds another run, which stays")
                else:
                    try:
                        _copy_run(run_dir, destination, record)
                    except RecordError as error:
                        problems.append(str(error))
                    else:
                        present[run_spec] = record
                        num_copied += 1
    return MergeResult(num_copied, num_present, tuple(problems))


def _copy_run(run_dir: Path, destination: Path, record: RunRecord) -> None:
    """Copy the files of a run that exist, the record last, because it completes the run."""
    for name in (PREDICTIONS_FILE, WEIGHTS_FILE, OBSERVATIONS_FILE, RECORD_FILE):
        path = run_dir / name
        if path.exists():
            is_hashed = name in record.file_sha256
            content = read_verified(path, record) if is_hashed else read_content(path)
            write_atomically(destination / name, content)
