"""Find, verify, download and load a data set of 28x28 grey images in ten classes.

scikit-learn and Pillow are imported late: that takes longer than the command line may take to start.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ablations.catalogue.experiment import DATASET_NAMES, DatasetId
from ablations.data.dataset import Dataset, pixel_statistics
from ablations.data.download import fetch_files
from ablations.data.search import FoundFiles, folders_under, search_folder
from ablations.data.sources import FILE_SHAPES, SOURCES, DataError, DataSource, Log

__all__ = ["DataError", "inspect_dataset", "load_dataset", "resolve_dataset"]

FOLDER_VARIABLE = "MNIST_DATA_DIR"
DEFAULT_ROOT = Path("data")


def resolve_dataset(
    name: str, data_dir: Path | None = None, *, fetch: bool = True, log: Log = print
) -> tuple[str, Path | None]:
    """Find a data set, and download it if it is in no folder and `fetch` is set.

    `"auto"` is `"mnist"`, or `"digits"` with a prominent warning if MNIST is not available. Without
    `fetch`, nothing is written, and a missing MNIST is an error: it may well be available later.

    Returns the name and the folder with the verified files, which is None for `"digits"`.

    Raises:
        DataError: the name is unknown, or the data set is not available.
    """
    if name == "digits":
        return name, None
    source = _source_named("mnist" if name == "auto" else name)
    try:
        return source.name, _find_or_fetch(source, data_dir, fetch, log)
    except DataError as error:
        if name != "auto" or not fetch:
            raise
        _warn_of_digits(str(error), log)
        return "digits", None


def load_dataset(name: str, folder: Path | None) -> Dataset:
    """Load a data set from the folder that `resolve_dataset` returned, and verify it again.

    Raises:
        DataError: the name is unknown, or a file is missing or not the data set's.
    """
    if name == "digits":
        arrays, class_names = _digits_arrays(), tuple("0123456789")
        title, found_in = "scikit-learn's 8x8 digits", "scikit-learn"
    else:
        source = _source_named(name)
        assert folder, "only the digits have no folder"
        title, found_in, class_names = source.title, str(folder), source.class_names
        found = search_folder(source, folder)
        if found.missing:
            raise DataError((found.problems or [f"{folder}: {found.lack}"])[0])
        arrays = [found.values[name] for name in FILE_SHAPES]
    train_images, train_labels, test_images, test_labels = arrays
    sha256 = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
    mean, std = pixel_statistics(train_images)
    return Dataset(
        id=DatasetId(name, sha256, len(train_labels), len(test_labels)),
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        mean=mean,
        std=std,
        class_names=class_names,
        title=title,
        source=found_in,
    )


def inspect_dataset(name: str, data_dir: Path | None = None) -> list[str]:
    """One line for each file, and for each named folder of no use; none for `"digits"`.

    Raises:
        DataError: the name is unknown.
    """
    if name == "digits":
        return []
    source, lines = _source_named(name), []
    for root, option in _search_roots(source, data_dir).items():
        found = search_folder(source, root)
        lines += [f"bad       {problem}" for problem in found.problems]
        lines += [f"verified  {found.paths[name]}" for name in FILE_SHAPES if name in found.paths]
        lines += [f"unusable  {note}" for note in _notes(found, option)]
    return lines


def _source_named(name: str) -> DataSource:
    """The source of a data set in four files; DataError for any other name."""
    if name not in SOURCES:
        raise DataError(f"unknown data set {name!r} (there are {', '.join(DATASET_NAMES)})")
    return SOURCES[name]


def _find_or_fetch(source: DataSource, data_dir: Path | None, fetch: bool, log: Log) -> Path:
    """The first folder with all four files, or the folder that they are downloaded into."""
    roots = _search_roots(source, data_dir)
    target = next(root for root, option in roots.items() if os.path.isdir(root) or not option)  # noqa: PTH112
    missing = list(FILE_SHAPES)
    for root, option in roots.items():
        found = search_folder(source, root)
        for line in [*found.problems, *_notes(found, option)]:
            log(f"warning: {line}")
        if not found.missing:
            return found.folder
        if root == target:
            missing = found.missing
    outcome = "was not downloaded"
    if fetch:
        log(f"downloading {source.title} into {folders_under(source, target)[0]}")
        try:
            return fetch_files(source, target, log)
        except DataError as error:
            outcome = f"could not be downloaded: {error}"
    raise DataError(
        f"{source.title} is not in {', '.join(map(str, roots))}, and {outcome}; put "
        f"{', '.join(f'{name}.gz' for name in missing)} into {target}, or name their folder "
        f"with --data-dir or ${FOLDER_VARIABLE}, or use --dataset digits, which needs no files"
    )


def _notes(found: FoundFiles, option: str) -> list[str]:
    """Why a folder is of no use, in one line, if the user named it or it has some of the files."""
    is_expected = option == f"${FOLDER_VARIABLE}" and found.other_data_sets
    if not found.missing or is_expected or not (option or found.paths):
        return []
    return [f"{found.root}{f' ({option})' if option else ''}: {found.lack}"]


def _search_roots(source: DataSource, data_dir: Path | None) -> dict[Path, str]:
    """The folders to search in, each once, and how the user named it, empty for the usual ones."""
    roots: dict[str, tuple[Path, str]] = {}
    for folder, option in (
        (data_dir, "--data-dir"),
        (os.environ.get(FOLDER_VARIABLE), f"${FOLDER_VARIABLE}"),
        *((folder, "") for folder in (DEFAULT_ROOT, *source.extra_roots)),
    ):
        if folder:
            root = Path(os.path.expanduser(folder))  # noqa: PTH111 (pathlib's raises for unknown users)
            roots.setdefault(os.path.realpath(root), (root, option))
    return dict(roots.values())


def _warn_of_digits(reason: str, log: Log) -> None:
    log("!" * 80)
    log("!!! MNIST IS MISSING: scikit-learn's 8x8 digits are used in its place.")
    log("!!! These are NOT MNIST's numbers: 1,437 small training images instead of 60,000.")
    log(f"!!! Why: {reason}")
    log("!!! To stop instead, use --dataset mnist.")
    log("!" * 80)


def _digits_arrays() -> list[UInt8[np.ndarray, "..."]]:
    """scikit-learn's 1,797 digits of 8x8 pixels, made to look like MNIST's.

    Enlarged to 20x20 and centred in 28x28, as MNIST's digits are. A fixed split, with the same
    share of each class on both sides: 1,437 training and 360 test images.
    """
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = np.zeros((len(grey), 28, 28), np.uint8)
    for image, small in zip(images, grey, strict=True):
        # Pillow resamples in integers, so the result is the same on every machine.
        enlarged = Image.fromarray(small).resize((20, 20), Image.Resampling.BILINEAR)
        image[4:24, 4:24] = np.asarray(enlarged)
    labels = digits.target.astype(np.uint8)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=360, stratify=labels, random_state=0
    )
    return [train_images, train_labels, test_images, test_labels]
