"""Checksums of a study's JSON files: each file holds its own SHA-256, in the field `seal`.

The SHA-256 is that of the whole file with 64 zeros in the place of its digits. It finds accidental
changes by a disk, a copy or an editor. It is not a signature.
"""

import hashlib
import re
from pathlib import Path
from typing import Literal

import msgspec

from ablations.records.atomic_io import (
    DamagedFileError,
    Decoded,
    RecordError,
    decode_json,
    format_json,
    read_content,
    write_atomically,
)

SchemaVersion = Literal[2]
"""Schema of a study's JSON files: a file of another one is refused as it is decoded."""

_FIELD = b'"seal"'
_NO_DIGITS = b"0" * 64


def encode_with_checksum(value: object, *, is_indented: bool = True) -> bytes:
    """A struct or mapping as JSON, with its checksum as the last field."""
    fields = {**msgspec.to_builtins(value), "seal": _NO_DIGITS.decode()}
    content = format_json(fields) if is_indented else msgspec.json.encode(fields) + b"\n"
    digest = hashlib.sha256(content).hexdigest().encode()
    before, field, after = content.rpartition(_FIELD)
    return before + field + after.replace(_NO_DIGITS, digest, 1)


def has_valid_checksum(content: bytes) -> bool:
    """Whether the content of a file is what `encode_with_checksum` returned."""
    before, field, after = content.rpartition(_FIELD)
    digest = re.search(rb"[0-9a-f]{64}", after)
    if digest is None:
        return False
    unsigned = before + field + after.replace(digest[0], _NO_DIGITS, 1)
    return hashlib.sha256(unsigned).hexdigest().encode() == digest[0]


def write_with_checksum(path: Path, value: object) -> None:
    """Write one of a study's JSON files atomically."""
    write_atomically(path, encode_with_checksum(value))


def load_with_checksum(path: Path, kind: type[Decoded]) -> Decoded:
    """Read and verify one of a study's JSON files.

    Raises:
        DamagedFileError: it was changed after it was written.
        RecordError: it cannot be read, or is intact but of another type or schema.
    """
    content = read_content(path)
    if not has_valid_checksum(content):
        raise DamagedFileError(f"{path}: not the file that was written: it was changed or cut off")
    try:
        return decode_json(path, content, kind)
    except RecordError as error:
        raise RecordError(
            f"{error}; use the version of this program that wrote it, or another --out folder"
        ) from error
