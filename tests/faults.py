"""What was done on purpose to break a study, how often, and what was lost by it.

Tests call `tell_fault` after they have seen that a fault did no harm. Where the environment names a
file, each call leaves a line there; `python -m tests.faults FILE` makes `docs/reliability.md` of
the lines. So the document lists what was tried, and nothing else (`make chaos`).
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
ROOMS = {
    "processes": "Processes that are killed",
    "cluster": "A Ray cluster",
    "disk": "Disks",
    "records": "Records, predictions and weights",
    "data files": "Data files and downloads",
}
"""In the order of the document."""
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
PREFACE = """# What was tried to break a study

Made by the tests that do on purpose, with real studies of real networks, what happens to studies by
accident; `make chaos` runs them, and writes this. Each line was counted by the test that tried it,
and it counts only where the test passed. "Lost" are finished runs, or good files, that had to be made
again although the fault did not change them on the disk: a run that ends when the disk is full has
nowhere to go.

The principle is the same throughout. Only one process makes a study's runs, each file whole or not at
all, the record of a run last; a run counts as done when its record is there and every digest fits.
Whatever else is found is set aside and made again by the same command, on whichever backend.
"""


def tell_fault(room: str, fault: str, outcome: str, *, times: int = 1, lost: int = 0) -> None:
    """Note that a fault was tried, and what came of it, in a few words each.

    `lost` counts what was finished before the fault and gone after it: runs, or files.
    """
    assert room in ROOMS
    if path := os.environ.get(FILE_VARIABLE):
        line = {"room": room, "fault": fault, "outcome": outcome, "times": times, "lost": lost}
        # One write of one short line: test processes that append at once do not mix them up.
        with open(path, "a") as file:  # noqa: PTH123
            file.write(json.dumps(line) + "\n")


def document(lines: list[dict[str, object]]) -> str:
    """The lines, added up where they are of the same fault and outcome, as a table for each room."""
    from ablations.version import source_commit

    parts = [PREFACE]
    total = sum(int(str(line["times"])) for line in lines)
    for room, title in ROOMS.items():
        sums: dict[tuple[str, str], list[int]] = {}
        for line in lines:
            if line["room"] == room:
                key = (str(line["fault"]), str(line["outcome"]))
                times_and_lost = sums.setdefault(key, [0, 0])
                times_and_lost[0] += int(str(line["times"]))
                times_and_lost[1] += int(str(line["lost"]))
        rows = [
            f"| {fault} | {times:,} | {lost:,} | {outcome} |"
            for (fault, outcome), (times, lost) in sorted(sums.items())
        ]
        if rows:
            head = ["| fault | times | lost | what became of it |", "|---|---:|---:|---|"]
            parts.append("\n".join([f"## {title}\n", *head, *rows]) + "\n")
    today = datetime.now(UTC).date().isoformat()
    parts.append(
        f"{total:,} faults in all, on {today}, with the source at {source_commit()}, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}.\n"
    )
    return "\n".join(parts)


def main() -> None:
    """Write the document from the file that is named."""
    lines = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    DOCUMENT.write_text(document(lines), encoding="utf-8")
    print(f"{DOCUMENT}: {len(lines)} lines")


if __name__ == "__main__":
    main()
