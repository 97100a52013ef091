"""Numbers, durations and errors in words."""

import pytest

from ablations.words import duration, in_one_line, plural


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (duration(0.2), "1 s"),
        (duration(89), "89 s"),
        (duration(91), "2 min"),
        (duration(3600), "60 min"),
        (duration(5430), "1 h 30 min"),
        (plural(1, "seed"), "1 seed"),
        (plural(10_000, "image"), "10,000 images"),
        (in_one_line(PermissionError(13, "Denied", "a.csv")), "a.csv: Denied"),
        (in_one_line(ValueError("a reason")), "a reason"),
    ],
)
def test_words(found: str, words: str) -> None:
    assert found == words
