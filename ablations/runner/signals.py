"""Handling of Ctrl-C and of the signals that end a program.

The first Ctrl-C finishes the runs under way, where there are any; the second stops at once. SIGTERM
(sent by a batch system or at shutdown) and SIGHUP (the terminal was closed) stop at once.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""By name, since Windows has no SIGHUP."""


class StopRequest:
    """Which signals have been received.

    Python raises KeyboardInterrupt wherever the main thread happens to be. In a finaliser or a
    callback of the garbage collector it is printed and dropped. Long loops therefore call `check`.
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
            raise KeyboardInterrupt

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
        """Within `deferred`: signals raise in this context, also one received before."""
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
        """Raise KeyboardInterrupt if a signal that stops at once has been received."""
        if self.is_immediate:
            raise KeyboardInterrupt

    @property
    def exit_code(self) -> int:
        """As shells define it: 128 and the signal's number."""
        return 128 + int(self.signal_number or signal.SIGINT)


@contextmanager
def handle_signals() -> Iterator[StopRequest]:
    """Turn signals that end a program into KeyboardInterrupt, and record them.

    A signal that is ignored (`nohup`) or has another handler keeps it.
    """
    request = StopRequest()
    previous = {}
    for number in [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            previous[number] = signal.signal(number, request.receive)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
