"""PolicyClient against real nodes in processes of their own, as `ros2 launch` starts them, in a namespace."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from std_msgs.msg import String

from dp_ros.errors import ConfigError, DataError
from dp_ros.messages.status import ChunkReport, Episode
from dp_ros.paths import share_folder
from dp_ros.tools.client import KEPT, ClientError, PolicyClient
from dp_ros.tools.node_processes import PUBLISHER, ROBOT, NodeProcesses, NodeSpec

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.usefixtures('own_domain')]

NAMESPACE = '/left'


@pytest.fixture
def nodes(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[NodeProcesses]:
    """Start the policy's nodes with a shipped bundle, unconfigured, in a namespace, and the robot."""
    bundle = share_folder() / 'models' / getattr(request, 'param', 'pusht_mirror')
    shared = {'autostart': False, 'bundle': bundle}
    specs = [
        NodeSpec(name=ROBOT, parameters={'camera': False}),
        NodeSpec(name='observation_buffer', parameters=shared),
        NodeSpec(name='policy_executor', parameters=shared),
        NodeSpec(name=PUBLISHER, parameters=shared),
    ]
    with NodeProcesses(specs, share_folder() / 'config' / 'pusht.yaml', tmp_path, namespace=NAMESPACE) as processes:
        yield processes


def test_a_robot_in_a_namespace_is_configured_started_held_reset_and_stopped(nodes):
    with PolicyClient(namespace=NAMESPACE) as client:
        chunks: list[ChunkReport] = []
        episodes: list[Episode] = []
        client.subscribe(ChunkReport, f'{PUBLISHER}/ledger', chunks.append)
        client.subscribe(Episode, f'{ROBOT}/episode', episodes.append)
        client.configure()
        assert client.status().state == 'inactive'
        client.start()
        client.start()  # changes nothing
        running = client.wait('running')
        assert not running.latched and running.reason == ''
        assert running.observation is not None and running.observation < running.stamp

        def sent() -> list[ChunkReport]:
            return [c for c in chunks if c.published is not None and c.policy]

        client.wait_until(lambda: sent() and episodes, 'a chunk that was sent, and an episode')
        chunk = sent()[-1]
        assert chunk.policy == 'pusht_mirror' and chunk.latency is not None
        assert 0.0 < chunk.latency < 10.0 and episodes[-1].rejected == 0

        assert 'stopped until ~/reset is called' in client.hold()
        latched = client.wait('latched')
        assert latched.latched and latched.cause == 'operator' and latched.reason == '~/hold was called'
        assert latched.published >= 1 and latched.rests_at is not None
        with pytest.raises(ClientError, match=r'state: got latched \(~/hold was called\) after 0.1 s, allowed running'):
            client.wait('running', timeout=0.1)

        assert client.reset() == 'reset after: ~/hold was called'
        client.wait('running')
        client.stop()
        client.stop()
        client.wait('inactive')
        with PolicyClient(namespace=NAMESPACE) as late:  # the last status is kept for whoever joins
            assert late.status().state == 'inactive'

        nodes.kill(PUBLISHER)
        end = time.monotonic() + 3.5
        client.wait_until(lambda: time.monotonic() > end, 'the status to be old', timeout=10.0)
        client.timeout = 0.5
        with pytest.raises(ClientError, match='/left/trajectory_publisher/status: got no status, allowed one a second'):
            client.status()


@pytest.mark.parametrize('nodes', ['pusht_goal'], indirect=True)
def test_goals_go_to_the_topic_of_their_type(nodes):
    with PolicyClient(namespace=NAMESPACE) as client:
        client.configure()
        client.timeout = 1.0
        for goal, kind in (('left', 'std_msgs/msg/String'), (np.zeros((4, 4, 3), np.uint8), 'sensor_msgs/msg/Image')):
            with pytest.raises(ClientError, match=f'goal: got {kind}, allowed what a configured policy_executor'):
                client.set_goal(goal)
        with pytest.raises(ClientError, match=r'picture \(4, 4\) of float64, allowed \(H, W, 3\) of uint8'):
            client.set_goal(np.zeros((4, 4)))
        client.timeout = 30.0
        client.start()
        assert client.wait('waiting').chunks == 0  # a policy without its goal predicts nothing
        pose = PoseStamped()
        pose.pose.position.x, pose.pose.position.y, pose.pose.orientation.w = 0.256, 0.256, 1.0
        client.set_goal(pose)
        client.wait('running')


def test_words_and_pictures_arrive_on_the_topics_that_are_named(ros):
    words = ros.listen(String, '/instruction')
    with PolicyClient() as client:
        client.set_goal('push the block', topic='/instruction')
        ros.wait(lambda: words, 'the words')
        assert [message.data for message in words] == ['push the block']


def test_nodes_that_are_missing_are_named_in_time():
    began = time.monotonic()
    with PolicyClient(namespace='/nowhere', timeout=0.5) as client:
        with pytest.raises(ClientError, match='/nowhere/observation_buffer/get_state: got no such service'):
            client.start()
        with pytest.raises(ClientError, match='/nowhere/trajectory_publisher/hold: got no such service'):
            client.hold()
        with pytest.raises(ClientError, match='/nowhere/trajectory_publisher/status: got no status'):
            client.status()
        with pytest.raises(ConfigError, match="state: got 'hold', allowed inactive, waiting, running"):
            client.wait('hold')
    assert time.monotonic() - began < 10.0


def test_a_status_with_other_keys_is_an_error_that_names_them(ros):
    publisher = ros.tester.create_publisher(DiagnosticStatus, f'/{PUBLISHER}/status', KEPT)
    with PolicyClient(timeout=5.0) as client, pytest.raises(DataError, match='Status: got keys rung, allowed cause'):
        ros.wait(publisher.get_subscription_count, 'the client')
        publisher.publish(DiagnosticStatus(values=[KeyValue(key='rung', value='hold')]))
        client.status()
