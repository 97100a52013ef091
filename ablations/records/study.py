"""A study: a folder of runs that belong together, which of them it needs, and which are there."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.experiment import PROTOCOL_VERSION, RunSpec, TrainingSpec
from ablations.records.atomic_io import RecordError, UnreadableError
from ablations.records.checksums import OtherVersionError, load_sealed
from ablations.records.run import (
    PREDICTIONS_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    RunRecord,
    load_record,
    read_recorded,
)
from ablations.records.study_spec import (
    StudyError,
    StudySpec,
    is_study,
    load_spec,
)
from ablations.records.timing import TIMING_FILE, Timing
from mnist_blocks import NetworkSpec


class OtherStudyError(RecordError):
    """A run is whole and lies in its place, but is not of this study: no reason to put it away."""


@dataclass(frozen=True)
class Study:
    """A study as it lies on the disk."""

    name: str
    spec: StudySpec
    records: tuple[RunRecord, ...]
    """Ordered by seed, then by ablation name."""
    timing: Timing | None
    problems: tuple[str, ...]
    """Records that were left out, and why."""


def plan_runs(
    spec: StudySpec, ablations: Iterable[Ablation], seeds: Iterable[int]
) -> list[RunSpec]:
    """The runs of a study, seed-major: the first seed of every ablation before the second of any.

    A report over all ablations is then complete after the first seed, and gets better from there.
    """
    ablations = list(ablations)
    return [
        RunSpec(
            ablation=ablation.name,
            network=ablation.network_spec,
            training=replace(
                ablation.training_spec,
                num_epochs=spec.num_epochs,
                num_train_images=spec.num_train_images,
            ),
            dataset=spec.dataset,
            seed=seed,
        )
        for seed in seeds
        for ablation in ablations
    ]


def run_folder(study_dir: Path, ablation: str, seed: int) -> Path:
    """Where a run's files are."""
    return study_dir / ablation / f"seed-{seed}"


def missing_runs(study_dir: Path, runs: Sequence[RunSpec]) -> list[RunSpec]:
    """Those of the planned runs that the folder has no sound record of, in the same order.

    A run that was damaged is among them: see `set_aside_damaged`.

    Raises:
        StudyError: a record is there and sound, but not of the run as it would be made now.
        OtherVersionError: a record is of another schema.
    """
    if not is_study(study_dir):
        return list(runs)
    spec = load_spec(study_dir)
    missing = []
    for run in runs:
        folder = run_folder(study_dir, run.ablation, run.seed)
        if not is_there(folder / RECORD_FILE):
            missing.append(run)
            continue
        try:
            record = load_run(folder, study_dir, spec)
        except (OtherVersionError, UnreadableError):
            raise
        except OtherStudyError as error:
            raise StudyError(f"{error}; choose another folder with --out") from error
        except RecordError:
            missing.append(run)
            continue
        if record.protocol_version != PROTOCOL_VERSION:
            raise StudyError(
                f"{folder} was trained under protocol version {record.protocol_version}, and this "
                f"program trains under {PROTOCOL_VERSION}, which gives other numbers; choose another "
                "folder with --out, or use the program's version that made it"
            )
        if record.run_spec != run:
            raise StudyError(
                f"{folder} holds a run of '{run.ablation}' as it was defined before (the catalogue has "
                "changed since); choose another folder with --out, or delete that one"
            )
    return missing


def load_study(study_dir: Path) -> Study:
    """Read every record of a study.

    What cannot be trusted is left out, and named in `problems`.

    Raises:
        StudyError: the folder is not a study.
        RecordError: its `study.json` is damaged or of another schema.
    """
    spec = load_spec(study_dir)
    records, problems = [], []
    for path in record_paths(study_dir):
        try:
            records.append(load_run(path.parent, study_dir, spec))
        except RecordError as error:
            problems.append(in_study(str(error), study_dir))
    records.sort(key=lambda record: (record.run_spec.seed, record.run_spec.ablation))
    problems += mixed_protocols(records)
    problems += mixed_definitions(records)
    timing = None
    try:
        timing = load_timing(study_dir)
    except RecordError as error:
        problems.append(in_study(str(error), study_dir))
    if timing:
        timing, unfit = fitting_times(timing, spec, records)
        problems += unfit
    return Study(study_dir.resolve().name, spec, tuple(records), timing, tuple(problems))


def in_study(message: str, study_dir: Path) -> str:
    """A message that names files within the study: a report is passed on, and whose disk it was is
    nobody's affair."""
    return message.replace(f"{study_dir}{os.sep}", "")


