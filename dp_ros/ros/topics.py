"""TODO."""

from __future__ import annotations

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CompressedImage, Image, JointState

from dp_ros.task.spec import ImageStream, JointStream, Stream


def below_namespace(topic: str) -> str:
    """Return a bundle's topic as a relative one, so that a robot in a namespace finds its own."""
    return topic.lstrip('/')


def message_type(stream: Stream) -> type:
    """Return the ROS message type that a stream arrives in."""
    if isinstance(stream, ImageStream):
        return CompressedImage if stream.compressed else Image
    return JointState if isinstance(stream, JointStream) else PoseStamped


def aligned_type(stream: Stream) -> type:
    """Return the ROS message type of a stream's aligned observations; images come decoded."""
    return Image if isinstance(stream, ImageStream) else message_type(stream)
