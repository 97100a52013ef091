"""docs/reliability.md: what `make chaos` wrote, and not what was true once."""

import re

from tests.faults import AREAS, DOCUMENT, PREFACE


def test_document_is_of_the_tests_as_they_are() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.startswith(PREFACE), "run: make chaos"
    for title in AREAS.values():
        assert f"\n## {title}\n" in text
    rows = re.findall(r"^\| (.+) \| ([\d,]+) \| ([\d,]+) \| .+ \|$", text, flags=re.MULTILINE)
    times = [(fault, int(number.replace(",", ""))) for fault, number, _ in rows]
    kills = ("driver killed", "worker killed", "driver told to end", "Ctrl-C")
    assert sum(number for fault, number in times if fault.startswith(kills)) >= 100
    total = re.search(r"^([\d,]+) faults in all", text, flags=re.MULTILINE)
    assert total and int(total[1].replace(",", "")) == sum(number for _, number in times)
