"""What was done on purpose to break a study, how often, and what was lost by it.

Tests call `tell_fault` after they have seen that a fault did no harm. Where the environment names a
file, each call leaves a line there; `python -m tests.faults FILE` makes `docs/reliability.md` of
the lines. So the document lists what was tried, and nothing else (`make chaos`).
"""

import json
import os

FILE_VARIABLE = "FAULTS_FILE"
ROOMS = ("processes", "disk", "records", "data files", "cluster")
"""In the order of the document."""


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
