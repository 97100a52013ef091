"""The data sets that come as four idx files: which files, with which digests, from which mirrors."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FILE_SHAPES: dict[str, tuple[int, ...]] = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}
"""The four files, in the order in which they are read, hashed and shown. MNIST, Fashion-MNIST
and KMNIST all use these names, so a name says nothing about which data set a file is of."""

Log = Callable[[str], None]
"""Prints or stores one line of progress."""


class DataError(Exception):
    """A data set cannot be found or trusted; one line states what is wrong, where, and the fix."""


@dataclass(frozen=True)
class DataSource:
    """A data set in four idx files, with one kind of digests, in the order of `FILE_SHAPES`."""

    name: str
    """As on the command line."""
    title: str
    folder_name: str
    """Of torchvision's folder for it."""
    class_names: tuple[str, ...]
    mirrors: tuple[str, ...]
    """Addresses to which `FILE.gz` is appended, in the order in which they are tried."""
    extra_roots: tuple[Path, ...] = ()
    """Searched after the folders that the user names."""
    sha256: tuple[str, ...] = ()
    """Of the uncompressed files."""
    gzip_md5: tuple[str, ...] = ()
    """Of the gzipped files as they are published. Uncompressed files are not verifiable then."""

    def name_of(self, sha256: str, gzip_md5: str) -> str | None:
        """Which of the four files has these digests; None: none of them."""
        digests = dict(zip(self.sha256 or self.gzip_md5, FILE_SHAPES, strict=True))
        return digests.get(sha256 if self.sha256 else gzip_md5)


# The mirrors, the folder names and KMNIST's MD5 digests are those of torchvision 0.29
# (torchvision/datasets/mnist.py). MNIST's first mirror is listed without encryption, too: some
# school proxies replace its certificate by one that Python does not trust, and the content is
# verified in any case.
MNIST = DataSource(
    name="mnist",
    title="MNIST",
    folder_name="MNIST",
    class_names=tuple("0123456789"),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    # A folder that several checkouts of this project share.
    extra_roots=(Path("../shared/mnist"),),
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
    folder_name="FashionMNIST",
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    # Debian's package dataset-fashion-mnist. Its .gz files have other MD5s than torchvision's
    # because their headers lack name and date; with both put back the MD5s are the same, and
    # that is where these digests come from.
    extra_roots=(Path("/usr/share/datasets/fashion-mnist"),),
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
    folder_name="KMNIST",
    class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    gzip_md5=(
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ),
)

SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST, KMNIST)}
