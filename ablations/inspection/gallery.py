"""The test images that a report shows, with the predictions of each network of one seed.

The images are the first ones, in the data set's order, that only one of a variant and the target
classifies correctly. `gallery.json` in the study's folder holds the pixels, so that a report can be
rendered without the data set. It names the SHA-256 of the weights that it was made from.
"""

from pathlib import Path

import msgspec

from ablations.records.checksums import SchemaVersion, load_with_checksum
from ablations.records.run import WEIGHTS_FILE, RunRecord
from ablations.records.study import Study, run_folder

GALLERY_FILE = "gallery.json"
NUM_SHOWN = 8
"""Number of images of each kind, for each variant."""


class ShownImage(msgspec.Struct, frozen=True):
    """A test image."""

    number: int
    class_index: int
    pixels: bytes
    """28 x 28 bytes, row by row; 0 is black."""


class ImageAnswer(msgspec.Struct, frozen=True):
    """A network's prediction for an image."""

    class_index: int
    probability: float


class VariantImages(msgspec.Struct, frozen=True):
    """The images that only one of a variant and the target classifies correctly."""

    num_lost: int
    """Number of images that the variant classifies wrongly and the target correctly."""
    num_won: int
    """The reverse."""
    lost: list[int]
    """The first of these images."""
    won: list[int]
    answers: dict[int, ImageAnswer]
    """The variant's predictions for `lost` and `won`."""


class Gallery(msgspec.Struct, frozen=True):
    """Images and predictions of one seed."""

    seed: int
    weights_sha256: dict[str, str]
    """By ablation."""
    input_mean: float
    """Of the training images: the networks' input is (pixel - mean) / standard deviation."""
    input_std: float
    class_names: list[str]
    samples: list[int]
    """The first test image of each class."""
    images: list[ShownImage]
    target_answers: dict[int, ImageAnswer]
    variants: dict[str, VariantImages]
    schema_version: SchemaVersion = 2

    def image(self, number: int) -> ShownImage:
        """The image with this number."""
        return next(image for image in self.images if image.number == number)


def shown_runs(study: Study, study_dir: Path) -> dict[str, RunRecord]:
    """The runs whose networks a report shows, by ablation; combinations of ablations are not shown.

    They are the runs with weights of the lowest seed for which the target has weights.
    """
    by_seed: dict[int, dict[str, RunRecord]] = {}
    for record in study.records:
        run_spec = record.run_spec
        if "+" not in run_spec.ablation and has_weights(study_dir, record):
            by_seed.setdefault(run_spec.seed, {})[run_spec.ablation] = record
    found = [runs for _, runs in sorted(by_seed.items()) if "target" in runs]
    return found[0] if found else {}


def has_weights(study_dir: Path, record: RunRecord) -> bool:
    """Whether a run's weights file exists and is in its record."""
    return WEIGHTS_FILE in record.file_sha256 and (
        (record_folder(study_dir, record) / WEIGHTS_FILE).is_file()
    )


def record_folder(study_dir: Path, record: RunRecord) -> Path:
    """The folder of a record's run."""
    return run_folder(study_dir, record.run_spec.ablation, record.run_spec.seed)


def weights_digests(runs: dict[str, RunRecord]) -> dict[str, str]:
    """The SHA-256 of each run's weights."""
    return {name: record.file_sha256[WEIGHTS_FILE] for name, record in runs.items()}


def load_gallery(study_dir: Path, runs: dict[str, RunRecord]) -> Gallery | None:
    """A study's gallery, None without one for the weights of these runs; RecordError for damage."""
    path = study_dir / GALLERY_FILE
    if not path.is_file():
        return None
    gallery = load_with_checksum(path, Gallery)
    return gallery if gallery.weights_sha256 == weights_digests(runs) else None
