"""docs/reliability.md: what `make chaos` wrote, and not what was true once."""

import ast
import re
from pathlib import Path

from tests.faults import AREAS, DOCUMENT, PREFACE


def counted_texts() -> re.Pattern[str]:
    """Matches each text of a test file that counts faults; any value fits a gap of an f-string."""
    patterns = []
    for path in Path(__file__).parent.rglob("test_*.py"):
        source = path.read_text(encoding="utf-8")
        if path == Path(__file__) or "from tests.faults import" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                patterns.append(re.escape(node.value))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "count_fault":
                for text in [one for one in node.args if isinstance(one, ast.JoinedStr)]:
                    parts = [
                        re.escape(part.value) if isinstance(part, ast.Constant) else ".+"
                        for part in text.values
                    ]
                    patterns.append("".join(parts))
    return re.compile("|".join(patterns))


def test_document_is_of_the_tests_as_they_are() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.startswith(PREFACE), "run: make chaos"
    for title in AREAS.values():
        assert f"\n## {title}\n" in text
    rows = re.findall(r"^\| (.+) \| ([\d,]+) \| [\d,]+ \| (.+) \|$", text, flags=re.MULTILINE)
    counted = counted_texts()
    stale = [
        fault
        for fault, _, outcome in rows
        if not counted.fullmatch(fault) or not counted.fullmatch(outcome)
    ]
    assert not stale, "no test counts these faults with these outcomes; run: make chaos"
    times = [(fault, int(number.replace(",", ""))) for fault, number, _ in rows]
    kills = ("driver killed", "worker killed", "driver told to end", "Ctrl-C")
    assert sum(number for fault, number in times if fault.startswith(kills)) >= 100
    total = re.search(r"^([\d,]+) faults in all", text, flags=re.MULTILINE)
    assert total and int(total[1].replace(",", "")) == sum(number for _, number in times)
