"""Parts of a study, made on machines that know nothing of each other, become one study."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ablations.records.atomic_io import RecordError, read_bytes, write_atomically
from ablations.records.lock import only_one_process
from ablations.records.observations import load_observations
from ablations.records.quarantine import set_aside_damaged
from ablations.records.run import (
    OBSERVATIONS_FILE,
    PREDICTIONS_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    RunRecord,
    load_record,
    read_recorded,
)
from ablations.records.study import load_run, record_paths
from ablations.records.study_spec import (
    StudyError,
    check_folder,
    create_study,
    first_difference,
    load_spec,
)


@dataclass(frozen=True)
class Merged:
    """What came of a merge."""

    num_copied: int
    num_there: int
    """Runs that the folder had already, the same ones."""
    problems: tuple[str, ...]
    """Runs that were not copied or were put aside, and why."""


def merge_studies(parts: Sequence[Path], study_dir: Path) -> Merged:
    """Copy every run of the parts that can be trusted into one folder. The parts stay as they are.

    A part may still be growing: runs that have not ended are not seen. Nothing that is in the
    folder already is replaced.

    Raises:
        StudyError: a part is not a study, the parts are not of one study, or the folder holds another.
        RecordError: a `study.json` is damaged.
        OSError: the folder cannot be written.
    """
    specs = [load_spec(part) for part in parts]
    for part, spec in zip(parts, specs, strict=True):
        if difference := first_difference(spec, specs[0]):
            name, here, there = difference
            raise StudyError(
                f"{part} and {parts[0]} are not parts of one study: {name} is {here} in the one, "
                f"{there} in the other"
            )
    check_folder(study_dir, specs[0])
    create_study(study_dir, specs[0])
    with only_one_process(study_dir):
        check_folder(study_dir, specs[0])  # Another process may have been there meanwhile.
        problems = set_aside_damaged(study_dir)
        num_copied = num_there = 0
        for part, spec in zip(parts, specs, strict=True):
            for path in record_paths(part):
                destination = study_dir / path.parent.relative_to(part)
                try:
                    record = load_run(path.parent, part, spec)
                    if not (destination / RECORD_FILE).exists():
                        copy_run(path.parent, destination, record)
                        num_copied += 1
                    elif load_record(destination) == record:
                        num_there += 1
                    else:
                        problems.append(f"{path}: {destination} holds another run, which stays")
                except RecordError as error:
                    problems.append(str(error))
    return Merged(num_copied, num_there, tuple(problems))


def copy_run(run_dir: Path, destination: Path, record: RunRecord) -> None:
    """Copy a run's files, those that are there, so that it is there whole or not at all.

    Raises:
        RecordError: a file is not what was recorded.
    """
    for name in (PREDICTIONS_FILE, WEIGHTS_FILE):
        if (run_dir / name).exists():
            write_atomically(destination / name, read_recorded(run_dir / name, record))
    # Damaged observations stay behind: they are made again from the weights.
    found = None
    with suppress(RecordError):
        found = load_observations(run_dir, record)
    if found:
        write_atomically(destination / OBSERVATIONS_FILE, read_bytes(run_dir / OBSERVATIONS_FILE))
    write_atomically(destination / RECORD_FILE, read_bytes(run_dir / RECORD_FILE))
