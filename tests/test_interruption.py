"""Ctrl-C is heeded, even where Python drops the exception."""

import signal
import weakref

import pytest

from ablations.interruption import CtrlC


class Thing:
    """Something that can be referred to weakly."""


def test_ctrl_c_interrupts_and_the_old_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), CtrlC() as ctrl_c:
        ctrl_c.check()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_in_a_callback_is_remembered() -> None:
    with CtrlC() as ctrl_c:
        thing = Thing()
        reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
        del thing  # Python drops what the callback raises.
        assert reference() is None
        with pytest.raises(KeyboardInterrupt):
            ctrl_c.check()
