"""A study: a folder of runs that belong together, which of them it needs, and which are there."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from ablations.ablation import Ablation
from ablations.experiment import DatasetId, Experiment, TrainingSpec
from ablations.presets import FULL
from ablations.records import (
    RECORD_FILE,
    SCHEMA_VERSION,
    RecordError,
    RunRecord,
    load_record,
    load_sealed,
    write_sealed,
)
from ablations.timing import TIMING_FILE, Timing
from ablations.verdicts import DEFAULT_MARGIN_PCT
from mnist_blocks import NetworkSpec
from speed.arithmetic import Arithmetic

STUDY_FILE = "study.json"


class StudyError(Exception):
    """A folder cannot be used for what was asked; the message says why, and the way out."""


class StudySpec(msgspec.Struct, frozen=True):
    """What all runs of a study share, so that they may stand in one table."""

    dataset: DatasetId
    dataset_title: str
    num_epochs: int
    num_train_images: int | None
    """None: all of the training images."""
    device_type: str
    """Runs on different kinds of device are not mixed: their arithmetic differs."""
    arithmetic: Arithmetic = "plain"
    """Nor are these: see `speed/arithmetic.py`. Studies from before have no such entry."""
    margin_pct: float = DEFAULT_MARGIN_PCT
    """Differences in accuracy below it do not matter: fixed before there are any results."""
    schema_version: int = SCHEMA_VERSION

    @property
    def is_mnist(self) -> bool:
        """Whether the numbers can be compared with the assignment's and the published run's."""
        return self.dataset.name == "mnist"

    @property
    def is_full_length(self) -> bool:
        """Whether runs have the reference recipe's length: 20 epochs of all training images."""
        return self.num_epochs == FULL.num_epochs and self.num_train_images is None


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
) -> list[Experiment]:
    """The runs of a study, seed-major: the first seed of every ablation before the second of any.

    A report over all ablations is then complete after the first seed, and gets better from there.
    """
    ablations = list(ablations)
    return [
        Experiment(
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


def check_folder(study_dir: Path, spec: StudySpec) -> None:
    """Make sure that a folder is free, or holds a study of this kind; writes nothing.

    Raises:
        StudyError: the folder holds something else, or another study.
    """
    path = study_dir / STUDY_FILE
    if path.exists():
        found = load_spec(study_dir)
        for field in msgspec.structs.fields(StudySpec):
            was, wanted = getattr(found, field.name), getattr(spec, field.name)
            if was != wanted:
                raise StudyError(
                    f"{study_dir} holds a study with {field.name} = {_short(was)}, and you asked for "
                    f"{_short(wanted)}; choose another folder with --out"
                )
    elif study_dir.exists() and not (study_dir.is_dir() and is_empty(study_dir)):
        raise StudyError(
            f"{study_dir} is not an empty folder and not a study (it has no {STUDY_FILE}); "
            "choose another folder with --out"
        )


def create_study(study_dir: Path, spec: StudySpec) -> None:
    """Make a study's folder, unless it is there.

    Raises:
        StudyError: the folder cannot be written to.
    """
    if (study_dir / STUDY_FILE).exists():
        return
    try:
        write_sealed(study_dir / STUDY_FILE, spec)
    except OSError as error:
        raise StudyError(
            f"{study_dir} cannot be written: {error.strerror}; choose another folder with --out"
        ) from error


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing."""
    return next(folder.iterdir(), None) is None


def _short(value: object) -> str:
    return value.name if isinstance(value, DatasetId) else repr(value)


def missing_runs(study_dir: Path, runs: Sequence[Experiment]) -> list[Experiment]:
    """Those of the planned runs that the folder has no good record of, in the same order.

    Raises:
        StudyError: a record is there, but of a different experiment than the planned one.
    """
    missing = []
    for run in runs:
        folder = run_folder(study_dir, run.ablation, run.seed)
        if not (folder / RECORD_FILE).exists():
            missing.append(run)
            continue
        try:
            record = load_record(folder)
        except RecordError as error:
            raise RecordError(f"{error}; delete {folder} to run it again") from error
        if record.experiment != run:
            raise StudyError(
                f"{folder} holds a run of '{run.ablation}' as it was defined before (the catalogue has "
                "changed since); choose another folder with --out, or delete that one"
            )
    return missing


@contextmanager
def only_one_process(study_dir: Path) -> Iterator[None]:
    """Keep a second process out of a study: it would do the same runs, and disturb the timing.

    Raises:
        StudyError: another process is at work there.
    """
    lock = FileLock(study_dir / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise StudyError(
            f"another process is at work in {study_dir}; wait for it, or choose another folder "
            "with --out"
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_study(study_dir: Path) -> bool:
    """Whether a folder holds a study."""
    return (study_dir / STUDY_FILE).is_file()


def studies_near(path: Path) -> str:
    """The studies in a folder, in the one around it and in `runs/`: the way out of a wrong name."""
    folders = dict.fromkeys([path, path.parent, Path("runs")])
    found = [file.parent for folder in folders for file in sorted(folder.glob(f"*/{STUDY_FILE}"))]
    names = ", ".join(str(folder) for folder in dict.fromkeys(found[:5]))
    return f"; studies near it: {names}" if names else ""


def load_spec(study_dir: Path) -> StudySpec:
    """Read what all runs of a study share.

    Raises:
        RecordError: its `study.json` is damaged or of another schema.
    """
    return load_sealed(study_dir / STUDY_FILE, StudySpec)


def load_study(study_dir: Path) -> Study:
    """Read every record of a study.

    A record that cannot be trusted is left out, and named in `problems`.

    Raises:
        StudyError: the folder is not a study.
        RecordError: its `study.json` is damaged or of another schema.
    """
    if not is_study(study_dir):
        why = f"it has no {STUDY_FILE}" if study_dir.exists() else "there is no such folder"
        raise StudyError(f"{study_dir} is not a study: {why}{studies_near(study_dir)}")
    spec = load_spec(study_dir)
    records, problems = [], []
    for path in sorted(study_dir.glob(f"*/seed-*/{RECORD_FILE}")):
        try:
            record = load_record(path.parent)
            check_belongs(record, path, study_dir, spec)
            records.append(record)
        except RecordError as error:
            # Named within the study: a report is passed on, and whose disk it was is nobody's affair.
            problems.append(str(error).replace(f"{study_dir}{os.sep}", ""))
    records.sort(key=lambda record: (record.experiment.seed, record.experiment.ablation))
    problems += mixed_definitions(records)
    timing = None
    if (study_dir / TIMING_FILE).exists():
        try:
            timing = load_sealed(study_dir / TIMING_FILE, Timing)
        except RecordError as error:
            problems.append(str(error).replace(f"{study_dir}{os.sep}", ""))
    return Study(study_dir.resolve().name, spec, tuple(records), timing, tuple(problems))


def check_belongs(record: RunRecord, path: Path, study_dir: Path, spec: StudySpec) -> None:
    """Make sure that a record lies where it belongs, in a study of its kind.

    Raises:
        RecordError: it was copied from elsewhere.
    """
    run = record.experiment
    if run_folder(study_dir, run.ablation, run.seed) != path.parent:
        raise RecordError(f"{path}: is a record of '{run.ablation}', seed {run.seed}")
    is_alike = (
        run.dataset == spec.dataset
        and run.training.num_epochs == spec.num_epochs
        and run.training.num_train_images == spec.num_train_images
        and record.environment.device_type == spec.device_type
    )
    if not is_alike:
        raise RecordError(f"{path}: is of another study (data, length or device differ)")


def mixed_definitions(records: list[RunRecord]) -> list[str]:
    """Take out the runs of ablations whose definition changed between seeds; say which."""
    definitions: dict[str, set[tuple[NetworkSpec, TrainingSpec]]] = {}
    for record in records:
        run = record.experiment
        definitions.setdefault(run.ablation, set()).add((run.network, run.training))
    mixed = sorted(name for name, found in definitions.items() if len(found) > 1)
    records[:] = [record for record in records if record.experiment.ablation not in mixed]
    return [
        f"{name}: its runs are of different definitions (the catalogue changed between them); "
        "delete the old ones"
        for name in mixed
    ]
