"""The reports that are written while runs are under way."""

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from ablations.commands.prepare import PreparedStudy
from ablations.records.study import load_study
from ablations.runner.progress import print_line
from ablations.words import in_one_line

REPORT_SHARE_OF_TIME = 0.1
"""While runs are under way, reports take at most this share of the time."""


class InterimReports:
    """The reports that are written while runs are under way.

    A report takes seconds in which a worker may wait for its next run, so when runs are short not
    every one of them gets a report of its own. One that cannot be written (on Windows, because a
    program holds the last one open) is said, and stops nothing.
    """

    def __init__(
        self, study: PreparedStudy, write_report: Callable[[Path], Path], console: Console
    ) -> None:
        self.study = study
        self.write_report = write_report
        self.console = console
        self.is_first = True
        self.not_before = 0.0

    def update(self) -> None:
        """Write a report, unless the last one is too recent."""
        started = time.monotonic()
        if started < self.not_before:
            return
        try:
            show_networks(self.study, self.console)
            path = self.write_report(self.study.study_dir)
        except OSError as error:
            print_line(self.console, f"No report for now: {in_one_line(error)}")
            return
        if self.is_first:
            print_line(self.console, f"The report so far, which grows as runs end: {path}")
            self.is_first = False
        ended = time.monotonic()
        self.not_before = ended + (ended - started) * (1 / REPORT_SHARE_OF_TIME - 1)


def show_networks(study: PreparedStudy, console: Console) -> None:
    """Make what the report shows of the networks that are there by now."""
    from ablations.inspection.build import make_exhibits

    found = load_study(study.study_dir)
    for problem in make_exhibits(study.study_dir, found, study.dataset):
        print_line(console, f"The report shows less of the networks: {problem}")
