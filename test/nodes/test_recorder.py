from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from dp_ros.errors import ConfigError, DataError
from dp_ros.messages import encoding
from dp_ros.recordings.rosbag.reader import BagReader, BagWriter
from dp_ros.tools.recorder import Recorder
from test.nodes.conftest import Ros

pytestmark = pytest.mark.ros
TOPICS = ('/joint_states', '/note')


@pytest.fixture
def ros() -> Iterator[Ros]:
    """Return ROS with the executor that tools use."""
    session = Ros(lambda context: SingleThreadedExecutor(context=context))
    yield session
    session.close()


def connected(ros: Any, storage: str = 'mcap') -> tuple[Recorder, Any, Any]:
    """Return a recorder of a reliable and a best-effort topic, and their publishers."""
    states = ros.tester.create_publisher(JointState, '/joint_states', 50)
    notes = ros.tester.create_publisher(Header, '/note', qos_profile_sensor_data)
    recorder = Recorder(ros.tester, TOPICS, partial(BagWriter, storage=storage))
    ros.wait(lambda: not recorder.missing(), 'the topics')
    recorder.connect()
    ros.wait(lambda: states.get_subscription_count() and notes.get_subscription_count(), 'the recorder')
    return recorder, states, notes


def send(ros: Any, counts: dict[str, int], states: Any, notes: Any, number: int) -> None:
    for i in range(number):
        states.publish(encoding.to_joint_state(stamp=i, name=['a'], position=[i / 7]))
        notes.publish(Header(frame_id=str(i)))
        ros.wait(lambda i=i: set(counts.values()) == {i + 1}, 'both messages')


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_each_episode_becomes_a_bag_of_what_arrived_meanwhile(ros: Any, tmp_path: Path, storage: str) -> None:
    recorder, states, notes = connected(ros, storage)
    began = time.time_ns()
    for name, number in (('one', 3), ('two', 2)):
        with recorder.episode(tmp_path / name) as counts:
            send(ros, counts, states, notes, number)
            recorder.note(success=number == 3, seed=number)
        with BagReader(tmp_path / name) as bag:
            assert bag.labels == {'success': str(number == 3).lower(), 'seed': str(number)}
            read = list(bag.messages({'/joint_states': [encoding.JOINT_STATE]}))
            assert bag.topics['/note'].count == number
        assert [encoding.stamp_of(m) for _, _, m in read] == list(range(number))
        assert [float(m.position[0]) for _, _, m in read] == [i / 7 for i in range(number)]
        received = [t for _, t, _ in read]
        assert began < received[0] <= received[-1] < time.time_ns()


def test_a_topic_that_sends_nothing_leaves_no_bag(ros: Any, tmp_path: Path) -> None:
    recorder, states, _ = connected(ros)
    words = 'got no message on /note, allowed 1 or more on each'
    with pytest.raises(DataError, match=words), recorder.episode(tmp_path / 'bag') as counts:
        states.publish(encoding.to_joint_state(stamp=1, name=['a'], position=[0.0]))
        ros.wait(lambda: counts['/joint_states'], 'the joint state')
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_episode_leaves_no_bag(ros: Any, tmp_path: Path) -> None:
    recorder, states, notes = connected(ros)
    with pytest.raises(KeyboardInterrupt), recorder.episode(tmp_path / 'bag') as counts:
        send(ros, counts, states, notes, 1)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('latched', [True, False])
def test_the_goal_that_counts_is_written_at_the_start_of_each_episode(ros: Any, tmp_path: Path, latched: bool) -> None:
    kept = QoSDurabilityPolicy.TRANSIENT_LOCAL if latched else QoSDurabilityPolicy.VOLATILE
    goals = ros.tester.create_publisher(Header, '/goal', QoSProfile(depth=1, durability=kept))
    if latched:
        goals.publish(Header(frame_id='before'))
    recorder = Recorder(ros.tester, ['/goal'], BagWriter, goals=['/goal'])
    ros.wait(lambda: not recorder.missing(), 'the topic')
    recorder.connect()
    ros.wait(lambda: goals.get_subscription_count() == 1 + latched, 'the recorder')
    if not latched:
        goals.publish(Header(frame_id='before'))
    ros.wait(lambda: '/goal' in recorder.newest, 'the goal from before')
    began = time.time_ns()
    with recorder.episode(tmp_path / 'one') as counts:
        assert counts == {'/goal': 1}
        goals.publish(Header(frame_id='meanwhile'))
        ros.wait(lambda: counts['/goal'] > 1, 'the goal in the episode')
        ros.spin(0.3)
    with recorder.episode(tmp_path / 'two'):
        pass
    for name, words in (('one', [b'before', b'meanwhile']), ('two', [b'meanwhile'])):
        with BagReader(tmp_path / name) as bag:
            rows = list(bag.raw(['/goal']))
        assert len(rows) == len(words), name
        assert all(word in bytes(row[-1]) and row[1] > began for word, row in zip(words, rows, strict=True))


def test_a_topic_that_nobody_offers_is_refused_with_those_that_exist(ros: Any) -> None:
    recorder = Recorder(ros.tester, ['/camera'], BagWriter)
    assert recorder.missing() == ['/camera']
    with pytest.raises(ConfigError, match=r'nobody offers /camera, allowed .*/diagnostics'):
        recorder.connect()


def test_recording_before_connecting_is_refused(ros: Any, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r'before connect\(\)'),
        Recorder(ros.tester, TOPICS, BagWriter).episode(tmp_path / 'bag'),
    ):
        pass
