"""The data sets that come as four idx files: which files, with which content, in which folder.

A folder or file may be a link, wherever it leads: what is read is verified, not where it lies.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from ablations.data.idx import (
    MAX_GZIP_EXTRA_BYTES,
    WAY_OUT,
    ContentError,
    DataError,
    idx_bytes,
    parse_idx,
    read_bytes,
    unpack,
)

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
    gzip_md5: tuple[str, ...] = ()
    """Digests of the four files as they are published, gzipped, where no others are known."""

    @property
    def suffix(self) -> str:
        """What a file's name ends in when it was downloaded: what can be verified is kept."""
        return "" if self.sha256 else ".gz"


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
    # torchvision's.
    gzip_md5=(
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ),
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
    """Why it is bad, and the way out; of a verified file, the same of another one beside it that
    was passed over; empty otherwise."""


def read_folder(source: DataSource, folder: Path) -> list[UInt8[np.ndarray, "..."]]:
    """The four files of a folder, verified: training images and labels, test images and labels.

    Raises:
        DataError: a file is missing or is not the data set's.
    """
    arrays = []
    for name in FILE_SHAPES:
        found, values = find_file(source, folder, name)
        if values is None:
            missing = f"{folder / name}: not there, nor with .gz; put {source.title}'s there"
            raise DataError(found.problem or missing)
        arrays.append(values)
    return arrays


def inspect_folder(source: DataSource, folder: Path) -> list[FoundFile]:
    """What a folder holds of the four files; raises nothing."""
    return [find_file(source, folder, name)[0] for name in FILE_SHAPES]


def find_file(
    source: DataSource, folder: Path, name: str
) -> tuple[FoundFile, UInt8[np.ndarray, "..."] | None]:
    """What a folder holds of one of the four files, and its values if it is verified.

    A bad file does not hide a good one beside it: whoever unpacks on a full disk has half a file
    and the whole one, gzipped. Raises nothing.
    """
    bad = None
    for path in possible_paths(source, folder, name):
        try:
            if is_there(path):
                values = read_file(source, path, name)
                return FoundFile(path, "verified", bad.problem if bad else ""), values
        except DataError as error:
            bad = bad or FoundFile(path, "bad", str(error))
    return bad or FoundFile(folder / name, "missing"), None


def possible_paths(source: DataSource, folder: Path, name: str) -> tuple[Path, Path]:
    """Where in a folder one of the four files may lie, the one that is verified best first."""
    plain, gzipped = folder / name, folder / f"{name}.gz"
    return (gzipped, plain) if source.suffix else (plain, gzipped)


def is_there(path: Path) -> bool:
    """Whether there is anything of that name, if only a link that leads nowhere.

    Raises:
        DataError: that cannot be told.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); mend that") from error
    return True


def read_file(source: DataSource, path: Path, name: str) -> UInt8[np.ndarray, "..."]:
    """One of the four files, `name`, which lies at `path`, gzipped if that ends in `.gz`.

    Raises:
        DataError: it cannot be read, is damaged, or is not this data set's file.
    """
    stored = read_bytes(path, max_stored_bytes(name))
    try:
        return check_file(source, name, stored, gzipped=path.suffix == ".gz")
    except ContentError as error:
        raise DataError(f"{path}: {error}; {WAY_OUT}") from error


def max_stored_bytes(name: str) -> int:
    """How many bytes of one of the four files are worth reading, plain or gzipped."""
    return idx_bytes(FILE_SHAPES[name]) + MAX_GZIP_EXTRA_BYTES


def check_file(
    source: DataSource, name: str, stored: bytes, *, gzipped: bool
) -> UInt8[np.ndarray, "..."]:
    """The values in one of the four files, from its bytes as they are stored or sent.

    Raises:
        ContentError: it is damaged, or is not this data set's file.
    """
    shape = FILE_SHAPES[name]
    content = unpack(stored, idx_bytes(shape)) if gzipped else stored
    values = parse_idx(content, shape)
    digest = hashlib.sha256(content).hexdigest()
    expected = digest_of(source.sha256, name)
    if digest != expected and digest in TITLE_OF_DIGEST:
        raise ContentError(f"belongs to {TITLE_OF_DIGEST[digest]}, not to {source.title}")
    if expected and digest != expected:
        raise ContentError(f"not {source.title}'s file, its SHA-256 differs")
    if values.ndim == 1 and values.max() >= NUM_CLASSES:
        raise ContentError(f"has the label {values.max()}, labels go to 9")
    expected_md5 = digest_of(source.gzip_md5, name) if gzipped else None
    # Against accidents: MD5 is what torchvision knows of it.
    if expected_md5 and hashlib.md5(stored, usedforsecurity=False).hexdigest() != expected_md5:
        raise ContentError(f"not {source.title}'s file, its MD5 differs")
    return values


def digest_of(digests: tuple[str, ...], name: str) -> str | None:
    """That of one of the four files; None if there are none."""
    return dict(zip(FILE_SHAPES, digests, strict=False)).get(name)
