"""Real-time priority: for all threads of the process, or refused with what is permitted."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.parameter import Parameter

from dp_ros.errors import ConfigError
from dp_ros.nodes import realtime
from dp_ros.nodes.intra_process import Exchange
from dp_ros.nodes.lifecycle import ManagedNode
from dp_ros.nodes.realtime import REALTIME_PRIORITY, take_priority

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


def test_nodes_of_one_process_must_agree(ros, scheduled):
    exchange = Exchange()
    take_priority(node(ros, 'one', 7, exchange=exchange))
    with pytest.raises(ConfigError, match='realtime_priority in one process: got 0 of /two and 7 of /one'):
        take_priority(node(ros, 'two', 0, exchange=exchange))
