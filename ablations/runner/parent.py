"""Ends a process with its parent, also when the parent is killed."""

import threading
from collections.abc import Callable


def watch_parent(wait_for_end: Callable[[], object], after_end: Callable[[], object]) -> None:
    """Call `after_end` in a thread when `wait_for_end` returns, which it does when the parent ends.

    The system tells a process so when a pipe or a handle that only the parent held is closed.
    """

    def watch() -> None:
        wait_for_end()
        after_end()

    threading.Thread(target=watch, daemon=True).start()
