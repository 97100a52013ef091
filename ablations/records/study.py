"""A study: a folder of runs with one spec. `load_study` reads it into one snapshot."""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.experiment import PROTOCOL_VERSION, RunSpec
from ablations.records.atomic_io import DamagedFileError, RecordError
from ablations.records.checksums import load_with_checksum
from ablations.records.packed import unpack
from ablations.records.run import (
    PREDICTIONS_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    RunRecord,
    load_record,
    read_verified,
    run_folder,
)
from ablations.records.study_spec import StudyError, StudySpec, load_spec
from ablations.records.timing import TIMING_FILE, Timing

QUARANTINE_DIR = "quarantine"
"""Of a study: damaged runs and files are moved there, and never deleted."""


@dataclass(frozen=True)
class Study:
    """A snapshot of a study's folder."""

    name: str
    spec: StudySpec
    records: tuple[RunRecord, ...]
    """Ordered by seed, then by ablation name."""
    timing: Timing | None
    problems: tuple[str, ...]
    """What was left out and why, a line each."""
    rejected: Mapping[Path, RecordError] = field(default_factory=dict)
    """Run folders that were left out, and `timing.json` if it was; paths are relative to the study."""


def plan_runs(
    spec: StudySpec, ablations: Iterable[Ablation], seeds: Iterable[int]
) -> list[RunSpec]:
    """The runs of a study: all ablations of the first seed first, for an early report on all."""
    ablations = list(ablations)
    return [
        RunSpec(
            ablation=ablation.name,
            network=ablation.network_spec,
            training=spec.at_length(ablation.training_spec(spec.recipe)),
            dataset=spec.dataset,
            seed=seed,
        )
        for seed in seeds
        for ablation in ablations
    ]


def load_study(study_dir: Path, *, restores: bool = True) -> Study:
    """Read and verify every run of a study once.

    Without `restores`, packed runs are read and nothing is written into the folder.

    Raises:
        StudyError: the folder is not a study.
        RecordError: its `study.json` or `runs.zip` is damaged, unreadable or of another schema.
    """
    spec = load_spec(study_dir)
    loaded: dict[Path, RunRecord] = {}
    rejected: dict[Path, RecordError] = {}
    with nullcontext(str(study_dir)) if restores else TemporaryDirectory() as unpacked:
        unpack(study_dir, Path(unpacked))
        places = dict.fromkeys([study_dir, Path(unpacked)])
        for place, run_dir in [(one, run_dir) for one in places for run_dir in _run_folders(one)]:
            path = run_dir.relative_to(place)
            try:
                loaded[path] = _load_run(run_dir, spec)
            except RecordError as error:
                rejected[path] = error
    rejected |= _find_incomparable(loaded)
    records = [record for path, record in loaded.items() if path not in rejected]
    timing = None
    try:
        if (study_dir / TIMING_FILE).exists():
            timing = _load_timing(study_dir / TIMING_FILE, spec, records)
    except RecordError as error:
        rejected[Path(TIMING_FILE)] = error
    return Study(
        name=study_dir.resolve().name,
        spec=spec,
        records=_sort_records(records),
        timing=timing,
        problems=tuple(within_study(str(error), study_dir) for error in rejected.values()),
        rejected=rejected,
    )


def add_record(study: Study, record: RunRecord) -> Study:
    """The snapshot with a run that has been written since."""
    return replace(study, records=_sort_records([*study.records, record]))


def missing_runs(study: Study, run_specs: Iterable[RunSpec]) -> list[RunSpec]:
    """The planned runs that a study has no intact record of, in the same order.

    Raises:
        StudyError, RecordError: there is a record that is not damaged, but cannot be used, such as
            one of another definition, device or schema.
    """
    records = {run_folder(Path(), record.run_spec): record for record in study.records}
    missing = []
    for run_spec in run_specs:
        path = run_folder(Path(), run_spec)
        record, error = records.get(path), study.rejected.get(path)
        if error is not None and not isinstance(error, DamagedFileError):
            raise error
        if record is None:
            missing.append(run_spec)
        elif record.digest != run_spec.digest:
            raise StudyError(
                f"{study.name}/{path}: is a run of another definition of '{run_spec.ablation}', or "
                f"under another protocol version than {PROTOCOL_VERSION}; choose another folder with "
                "--out, or delete that run"
            )
    return missing


