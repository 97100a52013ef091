"""Standard output and standard error whose failures end no command.

An encoding without a character, a full disk and a closed pipe (`| head`) change what can be read, and
nothing else. A study goes on without its reader: its runs take hours and are kept, as under `nohup`,
and Ctrl-C still stops it. The exit code tells that output was lost.
"""

import codecs
import io
import os
import select
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import click

CLOSED_EXIT_CODE = 141
"""What reads the output is gone: 128 and the number of SIGPIPE, as shells define it."""
LOST_EXIT_CODE = 4
"""The output cannot be written for another reason, such as a full disk."""
QUIET_SECONDS = 3.0
"""A command that ends so soon says nothing of a closed pipe, as usual; one that goes on does."""

_IN_ASCII = {"−": "-", "–": "-", "’": "'", "±": "+/-", "×": "x", "✓": "+", "✗": "x"}


class CommandLine(click.Group):
    """The group of all commands. Each has its own exit code unless some of its output was lost."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command; as click's own method, it ends with SystemExit."""
        streams, lost = (sys.stdout, sys.stderr), list[OSError]()
        sys.stdout, sys.stderr = _steady(sys.stdout, lost), _steady(sys.stderr, [])
        try:
            return super().main(*arguments, **options)
        except SystemExit as ending:
            # The code of a signal is above 128, and tells more.
            if not lost or (isinstance(ending.code, int) and ending.code > 128):
                raise
            is_closed = isinstance(lost[0], BrokenPipeError)
            sys.exit(CLOSED_EXIT_CODE if is_closed else LOST_EXIT_CODE)
        finally:
            sys.stdout, sys.stderr = streams

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, unless the current folder was deleted: libraries crash there."""
        try:
            Path.cwd()
        except OSError as error:
            reason = "the current folder no longer exists; go to another one"
            raise click.UsageError(reason) from error
        return super().invoke(ctx)


class _SteadyFile(io.FileIO):
    """The file of a standard stream. What cannot be written is dropped, and the error kept."""

    def __init__(self, number: int, lost: list[OSError]) -> None:
        super().__init__(number, "wb", closefd=False)
        self._lost = lost
        self._is_quiet = number != 1
        self._quiet_until = time.monotonic() + QUIET_SECONDS

    def write(self, data: Any) -> int:
        """All of the data, or nothing after an error; returns its length."""
        try:
            # Another program can make a pipe that it shares with this one return at once.
            while (num_bytes := super().write(data)) is None:
                select.select([], [self], [])
            return num_bytes
        except OSError as error:
            self._lost.append(error)
            is_early = isinstance(error, BrokenPipeError) and time.monotonic() < self._quiet_until
            if not (self._is_quiet or is_early):
                self._is_quiet = True
                line = f"Standard output: {error.strerror}; the command goes on without it.\n"
                with suppress(OSError):
                    os.write(2, line.encode())
            return len(data)


def _steady(stream: TextIO, lost: list[OSError]) -> TextIO:
    """The same stream, but no character and no write fails. Errors are added to `lost`."""
    buffer = getattr(stream, "buffer", None)
    file = getattr(buffer, "raw", buffer)  # Python does not buffer with -u.
    if type(file) is io.FileIO:
        writer = io.BufferedWriter(_SteadyFile(file.fileno(), lost))
        return io.TextIOWrapper(writer, stream.encoding, "in-ascii", line_buffering=True)
    # Windows' own file for its console, or that of a test.
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="in-ascii")
    return stream


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(one, "?") for one in characters), error.end


codecs.register_error("in-ascii", _replace)
