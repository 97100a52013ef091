"""What all runs of a study share, which its folder says in `study.json`."""

from pathlib import Path

import msgspec

from ablations.catalogue.experiment import DatasetId
from ablations.catalogue.presets import DEFAULT_MARGIN_PCT, FULL
from ablations.records.atomic_io import RecordError, UnreadableError, is_leftover
from ablations.records.checksums import SCHEMA_VERSION, OtherVersionError, load_sealed, write_sealed
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


def check_folder(study_dir: Path, spec: StudySpec) -> None:
    """Make sure that a folder is free, or holds a study of this kind; writes nothing.

    Raises:
        StudyError: the folder holds something else, or another study.
    """
    path = study_dir / STUDY_FILE
    if path.exists():
        if difference := first_difference(load_spec(study_dir), spec):
            name, was, wanted = difference
            raise StudyError(
                f"{study_dir} holds a study with {name} = {was}, and you asked for {wanted}; choose "
                "another folder with --out"
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


def first_difference(one: StudySpec, other: StudySpec) -> tuple[str, str, str] | None:
    """The first field in which two studies differ, and what it is in each, in words."""
    for name in StudySpec.__struct_fields__:
        ours, theirs = getattr(one, name), getattr(other, name)
        if ours != theirs:
            return name, _short(ours), _short(theirs)
    return None


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing, but for what a process that was killed had begun to write."""
    return all(is_leftover(path) for path in folder.iterdir())


def _short(value: object) -> str:
    return value.name if isinstance(value, DatasetId) else repr(value)


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
        StudyError: the folder is not a study.
        RecordError: its `study.json` is damaged or of another schema.
    """
    if not is_study(study_dir):
        why = f"it has no {STUDY_FILE}" if study_dir.exists() else "there is no such folder"
        raise StudyError(f"{study_dir} is not a study: {why}{studies_near(study_dir)}")
    try:
        return load_sealed(study_dir / STUDY_FILE, StudySpec)
    except (OtherVersionError, UnreadableError):
        raise
    except RecordError as error:
        raise RecordError(
            f"{error}; the command that made it, with another --out, makes the same file again: copy "
            "it here"
        ) from error
