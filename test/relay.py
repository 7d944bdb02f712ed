"""Between the robot's topics and the policy's: passes sensor messages on, and injects faults on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import Image, JointState

SECOND = 1_000_000_000
ROBOT_TOPICS = {'joint_states': 'robot/joints', 'pose': 'robot/pose', 'image': 'robot/image'}
POLICY_TOPICS = {'joint_states': 'joint_states', 'pose': 'block_pose', 'image': 'camera/color/image_raw'}
TYPES = {'joint_states': JointState, 'pose': PoseStamped, 'image': Image}


@dataclass
class Fault:
    """What is done to the messages of one stream; as it stands, nothing."""

    gone: bool = False
    dropped: float = 0.0  # the share that is lost
    offset: int = 0  # added to stamps [ns]
    frozen: bool = False  # the last content again and again, with the stamps of the new messages
    change: Callable[[Any], None] | None = None


@dataclass
class _Stream:
    publisher: Any
    fault: Fault = field(default_factory=Fault)
    last: Any = None


class Relay:
    """The relay, with one :class:`Fault` a stream. Pictures get noise, as those of any real camera have."""

    def __init__(self, node: Node) -> None:
        self._rng = np.random.default_rng(0)
        self._streams = {}
        for kind, topic in POLICY_TOPICS.items():
            self._streams[kind] = _Stream(node.create_publisher(TYPES[kind], topic, QoSProfile(depth=5)))
            node.create_subscription(TYPES[kind], ROBOT_TOPICS[kind], self._receiver(kind), QoSProfile(depth=5))

    def inject(self, kind: str, **fault: Any) -> None:
        """Have a fault on a stream from now on, in place of any other; without one, it is well again."""
        self._streams[kind].fault = Fault(**fault)

    def heal(self) -> None:
        """Have no fault on any stream."""
        for kind in self._streams:
            self.inject(kind)

    def _receiver(self, kind: str) -> Callable[[Any], None]:
        return lambda message: self._pass_on(kind, self._streams[kind], message)

    def _pass_on(self, kind: str, stream: _Stream, message: Any) -> None:
        fault = stream.fault
        if kind == 'image' and not fault.frozen:
            pixels = np.frombuffer(message.data, dtype=np.uint8)
            noise = self._rng.integers(-3, 4, pixels.shape)
            message.data = np.clip(pixels + noise, 0, 255).astype(np.uint8).tobytes()
        if fault.gone or self._rng.random() < fault.dropped:
            return
        header = message.header
        if fault.frozen and stream.last is not None:
            message = stream.last
            message.header = header
        stream.last = message
        if fault.offset:
            stamp = header.stamp.sec * SECOND + header.stamp.nanosec + fault.offset
            message.header.stamp = Time(nanoseconds=max(stamp, 1)).to_msg()
        if fault.change is not None:
            fault.change(message)
        stream.publisher.publish(message)
