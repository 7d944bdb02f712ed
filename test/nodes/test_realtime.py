"""What a node asks of the kernel: done for the whole process, or refused with what is permitted."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.parameter import Parameter

from dp_ros.errors import ConfigError
from dp_ros.nodes.observation_buffer.node import ObservationBuffer
from dp_ros.nodes.policy_executor.node import PolicyExecutor
from dp_ros.nodes.trajectory_publisher.node import TrajectoryPublisher
from dp_ros.ros import realtime
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.realtime import ANY, PARAMETERS, REALTIME_PRIORITY, CpuLatency, take_priority

pytestmark = pytest.mark.ros


def node(ros: Any, name: str = 'urgent', priority: int = 7, **options: Any) -> ManagedNode:
    overrides = [Parameter(REALTIME_PRIORITY.name, value=priority)]
    made: ManagedNode = ros.add(
        ManagedNode(name, [REALTIME_PRIORITY], context=ros.context, parameter_overrides=overrides, **options)
    )
    return made


@pytest.fixture
def scheduled(monkeypatch) -> dict[int, tuple[int, int]]:
    """Return policy and priority of each thread that was given one; the tests themselves must not have it."""
    seen: dict[int, tuple[int, int]] = {}

    def schedule(thread: int, policy: int, param: os.sched_param) -> None:
        seen[thread] = (policy, param.sched_priority)

    monkeypatch.setattr(os, 'sched_setscheduler', schedule)
    return seen


def test_every_thread_of_the_process_gets_it(ros, scheduled):
    take_priority(node(ros))
    assert threading.get_native_id() in scheduled
    assert len(scheduled) > threading.active_count(), "the middleware's own threads too"
    assert set(scheduled.values()) == {(os.SCHED_FIFO, 7)}


def test_without_one_the_scheduling_stays(ros, scheduled):
    take_priority(node(ros, priority=0))
    assert scheduled == {}


def test_what_the_system_does_not_permit_is_refused_with_what_it_does(ros, monkeypatch):
    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, 'sched_setscheduler', refuse)
    with pytest.raises(ConfigError, match=r'realtime_priority: got 7, allowed 0.* for this user; rtprio'):
        take_priority(node(ros))


def test_a_system_without_such_threads_is_named(ros, monkeypatch, tmp_path: Path):
    monkeypatch.setattr(realtime, 'THREADS', tmp_path / 'none')
    with pytest.raises(ConfigError, match='realtime_priority: got 7, allowed 0: this system is not Linux'):
        take_priority(node(ros))


def test_a_thread_that_ends_meanwhile_is_no_error(ros, monkeypatch):
    def gone(*_: Any) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(os, 'sched_setscheduler', gone)
    take_priority(node(ros))


LATENCY = struct.Struct('=i')


class Asking(ManagedNode):
    """Asks for short latencies as the policy's nodes do."""

    def __init__(self, **options: Any) -> None:
        self.latency = CpuLatency(self)
        super().__init__('asking', PARAMETERS, **options)

    def configure(self) -> None:
        self.latency.configure()

    def activate(self) -> None:
        self.latency.activate()

    def deactivate(self) -> None:
        self.latency.deactivate()

    def cleanup(self) -> None:
        self.latency.cleanup()


@pytest.fixture
def asked(monkeypatch, tmp_path: Path) -> Callable[[], list[int]]:
    """Return a function that returns what was asked for of a stand-in for the kernel's file [us]."""
    file = tmp_path / 'cpu_dma_latency'
    file.touch()
    monkeypatch.setattr(realtime, 'LATENCY_FILE', file)
    return lambda: [latency for (latency,) in LATENCY.iter_unpack(file.read_bytes())]


def held_open(file: Path) -> int:
    count = 0
    for each in Path('/proc/self/fd').iterdir():
        with suppress(OSError):  # another thread has closed it
            count += each.samefile(file)
    return count


def test_short_latencies_are_asked_for_while_the_node_is_active(ros, asked):
    made = ros.create(Asking, cpu_dma_latency=20)
    made.trigger_configure()
    assert asked() == []
    made.trigger_activate()
    assert asked() == [20]
    made.trigger_deactivate()
    assert asked() == [20, ANY]
    assert held_open(realtime.LATENCY_FILE) == 1
    made.trigger_cleanup()
    assert held_open(realtime.LATENCY_FILE) == 0


def test_without_them_the_file_is_not_touched(ros, asked):
    made = ros.create(Asking)
    assert made.start()
    assert held_open(realtime.LATENCY_FILE) == 0
    made.trigger_deactivate()
    assert asked() == []


def test_a_user_who_may_not_ask_for_them_is_told_who_may(ros, monkeypatch):
    def refuse(*_: Any) -> int:
        raise PermissionError

    monkeypatch.setattr(os, 'open', refuse)
    with pytest.raises(ConfigError, match=r'cpu_dma_latency: got 0, allowed -1 for this user.*GROUP="realtime"'):
        ros.create(Asking, cpu_dma_latency=0).latency.configure()


def test_a_system_that_knows_none_is_named(ros, monkeypatch, tmp_path: Path):
    monkeypatch.setattr(realtime, 'LATENCY_FILE', tmp_path / 'none')
    with pytest.raises(ConfigError, match=r'cpu_dma_latency: got 0, allowed -1 here: .*none: No such file.*--device='):
        ros.create(Asking, cpu_dma_latency=0).latency.configure()


LIMITS = {
    f'limits__pusher_{axis}__{quantity}': value
    for axis in 'xy'
    for quantity, value in {'lower': -9.0, 'upper': 9.0, 'velocity': 1.0, 'acceleration': 4.0}.items()
}


@pytest.mark.parametrize(
    ('cls', 'more'), [(ObservationBuffer, {}), (PolicyExecutor, {}), (TrajectoryPublisher, LIMITS)]
)
def test_each_node_of_the_policy_asks_for_them(ros, asked, tiny, cls, more):
    made = ros.create(cls, bundle=tiny, cpu_dma_latency=20, autostart=False, **more)
    assert made.start()
    assert asked() == [20]
    made.trigger_deactivate()
    assert asked() == [20, ANY]
    made.close()
    assert held_open(realtime.LATENCY_FILE) == 0
