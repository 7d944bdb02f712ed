"""The goal topics of a node: what the policy is asked to reach, as it was last asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from dp_ros.config import GoalPose, Instruction, TaskSpec
from dp_ros.data import Goal
from dp_ros.errors import DataError
from dp_ros.goals import GoalSpec
from dp_ros.messages import decode
from dp_ros.nodes.lifecycle import WARN_PERIOD, ManagedNode
from dp_ros.nodes.observation_buffer import below_namespace
from dp_ros.policy.goals import missing_goals

_DURABILITIES = (QoSDurabilityPolicy.VOLATILE, QoSDurabilityPolicy.TRANSIENT_LOCAL)


class GoalInbox:
    """Keeps the newest goal of each topic, however old; one that cannot be read is refused, and the last one stays.

    Attributes
    ----------
    goal
        What is asked for; swapped whole, so that a thread may read it.
    refused
        How many messages were refused.

    """

    def __init__(self, node: ManagedNode, task: TaskSpec) -> None:
        self.goal = Goal()
        self.refused = 0
        self._node, self._task = node, task
        # A latched goal is only sent to who asks for it, and one that is not latched only to who does not.
        self._inputs = [
            node.create_subscription(_type_of(spec), below_namespace(spec.topic), self._receiver(spec), _qos(kept))
            for spec in task.goals
            for kept in _DURABILITIES
        ]

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._inputs:
            self._node.destroy_subscription(subscription)
        self._inputs = []

    def missing(self) -> str:
        """Return which goals never came, with topics and types, or ''."""
        wanted = {spec.name: spec for spec in self._task.goals}
        return '; '.join(
            f'no goal: {name} never came on {self._topic(wanted[name])} ({_type_name(wanted[name])})'
            for name in missing_goals(self._task, self.goal)
        )

    def values(self) -> Mapping[str, object]:
        """Return what diagnostics say of goals; nothing for a policy that has none."""
        if not self._task.goals:
            return {}
        words = {'instruction': self.goal.instruction} if self.goal.instruction else {}
        return {**words, 'refused_goals': self.refused}

    def _topic(self, spec: GoalSpec) -> str:
        return str(self._node.resolve_topic_name(below_namespace(spec.topic)))

    def _receiver(self, spec: GoalSpec) -> Callable[[Any], None]:
        return lambda message: self._receive(spec, message)

    def _receive(self, spec: GoalSpec, message: Any) -> None:
        streams, instruction = self.goal.streams, self.goal.instruction
        try:
            if isinstance(spec, Instruction):
                instruction = ' '.join(message.data.split())
                if not instruction:
                    raise DataError("instruction: got '', allowed words")
            else:
                streams = {**streams, spec.name: decode(spec.as_stream, message)}
        except DataError as error:
            self.refused += 1
            text = f'{self._topic(spec)}: {error}; the goal is left as it was'
            self._node.get_logger().error(text, throttle_duration_sec=WARN_PERIOD)
            return
        self.goal = Goal(streams=streams, instruction=instruction)


def _qos(durability: QoSDurabilityPolicy) -> QoSProfile:
    return QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE, durability=durability)


def _type_of(spec: GoalSpec) -> type:
    if isinstance(spec, Instruction):
        return String
    if isinstance(spec, GoalPose):
        return PoseStamped
    return CompressedImage if spec.compressed else Image


def _type_name(spec: GoalSpec) -> str:
    kind = _type_of(spec)
    return f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'
