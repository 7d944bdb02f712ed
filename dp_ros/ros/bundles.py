"""The bundle that a node is given, and the topics and message types of its streams."""

from __future__ import annotations

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CompressedImage, Image, JointState

from dp_ros.errors import ConfigError
from dp_ros.options import options_of
from dp_ros.paths import locate
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.node_options import BundleOptions
from dp_ros.policy.policy_speed import at_speed
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.task.spec import ImageStream, JointStream, Stream

BUNDLE, POLICY_SPEED = options_of(BundleOptions)


def read_bundle(node: ManagedNode, parameter: str = BUNDLE.name) -> Bundle:
    """Load the bundle that a parameter names, at the node's speed: a path, or a shipped one as models/pusht_mirror."""
    bundle = node.value(parameter)
    if not bundle:
        raise ConfigError(f"{parameter}: got '', allowed the path of a bundle folder")
    return at_speed(load_bundle(locate(bundle)), node.value(POLICY_SPEED.name))


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
