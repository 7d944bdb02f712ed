"""Keep the scene up to date by messages, plan ways around, and report what is in the way on `/diagnostics`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.qos import QoSProfile, QoSReliabilityPolicy

from dp_ros.errors import DataError
from dp_ros.messages import encoding
from dp_ros.motion.obstacles import Contact
from dp_ros.motion.planner import Planner
from dp_ros.motion.settings.obstacles import ObstacleOptions
from dp_ros.nodes.trajectory_publisher.obstacles.messages import PACKAGES
from dp_ros.nodes.trajectory_publisher.obstacles.moveit_ways import MoveItWays
from dp_ros.nodes.trajectory_publisher.obstacles.scene_source import SceneSource, decoded
from dp_ros.options import build
from dp_ros.planning.collision import CollisionCheck
from dp_ros.planning.detour import Detour
from dp_ros.planning.rule import keep_clear, let_leave, way_options
from dp_ros.planning.scene import LiveScene, Sighting
from dp_ros.planning.way_process import WayProcess
from dp_ros.robot.model import RobotModel
from dp_ros.ros.diagnostics import ERROR, OK, WARN
from dp_ros.ros.lifecycle import ManagedNode

STATUS = 'obstacles'
LARGEST = 4096
"""Bytes of a pose: more is something else."""


def make_scene_topics(
    node: ManagedNode, planner: Planner, robot: RobotModel | None, home: np.ndarray | None
) -> SceneTopics | None:
    """Make a planner keep clear of the scene that a node's parameters name; None where they name none."""
    options = build(ObstacleOptions, node.values())
    check = keep_clear(planner, options, robot, home=home)
    if check is None:
        return None
    if options.path_planner == 'none':
        return SceneTopics(node, check)
    make = partial(
        Detour, planner, blocked_after=options.blocked_after, others=() if home is None else (home,),
        note=node.get_logger().info,
    )  # fmt: skip
    ways: WayProcess | MoveItWays
    if options.path_planner == 'moveit':
        ways = MoveItWays(node, options, planner.joints, check)
        detour = make(ways)
    else:
        ways = WayProcess(way_options(check, planner, options, home), check.scene)
        detour = make(ways, threat=let_leave(planner, check, options), retreats=ways)
    return SceneTopics(node, check, detour, ways)


class SceneTopics:
    """Listen to what moves around a robot while its node is active.

    Parameters
    ----------
    node
        Whose subscriptions these are.
    check
        Whose scene is kept up to date.
    detour, ways
        What decides on ways around, and what plans them; None where nobody does.

    """

    def __init__(
        self,
        node: ManagedNode,
        check: CollisionCheck,
        detour: Detour | None = None,
        ways: WayProcess | MoveItWays | None = None,
    ) -> None:
        self._node, self.check, self.detour, self._ways = node, check, detour, ways
        self._scene: LiveScene = check.scene
        self._sources = [SceneSource(node, name, self._scene) for name in PACKAGES if node.value(name)]
        self._subscriptions: list[Any] = []

    def open(self) -> None:
        """Listen; what was seen before is forgotten."""
        self._scene.forget()
        if self.detour is not None:
            self.detour.forget()
        newest = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        inputs: Sequence[tuple[type, str, Callable[[bytes], None]]] = [
            (PoseStamped, part.topic, partial(self._on_pose, name)) for name, part in self._scene.moving.items()
        ]
        self._subscriptions = [self._node.create_subscription(*each, newest, raw=True) for each in inputs]
        for source in self._sources:
            source.open()

    def close(self) -> None:
        """End what plans ways."""
        if self._ways is not None:
            self._ways.close()

    def deactivate(self) -> None:
        """Listen no more."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        for source in self._sources:
            source.close()
        self._node.diagnostics.forget(STATUS)

    def report(self, blocked: Contact | None, now: int) -> None:
        """Report whether the scene is known, and what is in the way."""
        for source in self._sources:
            source.look()
        fault = self.check.fault(now)
        values: dict[str, object] = {'standing': len(self._scene.standing), 'moving': len(self._scene.moving)}
        if self.detour is not None:
            counts = {'ways_followed': self.detour.planned, 'retreats_followed': self.detour.retreated}
            values |= {**counts, 'ways_failed': self.detour.failed}
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
        try:
            pose = decoded(PoseStamped, message, LARGEST)
        except DataError as error:
            self._scene.wrong(name, f'{error}, allowed a PoseStamped')
            return
        place, turn = pose.pose.position, pose.pose.orientation
        sighting = Sighting(
            stamp=encoding.stamp_of(pose) or self._node.now(),
            position=(place.x, place.y, place.z),
            orientation=(turn.x, turn.y, turn.z, turn.w),
        )
        self._scene.see(name, pose.header.frame_id, sighting)
