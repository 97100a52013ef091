"""Runs a worker process in a temporary folder, and ends it when `check` ends, also when it is killed.

`supervisor.py` starts `python -m ablations.grader.guard COMMAND...`. Only the supervisor holds the
other end of the guard's standard input, so the system closes it when that process ends in any way. The worker
runs a student's file, which can keep its own threads from noticing that; the guard runs none.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile

from ablations.runner.parent import watch_parent
from ablations.runner.signals import set_handlers


def run_guarded() -> int:
    """Run the command, end all that it started, and return its exit code as shells define it."""
    with tempfile.TemporaryDirectory(
        prefix="mnist-ablations-check-", ignore_cleanup_errors=True
    ) as folder:
        # What the file downloads or writes beside itself goes into this folder, too.
        variables = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)
        worker = subprocess.Popen(
            sys.argv[1:],
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env=os.environ | variables,
            # In a session of its own, it can be ended with all that it has started.
            start_new_session=True,
        )
        # Signals to every process of a batch job must not leave the folder behind.
        set_handlers(lambda number, frame: None)
        # Unlike a read from `sys.stdin`, this one holds no lock when the guard ends.
        watch_parent(lambda: os.read(0, 1), lambda: end_group(worker))
        code = worker.wait()
        end_group(worker)
    return 128 - code if code < 0 else code


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process, and on POSIX systems all that it has started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


if __name__ == "__main__":
    sys.exit(run_guarded())
