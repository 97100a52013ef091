"""Signals stop a program, now or after the runs under way, and none is lost."""

import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from ablations.runner.signals import handle_signals

REPOSITORY = Path(__file__).resolve().parents[3]
PROGRAM = """
import atexit, runpy, signal, sys
moment = sys.argv.pop()

class Importer:
    def find_spec(name, *others):
        if name == moment:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Importer)
if moment == "exit":
    atexit.register(signal.raise_signal, signal.SIGINT)
runpy.run_path("cli.py", run_name="__main__")
"""
"""Runs `cli.py` and presses Ctrl-C when a module is imported, or at the end."""


@pytest.mark.parametrize(
    ("name", "exit_code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)]
)
def test_signal_interrupts_and_the_previous_handler_is_restored(name: str, exit_code: int) -> None:
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip(f"this system has no {name}")
    previous = signal.getsignal(number)
    with handle_signals() as request:
        request.check()
        with pytest.raises(SystemExit):
            signal.raise_signal(number)
    assert request.exit_code == exit_code
    assert signal.getsignal(number) is previous


def test_ctrl_c_in_a_callback_is_recorded_and_not_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)

    class Thing:
        pass

    with handle_signals() as request:
        thing = Thing()
        reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
        del thing  # Python drops what the callback raises.
        assert reference() is None
        with pytest.raises(SystemExit):
            request.check()
    assert printed == []


def test_first_ctrl_c_finishes_and_the_second_stops() -> None:
    with handle_signals() as request:
        with request.deferred(can_finish=True):
            signal.raise_signal(signal.SIGINT)
            assert request.wants_to_finish and not request.is_immediate
            signal.raise_signal(signal.SIGINT)
            assert request.is_immediate
            with pytest.raises(SystemExit), request.at_once():
                pytest.fail("a signal has been received")
        with pytest.raises(SystemExit):
            request.check()


def test_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with handle_signals() as request:
        signal.raise_signal(signal.SIGTERM)
        request.check()


def test_second_signal_changes_nothing() -> None:
    with pytest.raises(SystemExit) as ending, handle_signals():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)
    assert ending.value.code == 143


@pytest.mark.parametrize("moment", ["click", "ablations.data.datasets", "sklearn", "exit"])
def test_ctrl_c_has_one_exit_code_from_the_first_import_to_the_last_line(moment: str) -> None:
    command = [sys.executable, "-c", PROGRAM, "data", "--dataset", "digits", moment]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, encoding="utf-8")
    assert (ended.returncode, ended.stderr) == (130, "")
