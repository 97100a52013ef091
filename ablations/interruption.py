"""Ctrl-C that is never lost."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class CtrlC:
    """While this is open, Ctrl-C interrupts as always, and is remembered.

    Python raises KeyboardInterrupt wherever the main thread happens to be. Where that is a
    finaliser or a callback of the garbage collector, the exception is printed and dropped, and
    the program would go on as if nothing had been pressed. Long loops therefore call `check`.
    """

    def __init__(self) -> None:
        self.was_pressed = False

    def __enter__(self) -> Self:
        # Python allows only the main thread to say what a signal does. Where Ctrl-C does something
        # else, or nothing (a background job of a shell), it stays so.
        self.is_listening = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self.is_listening:
            signal.signal(signal.SIGINT, self.remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_listening:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def remember(self, signal_number: int, frame: FrameType | None) -> None:
        """What the system calls at Ctrl-C."""
        self.was_pressed = True
        signal.default_int_handler(signal_number, frame)

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C has been pressed at any time."""
        if self.was_pressed:
            raise KeyboardInterrupt
