"""Signals: which are taken over, and that they are given back."""

import signal

import pytest

from cvjax.train.interrupt import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_that_the_shell_ignores_stays_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(number)
            assert interruption.signal is None
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_noted_and_the_handler_before_it_is_back(number):
    heard = []
    before = signal.signal(number, lambda *_: heard.append(number))
    try:
        with Interruption() as interruption:
            signal.raise_signal(number)
            assert interruption.signal == number
            assert heard == []
            signal.raise_signal(number)
            assert heard == [number]
    finally:
        signal.signal(number, before)
