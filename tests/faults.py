"""Counts the faults that tests inject, and what was lost.

Tests call `count_fault` after a fault did no harm. If the environment names a file, each call appends a
line to it; `python -m tests.faults FILE` makes `docs/reliability.md` of the lines (`make chaos`).
"""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

FILE_VARIABLE = "FAULTS_FILE"
IS_EXHAUSTIVE = int(os.environ.get("CHAOS_ROUNDS", "1")) > 1
"""Whether tests try every fault (`make chaos`) and not a few that a fixed seed selects."""
AREAS = {
    "processes": "Processes that are killed",
    "cluster": "A Ray cluster",
    "disk": "Disks",
    "records": "Records, predictions and weights",
    "data files": "Data files and downloads",
}
"""In the order of the document."""
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
PREFACE = """# Faults that were injected into studies

`make chaos` runs the tests that inject faults into real studies of real networks, and writes this
document. Each line is counted by its test, and only if the test passes. "Lost" is the number of finished
runs, or intact files, that had to be made again although the fault did not change them on disk: a run
that ends when the disk is full cannot be written.

One process at a time holds the lock of a study. Each file is written atomically, and the record of a run
last. A run is finished when its record exists and every checksum is valid. A damaged run is
quarantined, and the same command trains it again; an intact file of another study or version is refused.
"""


def count_fault(area: str, fault: str, outcome: str, *, times: int = 1, lost: int = 0) -> None:
    """Count a fault and its outcome, in a few words each.

    `lost` is the number of runs or files that were finished before the fault and gone after it.
    """
    assert area in AREAS
    if path := os.environ.get(FILE_VARIABLE):
        line = {"area": area, "fault": fault, "outcome": outcome, "times": times, "lost": lost}
        # One write of one short line: test processes that append at once do not mix them up.
        with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(json.dumps(line) + "\n")


def document(lines: list[dict[str, object]]) -> str:
    """The lines as a table for each area, with equal faults and outcomes added up."""
    import pandas as pd

    from ablations.version import source_commit

    frame = pd.DataFrame(lines)
    parts = [PREFACE]
    for area, title in AREAS.items():
        sums = frame[frame["area"] == area].groupby(["fault", "outcome"])[["times", "lost"]].sum()
        rows = [
            f"| {row.fault} | {row.times:,} | {row.lost:,} | {row.outcome} |"
            for row in sums.reset_index().itertuples()
        ]
        if rows:
            head = ["| fault | times | lost | outcome |", "|---|---:|---:|---|"]
            parts.append("\n".join([f"## {title}\n", *head, *rows]) + "\n")
    today = datetime.now(UTC).date().isoformat()
    parts.append(
        f"{frame['times'].sum():,} faults in all, on {today}, with the source at {source_commit()}, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}.\n"
    )
    return "\n".join(parts)


def main() -> None:
    """Write the document from the file that is named."""
    lines = [
        json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    ]
    DOCUMENT.write_text(document(lines), encoding="utf-8")
    print(f"{DOCUMENT}: {len(lines)} lines")


if __name__ == "__main__":
    main()
