"""How loops are compiled: by Numba, on their first use, for the processor at hand."""

import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from numba import njit
from numba.core.caching import FunctionCache


class SharedCache(FunctionCache):
    """Numba's cache of a function on the disk, for processes that compile at the same time.

    Numba numbers the files of a function's versions. Two processes that each add a version could
    take the same number, and one would later be given the other's machine code.
    """

    def load_overload(self, *arguments: Any) -> Any:
        """The machine code for these types, if it is there."""
        with alone_in(self.cache_path):
            return super().load_overload(*arguments)  # type: ignore[no-untyped-call]

    def save_overload(self, *arguments: Any) -> Any:
        """Keep the machine code for these types."""
        with alone_in(self.cache_path):
            return super().save_overload(*arguments)  # type: ignore[no-untyped-call]


@contextmanager
def alone_in(folder: str) -> Iterator[None]:
    """Keep other processes waiting that want to be alone there too."""
    with ExitStack() as stack:
        with suppress(OSError, NotImplementedError):  # A file system without locks.
            stack.enter_context(FileLock(Path(folder) / "numba.lock"))
        yield


def kept_on_disk(liberties: set[str]) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function, and keeps the result beside the source for next time.

    `liberties` are those of Numba's `fastmath` that arithmetic may take. A function that another
    one calls becomes part of it, so that it is compiled for what is known there of sizes. Where
    neither the source's folder nor the user's cache can be written to, every process compiles for
    itself.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        options = njit(nogil=True, error_model="numpy", fastmath=liberties, forceinline=True)
        compiled: Any = options(function)
        with suppress(RuntimeError):  # Numba found no place for its cache.
            # What njit(cache=True) does, with a cache that several processes may share.
            compiled._cache = SharedCache(function)  # type: ignore[no-untyped-call]
        return compiled

    return decorate


@functools.cache
def fingerprint() -> str:
    """One word for the sources of all loops.

    Numba compiles a function anew when its own file has changed, but not when only a file has from
    which it takes others. A function that mentions this word is compiled anew then too.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
