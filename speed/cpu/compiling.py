"""How loops are compiled: by Numba, on their first use, for the processor at hand."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()
"""One word for all loops. Machine code holds parts of several files, and Numba by itself notices
only when a function's own file has changed."""
LOCK_SECONDS = 60
"""How long another process is waited for; then a version may be lost, and is compiled again."""


def kept_on_disk(liberties: set[str]) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function, and keeps the result beside the source for next time.

    `liberties` are those of Numba's `fastmath` that arithmetic may take. A function that another
    one calls becomes part of it, so that it is compiled for what is known there of sizes. Where
    neither the source's folder nor the user's cache can be written to, every process compiles for
    itself.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        if function.__closure__:
            # Machine code is found by name, also what another process has left on the disk: a
            # function needs one of its own for each set of constants around it.
            constants = repr([cell.cell_contents for cell in function.__closure__]).encode()
            function.__qualname__ += f"_{hashlib.sha256(constants).hexdigest()[:16]}"
        options = njit(nogil=True, error_model="numpy", fastmath=liberties, forceinline=True)
        compiled: Any = options(function)
        with suppress(RuntimeError):  # Numba found no place for its cache.
            # What njit(cache=True) does, with files that several processes may share.
            compiled._cache = SharedCache(function)
        return compiled

    return decorate


class SharedCache(FunctionCache):
    """Numba's cache of a function's machine code, with files of another kind."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._cache_file = SharedFiles(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=(self._impl.locator.get_source_stamp(), SOURCES),
        )  # type: ignore[no-untyped-call]


class SharedFiles(IndexDataCacheFile):
    """A function's versions on the disk, one for each combination of types and constants.

    Numba numbers the files. Two processes that each add a version could take the same number, and
    one that dies before its file is written leaves its number to an older file: later one version
    would be run in place of another. Here a file's name says what is in it.
    """

    def save(self, key: Any, data: Any) -> None:
        """Keep a version: first itself, then its entry in the index."""
        with alone_in(self._cache_path):
            versions = self._load_index()  # type: ignore[no-untyped-call]
            content = hashlib.sha256(repr((self._source_stamp, key)).encode())
            versions[key] = self._data_name(int.from_bytes(content.digest()[:8]))  # type: ignore[no-untyped-call]
            self._save_data(versions[key], data)  # type: ignore[no-untyped-call]
            self._save_index(versions)  # type: ignore[no-untyped-call]


@contextmanager
def alone_in(folder: str) -> Iterator[None]:
    """Keep other processes waiting that want to be alone there too."""
    with ExitStack() as stack:
        # A file system without locks; or another process does not let go.
        with suppress(OSError, NotImplementedError):
            stack.enter_context(FileLock(Path(folder) / "numba.lock", timeout=LOCK_SECONDS))
        yield
