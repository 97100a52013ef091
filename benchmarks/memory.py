"""Peak memory of a process and all its descendants.

The sum of proportional set sizes (PSS) is the memory of a process tree: a page that several
processes share counts once. A resident set size would count it once for each process.
"""

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

MIN_PAUSE_SECONDS = 0.5
MAX_SHARE_OF_TIME = 0.02
"""Reading the PSS stops a process for about 20 ms. The pause between two samples keeps this cost
small; a peak shorter than the pause can be missed."""


@dataclass(frozen=True)
class WatchedProcess:
    """A process that has ended, and its peak memory."""

    exit_code: int
    started_at: float
    """In seconds since the epoch, as file times are."""
    peak_memory_mib: float | None
    """Of the process and its descendants together; None except on Linux."""


def run_watched(command: Sequence[str], log: Path, folder: Path) -> WatchedProcess:
    """Run a command in `folder` with its output in `log`, and sample its memory."""
    samples = [0.0]
    started_at = time.time()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        try:
            while process.poll() is None:
                sampled_at = time.perf_counter()
                samples.append(tree_memory_mib(process.pid))
                cost_seconds = time.perf_counter() - sampled_at
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(MIN_PAUSE_SECONDS, cost_seconds / MAX_SHARE_OF_TIME))
        finally:
            # After Ctrl-C or an error; the children detect that their parent has ended.
            if process.poll() is None:
                process.terminate()
                process.wait()
    return WatchedProcess(process.returncode, started_at, max(samples) or None)


def tree_memory_mib(root: int) -> float:
    """The proportional set size of a process and its descendants; 0 except on Linux."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(root)
        for member in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error, AttributeError):  # It has ended, or this is not Linux.
                total += member.memory_full_info().pss / 2**20
    return total


def reset_own_peak() -> None:
    """Reset this process's peak to what is resident now, where Linux allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def own_peak_memory_mib() -> float | None:
    """This process's peak resident memory since the last reset; None except on Linux.

    Not `getrusage`: its maximum includes the process that this one was forked from.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    [line] = (
        line
        for line in status.read_text(encoding="utf-8").splitlines()
        if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) / 1024
