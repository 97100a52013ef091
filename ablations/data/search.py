"""Find a data set's four files in a folder by what they hold, whatever they are called.

A folder or file may be a link: what is read is verified, not where it lies.
"""

import gzip
import hashlib
import io
import math
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ablations.data.sources import FILE_SHAPES, SOURCES, DataSource

_MAX_DEPTH = 4
"""Folders inside the folder that is searched: `MNIST/raw`, and one more on either side."""

_MAX_FILES = 2_000
"""How many files of a folder are looked into: it may be somebody's home folder."""

_MAX_EXTRA_BYTES = 1_000_000
"""How much longer than its values a file may be: its own header, and what gzip adds."""

_PUNCTUATION = re.compile("[^a-z0-9]")
_PLAIN_NAMES = {_PUNCTUATION.sub("", name) for name in FILE_SHAPES}


class ContentError(ValueError):
    """What is wrong with a file's content; the caller adds where the file comes from."""


class OtherContentError(ContentError):
    """The file is none of a data set's four, nor a damaged one, as far as it can be read."""


class OtherDataSetError(OtherContentError):
    """The file is an intact one of another data set."""

    def __init__(self, source: DataSource, name: str) -> None:
        super().__init__(f"its digest is wrong: {source.title}'s {name}")
        self.data_set = source.name


@dataclass(frozen=True, eq=False)
class FoundFiles:
    """What a folder, with the folders in it, holds of a data set."""

    source: DataSource
    root: Path
    paths: dict[str, Path]
    """Of the verified files, by their published names."""
    values: dict[str, UInt8[np.ndarray, "..."]]
    """Likewise."""
    problems: list[str]
    """Of files that seem to be of this data set and are not verified: one line for each."""
    other_data_sets: dict[str, str]
    """Names of other data sets that have files there, and what is wrong with one of each."""
    other_files: list[Path]
    """All other files, as far as they were looked at."""

    @property
    def missing(self) -> list[str]:
        """The published names of the files that were not found."""
        return [name for name in FILE_SHAPES if name not in self.paths]

    @property
    def folder(self) -> Path:
        """The innermost folder that holds all the verified files; a search of it finds them."""
        return Path(os.path.commonpath([path.parent for path in self.paths.values()]))

    @property
    def lack(self) -> str:
        """Why the data set is not complete there: what was found, and what is expected."""
        title = self.source.title
        if not os.path.isdir(self.root):  # noqa: PTH112 (unlike pathlib's, this raises nothing)
            exists = os.path.lexists(self.root)
            return "not a folder; name the folder" if exists else "there is no such folder"
        if not os.access(self.root, os.R_OK | os.X_OK):
            return "this folder may not be read"
        if self.paths:
            return f"has no {', '.join(self.missing)}; put what is missing there"
        if self.problems:
            return f"has no intact file of {title}"
        if self.other_data_sets:
            names = ", ".join(sorted(self.other_data_sets))
            return f"has {names}, not {title}: choose it with --dataset"
        if not self.other_files:
            return f"has no file of {title}, nor have the folders in it ({_MAX_DEPTH} levels)"
        *shown, rest = [*self._largest_files(3), ""][:3]
        names = ", ".join(shown) + (" and others" if rest else "")
        form = "plain or gzipped" if self.source.sha256 else "gzipped as published"
        return (
            f"has {names}, but {title} is read from four idx files such as {self.missing[0]}, {form}: "
            "unpack an archive, or convert what has another form"
        )

    def _largest_files(self, number: int) -> list[str]:
        sizes = {path: path.stat().st_size for path in self.other_files if path.is_file()}
        paths = sorted(sizes, key=lambda path: -sizes[path])[:number]
        return [str(path.relative_to(self.root)) for path in paths]


def folders_under(source: DataSource, root: Path) -> tuple[Path, Path, Path]:
    """Where the files are looked for first in a folder: first as torchvision puts them."""
    return root / source.folder_name / "raw", root / source.name, root


def search_folder(source: DataSource, root: Path) -> FoundFiles:
    """Search a folder, and the folders in it, until all four files are found; raises nothing."""
    found = FoundFiles(source, root, {}, {}, [], {}, [])
    for path in islice(_paths_under(source, root), _MAX_FILES):
        try:
            name, values = read_file(source, path)
        except ContentError as error:
            problem = f"{path}: {error}; for the original: cli.py data --fetch"
            if isinstance(error, OtherDataSetError):
                found.other_data_sets.setdefault(error.data_set, problem)
            elif isinstance(error, OtherContentError) and not _is_named(source, path):
                found.other_files.append(path)
            else:
                found.problems.append(problem)
        else:
            found.paths.setdefault(name, path)
            found.values.setdefault(name, values)
        if not found.missing:
            return found
    if found.paths:
        found.problems.extend(found.other_data_sets.values())
    return found


