"""Real signals ask the loop to stop, and leave no handler behind."""

import os
import signal

import pytest

from videobert_jax.training.preemption import StopSignal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop(number: signal.Signals):
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert not stop.requested(0)
        os.kill(os.getpid(), number)
        assert stop.requested(1) and stop.reason == number.name
    assert signal.getsignal(number) is before


def test_a_second_interrupt_does_not_wait():
    with StopSignal():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
