"""Parts of a study, made on machines that know nothing of each other, become one study."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.files import RecordError, read_bytes, write_atomically
from ablations.ownership import only_one_process
from ablations.records import OBSERVATIONS_FILE, PREDICTIONS_FILE, RECORD_FILE, WEIGHTS_FILE
from ablations.study import load_run, record_paths
from ablations.study_spec import (
    STUDY_FILE,
    StudyError,
    StudySpec,
    check_folder,
    create_study,
    is_study,
    load_spec,
)

RUN_FILES = (PREDICTIONS_FILE, WEIGHTS_FILE, OBSERVATIONS_FILE, RECORD_FILE)
"""The record last: a folder with a record is a whole run."""


@dataclass(frozen=True)
class Merged:
    """What came of a merge."""

    num_copied: int
    num_there: int
    """Runs that the folder had already, the same ones."""
    problems: tuple[str, ...]
    """Runs that were not copied, and why."""


def merge_studies(parts: Sequence[Path], study_dir: Path) -> Merged:
    """Copy every run of the parts that can be trusted into one folder. The parts stay as they are.

    A part may still be growing: runs that have not ended are not seen. Nothing that is in the
    folder already is replaced.

    Raises:
        StudyError: a part is not a study, or the parts are not of one study.
        RecordError: a `study.json` is damaged.
        OSError: the folder cannot be written.
    """
    specs = [spec_of(part) for part in parts]
    for part, spec in zip(parts, specs, strict=True):
        check_alike(part, spec, parts[0], specs[0])
    check_folder(study_dir, specs[0])
    create_study(study_dir, specs[0])
    num_copied = num_there = 0
    problems = []
    with only_one_process(study_dir):
        for part, spec in zip(parts, specs, strict=True):
            for path in record_paths(part):
                destination = study_dir / path.parent.relative_to(part)
                try:
                    load_run(path.parent, part, spec)
                    content = read_bytes(path)
                except RecordError as error:
                    problems.append(str(error))
                    continue
                if not (destination / RECORD_FILE).exists():
                    copy_run(path.parent, destination)
                    num_copied += 1
                elif read_bytes(destination / RECORD_FILE) == content:
                    num_there += 1
                else:
                    problems.append(f"{path}: {destination} holds another run, which stays")
    return Merged(num_copied, num_there, tuple(problems))


def spec_of(part: Path) -> StudySpec:
    """What all runs of a part share. Raises StudyError where there is no study."""
    if not is_study(part):
        raise StudyError(f"{part} is not a study: it has no {STUDY_FILE}")
    return load_spec(part)


def check_alike(part: Path, spec: StudySpec, first: Path, first_spec: StudySpec) -> None:
    """Make sure that two parts are of one study. Raises StudyError with the first difference."""
    for field in spec.__struct_fields__:
        here, there = getattr(spec, field), getattr(first_spec, field)
        if here != there:
            raise StudyError(
                f"{part} and {first} are not parts of one study: {field} is {here} in the one, "
                f"{there} in the other"
            )


def copy_run(run_dir: Path, destination: Path) -> None:
    """Copy a run's files, those that are there, so that it is there whole or not at all."""
    for name in RUN_FILES:
        if (run_dir / name).exists():
            write_atomically(destination / name, read_bytes(run_dir / name))
