"""What all runs of a study share: the file `study.json` of its folder."""

from dataclasses import replace
from pathlib import Path

import msgspec

from ablations.catalogue.experiment import DatasetId, TrainingSpec
from ablations.catalogue.presets import DEFAULT_MARGIN_PCT
from ablations.catalogue.recipes import RECIPES, RecipeName
from ablations.records.atomic_io import DamagedFileError, is_leftover
from ablations.records.checksums import SchemaVersion, load_with_checksum, write_with_checksum
from ablations.words import plural
from speed.arithmetic import Arithmetic

STUDY_FILE = "study.json"


class StudyError(Exception):
    """A folder cannot be used as requested; the message gives the reason and the fix."""


class SeedPlan(msgspec.Struct, frozen=True):
    """When a study's verdicts are decided, fixed before its first run."""

    looks: tuple[int, ...]
    """Numbers of seeds of an ablation at which results are looked at, increasing."""
    ablations: tuple[str, ...]
    """The ablations that are compared with the target."""


class StudySpec(msgspec.Struct, frozen=True):
    """What all runs of a study share, so that their results are comparable."""

    dataset: DatasetId
    dataset_title: str
    num_epochs: int
    num_train_images: int | None
    """None: all training images."""
    device_type: str
    """Runs on different types of device are not mixed: they round differently."""
    arithmetic: Arithmetic = "plain"
    """Runs of different arithmetic are not mixed either; older studies do not have this field."""
    margin_pct: float = DEFAULT_MARGIN_PCT
    """Equivalence margin for differences in accuracy, in points; fixed before there are results."""
    recipe: RecipeName = "published"
    """Older studies do not have this field."""
    seed_plan: SeedPlan | None = None
    """None in older studies, which had no plan."""
    schema_version: SchemaVersion = 2

    @property
    def is_mnist(self) -> bool:
        """Whether the results can be compared with the assignment's requirements."""
        return self.dataset.name == "mnist"

    @property
    def is_full_length(self) -> bool:
        """Whether runs have their recipe's length: all of its epochs, of all training images."""
        return self.target_training == RECIPES[self.recipe]

    @property
    def target_training(self) -> TrainingSpec:
        """The target's recipe at the study's length."""
        return self.at_length(RECIPES[self.recipe])

    def at_length(self, training: TrainingSpec) -> TrainingSpec:
        """A recipe with the study's number of epochs and images."""
        return replace(training, num_epochs=self.num_epochs, num_train_images=self.num_train_images)


def check_folder(study_dir: Path, found: StudySpec | None, wanted: StudySpec) -> None:
    """Raise StudyError when a folder holds another study, or something else.

    `found` is the spec of the study that it holds; None: it holds no study.
    """
    if found is not None:
        # The plan is that of the first command; later ones may name other ablations.
        wanted = msgspec.structs.replace(wanted, seed_plan=found.seed_plan)
        if found != wanted:
            raise StudyError(
                f"{study_dir} holds a study with {describe_difference(found, wanted)} as requested; "
                "choose another folder with --out"
            )
    else:
        check_is_free(study_dir)


def check_is_free(study_dir: Path) -> None:
    """Raise StudyError when something other than a study is there."""
    if study_dir.exists() and not (
        study_dir.is_dir() and all(is_leftover(path) for path in study_dir.iterdir())
    ):
        raise StudyError(
            f"{study_dir} is not an empty folder and not a study (it has no {STUDY_FILE}); "
            "choose another folder with --out"
        )


def create_study(study_dir: Path, spec: StudySpec) -> None:
    """Write a study's `study.json`, unless it exists; StudyError when that fails."""
    if (study_dir / STUDY_FILE).exists():
        return
    try:
        write_with_checksum(study_dir / STUDY_FILE, spec)
    except OSError as error:
        raise StudyError(
            f"{study_dir} cannot be written: {error.strerror}; choose another folder with --out"
        ) from error


def describe_difference(found: StudySpec, wanted: StudySpec) -> str:
    """The first field in which two different specs differ: `num_epochs = 7, not 20`."""
    # The recipe first: it explains another number of epochs.
    fields = ("recipe", *StudySpec.__struct_fields__)
    name = next(name for name in fields if getattr(found, name) != getattr(wanted, name))
    values = (getattr(spec, name) for spec in (found, wanted))
    here, there = map(_in_words, values)
    return f"{name} = {here}, not {there}"


def _in_words(value: object) -> object:
    if isinstance(value, SeedPlan):
        looks = " and ".join(map(str, value.looks))
        return f"{looks} seeds of {plural(len(value.ablations), 'ablation')}"
    return value.name if isinstance(value, DatasetId) else value


def is_study(study_dir: Path) -> bool:
    """Whether a folder holds a study."""
    return (study_dir / STUDY_FILE).is_file()


def load_spec(study_dir: Path) -> StudySpec:
    """Read a study's `study.json`.

    Raises:
        StudyError: the folder is not a study.
        RecordError: the file is damaged, unreadable or of another schema.
    """
    if not is_study(study_dir):
        reason = f"it has no {STUDY_FILE}" if study_dir.exists() else "there is no such folder"
        raise StudyError(f"{study_dir} is not a study: {reason}; studies are in runs/ by default")
    try:
        return load_with_checksum(study_dir / STUDY_FILE, StudySpec)
    except DamagedFileError as error:
        raise DamagedFileError(
            f"{error}; to restore it, run the command that made the study with another --out folder, "
            f"and copy {STUDY_FILE} from there"
        ) from error
