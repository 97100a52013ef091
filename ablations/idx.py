"""Read an idx file: the format in which MNIST and its relatives are published.

    bytes 0-3   magic number: 0, 0, the type of a value (8: unsigned byte), the number of dimensions
    then        the size of each dimension, 4 bytes each, the most significant first
    then        the values, the last dimension running fastest

Source: http://yann.lecun.com/exdb/mnist/, "File formats for the MNIST database".
"""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

UNSIGNED_BYTE = 8
WAY_OUT = "replace it by the original file, or delete it"


class DataError(Exception):
    """Data cannot be had or trusted; one line says what is wrong, where, and the way out."""


def read_idx(path: Path, shape: tuple[int, ...]) -> tuple[UInt8[np.ndarray, "..."], str]:
    """Read an idx file of unsigned bytes, gzipped if its name ends in `.gz`.

    Returns the array, of the shape asked for, and the SHA-256 of the uncompressed file.

    Raises:
        DataError: it cannot be read, is cut off or damaged, is no idx file, or holds an array
            of another shape.
    """
    header_bytes = 4 + 4 * len(shape)
    num_bytes = header_bytes + math.prod(shape)
    content = read_content(path, max_bytes=num_bytes)
    magic_number = bytes([0, 0, UNSIGNED_BYTE, len(shape)])
    if content[:4] != magic_number:
        found = describe_start(content)
        raise DataError(f"{path}: starts with {found}, not {magic_number.hex()}; {WAY_OUT}")
    if len(content) < header_bytes:
        raise DataError(f"{path}: ends after {len(content)} bytes, in its header; {WAY_OUT}")
    found_shape = struct.unpack(f">{len(shape)}I", content[4:header_bytes])
    if found_shape != shape:
        raise DataError(f"{path}: its shape is {found_shape}, not {shape}; {WAY_OUT}")
    if len(content) != num_bytes:
        is_short = len(content) < num_bytes
        found = f"ends after {len(content):,} of" if is_short else "goes on after"
        raise DataError(f"{path}: {found} its {num_bytes:,} bytes; {WAY_OUT}")
    values = np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)
    # A copy, because torch warns of arrays that it may not write to.
    return values.copy(), hashlib.sha256(content).hexdigest()


def read_content(path: Path, max_bytes: int) -> bytes:
    """The uncompressed content of a file, or `max_bytes + 1` bytes of it if it is longer.

    It stops there because a few gzipped kilobytes can unpack to as many gigabytes. A gzip file
    that is read to its end has been checked against the checksum in its last bytes.

    Raises:
        DataError: the file cannot be read, or is no whole gzip file though its name says so.
    """
    try:
        with path.open("rb") as file:
            if path.suffix != ".gz":
                return file.read(max_bytes + 1)
            start = file.read(64)
            file.seek(0)
            if not start.startswith(b"\x1f\x8b"):
                found = describe_start(start)
                raise DataError(f"{path}: starts with {found}, so it is not gzipped; {WAY_OUT}")
            with gzip.GzipFile(fileobj=file) as unpacked:
                return unpacked.read(max_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file ({error}); {WAY_OUT}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{path}: cannot be read ({reason}); mend that or delete it") from error


def describe_start(content: bytes) -> str:
    """The first bytes of a file in words: proxies like to answer with a page to log in on."""
    if content.lstrip()[:1] == b"<":
        return "a web page"
    return content[:4].hex() or "nothing at all"
