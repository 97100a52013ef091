"""How much memory a process and all its children take, as Linux counts it.

A process's resident set counts a page that it shares with others in full, so that loading
processes forked from a trainer would be charged for the same libraries and images again and
again. The proportional set size divides each page by the number of processes that share it: its sum
over a tree of processes is what the tree takes, and the peak of that sum is what a machine needs.
"""

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MIN_PAUSE_SECONDS = 0.5
MAX_SHARE_OF_TIME = 0.02
"""To add up its pages stops a process for a moment, some 20 ms for one that uses PyTorch. Between
two looks it is left alone for so long that this stays a small share of the time; a peak that is
shorter than the pause may be missed."""


@dataclass(frozen=True)
class WatchedProcess:
    """A process that has ended, and what it took."""

    exit_code: int
    started_at: float
    """In seconds since the epoch, as file times are."""
    peak_memory_mib: float | None
    """Of the process and all its descendants together; None where that cannot be measured."""
    peak_device_memory_mib: float | None
    """Of all the machine's NVIDIA GPUs, beyond what they held before; None if not asked for."""


def run_watched(
    command: Sequence[str], log: Path, folder: Path, *, watches_gpu: bool
) -> WatchedProcess:
    """Run a command in `folder` to its end, with its output in `log`, and watch its memory."""
    before = gpu_memory_mib() if watches_gpu else None
    peak: float | None = None
    gpu_peak = before
    started_at = time.time()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        try:
            while process.poll() is None:
                looked_at = time.perf_counter()
                peak = larger(peak, tree_memory_mib(process.pid))
                if watches_gpu:
                    gpu_peak = larger(gpu_peak, gpu_memory_mib())
                cost_seconds = time.perf_counter() - looked_at
                try:
                    process.wait(max(MIN_PAUSE_SECONDS, cost_seconds / MAX_SHARE_OF_TIME))
                except subprocess.TimeoutExpired:
                    continue
        finally:
            # After Ctrl-C or an error: its children notice that it has gone, and end too.
            if process.poll() is None:
                process.terminate()
                process.wait()
    return WatchedProcess(
        exit_code=process.returncode,
        started_at=started_at,
        peak_memory_mib=peak,
        peak_device_memory_mib=None if gpu_peak is None or before is None else gpu_peak - before,
    )


def larger(peak: float | None, value: float | None) -> float | None:
    """The larger of two numbers, of which either may not be known."""
    known = [number for number in (peak, value) if number is not None]
    return max(known, default=None)


def tree_memory_mib(root: int) -> float | None:
    """The proportional set size of a process and all its descendants; None but on Linux."""
    if not Path("/proc/self/smaps_rollup").exists():
        return None
    return sum(proportional_kib(process) for process in process_tree(root)) / 1024


def process_tree(root: int) -> set[int]:
    """The ids of a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text()
            except OSError:
                continue  # It has ended meanwhile.
            # The program's name comes before, in brackets, and may hold blanks and brackets.
            parent = int(fields.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    tree: set[int] = set()
    waiting = [root]
    while waiting:
        process = waiting.pop()
        tree.add(process)
        waiting += children.get(process, [])
    return tree


def proportional_kib(process: int) -> int:
    """A process's own memory and its share of what it shares, in KiB; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def gpu_memory_mib() -> float | None:
    """What all processes hold of the machine's NVIDIA GPUs; None when nobody can tell.

    Asked of the driver, since a process may not see into another's allocator.
    """
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True).stdout
        return float(sum(int(line) for line in answer.split()))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def forget_own_peak() -> None:
    """Let this process's peak begin anew at what it has resident now, where Linux allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def own_peak_memory_mib() -> float | None:
    """The most memory that this process has had resident since its peak was last forgotten.

    None but on Linux.

    Not `getrusage`: its maximum also knows the process that this one was forked from.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    [line] = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
