"""The robot's URDF, from a file or from the topic on which robot_state_publisher latches it."""

from __future__ import annotations

from std_msgs.msg import String

from dp_ros.errors import ConfigError
from dp_ros.paths import locate
from dp_ros.robot.model import RobotModel
from dp_ros.robot.urdf import parse_urdf, read_urdf
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.parameters import Param
from dp_ros.ros.queries import latched

PARAMETERS = [
    Param(
        name='urdf_file', default='',
        description='A URDF for limits, continuous joints and the workspace; instead of topics.robot_description.',
    ),
    Param(
        name='topics.robot_description', default='',
        description='The URDF is latched here (std_msgs/String, mostly robot_description). Empty: none is read.',
    ),
    Param(
        name='robot_description_timeout', default=5.0, low=0.1, high=60.0,
        description='Longest wait for topics.robot_description [s]; configure fails without it.',
    ),
]  # fmt: skip


def read_robot(node: ManagedNode) -> RobotModel | None:
    """Return the robot that a node's parameters name, or None if they name none. May wait; for `configure` alone."""
    file, topic = node.value('urdf_file'), node.value('topics.robot_description')
    if file and topic:
        raise ConfigError(f'urdf_file: got {file!r} and topics.robot_description {topic!r}, allowed one or the other')
    if file:
        return read_urdf(locate(file))
    if not topic:
        return None
    seconds = node.value('robot_description_timeout')
    message = latched(node, topic, String, seconds)
    name = node.resolve_topic_name(topic)
    if message is None:
        raise ConfigError(f'{name}: got no robot description in {seconds:.1f} s, allowed one latched there')
    return parse_urdf(message.data, name)
