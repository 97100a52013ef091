"""Find, verify, fetch and load a data set of 28x28 grey images in ten classes.

`idx.py` reads one file, `sources.py` knows which files make a data set, `download.py`
downloads them. torchvision and scikit-learn are imported only where they are used: both take
longer to import than the whole command line may take to start.
"""

import difflib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ablations.data.dataset import Dataset, pixel_statistics
from ablations.data.download import fetch_files, raw_folder
from ablations.data.sources import (
    FILE_SHAPES,
    SOURCES,
    DataSource,
    FoundFile,
    inspect_folder,
    read_folder,
)
from ablations.catalogue.experiment import DATASET_NAMES, DatasetId
from ablations.data.idx import DataError

__all__ = [
    "DataError",
    "FoundFile",
    "inspect_dataset",
    "load_dataset",
    "resolve_dataset",
]

FOLDER_VARIABLE = "MNIST_DATA_DIR"
DEFAULT_FOLDER = Path("data")


def resolve_dataset(
    name: str,
    data_dir: Path | None = None,
    *,
    fetch: bool = True,
    log: Callable[[str], None] = print,
) -> tuple[str, Path | None]:
    """Find a data set, and download it if it is nowhere and `fetch` is set.

    `"auto"` is `"mnist"`, or `"digits"` with a loud warning if MNIST cannot be had.

    Returns the name and the folder with the verified files, which is None for `"digits"`.

    Raises:
        DataError: the name is unknown, the data set cannot be had, or `data_dir` has nothing but
            bad files of it where a download does not replace them.
    """
    if data_dir is not None and name != "digits":
        source = source_named("mnist" if name == "auto" else name)
        check_named_folder(source, data_dir, fetch, log)
    if name == "auto":
        try:
            return "mnist", find_or_fetch(source_named("mnist"), data_dir, fetch, log)
        except DataError as error:
            warn_of_digits(str(error), log)
            return "digits", None
    if name == "digits":
        return name, None
    return name, find_or_fetch(source_named(name), data_dir, fetch, log)


def find_or_fetch(
    source: DataSource, data_dir: Path | None, fetch: bool, log: Callable[[str], None]
) -> Path:
    """The folder with a data set's verified files.

    Raises:
        DataError: it is nowhere, and could not be downloaded or was not to be.
    """
    folder = find_folder(source, data_dir, log)
    if folder is not None:
        return folder
    target = next(named_folders(data_dir), DEFAULT_FOLDER)
    outcome = "was not downloaded"
    if fetch:
        try:
            return fetch_files(source, target, log)
        except DataError as error:
            outcome = f"could not be downloaded: {error}"
    looked_in = ", ".join(str(root) for root in root_folders(source, data_dir))
    raise DataError(
        f"{source.title} is not in {looked_in}, and {outcome}; put {', '.join(FILE_SHAPES)} "
        f"(each may be gzipped, with .gz) into {raw_folder(source, target)}, or name their folder "
        f"with --data-dir or ${FOLDER_VARIABLE}, or use --dataset digits, which needs no files"
    )


def warn_of_digits(reason: str, log: Callable[[str], None]) -> None:
    """Say, so that it cannot be overlooked, that another data set stands in for MNIST."""
    line = "!" * 80
    log(line)
    log("!!! MNIST IS MISSING: scikit-learn's 8x8 digits are used in its place.")
    log("!!! These are NOT MNIST's numbers: 1,437 small training images instead of 60,000.")
    log(f"!!! Why: {reason}")
    log("!!! To fail instead of falling back, ask for it by name: --dataset mnist")
    log(line)


def load_dataset(name: str, folder: Path | None) -> Dataset:
    """Load a data set from the folder that `resolve_dataset` gave, and verify it again.

    Raises:
        DataError: the name is unknown, or a file is missing or not the data set's.
    """
    if name == "digits":
        arrays = digits_arrays()
        class_names = tuple("0123456789")
        title, found_in = "scikit-learn's 8x8 digits", "scikit-learn"
    else:
        source = source_named(name)
        if folder is None:
            raise DataError(f"{source.title} has no folder; use the one of resolve_dataset")
        arrays = read_folder(source, folder)
        class_names, title, found_in = source.class_names, source.title, str(folder)
    train_images, train_labels, test_images, test_labels = arrays
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    mean, std = pixel_statistics(train_images)
    return Dataset(
        id=DatasetId(name, digest.hexdigest(), len(train_labels), len(test_labels)),
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
    source = source_named(name)
    folders = candidate_folders(source, data_dir)
    return [file for folder in folders for file in inspect_folder(source, folder)]


def source_named(name: str) -> DataSource:
    """The source of a data set in four files; DataError for any other name."""
    if name in SOURCES:
        return SOURCES[name]
    close = difflib.get_close_matches(name, DATASET_NAMES, n=1)
    question = f"did you mean {close[0]!r}? " if close else ""
    raise DataError(f"unknown data set {name!r}; {question}(there are {', '.join(DATASET_NAMES)})")


def find_folder(
    source: DataSource, data_dir: Path | None, log: Callable[[str], None]
) -> Path | None:
    """The first folder with all four files. What is wrong with a folder before it is said."""
    for folder in candidate_folders(source, data_dir):
        files = inspect_folder(source, folder)
        missing = [file.path.name for file in files if file.status == "missing"]
        problems = [file.problem for file in files if file.problem]
        for problem in problems:
            log(f"warning: {problem}")
        if all(file.status == "verified" for file in files):
            return folder
        if not problems and len(missing) < len(files):
            log(f"warning: {folder}: has no {', '.join(missing)}; put what is missing there")
    return None


def check_named_folder(
    source: DataSource, data_dir: Path, fetch: bool, log: Callable[[str], None]
) -> None:
    """Say so when the folder that was asked for has no files of the data set.

    Raises:
        DataError: it has them, and they are bad: another copy is not what was asked for. Unless
            they lie where a download may replace them.
    """
    root = data_dir.expanduser()
    found = {folder: inspect_folder(source, folder) for folder in folders_under(source, root)}
    statuses = {file.status for files in found.values() for file in files}
    if statuses == {"missing"}:
        log(f"warning: no file of {source.title} in {root} (--data-dir); looking elsewhere")
    if "verified" in statuses:
        return
    for folder, files in found.items():
        for file in files:
            if file.status == "bad" and not (fetch and folder == raw_folder(source, root)):
                raise DataError(file.problem)


def folders_under(source: DataSource, root: Path) -> tuple[Path, Path, Path]:
    """Where under a folder the files may lie."""
    return raw_folder(source, root), root / source.name, root


def candidate_folders(source: DataSource, data_dir: Path | None) -> list[Path]:
    """Every folder in which the files may lie, in the order of the search, each once."""
    folders: dict[str, Path] = {}
    for root in root_folders(source, data_dir):
        for folder in folders_under(source, root):
            folders.setdefault(os.path.realpath(folder), folder)
    return list(folders.values())


def root_folders(source: DataSource, data_dir: Path | None) -> list[Path]:
    """The folders to search in, in order."""
    return [*named_folders(data_dir), DEFAULT_FOLDER, *source.usual_folders]


def named_folders(data_dir: Path | None) -> Iterator[Path]:
    """The folders that the user named: on the command line, then in the environment."""
    if data_dir is not None:
        yield data_dir.expanduser()
    if from_environment := os.environ.get(FOLDER_VARIABLE):
        yield Path(from_environment).expanduser()


def digits_arrays() -> list[UInt8[np.ndarray, "..."]]:
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
