"""Numbers, durations and errors in words, for the console and for reports."""

import math

VERDICT_SYMBOLS = {"pass": "✓", "fail": "✗", "undecided": "?"}
"""Of a requirement; beside a word, never alone."""


def plural(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`, `10,000 images`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """A duration for people: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def in_one_line(error: Exception) -> str:
    """The error in a line: also a full disk, a read-only folder, a file that another program holds."""
    if not isinstance(error, OSError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
