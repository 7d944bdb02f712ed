"""A timer of robot time: due by a clock that runs, that is simulated, and that goes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from dp_ros.ros.clock_timer import ClockTimer
from dp_ros.ros.lifecycle import ManagedNode

pytestmark = pytest.mark.ros
MS = 1_000_000
T0 = 1_700_000_000_000_000_000


class Ticking(ManagedNode):
    """Notes when it was called."""

    def __init__(self, **options: Any) -> None:
        super().__init__('ticking', [], **options)
        self.calls: list[int] = []
        self.then: Callable[[], None] = lambda: None

    def called(self) -> None:
        self.calls.append((self.now() - T0) // MS)
        self.then()


def simulated(ros: Any) -> tuple[Ticking, ClockTimer]:
    node = ros.create(Ticking, use_sim_time=True)
    ros.set_clock(T0, node)
    return node, ClockTimer(node, 50 * MS, node.called)


def step(ros: Any, node: Ticking, *times: int) -> None:
    for each in times:
        ros.set_clock(T0 + each * MS, node)
        ros.spin(0.03)


def test_simulated_time_calls_once_at_the_first_step_after_each_period(ros):
    node, _ = simulated(ros)
    step(ros, node, 20, 49, 50, 99, 120, 130, 170, 1000, 1010, 1050)
    assert node.calls == [50, 120, 170, 1000, 1050]


def test_what_is_set_anew_counts_from_now_also_within_the_call(ros):
    node, timer = simulated(ros)
    step(ros, node, 40)
    timer.set(50 * MS)
    step(ros, node, 60)
    assert node.calls == []
    node.then = lambda: timer.set(10 * MS)
    step(ros, node, 90, 95, 100)
    assert node.calls == [90, 100]


def test_a_clock_that_goes_back_delays_a_call_by_no_more_than_a_period(ros):
    node, _ = simulated(ros)
    step(ros, node, -10_000, -9_960, -9_950)
    assert node.calls == [-9_950]


def test_once_closed_it_calls_no_more(ros):
    node, timer = simulated(ros)
    timer.close()
    step(ros, node, 100)
    assert node.calls == []


@pytest.mark.parametrize('steady', [False, True])
def test_time_that_runs_calls_at_intervals_until_it_is_closed(ros, steady):
    node = ros.create(Ticking)
    timer = ClockTimer(node, 10_000 * MS, node.called, steady=steady)
    ros.spin(0.1)
    began = time.monotonic()
    timer.set(40 * MS)
    ros.wait(lambda: len(node.calls) == 3, 'three calls')
    assert time.monotonic() - began >= 0.12
    timer.close()
    node.calls.clear()
    ros.spin(0.1)
    assert node.calls == []


def test_what_is_due_already_when_it_is_closed_is_not_called(ros):
    node = ros.create(Ticking)
    closed: list[int] = []

    def close() -> None:
        closed.append(node.steady())
        first.close()
        other.close()

    def block() -> None:
        time.sleep(0.2)  # both become due
        blocker.close()

    first = ClockTimer(node, 60 * MS, close, steady=True)
    other = ClockTimer(node, 70 * MS, node.called, steady=True)
    blocker = ClockTimer(node, 10 * MS, block, steady=True)
    ros.wait(lambda: closed, 'the call that closes both')
    ros.spin(0.1)
    assert len(closed) == 1 and node.calls == []
