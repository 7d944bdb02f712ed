"""The garbage collector is told when to look, and looks at nothing in between."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.parameter import Parameter

from dp_ros.data import Chunk
from dp_ros.nodes.observation_buffer.node import ObservationBuffer
from dp_ros.nodes.trajectory_publisher.node import TrajectoryPublisher
from dp_ros.ros import garbage
from dp_ros.ros.intra_process import Exchange
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.main import spin
from dp_ros.ros.shutdown import Ending
from test.nodes.test_realtime import LIMITS


@pytest.fixture
def put_off(monkeypatch) -> Iterator[Callable[[], None]]:
    """Return `garbage.put_off`, which the tests' own process gets over."""
    monkeypatch.setattr(garbage, '_times', None)
    thresholds = gc.get_threshold()
    yield garbage.put_off
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.fixture
def looked(monkeypatch) -> list[int]:
    """Return the generations that were looked at."""
    seen: list[int] = []
    monkeypatch.setattr(gc, 'collect', lambda generation=2: seen.append(generation))
    return seen


class Knot:
    """Refers to itself, so that only the collector takes it away."""

    def __init__(self, gone: list[int]) -> None:
        self.self, self.gone = self, gone

    def __del__(self) -> None:
        self.gone.append(1)


def test_nothing_is_looked_at_in_between_and_all_that_is_new_when_told(put_off):
    put_off()
    gone: list[int] = []
    for _ in range(5000):
        Knot(gone)
    assert gone == []
    garbage.collect()
    assert len(gone) == 5000


def test_what_grew_old_as_garbage_is_found_too(put_off, monkeypatch):
    monkeypatch.setattr(garbage, 'WHOLE', 4)
    put_off()
    gone: list[int] = []
    knot = Knot(gone)
    garbage.collect()
    garbage.collect()
    del knot
    garbage.collect()
    assert gone == []
    garbage.collect()
    assert gone == [1]


def test_who_is_never_told_looks_in_the_end(put_off, monkeypatch):
    monkeypatch.setattr(garbage, 'BY_ITSELF', 1000)
    put_off()
    gone: list[int] = []
    for _ in range(5000):
        Knot(gone)
    assert gone


def test_where_it_was_not_put_off_telling_it_does_nothing(monkeypatch, looked):
    monkeypatch.setattr(garbage, '_times', None)
    garbage.collect()
    assert looked == []


@pytest.mark.ros
def test_a_node_that_begins_puts_it_off(monkeypatch):
    ending, begun = Ending(1), []

    def put_off() -> None:
        begun.append(ending.in_order())  # a signal that comes now interrupts nothing
        ending.ask()

    monkeypatch.setattr(garbage, 'put_off', put_off)
    rclpy.init()
    too_late = threading.Timer(20, ending.ask)
    too_late.start()
    try:
        assert spin([ManagedNode('resting', [])], ending) == 0
    finally:
        too_late.cancel()
        rclpy.shutdown()
    assert begun == [True]


@pytest.mark.ros
@pytest.mark.parametrize('exchange', [None, Exchange()], ids=['alone', 'beside others'])
def test_a_node_that_makes_no_chunks_collects_where_nobody_else_would(ros, tiny, looked, monkeypatch, exchange):
    told: list[str] = []

    def made(cls: Any, **parameters: Any) -> Any:
        given = {'bundle': tiny, 'autostart': False, **parameters}
        overrides = [Parameter(name.replace('__', '.'), value=value) for name, value in given.items()]
        node = ros.add(cls(context=ros.context, parameter_overrides=overrides, exchange=exchange))
        assert node.start()
        return node

    buffer, publisher = made(ObservationBuffer), made(TrajectoryPublisher, **LIMITS)
    monkeypatch.setattr(garbage, 'collect', lambda: told.append('collect'))
    buffer._settle(1_700_000_000_000_000_000)
    assert told == ['collect'] * (exchange is None)
    chunk = Chunk(stamp=1, control_dt=100_000_000, joints=('pusher_x', 'pusher_y'), actions=np.zeros((16, 2)))
    publisher._follow(chunk.stamp, lambda: chunk)
    assert told == ['collect', 'collect'] * (exchange is None)
