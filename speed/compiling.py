"""How loops are compiled: by Numba, on their first use, for the processor at hand."""

import functools
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from numba import njit


def kept_on_disk(liberties: set[str]) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function, and keeps the result beside the source for next time.

    `liberties` are those of Numba's `fastmath` that arithmetic may take. A function that another
    one calls becomes part of it, so that it is compiled for what is known there of sizes. Where
    neither the source's folder nor the user's cache can be written to, every process compiles for
    itself.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        options = partial(
            njit, nogil=True, error_model="numpy", fastmath=liberties, forceinline=True
        )
        try:
            return options(cache=True)(function)
        except RuntimeError:  # Numba found no place for its cache.
            return options()(function)

    return decorate


@functools.cache
def fingerprint() -> str:
    """One word for the sources of all loops.

    Numba compiles a function anew when its own file has changed, but not when only a file has from
    which it takes others. A function that mentions this word is compiled anew then too.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
