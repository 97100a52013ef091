"""How loops are compiled: by Numba, on their first use, for the processor at hand."""

from collections.abc import Callable
from functools import partial
from typing import Any

from numba import njit


def kept_on_disk(liberties: set[str]) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function, and keeps the result beside the source for next time.

    `liberties` are those of Numba's `fastmath` that arithmetic may take. Where neither the source's
    folder nor the user's cache can be written to, every process compiles for itself.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        options = partial(njit, nogil=True, error_model="numpy", fastmath=liberties)
        try:
            return options(cache=True)(function)
        except RuntimeError:  # Numba found no place for its cache.
            return options()(function)

    return decorate
