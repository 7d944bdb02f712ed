"""Each fault, injected while the robot moves: no limit is exceeded, it rests or is under control after, and says why.

One graph serves all that leave it whole, one after the other, since starting it takes longer than a fault.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.qos import QoSProfile
from trajectory_msgs.msg import JointTrajectory

from dp_ros.tools.node_processes import POLICY_NODES

BUFFER, EXECUTOR, PUBLISHER = POLICY_NODES
MS = 1_000_000
SECOND = 1_000 * MS

pytestmark = [pytest.mark.ros, pytest.mark.slow]


@pytest.fixture(scope='module')
def shared(start_graph):
    return start_graph()


@pytest.fixture
def graph(shared):
    """The shared graph with its robot in motion, judged from here on."""
    shared.recover()
    shared.mark()
    return shared


def test_camera_frozen(graph):
    with graph.fault('image', frozen=True):
        graph.wait_for('camera: frozen: one picture for')
        graph.rest()
    graph.judge()


def test_camera_gone(graph):
    with graph.fault('image', gone=True):
        graph.wait_for('camera: newest message is')
        graph.rest()
    graph.judge()


@pytest.mark.parametrize('seconds', [0.3, 1.0, 5.0])
def test_joint_states_gone(graph, seconds):
    with graph.fault('joint_states', gone=True):
        graph.watch.run(seconds)
        if seconds > 2.0:
            graph.rest()
    graph.wait_for('joint_states: newest message is')
    graph.judge()


def test_a_third_of_the_frames_dropped(graph):
    with graph.fault('image', dropped=0.3):
        graph.watch.run(4.0)
    camera = [values for name, _, _, values in graph.since('said') if name.endswith('stream camera')]
    assert max(float(values['gap_ms_max']) for values in camera) > 150.0
    graph.judge()


def test_stamps_that_jump_back_and_forward(graph):
    for offset in (-500 * MS, 500 * MS, -5 * SECOND, 5 * SECOND):
        with graph.fault('joint_states', offset=offset):
            graph.watch.run(0.5)
        graph.watch.run(0.3)
    graph.wait_for('the last to come was dropped, stamped')
    graph.judge()


def test_a_network_that_gives_nan(graph, off_the_table):
    with graph.fault('pose', change=off_the_table):
        graph.wait_for('got nan')
        graph.rest()
    graph.judge()


def test_inference_stalled_for_two_seconds(graph):
    graph.stall(EXECUTOR, 2.0)
    graph.wait_for('no chunk for')
    graph.judge()


def test_executor_killed_and_restarted(graph):
    graph.processes.kill(EXECUTOR)
    graph.rest()
    graph.wait_for('no chunk for')
    graph.judge()
    graph.processes.start(EXECUTOR)
    graph.recover()
    graph.judge()


def test_controller_restarted(graph):
    graph.restart_controller()
    graph.judge()


def test_two_publishers_on_one_command_topic(graph):
    with another_publisher(graph.command_topic):
        graph.wait_for('publisher')
        graph.rest()
        graph.judge()


@contextmanager
def another_publisher(topic: str) -> Iterator[None]:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('another', context=context)
    node.create_publisher(JointTrajectory, topic, QoSProfile(depth=1))
    yield
    node.destroy_node()
    context.try_shutdown()


def test_bundle_swapped_under_a_running_node(graph, other_bundle):
    files = {path.name: path.read_bytes() for path in graph.bundle.iterdir()}
    try:
        shutil.copytree(other_bundle, graph.bundle, dirs_exist_ok=True)
        graph.watch.run(1.5)
        graph.judge()
        refused = [text for _, level, text, _ in graph.since('said') if level > 0 and 'refused' in text]
        assert refused == [], 'what is loaded does not change'
        # The new bundle moves other joints, so its chunks must not reach the robot.
        graph.watch.transition(EXECUTOR, 'deactivate', 'cleanup', 'configure', 'activate')
        graph.wait_for('elbow')
        graph.rest()
        graph.judge()
    finally:
        for name, content in files.items():
            (graph.bundle / name).write_bytes(content)
        graph.watch.transition(EXECUTOR, 'deactivate', 'cleanup', 'configure', 'activate')


WILD = (math.nan, math.inf, -math.inf, -1.0, 0.0, 1e300, 2**62, -(2**62), 0, 1, True, False, '', 'nowhere', ['x'])


def test_parameters_set_wildly_while_moving(graph):
    before = {node: graph.watch.parameters(node) for node in POLICY_NODES}
    refused = 0
    for value in WILD:
        for node in POLICY_NODES:
            refused += len(graph.watch.set(node, **dict.fromkeys(before[node], value)))
        graph.watch.run(0.2)
    assert refused > 10 * sum(map(len, before.values()))
    graph.judge()
    for node in POLICY_NODES:
        graph.watch.set(node, **{name: value for name, value in before[node].items() if value is not None})
        assert repr(graph.watch.parameters(node)) == repr(before[node])
