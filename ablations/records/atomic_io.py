"""Atomic writes, and JSON files that are checked against a type."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec

from ablations.operating_system import replace_file

TEMPORARY_SUFFIX = ".tmp"
"""Suffix of a file that is being written; its name begins with a dot."""

Decoded = TypeVar("Decoded")


class RecordError(Exception):
    """A file cannot be used; the message names it and the reason."""


class DamagedFileError(RecordError):
    """The content of a file is not what the program wrote, so it can be quarantined."""


def is_leftover(path: Path) -> bool:
    """Whether this is an incomplete file of a process that was killed."""
    return path.name.startswith(".") and path.suffix == TEMPORARY_SUFFIX


def format_json(value: object) -> bytes:
    """A value as indented JSON, one field per line."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def write_json(path: Path, value: object) -> None:
    """Write a value atomically as indented JSON, without a checksum."""
    write_atomically(path, format_json(value))


def load_json(path: Path, kind: type[Decoded]) -> Decoded:
    """Read a JSON file that has no checksum; RecordError when it is not of this type."""
    return decode_json(path, read_content(path), kind)


def decode_json(path: Path, content: bytes, kind: type[Decoded]) -> Decoded:
    """Decode the content of a file; RecordError when it is not of this type."""
    try:
        return msgspec.json.decode(content, type=kind)
    # msgspec raises UnicodeDecodeError for a string that is not UTF-8.
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: not a valid {kind.__name__}: {error}") from error


def read_content(path: Path) -> bytes:
    """Read a file; RecordError when that fails."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}; fix that") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file, flush it to the disk and rename it: no reader sees a part of it.

    A link stays, and the file that it names is replaced. A pipe or a device is written directly.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not named after the file, whose name may have the greatest length.
    handle, temporary = tempfile.mkstemp(TEMPORARY_SUFFIX, ".", path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp creates files that only their owner can read; results are shared.
        Path(temporary).chmod(0o644)
        replace_file(Path(temporary), path)
        _flush_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):  # on a disk that has become read-only
            Path(temporary).unlink()
        raise


def _flush_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a power cut keeps the order of writes. Not on Windows."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
