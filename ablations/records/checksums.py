"""A study's JSON files are sealed: their last field is a digest of all their other bytes.

Whatever is changed or cut off afterwards, by a disk, a copy or by hand, is noticed when they are
read. It is no signature: who wants to forge a record can.
"""

import hashlib
import re
from pathlib import Path

import msgspec

from ablations.records.atomic_io import (
    Decoded,
    RecordError,
    decode_json,
    format_json,
    read_bytes,
    write_atomically,
)

SCHEMA_VERSION = 2
"""Of a study's JSON files; those of version 1 had no seal."""


NO_SEAL = b"0" * 64


SEAL_AT_END = re.compile(rb'"seal": ?"([0-9a-f]{64})"\s*\}\s*\Z')


class OtherVersionError(RecordError):
    """A file is whole, but another version of the program wrote it: no reason to put it away."""


def sealed(content: bytes) -> bytes:
    """A JSON object with one more field at its end: the SHA-256 of all the bytes, its own 64 digits
    taken as zeros."""
    body = content.rstrip().removesuffix(b"}").rstrip()
    # As the file has it: one field a line, or all in one line.
    before, space, after = (b",\n ", b" ", b"\n}\n") if b"\n" in body else (b",", b"", b"}\n")
    unsealed = body + before + b'"seal":' + space + b'"' + NO_SEAL + b'"' + after
    return set_seal(unsealed, hashlib.sha256(unsealed).hexdigest().encode())


def set_seal(content: bytes, digits: bytes) -> bytes:
    """Put other digits in the place of a seal's."""
    place = SEAL_AT_END.search(content)
    assert place is not None, "not sealed"
    return content[: place.start(1)] + digits + content[place.end(1) :]


def is_whole(content: bytes) -> bool:
    """Whether a file ends with a seal, and the seal is that of its bytes."""
    # Only a short end is searched: a damaged file may be anything, and of any length.
    found = SEAL_AT_END.search(content, max(0, len(content) - 200))
    if found is None:
        return False
    expected = hashlib.sha256(set_seal(content, NO_SEAL)).hexdigest()
    return expected.encode() == found[1]


def write_sealed(path: Path, value: object) -> None:
    """Write one of a study's files: as `write_json`, with a seal at the end."""
    write_atomically(path, sealed(format_json(value)))


def load_sealed(path: Path, kind: type[Decoded]) -> Decoded:
    """Read one of a study's files: check its seal and schema version, then its content.

    Raises:
        RecordError: it cannot be read, was changed since it was written, or is not such a file.
        OtherVersionError: it has another schema version.
    """
    content = read_bytes(path)
    is_as_written = is_whole(content)
    is_older = b'"seal"' not in content[-200:]
    version = schema_version(content)
    if version not in (None, SCHEMA_VERSION) and (is_as_written or (version == 1 and is_older)):
        raise OtherVersionError(
            f"{path}: schema version {version}, but this program reads version {SCHEMA_VERSION}; "
            "use the version that wrote it, or another --out folder"
        )
    if not is_as_written:
        raise RecordError(f"{path}: not the file that was written: it was changed or cut off")
    return decode_json(path, content, kind)


def schema_version(content: bytes) -> int | None:
    """The schema version that a file names; None where it names none."""
    try:
        return msgspec.json.decode(content, type=_Versioned).schema_version
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class _Versioned(msgspec.Struct):
    schema_version: int
