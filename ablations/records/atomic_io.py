"""Files that are there whole or not at all, whatever happens while they are written; and JSON in them."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec

TEMPORARY_SUFFIX = ".tmp"
"""Of a file that is being written; its name begins with a dot."""


Decoded = TypeVar("Decoded")


class RecordError(Exception):
    """A file of a study cannot be trusted; the message names it and says why."""


class UnreadableError(RecordError):
    """The system does not give a file out for now: no reason to believe that it is damaged."""


def is_leftover(path: Path) -> bool:
    """Whether a process that was killed had not finished writing this."""
    return path.name.startswith(".") and path.suffix == TEMPORARY_SUFFIX


def format_json(value: object) -> bytes:
    """A value as indented JSON, one field a line, so that differences can be read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def write_json(path: Path, value: object) -> None:
    """Write a JSON file that is not a study's: for people, and for other programs."""
    write_atomically(path, format_json(value))


def load_json(path: Path, kind: type[Decoded]) -> Decoded:
    """Read a JSON file that is not a study's, checked against its type.

    Raises:
        RecordError: it cannot be read, or is not such a file.
    """
    return decode_json(path, read_bytes(path), kind)


def decode_json(path: Path, content: bytes, kind: type[Decoded]) -> Decoded:
    """What a file's content says.

    Raises:
        RecordError: it is not such a file.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    # In a string that is no UTF-8, msgspec does not raise an error of its own.
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: not a valid {kind.__name__}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """Read a file; RecordError with its name when that fails."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror}; mend that") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(TEMPORARY_SUFFIX, f".{path.name}.", path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner can read; results are meant to be shared.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        flush_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):  # on a disk that has become read-only
            Path(temporary).unlink()
        raise


def flush_folder(folder: Path) -> None:
    """Have a folder's names on the disk, so that after a power cut no later file is there without an
    earlier one. Not every system can; then its own order has to do."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
