"""Files inside a page, for links that work without a script."""

import gzip
import re
from base64 import b64encode
from typing import NamedTuple
from urllib.parse import quote

MOST_BYTES = 250_000
"""Of a file inside a page. A larger one is compressed."""
UNRESERVED = "!$'()*+,/:;=?@"
"""What stays as it is in a data URL, besides letters, digits and `-._~` (RFC 3986, section 3.3)."""


class Download(NamedTuple):
    """A file inside a page, for a link that works without a script."""

    name: str
    label: str
    url: str
    size: str


def file_name(study: str, name: str) -> str:
    """A file's name after the study's: small letters, digits and hyphens."""
    return "-".join(filter(None, [re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-"), name]))


def make_download(name: str, label: str, media_type: str, content: bytes) -> Download:
    """A file as a data URL (RFC 2397), in the shorter of its two encodings."""
    if len(content) > MOST_BYTES:
        name, media_type = f"{name}.gz", "application/gzip"
        content = gzip.compress(content, mtime=0)
    # Base64 adds a third; percent signs add two bytes to each line of a table of numbers.
    encodings = (f";base64,{b64encode(content).decode()}", f",{quote(content, safe=UNRESERVED)}")
    url = f"data:{media_type}{min(encodings, key=len)}"
    return Download(name, label, url, _size_words(len(content)))


def _size_words(num_bytes: int) -> str:
    """`8 kB`, `1.2 MB`."""
    kilobytes = max(1, round(num_bytes / 1000))
    return f"{kilobytes} kB" if kilobytes < 1000 else f"{num_bytes / 1e6:.1f} MB"
