"""Numbers, durations and errors in words, for the console and for reports."""

import math

VERDICT_SYMBOLS = {"pass": "✓", "fail": "✗", "undecided": "?"}
"""Of a requirement; next to a word, never alone."""


def plural(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`, `10,000 images`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def in_one_line(error: Exception) -> str:
    """The error's message; of an operating system error the file and the reason."""
    if not isinstance(error, OSError):
        return str(error)
    file = f"{error.filename}: " if error.filename else ""
    return f"{file}{error.strerror or error}"


def first_line(error: BaseException) -> str:
    """The error's type and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
