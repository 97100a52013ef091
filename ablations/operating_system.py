"""What differs between Linux, macOS and Windows; the rest of the program is the same on all three.

CONTRIBUTING.md lists the differences, and what has been tested on which system.
"""

import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

IS_WINDOWS = os.name == "nt"

ENDING_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)
"""The signals that end a program. SIGHUP: the terminal was closed; on Windows that is SIGBREAK."""

MAX_PROCESSES = 60 if IS_WINDOWS else 10_000
"""How many processes can be waited for at a time: Windows waits for at most 64 objects."""

_REPLACE_SECONDS = 2.0
"""How long a file may be in use by another program while it is replaced."""


def replace_file(source: Path, target: Path) -> None:
    """Rename a file, replacing another.

    Windows refuses that while a program has the other one open, as a virus scanner often has for a
    moment. There, this waits for it.

    Raises:
        OSError: it cannot be renamed; on Windows, the other file is still open after two seconds.
    """
    deadline = time.monotonic() + _REPLACE_SECONDS
    while True:
        try:
            source.replace(target)
            return
        except PermissionError:
            if not IS_WINDOWS or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


@contextlib.contextmanager
def ctrl_c_blocked() -> Iterator[None]:
    """Block SIGINT, so that a process started here never receives it.

    Ctrl-C reaches every process of the terminal, and a child inherits its parent's signal mask.
    Windows has no such mask: there the process has to ignore SIGINT by itself.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def processor_name() -> str:
    """The model of the processor, or its kind if the system does not state the model."""
    with contextlib.suppress(OSError):  # Linux
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            return subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", check=True
            ).stdout.strip()
    return platform.processor() or platform.machine()
