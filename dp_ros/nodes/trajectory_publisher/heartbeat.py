"""Signs of life: the one that this node gives, and the one that it may need to be permitted to move."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from std_msgs.msg import Bool

from dp_ros.motion.safety.safety_states import Cause, Reason
from dp_ros.ros.lifecycle import ManagedNode, reliable


class Heartbeat:
    """Send ``~/heartbeat``: a DiagnosticStatus whose message is the safety state."""

    def __init__(self, node: ManagedNode) -> None:
        self._node = node
        self._publisher: Any = node.create_lifecycle_publisher(DiagnosticStatus, '~/heartbeat', reliable(1))
        self._name = f'{node.get_fully_qualified_name().lstrip("/")}: heartbeat'

    def beat(self, level: bytes, text: str) -> None:
        """Send one."""
        self._publisher.publish(DiagnosticStatus(level=level, name=self._name, message=text))

    def close(self) -> None:
        """Remove the publisher."""
        self._node.destroy_lifecycle_publisher(self._publisher)


class Permission:
    """Motion is permitted while someone says so often enough. Times are steady time [ns]: no clock can be set to it.

    Parameters
    ----------
    node
        The node that moves.
    topic
        Where std_msgs/Bool comes from.
    timeout
        Longest time between two [ns]; 0 permits always.

    Attributes
    ----------
    said
        When the newest message came [ns] and whether it permits motion; None before the first.

    """

    def __init__(self, node: ManagedNode, topic: str, timeout: int) -> None:
        self._node = node
        self.topic = str(node.resolve_topic_name(topic))
        self._timeout = timeout
        self._subscription: Any = None
        self.said: tuple[int, bool] | None = None

    def open(self) -> None:
        """Listen, if permission is needed; what was said before does not count."""
        self.said = None
        if self._timeout:
            # Best effort takes it from any publisher, and an old permission is not worth repeating.
            newest = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
            self._subscription = self._node.create_subscription(Bool, self.topic, self._on_said, newest)

    def close(self) -> None:
        """Stop listening."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription = None

    def _on_said(self, message: Bool) -> None:
        self.said = (self._node.steady(), message.data)

    def fault(self) -> Reason | None:
        """Return why motion is not permitted now."""
        if not self._timeout:
            return None
        if self.said is None:
            got = 'nothing yet'
        elif not self.said[1]:
            got = 'false'
        elif self._node.steady() - self.said[0] > self._timeout:
            got = f'nothing for {(self._node.steady() - self.said[0]) / 1e9:.3f} s'
        else:
            return None
        text = f'{self.topic}: got {got}, allowed true every {self._timeout / 1e9:.3f} s'
        return Reason(cause=Cause.ENABLE, text=text)
