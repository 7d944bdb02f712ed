"""Play the sensors of a recording into the nodes, as if they were measured now."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.messages.decoding import stamp_of, type_of
from dp_ros.messages.encoding import JOINT_STATE
from dp_ros.policy.alignment import tick_at_or_after
from dp_ros.recordings.episodes.goals import recorded_goals
from dp_ros.recordings.rosbag.reader import BagReader
from dp_ros.ros.bundles import below_namespace
from dp_ros.ros.lifecycle import reliable
from dp_ros.task.spec import Instruction, JointStream, TaskSpec
from dp_ros.tools.client import KEPT

TYPES = {
    f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}': kind
    for kind in (CompressedImage, Image, JointState, PoseStamped, String)
}
DEPTH = 10  # messages, as the simulated robot's
REMEMBERED = 64  # control ticks


class Settling:
    """Keep when the sensors had sent all that an observation waits for.

    A tick is settled when each stream has sent a message stamped at or after it, or after the task's ``arrival_wait``:
    the rule of `dp_ros.policy.alignment`.
    """

    def __init__(self, task: TaskSpec) -> None:
        self._dt, self._wait = to_nanoseconds(task.control_dt), to_nanoseconds(task.arrival_wait)
        self._newest: dict[str, int] = {}
        self._topics = {stream.topic for stream in task.streams}
        self._sent: dict[int, dict[str, int]] = {}

    def clear(self) -> None:
        """Begin a recording: its messages have nothing to do with those of the last."""
        self._newest.clear()

    def sent(self, topic: str, stamp: int, now: int) -> None:
        """Enter a message, stamped ``stamp`` and sent ``now`` [ns]."""
        if topic not in self._topics:
            return
        before = max(self._newest.get(topic, 0), stamp - REMEMBERED * self._dt)
        self._newest[topic] = max(stamp, before)
        for settled in range(tick_at_or_after(before + 1, self._dt), stamp + 1, self._dt):
            self._sent.setdefault(settled, {})[topic] = now
        while len(self._sent) > REMEMBERED:
            self._sent.pop(next(iter(self._sent)))

    def at(self, tick: int) -> int:
        """Return when nothing more had to be waited for at a tick [ns]."""
        sent = self._sent.get(tick, {})
        last = tick + self._wait
        return min(last, max(sent.values())) if len(sent) == len(self._topics) else last


class BagPlayer:
    """Publishes the messages of recordings when they are due, stamped as they are now.

    Parameters
    ----------
    wanted
        The topics to play, each with its ROS types.
    latched
        Those of them that are kept for whoever comes later: goals.
    sent
        Called with topic, stamp and time [ns] of each message of a recording.
    hindsight
        Topics of goals that recordings do not have, each with the topic whose last message is what was asked for.

    Attributes
    ----------
    late
        By how much each message was published after it was due [s].

    """

    def __init__(
        self,
        node: Node,
        wanted: Mapping[str, set[str]],
        latched: Collection[str],
        sent: Callable[[str, int, int], None],
        hindsight: Mapping[str, str] | None = None,
    ) -> None:
        self._node, self._wanted, self._latched, self._sent = node, wanted, latched, sent
        self._hindsight = dict(hindsight or {})
        self._publishers: dict[str, Any] = {}
        self.late: list[float] = []

    def play(self, bag: Path) -> Iterator[float]:
        """Publish what is due, and yield how long nothing is [s], until the recording ends.

        What the recording came to is published first, where that is asked for.

        Raises
        ------
        DataError
            If the recording lacks a topic, or has it with another type.

        """
        with BagReader(bag) as reader:
            reader.check(self._wanted)
            for goal, topic in self._hindsight.items():
                ((_, _, kind, data),) = deque(reader.raw({topic}), maxlen=1)  # there is one: `check` has seen it
                self._publisher(goal, TYPES[kind]).publish(deserialize_message(bytes(data), TYPES[kind]))
            offset = None
            for topic, received, kind, data in reader.raw(self._wanted):
                message = deserialize_message(bytes(data), TYPES[kind])
                publisher = self._publisher(topic, TYPES[kind])
                if offset is None:
                    offset = time.time_ns() - received
                while (ahead := received + offset - time.time_ns()) > 0:
                    yield ahead / NANOSECONDS
                stamp = self._stamp_anew(message, offset)
                now = time.time_ns()
                publisher.publish(message)
                self.late.append((now - received - offset) / NANOSECONDS)
                self._sent(topic, stamp or now, now)

    @staticmethod
    def _stamp_anew(message: Any, offset: int) -> int:
        """Move a message's stamp by ``offset`` and return it [ns]; none stays none."""
        stamp = stamp_of(message) if hasattr(message, 'header') else 0
        if stamp:
            stamp += offset
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, NANOSECONDS)
        return stamp

    def _publisher(self, topic: str, kind: type) -> Any:
        if topic not in self._publishers:
            kept = topic in self._latched or topic in self._hindsight
            qos = KEPT if kept else reliable(DEPTH)
            self._publishers[topic] = self._node.create_publisher(kind, below_namespace(topic), qos)
        return self._publishers[topic]


def played_topics(task: TaskSpec, joint_states: str) -> dict[str, set[str]]:
    """Return the topics that a recording must have, each with its ROS type."""
    played = recorded_goals(task)
    return {joint_states: {JOINT_STATE}, **{one.topic: {type_of(one)} for one in (*task.streams, *played)}}


def hindsight_topics(task: TaskSpec) -> dict[str, str]:
    """Return the topics of goals in hindsight, each with that of the stream whose last message is the goal.

    Raises
    ------
    ConfigError
        If a goal's messages are of another type than its stream's.

    """
    streams, found = {stream.name: stream for stream in task.streams}, {}
    for goal in task.goals:
        if not isinstance(goal, Instruction) and goal.source == 'hindsight':
            stream = streams[goal.stream]
            if type_of(goal) != type_of(stream):
                raise ConfigError(
                    f'recordings: got goal {goal.name!r} ({type_of(goal)}) in hindsight of {stream.name!r}, allowed of '
                    f'the same type ({type_of(stream)})'
                )
            found[goal.topic] = stream.topic
    return found


def joint_topic(task: TaskSpec, bag: Path) -> str:
    """Return where a recording has the joint states that a plan begins from.

    Raises
    ------
    DataError
        If the policy observes only some of the joints that it moves, and the recording's topic of all is not clear.

    """
    moved = set(task.action.joints)
    observed = [s.topic for s in task.streams if isinstance(s, JointStream) and moved <= set(s.joints)]
    if observed:
        return observed[0]
    with BagReader(bag) as reader:
        found = [name for name, topic in reader.topics.items() if topic.type == JOINT_STATE and topic.count]
    if len(found) != 1:
        raise DataError(
            f'bag {bag}: got joint states on {listed(found) or "no topic"}, allowed one topic of them, or a policy '
            f'that observes {listed(task.action.joints)}'
        )
    return found[0]
