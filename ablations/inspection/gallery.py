"""The test images that a report shows, and what each network of one seed says of them.

Chosen without looking at how good they look: of the images that only one of a variant and the
target gets right, the first few in the data set's order.

`gallery.json` in the study's folder keeps the pixels, so that a report can be rendered again
where the data set is not. It names the digests of the weights that it was made from.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from ablations.records.atomic_io import RecordError
from ablations.records.checksums import SCHEMA_VERSION, load_sealed
from ablations.records.run import WEIGHTS_FILE, RunRecord
from ablations.records.study import Study, run_folder
from mnist_blocks.spec import IMAGE_SIZE, NUM_CLASSES

GALLERY_FILE = "gallery.json"
NUM_SHOWN = 8
"""Images shown of each kind, for each variant."""


class ShownImage(msgspec.Struct, frozen=True):
    """A test image."""

    number: int
    class_index: int
    pixels: bytes
    """28 x 28 bytes, row by row; 0 is black."""


class ImageAnswer(msgspec.Struct, frozen=True):
    """What a network says of an image."""

    class_index: int
    probability: float


class VariantImages(msgspec.Struct, frozen=True):
    """The images on which a variant and the target differ at the gallery's seed."""

    num_lost: int
    """Images that the variant gets wrong and the target right; `lost` has the first of them."""
    num_won: int
    """The other way round."""
    lost: list[int]
    won: list[int]
    answers: dict[int, ImageAnswer]
    """The variant's, to each of these images."""


class Gallery(msgspec.Struct, frozen=True):
    """Images and answers, all of one seed."""

    seed: int
    weights_sha256: dict[str, str]
    """Of each variant's network."""
    input_mean: float
    """Of the training images: the networks see (pixel - mean) / standard deviation."""
    input_std: float
    class_names: list[str]
    samples: list[int]
    """The first test image of each class."""
    images: list[ShownImage]
    target_answers: dict[int, ImageAnswer]
    variants: dict[str, VariantImages]
    schema_version: int = SCHEMA_VERSION

    def image(self, number: int) -> ShownImage:
        """The image of that number."""
        return next(image for image in self.images if image.number == number)


def shown_runs(study: Study, study_dir: Path) -> dict[str, RunRecord]:
    """The runs whose networks a report shows: of the lowest seed that the target's weights are
    there for, every entry's run with the weights that its record names. Combinations are not shown.
    """
    by_seed: dict[int, dict[str, RunRecord]] = {}
    for record in study.records:
        run = record.run_spec
        if "+" not in run.ablation and has_weights(study_dir, record):
            by_seed.setdefault(run.seed, {})[run.ablation] = record
    found = [runs for _, runs in sorted(by_seed.items()) if "target" in runs]
    return found[0] if found else {}


def has_weights(study_dir: Path, record: RunRecord) -> bool:
    """Whether a run's weights are there; whether they are the recorded ones is seen when read."""
    run = record.run_spec
    path = run_folder(study_dir, run.ablation, run.seed) / WEIGHTS_FILE
    return WEIGHTS_FILE in record.file_sha256 and path.is_file()


def weights_digests(runs: Mapping[str, RunRecord]) -> dict[str, str]:
    """The digest of each run's weights."""
    return {name: record.file_sha256[WEIGHTS_FILE] for name, record in runs.items()}


def load_gallery(study_dir: Path, runs: Mapping[str, RunRecord]) -> Gallery | None:
    """A study's gallery; None where there is none, or it is of other networks.

    Raises:
        RecordError: the file is damaged.
    """
    path = study_dir / GALLERY_FILE
    if not path.is_file():
        return None
    gallery = load_sealed(path, Gallery)
    if gallery.weights_sha256 != weights_digests(runs):
        return None
    if not is_sound(gallery):
        raise RecordError(f"{path}: its parts do not fit together")
    return gallery


def is_sound(gallery: Gallery) -> bool:
    """Whether everything that is named is there, and of the right size."""
    numbers = {image.number for image in gallery.images}
    classes = {image.class_index for image in gallery.images}
    named = {*gallery.samples}
    for found in gallery.variants.values():
        shown = {*found.lost, *found.won}
        if not shown <= found.answers.keys():
            return False
        named |= shown
        classes |= {answer.class_index for answer in found.answers.values()}
    classes |= {answer.class_index for answer in gallery.target_answers.values()}
    return (
        len(gallery.class_names) == NUM_CLASSES
        and classes <= set(range(NUM_CLASSES))
        and all(len(image.pixels) == IMAGE_SIZE**2 for image in gallery.images)
        and named <= numbers
        and numbers == gallery.target_answers.keys()
        and gallery.input_std > 0
    )


def differing_images(
    variant_wrong: Sequence[int], target_wrong: Sequence[int]
) -> tuple[list[int], list[int]]:
    """The images that only the variant gets wrong, and those that only the target does."""
    return (
        sorted(set(variant_wrong) - set(target_wrong)),
        sorted(set(target_wrong) - set(variant_wrong)),
    )
