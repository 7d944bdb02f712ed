"""The monitor against messages that are wrong in one way each, and the summary of what it saw."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from sensor_msgs.msg import JointState

from dp_ros.evaluation.scores import EpisodeResult, summarize
from dp_ros.messages import encoding
from dp_ros.messages.status import ChunkReport, Episode, Status
from dp_ros.motion.trajectory import Trajectory
from dp_ros.tools import soak
from dp_ros.tools.command_monitor import CommandMonitor

SECOND = 1_000_000_000
LIMITS = {joint: {'lower': -1.0, 'upper': 1.0, 'velocity': 1.0, 'acceleration': 4.0} for joint in 'ab'}


class Graph:
    """Stands in for the running graph, of which the monitor takes messages by their type."""

    def __init__(self):
        self.node = self
        self._receivers = {}

    def create_subscription(self, kind, topic, receive, qos):
        self._receivers[kind] = receive

    def subscribe(self, kind, topic, receive):
        self._receivers[kind] = receive

    def send(self, message):
        self._receivers[type(message)](message)


@pytest.fixture
def graph():
    return Graph()


@pytest.fixture
def monitor(graph):
    action = SimpleNamespace(joints=('a', 'b'), topic='/arm_controller/joint_trajectory')
    return CommandMonitor(graph, SimpleNamespace(task=SimpleNamespace(action=action)), LIMITS)


def command(end=0.5, seconds=2.0, joints=('b', 'a')):
    """From 0 to ``end`` by joint a, at rest before and after: at most 1.5 end / T fast, with 6 end / T^2."""
    return encoding.to_joint_trajectory(
        Trajectory(
            stamp=SECOND,
            joints=joints,
            times=np.array([0, int(seconds * SECOND)]),
            positions=np.array([[0.0, 0.0], [0.0, end]]),
            velocities=np.zeros((2, 2)),
        )
    )


def chunk(latency, cost, late=False):
    return ChunkReport(observation=1, received=2, published=7, latency=latency / 1e3, cost=cost / 1e3, late=late)


def test_what_is_within_the_limits_is_no_excess(graph, monitor):
    graph.send(command())
    graph.send(JointState(name=['a', 'b'], position=[0.99, -1.01]))
    assert (monitor.trajectories, monitor.excess_count) == (1, 0)
    assert monitor.worst['velocity'] == pytest.approx(0.375, rel=1e-3)
    assert monitor.worst['acceleration'] == pytest.approx(0.75 / 4.0, rel=1e-2)


@pytest.mark.parametrize(
    ('sent', 'found'),
    [
        (command(end=1.2, seconds=3.0), 'sent a: position above'),
        (command(end=-1.2, seconds=3.0), 'sent a: position below'),
        (command(end=0.9, seconds=1.3), 'sent a: velocity'),
        (command(end=0.5, seconds=0.8), 'sent a: acceleration'),
    ],
)
def test_what_is_outside_is_named(graph, monitor, sent, found):
    graph.send(sent)
    assert monitor.excess_count == 1
    assert monitor.excesses[0].startswith(found)


def test_joints_that_are_measured_outside_are_named(graph, monitor):
    graph.send(JointState(name=['gripper'], position=[7.0]))
    assert monitor.excess_count == 0
    graph.send(JointState(name=['b', 'a'], position=[0.0, 1.5]))
    assert monitor.excesses == ['measured a: position 1.5']


def test_the_summary_tells_all_of_it(graph, monitor, tmp_path):
    for report in (chunk(20, 1.5), chunk(40, 2.5), chunk(130, 1.5, late=True)):
        graph.send(report)
    graph.send(ChunkReport(observation=1, received=2, refused='too old'))
    for stamp in (1, 2):  # repeated once a second
        graph.send(Status(state='holding', reason='no chunk', cause='observation', stamp=stamp))
    graph.send(Episode(seed=1, elapsed=1.0, score=0.0, success=False, rejected=2))
    graph.send(command(end=1.2, seconds=3.0))
    monitor.minute.memory_mb = {'policy_executor': 130.0}
    result = EpisodeResult(
        seed=1, score=1.0, success=True, seconds=5.0, chunks=3, deadline_misses=1, latency=(0.02, 0.04, 0.13)
    )
    summary = summarize([result], bundle='tiny', world='pusht') | soak.account(monitor, [monitor.minute.plain()])
    summary |= {'minutes': 1.0, 'ended_early': 'the executor died'}
    text = soak.table(summary)
    for part in ('refused 1 chunks', 'limit violations  1 in 1', 'rejected 2', 'publisher         p50 1.5', 'died'):
        assert part in text, text
    assert summary['stop_reasons'] == ['no chunk'] and summary['safety_states'] == {'holding (observation)': 1}
    assert [late['latency'] for late in summary['late_chunks']] == ['0.13']
    soak.plot_soak(summary, tmp_path / 'soak.png')
    assert (tmp_path / 'soak.png').stat().st_size > 10_000


def test_growth_is_from_the_fifth_minute_on():
    rows = [{'memory_mb': {'a': 100.0 + i}} for i in range(9)]
    assert soak.growth(rows) == {'a': 3.0}
    assert soak.growth(rows[:6]) == {}