def record_paths(study_dir: Path) -> list[Path]:
    """Where a study has records, in the order of their names. One that may not be read is among them.

    Raises:
        UnreadableError: a folder does not say what is in it.
    """
    paths = []
    try:
        for folder in sorted(path for path in study_dir.iterdir() if path.is_dir()):
            # `glob` would pass over what it may not look into, as if there were nothing.
            for run_dir in sorted(path for path in folder.iterdir() if path.match("seed-*")):
                if is_there(run_dir / RECORD_FILE):
                    paths.append(run_dir / RECORD_FILE)
    except OSError as error:
        raise UnreadableError(f"{error.filename}: cannot be read: {error.strerror}") from error
    return paths


def is_there(path: Path) -> bool:
    """Whether there is such a file, or it may not be known."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def load_timing(study_dir: Path) -> Timing | None:
    """A study's epoch times; None where they have not been measured.

    Raises:
        RecordError: the file is damaged or of another schema.
    """
    path = study_dir / TIMING_FILE
    return load_sealed(path, Timing) if path.exists() else None


def fitting_times(
    timing: Timing, spec: StudySpec, records: Sequence[RunRecord]
) -> tuple[Timing | None, list[str]]:
    """The epoch times that are of these runs, and which are not, in words."""
    where = timing.environment
    again = "the command that made the study measures them again"
    if (where.device_type, where.arithmetic) != (spec.device_type, spec.arithmetic):
        return None, [f"{TIMING_FILE}: is of another device or arithmetic; {again}"]
    now = {run.ablation: run.digest for run in one_run_of_each_ablation(records)}
    other = sorted(
        name
        for name, time in timing.by_ablation.items()
        if now.get(name, time.digest) != time.digest
    )
    fitting = {name: time for name, time in timing.by_ablation.items() if name not in other}
    problems = [
        f"{TIMING_FILE}: '{name}' was timed under another definition; {again}" for name in other
    ]
    return msgspec.structs.replace(timing, by_ablation=fitting), problems


def one_run_of_each_ablation(records: Iterable[RunRecord]) -> list[RunSpec]:
    """One experiment for each ablation that there is a run of, all with the same seed."""
    found = {record.run_spec.ablation: record.run_spec for record in records}
    return [replace(run, seed=0) for run in found.values()]


def load_run(run_dir: Path, study_dir: Path, spec: StudySpec) -> RunRecord:
    """Read a run's record, if all that is there of the run can be trusted.

    Predictions and weights may be absent: the record has all numbers by itself.

    Raises:
        RecordError: the record is damaged or does not belong here, or predictions or weights are
            not those that were recorded.
        OtherVersionError: the record is of another schema.
    """
    record = load_record(run_dir)
    check_belongs(record, run_dir / RECORD_FILE, study_dir, spec)
    for name in (PREDICTIONS_FILE, WEIGHTS_FILE):
        if name in record.file_sha256 and (run_dir / name).exists():
            read_recorded(run_dir / name, record)
    return record


def check_belongs(record: RunRecord, path: Path, study_dir: Path, spec: StudySpec) -> None:
    """Make sure that a record lies where it belongs, in a study of its kind.

    Raises:
        RecordError: it was copied from elsewhere.
    """
    run = record.run_spec
    if run_folder(study_dir, run.ablation, run.seed) != path.parent:
        raise RecordError(f"{path}: is a record of '{run.ablation}', seed {run.seed}")
    is_alike = (
        run.dataset == spec.dataset
        and run.training.num_epochs == spec.num_epochs
        and run.training.num_train_images == spec.num_train_images
        and record.environment.device_type == spec.device_type
        and record.environment.arithmetic == spec.arithmetic
    )
    if not is_alike:
        raise OtherStudyError(
            f"{path}: is of another study (data, length, device or arithmetic differ)"
        )


def mixed_protocols(records: list[RunRecord]) -> list[str]:
    """Take out the runs that were trained under an older protocol than others; say which."""
    newest = max((record.protocol_version for record in records), default=PROTOCOL_VERSION)
    older = [record for record in records if record.protocol_version != newest]
    records[:] = [record for record in records if record.protocol_version == newest]
    return [
        f"{record.run_spec.ablation}/seed-{record.run_spec.seed}: was trained under protocol "
        f"version {record.protocol_version}, other runs under {newest}: they are not mixed"
        for record in older
    ]


def mixed_definitions(records: list[RunRecord]) -> list[str]:
    """Take out the runs of ablations whose definition changed between seeds; say which."""
    definitions: dict[str, set[tuple[NetworkSpec, TrainingSpec]]] = {}
    for record in records:
        run = record.run_spec
        definitions.setdefault(run.ablation, set()).add((run.network, run.training))
    mixed = sorted(name for name, found in definitions.items() if len(found) > 1)
    records[:] = [record for record in records if record.run_spec.ablation not in mixed]
    return [
        f"{name}: its runs are of different definitions (the catalogue changed between them); "
        "delete the old ones"
        for name in mixed
    ]
