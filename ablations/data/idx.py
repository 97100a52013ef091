"""Read an idx file: the format in which MNIST and its relatives are published.

    bytes 0-3   magic number: 0, 0, the type of a value (8: unsigned byte), the number of dimensions
    then        the size of each dimension, 4 bytes each, the most significant first
    then        the values, the last dimension fastest

Source: http://yann.lecun.com/exdb/mnist/, "File formats for the MNIST database".
"""

import gzip
import io
import math
import struct
import zlib

import numpy as np
from jaxtyping import UInt8

UNSIGNED_BYTE = 8


class ContentError(ValueError):
    """What is wrong with a file's content; the caller adds where the file comes from."""


def parse_idx(content: bytes, shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """The array in the content of an idx file of unsigned bytes.

    Raises:
        ContentError: too short, too long, no idx file, or an array of another shape.
    """
    header_bytes = 4 + 4 * len(shape)
    num_bytes = header_bytes + math.prod(shape)
    magic_number = bytes([0, 0, UNSIGNED_BYTE, len(shape)])
    if content[:4] != magic_number:
        raise ContentError(f"starts with {_describe_start(content)}, not {magic_number.hex()}")
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


def unpack_gzip(packed: bytes, max_bytes: int) -> bytes:
    """The content of a gzipped file, or its first `max_bytes` bytes: gzip bombs are longer.

    Raises:
        ContentError: no complete gzip file.
    """
    if not packed.startswith(b"\x1f\x8b"):
        raise ContentError(f"starts with {_describe_start(packed)}, so it is not gzipped")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as unpacked:
            return unpacked.read(max_bytes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ContentError(f"damaged gzip file ({error})") from error


def _describe_start(content: bytes) -> str:
    """The first bytes of a file in words: a guest network answers with a page to log in on."""
    if content[:64].lstrip().startswith(b"<"):
        return "a web page"
    return content[:4].hex() or "nothing at all"
