"""When a signal lets nodes end in order, and when it interrupts them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from dp_ros.ros import shutdown as module
from dp_ros.ros.shutdown import ONCE, Shutdown, handle_signals

LONG = 20.0  # [s]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put back what a test leaves; a closed terminal counts, however the tests were started."""
    before = {number: signal.getsignal(number) for number in module.SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """Return the time, which stands until it is set."""
    times = [100.0]
    monkeypatch.setattr('dp_ros.ros.shutdown.time.monotonic', lambda: times[0])
    return times


def test_until_all_threads_run_a_signal_interrupts():
    ending = Shutdown(2)
    ending.running(lambda: None)
    with pytest.raises(KeyboardInterrupt):
        ending.on_signal(signal.SIGINT, None)
    ending.running(lambda: None)
    ending.on_signal(signal.SIGINT, None)


def test_signals_count_as_one_for_a_while_and_then_interrupt(now):
    ending = Shutdown(1)
    ending.running(lambda: None)
    for later in (0.0, ONCE / 2, 0.99 * ONCE):
        now[0] = 100.0 + later
        ending.on_signal(signal.SIGINT, None)
    now[0] = 100.0 + ONCE
    with pytest.raises(KeyboardInterrupt):
        ending.on_signal(signal.SIGINT, None)


def test_what_is_sheltered_is_not_interrupted():
    ending = Shutdown(1)
    ending.block_signals()
    ending.on_signal(signal.SIGTERM, None)
    assert ending.signalled


def test_who_runs_late_sees_that_it_was_asked():
    ending = Shutdown(1)
    ending.ask()
    ending.running(lambda: pytest.fail('woken'))
    assert ending.asked


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_wakes_every_thread_and_others_are_ignored_to_the_end(number):
    woken = threading.Event()
    with handle_signals(1) as ending:
        ending.running(woken.set)
        os.kill(os.getpid(), number)
        assert woken.wait(LONG)
        assert ending.asked
    assert all(signal.getsignal(n) == signal.SIG_IGN for n in module.SIGNALS)
    os.kill(os.getpid(), number)


def test_without_a_signal_handlers_are_as_before():
    before = {n: signal.getsignal(n) for n in module.SIGNALS}
    with handle_signals(1):
        assert {n: signal.getsignal(n) for n in module.SIGNALS} != before
    assert {n: signal.getsignal(n) for n in module.SIGNALS} == before


def test_who_is_not_to_hear_of_a_closed_terminal_does_not():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with handle_signals(1):
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
