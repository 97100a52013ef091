"""Numbers and durations in words."""

import pytest

from ablations.words import duration, in_one_line, plural


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (5430, "1 h 30 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_plurals() -> None:
    assert plural(1, "seed") == "1 seed"
    assert plural(10_000, "image") == "10,000 images"


def test_errors_name_the_file_and_the_reason() -> None:
    assert in_one_line(PermissionError(13, "Permission denied", "a.csv")) == (
        "a.csv: Permission denied"
    )
    assert in_one_line(ValueError("a reason")) == "a reason"
