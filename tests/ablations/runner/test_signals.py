"""Ctrl-C is heeded, even where Python drops the exception."""

import signal
import weakref

import pytest

from ablations.runner.signals import Interruption


class Thing:
    """Something that can be referred to weakly."""


def test_ctrl_c_interrupts_and_the_old_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        interruption.check()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_in_a_callback_is_remembered() -> None:
    with Interruption() as interruption:
        thing = Thing()
        reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
        del thing  # Python drops what the callback raises.
        assert reference() is None
        with pytest.raises(KeyboardInterrupt):
            interruption.check()


def test_first_ctrl_c_finishes_and_the_second_stops() -> None:
    with Interruption() as interruption:
        with pytest.raises(KeyboardInterrupt), interruption.finishing_first():
            signal.raise_signal(signal.SIGINT)
            interruption.check()
            assert interruption.wants_to_finish
            signal.raise_signal(signal.SIGINT)
        assert interruption.exit_code == 130


@pytest.mark.parametrize(("name", "exit_code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_other_signals_stop_at_once(name: str, exit_code: int) -> None:
    number = getattr(signal, name, None) or pytest.skip("there is no such signal here")
    before = signal.getsignal(number)
    with Interruption() as interruption, interruption.finishing_first():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert interruption.exit_code == exit_code
    assert signal.getsignal(number) is before


def test_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGTERM)
            interruption.check()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_must_not_be_left_half_done_is_finished_first() -> None:
    done: list[str] = []
    with Interruption() as interruption:
        with interruption.later():
            signal.raise_signal(signal.SIGINT)
            done.append("written")
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
    assert done == ["written"]
