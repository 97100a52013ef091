"""The reports that are written while runs are under way."""

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from ablations.commands.prepare import PreparedStudy
from ablations.runner.progress import print_line
from ablations.words import in_one_line

REPORT_SHARE_OF_TIME = 0.1
"""While runs are under way, reports take at most this share of the time."""


class LiveReport:
    """Writes reports while runs are under way, if the last one is not too recent.

    A report that cannot be written (on Windows, because a program has the last one open) does not
    stop the study.
    """

    def __init__(self, write_report: Callable[[Path], Path], console: Console) -> None:
        self._write_report = write_report
        self._console = console
        self._not_before_seconds = 0.0

    def update(self, study: PreparedStudy) -> None:
        """Write a report on the runs that are on disk."""
        started = time.monotonic()
        if started < self._not_before_seconds:
            return
        try:
            measure_networks(study, self._console)
            path = self._write_report(study.study_dir)
        except OSError as error:
            print_line(self._console, f"No report for now: {in_one_line(error)}")
            return
        if not self._not_before_seconds:
            print_line(self._console, f"The report so far, which grows as runs end: {path}")
        ended = time.monotonic()
        self._not_before_seconds = ended + (ended - started) * (1 / REPORT_SHARE_OF_TIME - 1)


def measure_networks(study: PreparedStudy, console: Console) -> None:
    """Make the measurements and images for the report that are missing."""
    from ablations.inspection.build import make_exhibits

    for problem in make_exhibits(study.study_dir, study.on_disk, study.dataset):
        print_line(console, f"The report shows less of the networks: {problem}")
