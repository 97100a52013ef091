"""Read an idx file: the format in which MNIST and its relatives are published.

    bytes 0-3   magic number: 0, 0, the type of a value (8: unsigned byte), the number of dimensions
    then        the size of each dimension, 4 bytes each, the most significant first
    then        the values, the last dimension running fastest

Source: http://yann.lecun.com/exdb/mnist/, "File formats for the MNIST database".
"""

import gzip
import io
import math
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

UNSIGNED_BYTE = 8
WAY_OUT = "replace it by the original file, or delete it"

MAX_GZIP_EXTRA_BYTES = 1_000_000
"""How much longer than its content a gzipped file may be. What cannot be packed at all gets a
thousandth longer; the rest is room for a header with a long name."""


class DataError(Exception):
    """Data cannot be had or trusted; one line says what is wrong, where, and the way out."""


class ContentError(Exception):
    """What is wrong with the content of a file; who knows where it came from makes the line."""


def idx_bytes(shape: tuple[int, ...]) -> int:
    """The length of an idx file of unsigned bytes."""
    return 4 + 4 * len(shape) + math.prod(shape)


def parse_idx(content: bytes, shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """The array in the content of an idx file of unsigned bytes.

    Raises:
        ContentError: it is cut off or too long, is no idx file, or holds an array of another
            shape.
    """
    header_bytes, num_bytes = 4 + 4 * len(shape), idx_bytes(shape)
    magic_number = bytes([0, 0, UNSIGNED_BYTE, len(shape)])
    if content[:4] != magic_number:
        raise ContentError(f"starts with {describe_start(content)}, not {magic_number.hex()}")
    if len(content) < header_bytes:
        raise ContentError(f"ends after {len(content)} bytes, in its header")
    found_shape = struct.unpack(f">{len(shape)}I", content[4:header_bytes])
    if found_shape != shape:
        raise ContentError(f"its shape is {found_shape}, not {shape}")
    if len(content) != num_bytes:
        is_short = len(content) < num_bytes
        found = f"ends after {len(content):,} of" if is_short else "goes on after"
        raise ContentError(f"{found} its {num_bytes:,} bytes")
    values = np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)
    # A copy, because torch warns of arrays that it may not write to.
    return values.copy()


def unpack(packed: bytes, max_bytes: int) -> bytes:
    """The content of a gzipped file, or `max_bytes + 1` bytes of it if it is longer.

    It stops there because a few gzipped kilobytes can unpack to as many gigabytes. A gzip file
    that is read to its end has been checked against the checksum in its last bytes.

    Raises:
        ContentError: it is no whole gzip file, or far too long for its content.
    """
    if not packed.startswith(b"\x1f\x8b"):
        raise ContentError(f"starts with {describe_start(packed)}, so it is not gzipped")
    max_packed_bytes = max_bytes + MAX_GZIP_EXTRA_BYTES
    if len(packed) > max_packed_bytes:
        raise ContentError(f"goes on after {max_packed_bytes:,} bytes, more than it can need")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as unpacked:
            return unpacked.read(max_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ContentError(f"damaged gzip file ({error})") from error


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """A file as it is stored, or `max_bytes + 1` bytes of it if it is longer.

    A link is followed, wherever it leads. What is no file is not opened: a pipe can keep a reader
    waiting for ever, and a device can send for as long.

    Raises:
        DataError: it cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: a folder or device, not a file; {WAY_OUT}")
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            reason = f"it is a link to {path.readlink()}, which is not there"
        raise DataError(f"{path}: cannot be read ({reason}); mend that or delete it") from error


def describe_start(content: bytes) -> str:
    """The first bytes of a file in words: proxies like to answer with a page to log in on."""
    if content[:64].lstrip()[:1] == b"<":
        return "a web page"
    return content[:4].hex() or "nothing at all"
