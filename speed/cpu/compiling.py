"""How kernels are compiled: by Numba, on their first use, for the processor of this machine."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import IndexDataCacheFile

SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()

if not Path(os.path.expanduser("~")).is_absolute():  # noqa: PTH111 (pathlib's raises)
    # The user has no home folder. Numba would make one in the current folder and call it `~`.
    os.environ.setdefault("XDG_CACHE_HOME", os.devnull)


def cached_njit(fastmath: set[str]) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function and caches the machine code on disk.

    `fastmath` is Numba's option of that name. A function that another kernel calls is compiled
    into the caller. Where Numba finds no writable folder, every process compiles for itself.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        if function.__closure__:
            # The symbols in machine code are named after the function. Functions that differ in
            # the constants of their closure need different names to be loaded side by side.
            constants = repr([cell.cell_contents for cell in function.__closure__]).encode()
            function.__qualname__ += f"_{hashlib.sha256(constants).hexdigest()[:16]}"
        options = njit(nogil=True, error_model="numpy", fastmath=fastmath, forceinline=True)
        kernel: Any = options(function)
        with suppress(RuntimeError):  # Numba found no writable folder.
            kernel.enable_caching()
            cache = kernel._cache
            cache._cache_file = _FilePerVersion(
                cache.cache_path, cache._impl.filename_base, cache._cache_file._source_stamp
            )  # type: ignore[no-untyped-call]
        return kernel

    return decorate


class _FilePerVersion(IndexDataCacheFile):
    """The cached versions of a function: one file for each combination of argument types.

    Numba's own cache (`cache=True`) is unsafe here. It numbers the files of a function in a shared
    index, so two commands that compile at once can swap their code, and compiling before the
    workers start does not help against a second command. It also ignores changes in other files,
    whose functions are compiled into this one. Here a hash of the sources and the types names the
    file, so processes share nothing that two of them write differently.
    """

    def load(self, key: Any) -> Any:
        """The version with this key, or None."""
        with suppress(OSError):
            return self._load_data(self._file_name(key))  # type: ignore[no-untyped-call]
        return None

    def save(self, key: Any, data: Any) -> None:
        """Write a version; the file appears complete or not at all."""
        self._save_data(self._file_name(key), data)  # type: ignore[no-untyped-call]

    def _file_name(self, key: Any) -> str:
        content = repr((self._version, SOURCES, self._source_stamp, key)).encode()
        number = int.from_bytes(hashlib.sha256(content).digest()[:8])
        name: str = self._data_name(number)  # type: ignore[no-untyped-call]
        return name
