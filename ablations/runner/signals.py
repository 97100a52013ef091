"""Handling of Ctrl-C and of the signals that end a program.

The first Ctrl-C finishes the runs under way, where there are any; the second stops at once. SIGTERM
(sent by a batch system or at shutdown) and SIGHUP (the terminal was closed) stop at once. The exit
code is 128 and the signal's number, as shells define it.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ablations.operating_system import ENDING_SIGNALS


class StopRequest:
    """Which signals have been received.

    The handler raises SystemExit at any point of the main thread. Python drops what is raised in a
    finaliser or a callback of the garbage collector, so long loops also call `check`.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        """The first signal that stops at once."""
        self.wants_to_finish = False
        """Whether Ctrl-C was pressed while there were runs to finish."""
        self._can_finish = False
        self._is_deferred = False

    def receive(self, signal_number: int, frame: FrameType | None = None) -> None:
        """The signal handler."""
        if signal_number == signal.SIGINT and self._can_finish and not self.wants_to_finish:
            self.wants_to_finish = True
            return
        self.signal_number = self.signal_number or signal_number
        if not self._is_deferred:
            self.check()

    @contextmanager
    def deferred(self, *, can_finish: bool = False) -> Iterator[None]:
        """No signal raises in this context. Call `check` after it.

        With `can_finish`, the first Ctrl-C only sets `wants_to_finish`.
        """
        self._is_deferred, self._can_finish = True, can_finish
        try:
            yield
        finally:
            self._is_deferred, self._can_finish = False, False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within `deferred`: a signal raises here, and so does one that was received before."""
        self._is_deferred = False
        try:
            self.check()
            yield
        finally:
            self._is_deferred = True

    @property
    def is_immediate(self) -> bool:
        """Whether a signal that stops at once has been received."""
        return self.signal_number is not None

    def check(self) -> None:
        """Raise SystemExit if a signal that stops at once has been received."""
        if self.is_immediate:
            sys.exit(self.exit_code)

    @property
    def exit_code(self) -> int:
        """The exit code of the program after a signal."""
        return 128 + int(self.signal_number or signal.SIGINT)


def end_program(signal_number: int, frame: FrameType | None = None) -> None:
    """The signal handler before and after the work, when there is nothing to clean up."""
    os._exit(128 + signal_number)


def set_handlers(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Handle the signals that end a program, and return the previous handlers.

    A signal that is ignored (`nohup`) stays ignored.
    """
    previous = {}
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: not Python's own.
            previous[number] = signal.signal(number, handler)
    return previous


@contextmanager
def handle_signals() -> Iterator[StopRequest]:
    """Turn signals that end a program into SystemExit, and record them."""
    request = StopRequest()
    print_dropped = sys.unraisablehook

    def print_errors(dropped: Any) -> None:
        if dropped.exc_type is not SystemExit:
            print_dropped(dropped)

    sys.unraisablehook = print_errors
    previous = set_handlers(request.receive)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        sys.unraisablehook = print_dropped
