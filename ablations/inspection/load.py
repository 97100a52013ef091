"""Reads the measurements, images and networks for a report.

A report does without what is missing; `build.py` makes it from a study's weights and the data set.

The images are the first ones, in the data set's order, that only one of a variant and the target
classifies correctly. `gallery.json` in the study's folder holds the pixels, so that a report can be
rendered without the data set. It names the SHA-256 of the weights that it was made from.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ablations.records.atomic_io import RecordError
from ablations.records.checksums import SchemaVersion, load_with_checksum
from ablations.records.observations import Observations, load_observations
from ablations.records.run import WEIGHTS_FILE, RunRecord, read_verified, run_folder
from ablations.records.study import (
    Study,
    within_study,
)

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


@dataclass(frozen=True)
class Exhibits:
    """The measurements, images and networks of a study that a report shows."""

    observations: dict[tuple[str, int], Observations] = field(default_factory=dict)
    """By ablation and seed."""
    gallery: Gallery | None = None
    weights: dict[str, bytes] = field(default_factory=dict)
    """Weights of the gallery's seed in safetensors format, by ablation."""
    problems: tuple[str, ...] = ()
    """Files that were left out, and why."""
    unmeasured: tuple[RunRecord, ...] = ()
    """The runs with weights, but without measurements on them."""
    shown_runs: dict[str, RunRecord] = field(default_factory=dict)
    """The gallery's runs, by ablation."""

    @property
    def is_complete(self) -> bool:
        """Whether everything exists that can be made from the study's weights."""
        return not self.unmeasured and (self.gallery is not None or not self.shown_runs)


def load_exhibits(study_dir: Path, study: Study) -> Exhibits:
    """Read and verify what exists; a damaged file is left out and named in `problems`."""
    observations, weights = {}, {}
    problems: list[str] = []

    @contextmanager
    def problems_kept() -> Iterator[None]:
        try:
            yield
        except RecordError as error:
            problems.append(within_study(str(error), study_dir))

    for record in study.records:
        with problems_kept():
            if found := load_observations(run_folder(study_dir, record.run_spec), record):
                observations[record.run_spec.ablation, record.run_spec.seed] = found
    gallery, runs = None, _shown_runs(study, study_dir)
    with problems_kept():
        gallery = _load_gallery(study_dir, runs)
    for name, record in runs.items() if gallery else ():
        with problems_kept():
            weights[name] = read_verified(
                run_folder(study_dir, record.run_spec) / WEIGHTS_FILE, record
            )
    unmeasured = tuple(
        record
        for record in study.records
        if _has_weights(study_dir, record)
        and (record.run_spec.ablation, record.run_spec.seed) not in observations
    )
    return Exhibits(observations, gallery, weights, tuple(problems), unmeasured, runs)


def _shown_runs(study: Study, study_dir: Path) -> dict[str, RunRecord]:
    """The runs whose networks a report shows, by ablation: single ones, with weights, of the lowest
    seed for which the target has weights."""
    by_seed: dict[int, dict[str, RunRecord]] = {}
    for record in study.records:
        run_spec = record.run_spec
        if "+" not in run_spec.ablation and _has_weights(study_dir, record):
            by_seed.setdefault(run_spec.seed, {})[run_spec.ablation] = record
    found = [runs for _, runs in sorted(by_seed.items()) if "target" in runs]
    return found[0] if found else {}


def _has_weights(study_dir: Path, record: RunRecord) -> bool:
    return WEIGHTS_FILE in record.file_sha256 and (
        (run_folder(study_dir, record.run_spec) / WEIGHTS_FILE).is_file()
    )


def weights_digests(runs: dict[str, RunRecord]) -> dict[str, str]:
    """The SHA-256 of each run's weights."""
    return {name: record.file_sha256[WEIGHTS_FILE] for name, record in runs.items()}


def _load_gallery(study_dir: Path, runs: dict[str, RunRecord]) -> Gallery | None:
    """A study's gallery, None without one for the weights of these runs; RecordError for damage."""
    path = study_dir / GALLERY_FILE
    if not path.is_file():
        return None
    gallery = load_with_checksum(path, Gallery)
    return gallery if gallery.weights_sha256 == weights_digests(runs) else None