def possible_paths(source: DataSource, folder: Path, name: str) -> list[Path]:
    """Where one of the four files lies in a folder if it has its published name."""
    return [folder / f"{name}{suffix}" for suffix in (("", ".gz") if source.sha256 else (".gz",))]


def read_file(source: DataSource, path: Path) -> tuple[str, UInt8[np.ndarray, "..."]]:
    """Which of a data set's four files lies at `path`, gzipped or not, and its values.

    Raises:
        OtherDataSetError: it is a file of another data set.
        OtherContentError: it cannot be opened, or does not start as one of the four files does.
        ContentError: it cannot be read to its end, or its digest is none of the published ones.
    """
    shape: tuple[int, ...] = ()
    try:
        # A pipe can block its reader, and a device can go on without end.
        if not path.is_file():
            raise OtherContentError("a folder, a device or a broken link, not a file")
        # Also what the system invents in /proc, some of which blocks its reader.
        if not path.stat().st_size:
            raise OtherContentError("an empty file")
        with path.open("rb") as file:
            start = file.read(4096)
            file.seek(0)
            if is_gzipped := start.startswith(b"\x1f\x8b"):
                start = zlib.decompressobj(wbits=31).decompress(start, max_length=64)
            shape = _idx_shape(start)
            if shape not in FILE_SHAPES.values():
                raise OtherContentError(_kind(start, shape))
            max_bytes = math.prod(shape) + _MAX_EXTRA_BYTES
            stored = content = file.read(max_bytes)
        if is_gzipped:
            content = gzip.GzipFile(fileobj=io.BytesIO(stored)).read(max_bytes)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise (ContentError if shape else OtherContentError)(
            f"cannot be read ({reason})"
        ) from error
    digests = (
        hashlib.sha256(content).hexdigest(),
        hashlib.md5(stored, usedforsecurity=False).hexdigest(),
    )
    if name := source.name_of(*digests):
        # An idx file starts with 4 bytes for its type and 4 for the size of each dimension.
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
        # A copy, because torch warns of arrays that it may not write to.
        return name, values.copy()
    for other in SOURCES.values():
        if name := other.name_of(*digests):
            raise OtherDataSetError(other, name)
    if not (is_gzipped or source.sha256):
        raise OtherContentError("only the gzipped file can be verified")
    raise ContentError("its digest is wrong: another file, or a damaged one")


def _paths_under(source: DataSource, root: Path) -> Iterator[Path]:
    """The files in a folder and in the folders in it, the likely ones first.

    Left out are hidden files, those in quarantine, and the usual folders of other data sets.
    """
    others = {
        name.lower()
        for other in SOURCES.values()
        for name in (other.name, other.folder_name)
        if other.name != source.name
    }
    folders, seen = list(folders_under(source, root)), set()
    for folder in folders:
        try:
            # By number: one folder can have several names, by a link or by ignored case.
            number = folder.stat().st_dev, folder.stat().st_ino
            paths = sorted(folder.iterdir(), key=lambda path: (not _is_named(source, path), path))
        except OSError:
            continue
        if number in seen or len(folder.relative_to(root).parts) > _MAX_DEPTH:
            continue
        seen.add(number)
        if not paths and _is_named(source, folder):
            yield folder
        for path in paths:
            if path.name.startswith(".") or path.suffix == ".bad":
                continue
            if not os.path.isdir(path):  # noqa: PTH112 (unlike pathlib's, this raises nothing)
                yield path
            elif path.name.lower() not in others:
                folders.append(path)


def _is_named(source: DataSource, path: Path) -> bool:
    """Whether a name, apart from case and punctuation, is that of one of the four files."""
    name = path.name.lower()
    is_possible = bool(source.sha256) or name.endswith(".gz")
    return is_possible and _PUNCTUATION.sub("", name.removesuffix(".gz")) in _PLAIN_NAMES


def _idx_shape(start: bytes) -> tuple[int, ...]:
    """The shape that the start of an idx file of bytes states; empty: it is not such a file."""
    num_dimensions = start[3] if len(start) > 3 else 0
    sizes = start[4 : 4 + 4 * num_dimensions]
    if start[:3] != b"\0\0\x08" or len(sizes) < 4 * num_dimensions:
        return ()
    return tuple(np.frombuffer(sizes, ">u4").tolist())


def _kind(start: bytes, shape: tuple[int, ...]) -> str:
    """What a file is that is none of the four, from its start."""
    if shape:
        sizes = " x ".join(f"{size:,}" for size in shape)
        return f"an idx file of {sizes} values, which is the size of none of the four"
    if start.lstrip().startswith(b"<"):
        return "a web page, not a data file; perhaps the network requires a login"
    return "not an idx file"
