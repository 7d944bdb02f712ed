"""The goal topics of a node: what the policy is asked to reach, as it was last asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from std_msgs.msg import String

from dp_ros.data import Goal
from dp_ros.errors import DataError, listed
from dp_ros.messages.encoding import decode, type_of
from dp_ros.messages.images import RECORDED, check_size
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.goal_inputs import check_goal_pose, missing_goals
from dp_ros.policy.language import meaning_of
from dp_ros.ros.bundles import below_namespace, message_type
from dp_ros.ros.lifecycle import WARN_PERIOD, ManagedNode
from dp_ros.task.goals import GoalSpec
from dp_ros.task.spec import GoalPose, Instruction

_DURABILITIES = (QoSDurabilityPolicy.VOLATILE, QoSDurabilityPolicy.TRANSIENT_LOCAL)


class GoalInbox:
    """Keeps the newest goal of each topic, however old; a bad one is refused, and the last one stays.

    Bad is what cannot be read, a pose far from those of training, and an instruction that means none of theirs. Such an
    instruction leaves none: who gives another one wants the last one no longer, and a robot that does not understand
    comes to rest.

    Attributes
    ----------
    goal
        What is asked for; swapped whole, so that a thread may read it.
    refused
        How many messages were refused.
    accepted
        How many were taken; the same once more does not count.

    """

    def __init__(self, node: ManagedNode, bundle: Bundle) -> None:
        self.goal = Goal()
        self.refused = self.accepted = 0
        self._node, self._bundle, self._task = node, bundle, bundle.task
        self._said: dict[str, str] = {}
        self._misunderstood = ''
        # A latched goal is only sent to who asks for it, and one that is not latched only to who does not.
        self._inputs = [
            node.create_subscription(_class_of(spec), below_namespace(spec.topic), self._receiver(spec), _qos(kept))
            for spec in self._task.goals
            for kept in _DURABILITIES
        ]

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._inputs:
            self._node.destroy_subscription(subscription)
        self._inputs = []

    def missing(self) -> str:
        """Return which goals never came, with topics and types, or why the instruction was refused, or ''."""
        wanted = {spec.name: spec for spec in self._task.goals}
        return '; '.join(
            f'no goal: {self._misunderstood}'
            if self._misunderstood and isinstance(wanted[name], Instruction)
            else f'no goal: {name} never came on {self._topic(wanted[name])} ({type_of(wanted[name])})'
            for name in missing_goals(self._task, self.goal)
        )

    def values(self) -> Mapping[str, object]:
        """Return what diagnostics say of goals; nothing for a policy that has none."""
        if not self._task.goals:
            return {}
        return {**self._said, 'accepted_goals': self.accepted, 'refused_goals': self.refused}

    def crowded(self) -> str:
        """Return which goals have more than one publisher, so that whoever spoke last counts, or ''."""
        found = {}
        for spec in self._task.goals:
            topic = self._topic(spec)
            speakers = self._node.get_publishers_info_by_topic(topic)
            if len(speakers) > 1:
                found[topic] = listed(f'{s.node_namespace.rstrip("/")}/{s.node_name}' for s in speakers)
        return '; '.join(f'{topic}: more than one publisher, the newest goal counts: {found[topic]}' for topic in found)

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
                meaning_of(spec, instruction)
            else:
                if spec.name in self._bundle.camera_shapes:
                    check_size(f'goal {spec.name!r}', message, self._bundle.camera_shapes[spec.name], RECORDED)
                value = decode(spec.as_stream, message)
                if isinstance(spec, GoalPose):
                    check_goal_pose(spec, self._bundle.normalizer, value)
                streams = {**streams, spec.name: value}
        except DataError as error:
            self.refused += 1
            kept = 'the goal is left as it was'
            if isinstance(spec, Instruction) and spec.phrasings:
                kept = 'until another one comes, nothing is asked for'
                self.goal, self._misunderstood = Goal(streams=streams), f'{self._topic(spec)}: {error}'
                self._said.pop(spec.name, None)
            text = f'{self._topic(spec)}: {error}; {kept}'
            self._node.get_logger().error(text, throttle_duration_sec=WARN_PERIOD)
            return
        before, self.goal = self.goal, Goal(streams=streams, instruction=instruction)
        self._misunderstood = '' if isinstance(spec, Instruction) else self._misunderstood
        said = _describe(spec, self.goal, message)
        same = isinstance(spec, Instruction) or np.array_equal(streams[spec.name], before.streams.get(spec.name, ()))
        if same and said == self._said.get(spec.name):  # Sent over and over, or to both subscriptions.
            return
        self.accepted += 1
        self._said[spec.name] = said
        self._node.get_logger().info(f'{self._topic(spec)}: goal accepted: {said}')


def _qos(durability: QoSDurabilityPolicy) -> QoSProfile:
    return QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE, durability=durability)


def _describe(spec: GoalSpec, goal: Goal, message: Any) -> str:
    if isinstance(spec, Instruction):
        meaning = meaning_of(spec, goal.instruction)
        return f'{goal.instruction} ({meaning})' if meaning else goal.instruction
    value = goal.streams[spec.name]
    if isinstance(spec, GoalPose):
        numbers = ', '.join(f'{name} {number:.4g}' for name, number in zip(spec.features, value, strict=True))
        return f'{numbers} (frame {message.header.frame_id!r})'
    return f'a picture of {spec.height} x {spec.width} pixels'


def _class_of(spec: GoalSpec) -> type:
    return String if isinstance(spec, Instruction) else message_type(spec.as_stream)
