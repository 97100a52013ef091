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
from ablations.data.sources import (
    FILE_SHAPES,
    SOURCES,
    DataError,
    DataSource,
    FoundFile,
    Log,
    folders_under,
    inspect_folder,
)

__all__ = ["DataError", "inspect_dataset", "load_dataset", "resolve_dataset"]

FOLDER_VARIABLE = "MNIST_DATA_DIR"
DEFAULT_ROOT = Path("data")


def resolve_dataset(
    name: str, data_dir: Path | None = None, *, fetch: bool = True, log: Log = print
) -> tuple[str, Path | None]:
    """Find a data set, and download it if it is in no folder and `fetch` is set.

    `"auto"` is `"mnist"`, or `"digits"` with a prominent warning if MNIST is not available.

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
        arrays, class_names = [], source.class_names
        title, found_in = source.title, str(folder)
        for file in inspect_folder(source, folder):
            if file.values is None:
                raise DataError(file.problem or f"{file.path} is missing")
            arrays.append(file.values)
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


def inspect_dataset(name: str, data_dir: Path | None = None) -> list[FoundFile]:
    """Four entries for each folder that is searched, in that order; none for `"digits"`.

    Raises:
        DataError: the name is unknown.
    """
    if name == "digits":
        return []
    source = _source_named(name)
    folders = _search_folders(source, data_dir)
    return [file for folder in folders for file in inspect_folder(source, folder)]


def _source_named(name: str) -> DataSource:
    """The source of a data set in four files; DataError for any other name."""
    if name not in SOURCES:
        raise DataError(f"unknown data set {name!r} (there are {', '.join(DATASET_NAMES)})")
    return SOURCES[name]


def _find_or_fetch(source: DataSource, data_dir: Path | None, fetch: bool, log: Log) -> Path:
    """The first folder with all four files, or the folder that they are downloaded into."""
    roots = _search_roots(source, data_dir)
    for folder in _search_folders(source, data_dir):
        files = inspect_folder(source, folder)
        for file in files:
            if file.problem:
                log(f"warning: {file.problem}")
        if all(file.status == "verified" for file in files):
            if data_dir and not folder.is_relative_to(roots[0]):
                log(f"warning: {source.title} is not in {data_dir} (--data-dir); using {folder}")
            return folder
        missing = [file.path.name for file in files if file.status == "missing"]
        if 0 < len(missing) < len(files):
            log(f"warning: {folder}: has no {', '.join(missing)}; put what is missing there")
    target = folders_under(source, roots[0])[0]
    outcome = "was not downloaded"
    if fetch:
        log(f"downloading {source.title} into {target}")
        try:
            fetch_files(source, target, log)
            return target
        except DataError as error:
            outcome = f"could not be downloaded: {error}"
    raise DataError(
        f"{source.title} is not in {', '.join(map(str, roots))}, and {outcome}; put "
        f"{', '.join(f'{name}.gz' for name in FILE_SHAPES)} into {target}, or name their folder "
        f"with --data-dir or ${FOLDER_VARIABLE}, or use --dataset digits, which needs no files"
    )


def _search_folders(source: DataSource, data_dir: Path | None) -> list[Path]:
    """Every folder in which the files may lie, in the order of the search, each once."""
    folders: dict[str, Path] = {}
    for root in _search_roots(source, data_dir):
        for folder in folders_under(source, root):
            folders.setdefault(os.path.realpath(folder), folder)
    return list(folders.values())


def _search_roots(source: DataSource, data_dir: Path | None) -> list[Path]:
    """The folders to search in: the user's, then the usual ones. Downloads go into the first."""
    named = [data_dir, os.environ.get(FOLDER_VARIABLE)]
    return [*(Path(root).expanduser() for root in named if root), DEFAULT_ROOT, *source.extra_roots]


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
