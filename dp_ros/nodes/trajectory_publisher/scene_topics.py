"""Keep the scene up to date by messages, and report what is in the way on `/diagnostics`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message

from dp_ros.messages import encoding
from dp_ros.motion.obstacles import Contact
from dp_ros.planning.clearance import ClearanceCheck
from dp_ros.planning.scene import LiveScene, Sighting
from dp_ros.ros.diagnostics import ERROR, OK, WARN
from dp_ros.ros.lifecycle import ManagedNode

STATUS = 'obstacles'
LARGEST = 4096
"""Bytes of a pose: more is something else."""


class SceneTopics:
    """Listen to what moves around a robot while its node is active.

    Parameters
    ----------
    node
        Whose subscriptions these are.
    check
        Whose scene is kept up to date.

    """

    def __init__(self, node: ManagedNode, check: ClearanceCheck) -> None:
        self._node, self.check = node, check
        self._scene: LiveScene = check.scene
        self._subscriptions: list[Any] = []

    def open(self) -> None:
        """Listen; what was seen before is forgotten."""
        self._scene.forget()
        newest = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        inputs: Sequence[tuple[type, str, Callable[[bytes], None]]] = [
            (PoseStamped, part.topic, partial(self._on_pose, name)) for name, part in self._scene.moving.items()
        ]
        self._subscriptions = [self._node.create_subscription(*each, newest, raw=True) for each in inputs]

    def close(self) -> None:
        """Listen no more."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        self._node.diagnostics.forget(STATUS)

    def report(self, blocked: Contact | None, now: int) -> None:
        """Report whether the scene is known, and what is in the way."""
        fault = self.check.fault(now)
        values: dict[str, object] = {'standing': len(self._scene.standing), 'moving': len(self._scene.moving)}
        if blocked is not None:
            values |= {
                'link': blocked.link,
                'obstacle': blocked.obstacle,
                'distance_m': f'{blocked.distance:.4f}',
                'allowed_m': f'{blocked.allowed:.4f}',
            }
        if fault:
            self._node.diagnostics.report(STATUS, ERROR, fault, values)
        elif blocked is not None:
            self._node.diagnostics.report(STATUS, WARN, f'blocked: {blocked}', values)
        else:
            self._node.diagnostics.report(STATUS, OK, 'clear', values)

    def _on_pose(self, name: str, message: bytes) -> None:
        if len(message) > LARGEST:
            self._scene.wrong(name, f'got a message of {len(message)} bytes, allowed up to {LARGEST}')
            return
        try:
            pose = deserialize_message(message, PoseStamped)
        except Exception as error:  # whatever the type support raises over foreign bytes
            self._scene.wrong(name, f'got a message that cannot be decoded, allowed a PoseStamped ({error})')
            return
        place, turn = pose.pose.position, pose.pose.orientation
        sighting = Sighting(
            stamp=encoding.stamp_of(pose) or self._node.now(),
            position=(place.x, place.y, place.z),
            orientation=(turn.x, turn.y, turn.z, turn.w),
        )
        self._scene.see(name, pose.header.frame_id, sighting)