def within_study(message: str, study_dir: Path) -> str:
    """A message with paths relative to the study: a report must not show paths of its author's disk."""
    return message.replace(f"{study_dir}{os.sep}", "")


def quarantine_damaged_runs(study_dir: Path, study: Study) -> list[str]:
    """Move damaged runs and a damaged `timing.json` into `quarantine/`; returns a line for each.

    Call it only while you hold `study_lock`, with a study that was loaded since.
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


def one_run_of_each_ablation(records: Iterable[RunRecord]) -> list[RunSpec]:
    """One run spec for each ablation that there is a record of, all with the same seed."""
    run_specs = {record.run_spec.ablation: record.run_spec for record in records}
    return [replace(run_spec, seed=0) for run_spec in run_specs.values()]


def _sort_records(records: Iterable[RunRecord]) -> tuple[RunRecord, ...]:
    return tuple(
        sorted(records, key=lambda record: (record.run_spec.seed, record.run_spec.ablation))
    )


def _run_folders(study_dir: Path) -> list[Path]:
    """The folders with a record, sorted; RecordError for an unreadable folder, which `glob` skips."""
    try:
        return [
            run_dir
            for folder in sorted(study_dir.iterdir())
            if folder.is_dir()
            for run_dir in sorted(folder.iterdir())
            if run_dir.match("seed-*")
            and run_dir.is_dir()
            and run_dir / RECORD_FILE in run_dir.iterdir()
        ]
    except OSError as error:
        raise RecordError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _load_run(run_dir: Path, spec: StudySpec) -> RunRecord:
    """Read a run's record and verify the files that it names; predictions and weights may be absent.

    DamagedFileError when a file is damaged or in the wrong folder; RecordError when the record is
    unreadable, or of another schema, data set, length, device or arithmetic.
    """
    record = load_record(run_dir)
    run_spec, path = record.run_spec, run_dir / RECORD_FILE
    if run_folder(Path(), run_spec).parts != run_dir.parts[-2:]:
        raise DamagedFileError(
            f"{path}: is a record of '{run_spec.ablation}', seed {run_spec.seed}"
        )
    is_comparable = (
        run_spec.dataset == spec.dataset
        and run_spec.training.num_epochs == spec.num_epochs
        and run_spec.training.num_train_images == spec.num_train_images
        and record.environment.device_type == spec.device_type
        and record.environment.arithmetic == spec.arithmetic
    )
    if not is_comparable:
        raise RecordError(
            f"{path}: is of another study (data, length, device or arithmetic differ); choose another "
            "folder with --out"
        )
    for name in (PREDICTIONS_FILE, WEIGHTS_FILE):
        if name in record.file_sha256 and (run_dir / name).exists():
            read_verified(run_dir / name, record)
    return record


def _find_incomparable(records: Mapping[Path, RunRecord]) -> dict[Path, RecordError]:
    """Runs of an older protocol than others, and runs of an ablation with several definitions."""
    newest = max((record.protocol_version for record in records.values()), default=0)
    run_specs = [one.run_spec for one in records.values() if one.protocol_version == newest]
    definitions = {(one.ablation, one.network, one.training) for one in run_specs}
    num_definitions = Counter(ablation for ablation, *_ in definitions)
    errors = {}
    for path, record in records.items():
        if record.protocol_version != newest:
            errors[path] = RecordError(
                f"{path}: was trained under protocol version {record.protocol_version}, other runs "
                f"under {newest}: they are not mixed; choose another folder with --out"
            )
        elif num_definitions[record.run_spec.ablation] > 1:
            errors[path] = RecordError(
                f"{path}: the runs of this ablation have different definitions (the catalogue changed "
                "between them); delete the old ones"
            )
    return errors


def _load_timing(path: Path, spec: StudySpec, records: Iterable[RunRecord]) -> Timing:
    """Read the epoch times of a study; RecordError when they do not belong to its runs."""
    timing = load_with_checksum(path, Timing)
    environment = timing.environment
    digests = {run_spec.ablation: run_spec.digest for run_spec in one_run_of_each_ablation(records)}
    belongs = (
        environment.device_type == spec.device_type
        and environment.arithmetic == spec.arithmetic
        and all(
            digests.get(name, time.digest) == time.digest
            for name, time in timing.by_ablation.items()
        )
    )
    if not belongs:
        raise RecordError(
            f"{path}: measured with another definition, device or arithmetic; the command that made "
            "the study measures the times again"
        )
    return timing
