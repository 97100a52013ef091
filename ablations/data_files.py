"""The data sets that come as four idx files: which files, with which content, in which folder."""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from ablations.idx import WAY_OUT, DataError, read_idx

FILE_SHAPES: dict[str, tuple[int, ...]] = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}
"""The four files, in the order in which they are read, hashed and shown. MNIST, Fashion-MNIST
and KMNIST all use these names, so a name says nothing about which data set a file is of."""

NUM_CLASSES = 10


@dataclass(frozen=True)
class DataSource:
    """A data set in four idx files."""

    name: str
    """As on the command line."""
    title: str
    torchvision_class: str
    class_names: tuple[str, ...]
    usual_folders: tuple[Path, ...] = ()
    """Where it may lie besides the folders that the user names."""
    sha256: tuple[str, ...] = ()
    """Digests of the four uncompressed files, in the order of `FILE_SHAPES`; empty: not known."""


MNIST = DataSource(
    name="mnist",
    title="MNIST",
    torchvision_class="MNIST",
    class_names=tuple("0123456789"),
    # A folder that several checkouts of this project share.
    usual_folders=(Path("../shared/mnist"),),
    sha256=(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)

FASHION_MNIST = DataSource(
    name="fashion-mnist",
    title="Fashion-MNIST",
    torchvision_class="FashionMNIST",
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    # Debian's package dataset-fashion-mnist. Its .gz files have other MD5s than torchvision's
    # because their headers lack name and date; with both put back the MD5s are the same, and
    # that is where these digests come from.
    usual_folders=(Path("/usr/share/datasets/fashion-mnist"),),
    sha256=(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)

KMNIST = DataSource(
    name="kmnist",
    title="KMNIST",
    torchvision_class="KMNIST",
    class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)

SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST, KMNIST)}

TITLE_OF_DIGEST = {digest: source.title for source in SOURCES.values() for digest in source.sha256}


@dataclass(frozen=True)
class FoundFile:
    """What was found where one of the four files may lie."""

    path: Path
    status: Literal["verified", "missing", "bad"]
    """`verified`: it is the data set's file, as far as its published digest is known."""
    problem: str = ""
    """Why it is bad, and the way out; empty otherwise."""


def read_folder(source: DataSource, folder: Path) -> list[UInt8[np.ndarray, "..."]]:
    """The four files of a folder, verified: training images and labels, test images and labels.

    Raises:
        DataError: a file is missing or is not the data set's.
    """
    arrays = []
    for name in FILE_SHAPES:
        path = find_file(folder, name)
        if path is None:
            raise DataError(f"{folder / name}: not there, nor with .gz; put {source.title}'s there")
        arrays.append(read_file(source, path, name))
    return arrays


def read_file(source: DataSource, path: Path, name: str) -> UInt8[np.ndarray, "..."]:
    """One of the four files, `name`, which lies at `path`.

    Raises:
        DataError: it is damaged, or is not this data set's file.
    """
    values, digest = read_idx(path, FILE_SHAPES[name])
    expected = dict(zip(FILE_SHAPES, source.sha256, strict=False)).get(name)
    if digest != expected and digest in TITLE_OF_DIGEST:
        other = TITLE_OF_DIGEST[digest]
        raise DataError(f"{path}: belongs to {other}, not to {source.title}; {WAY_OUT}")
    if expected is not None and digest != expected:
        raise DataError(f"{path}: not {source.title}'s file, its SHA-256 differs; {WAY_OUT}")
    if values.ndim == 1 and values.max() >= NUM_CLASSES:
        raise DataError(f"{path}: has the label {values.max()}, labels go to 9; {WAY_OUT}")
    return values


def find_file(folder: Path, name: str) -> Path | None:
    """Where one of the four files lies in a folder, plain or gzipped; None if it does not.

    Raises:
        DataError: something of that name is there, but it is no file, or cannot be looked at.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); mend that") from error
        if not stat.S_ISREG(mode):
            raise DataError(f"{path}: a folder or device, not a file; {WAY_OUT}")
        return path
    return None


def inspect_folder(source: DataSource, folder: Path) -> list[FoundFile]:
    """What a folder holds of the four files; raises nothing."""
    return [inspect_file(source, folder, name) for name in FILE_SHAPES]


def inspect_file(source: DataSource, folder: Path, name: str) -> FoundFile:
    """What a folder holds of one of the four files; raises nothing."""
    path: Path | None = None
    try:
        path = find_file(folder, name)
        if path is None:
            return FoundFile(folder / name, "missing")
        read_file(source, path, name)
        return FoundFile(path, "verified")
    except DataError as error:
        return FoundFile(path or folder / name, "bad", str(error))
