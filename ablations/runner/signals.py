"""Ctrl-C and the signals that end a program: heeded, never lost, and in the gentlest way there is.

Ctrl-C once finishes what is under way, where that is worth something; twice, or anywhere else,
it stops at once. SIGTERM (a batch system's, or the machine's, that is about to go down) and SIGHUP
(the terminal was closed) stop at once: whoever sends them does not wait for long.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""By name, since not every system has them all."""


class Interruption:
    """While this is open, signals that end a program raise KeyboardInterrupt, and are remembered.

    Python raises KeyboardInterrupt wherever the main thread happens to be. Where that is a
    finaliser or a callback of the garbage collector, the exception is printed and dropped, and
    the program would go on as if nothing had been pressed. Long loops therefore call `check`.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.wants_to_finish = False
        """Ctrl-C has been pressed once, while there was something to finish."""
        self.can_finish = False
        self.is_put_off = False
        self.earlier: dict[int, object] = {}

    def __enter__(self) -> Self:
        # Python allows only the main thread to say what a signal does. Where a signal does
        # something else, or nothing (`nohup`, a background job of a shell), it stays so.
        if threading.current_thread() is threading.main_thread():
            for name in SIGNALS:
                number = getattr(signal, name, None)
                usual = (signal.default_int_handler, signal.SIG_DFL)
                if number is not None and signal.getsignal(number) in usual:
                    self.earlier[number] = signal.signal(number, self.remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self.earlier.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def remember(self, signal_number: int, frame: FrameType | None) -> None:
        """What the system calls when a signal comes."""
        if signal_number == signal.SIGINT and self.can_finish and not self.wants_to_finish:
            self.wants_to_finish = True
            return
        self.signal_number = self.signal_number or signal_number
        if not self.is_put_off:
            raise KeyboardInterrupt

    @contextmanager
    def later(self) -> Iterator[None]:
        """In here no signal raises anything, for what must not be left half done; `check` after it."""
        self.is_put_off = True
        try:
            yield
        finally:
            self.is_put_off = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """In here, within `later`, signals raise after all.

        Raises:
            KeyboardInterrupt: one has come.
        """
        self.is_put_off = False
        try:
            self.check()
            yield
        finally:
            self.is_put_off = True

    @contextmanager
    def finishing_first(self) -> Iterator[None]:
        """In here the first Ctrl-C raises nothing: look at `wants_to_finish`."""
        self.can_finish = True
        try:
            yield
        finally:
            self.can_finish = False

    @property
    def has_come(self) -> bool:
        """Whether a signal that stops at once has come at any time."""
        return self.signal_number is not None

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal that stops at once has come at any time."""
        if self.has_come:
            raise KeyboardInterrupt

    @property
    def exit_code(self) -> int:
        """As a shell has it: 128 and the signal's number."""
        return 128 + int(self.signal_number or signal.SIGINT)
