from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('rosbags', reason='rosbags is not installed (extra: record)')

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from dp_ros.messages import encoding
from dp_ros.messages.status import State, Status, encode
from dp_ros.recordings.rosbag.reader import BagReader
from dp_ros.tools import black_box
from dp_ros.tools.black_box import BlackBox, RecentMessages, recordings
from dp_ros.tools.recorder import LATCHED

pytestmark = pytest.mark.ros

S = 1_000_000_000
COMMAND = '/arm_controller/joint_trajectory'


def test_what_is_older_than_its_time_is_dropped_but_for_the_newest_of_latched_topics():
    recent = RecentMessages(10 * S, 1000)
    recent.add('/description', 1 * S, b'urdf', latched=True)
    for second in range(1, 31):
        recent.add('/joints', second * S, bytes([second]))
    recent.add('/late', 30 * S, b'x')
    assert recent.listed()[0] == (1 * S, '/description', b'urdf')
    assert [(at, data) for at, topic, data in recent.listed() if topic == '/joints'] == [
        (second * S, bytes([second])) for second in range(20, 31)
    ]
    assert not recent.left_out


def test_beyond_the_memory_pictures_go_first():
    recent = RecentMessages(60 * S, 1000)
    for second in range(30):
        recent.add('/joints', second * S, bytes(10))
        recent.add('/camera', second * S, bytes(100))
    found = [topic for _, topic, _ in recent.listed()]
    assert found.count('/joints') == 30 and found.count('/camera') == 7
    assert recent.left_out == {'/camera': 23}


class Publisher:
    """A node of that name, which says that it is in a state, and sends what it is told to."""

    def __init__(self, ros: Any) -> None:
        self.node = ros.add(Node('trajectory_publisher', context=ros.context))
        self.status = self.node.create_publisher(DiagnosticStatus, '~/status', LATCHED)
        self.commands = self.node.create_publisher(JointTrajectory, COMMAND, 10)
        self.node.create_subscription(JointState, '/joint_states', lambda _: None, 10)
        self.joints = ros.tester.create_publisher(JointState, '/joint_states', 10)
        ros.wait(self.joints.get_subscription_count, 'the subscription')

    def say(self, state: State, cause: str = '') -> None:
        status = Status(state=state, latched=state == 'latched', cause=cause, stamp=1)
        values = [KeyValue(key=key, value=value) for key, value in encode(status).items()]
        self.status.publish(DiagnosticStatus(values=values))


@pytest.fixture
def publisher(ros: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr(black_box, 'AFTERWARDS', S // 10)
    monkeypatch.setattr(black_box, 'GONE', S // 2)
    made = Publisher(ros)
    box = ros.create(BlackBox, folder=str(tmp_path / 'boxes'), keep=1)
    assert box.start()
    for topic in (made.commands, made.status):
        ros.wait(topic.get_subscription_count, 'the black box to listen')
    ros.wait(lambda: made.joints.get_subscription_count() == 2, 'the black box to listen to joint states')
    return made


def test_when_the_publisher_latches_what_came_and_went_is_written_once(ros, publisher, tmp_path):
    publisher.say('running')
    joints = encoding.to_joint_state(stamp=5, name=['a'], position=[0.5])
    publisher.joints.publish(joints)
    publisher.commands.publish(JointTrajectory(joint_names=['a']))
    publisher.say('latched', 'operator')
    (written,) = ros.wait(lambda: recordings(tmp_path / 'boxes'), 'the recording')
    assert written.name.endswith('_operator')
    with BagReader(written) as bag:
        messages = {topic: data for topic, _, _, data in bag.raw(bag.topics)}
    assert {'/joint_states', COMMAND, '/trajectory_publisher/status'} <= messages.keys()
    assert deserialize_message(messages['/joint_states'], JointState) == joints
    publisher.say('latched', 'operator')
    ros.spin(1.5)
    assert recordings(tmp_path / 'boxes') == [written]
    ros.status('black_box: recordings', DiagnosticStatus.OK)


def test_a_publisher_that_is_gone_without_an_end_is_a_reason_too_and_old_recordings_go(ros, publisher, tmp_path):
    old = tmp_path / 'boxes' / '20200101T000000_operator'
    other = tmp_path / 'boxes' / 'mine'
    old.mkdir()
    other.mkdir()
    publisher.say('running')
    ros.wait(lambda: [p for p in recordings(tmp_path / 'boxes') if p.name.endswith('_gone')], 'the recording')
    ros.wait(lambda: not old.exists(), 'the old recording to go')
    assert other.exists()


def test_one_that_was_deactivated_is_no_reason(ros, publisher, tmp_path):
    publisher.say('running')
    publisher.say('inactive')
    ros.spin(2.5)
    assert recordings(tmp_path / 'boxes') == []


def test_a_folder_that_cannot_be_made_is_refused(ros, tmp_path):
    (tmp_path / 'file').write_text('')
    assert not ros.create(BlackBox, folder=str(tmp_path / 'file' / 'boxes')).start()
    ros.status('lifecycle', DiagnosticStatus.ERROR, 'folder: got')
