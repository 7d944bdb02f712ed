"""Set points out of recordings, from whichever source the task names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.errors import ConfigError, DataError, check_finite, listed
from dp_ros.messages.encoding import JOINT_STATE, JOINT_TRAJECTORY, belongs, decode, stamp_of
from dp_ros.policy.stream_buffer import StreamBuffer
from dp_ros.recordings.episodes.command_track import CommandTrack
from dp_ros.recordings.episodes.goals import Newest
from dp_ros.recordings.rosbag.types import GRIPPER_COMMAND
from dp_ros.task.spec import ActionSource, JointStream, TaskSpec, Unit

FLOATS = 'std_msgs/msg/Float64MultiArray'
STATE_AGE = NANOSECONDS // 5
"""The oldest joint state that is a set point [ns]: a leader that fell silent commands nothing."""

_TYPES = {
    'joint_trajectory': JOINT_TRAJECTORY,
    'joint_state': JOINT_STATE,
    'float64_multi_array': FLOATS,
    'next_state': JOINT_STATE,
}


class ActionTrack(Protocol):
    """The set points of a recording; messages come in order of receive time, and so do questions."""

    def push(self, received: int, msg: Any, measured: np.ndarray | None = None) -> None:
        """Add a message received at ``received`` [ns]; ``measured`` is where the joints were then (A,), if known."""

    def at(self, t: int) -> np.ndarray | None:
        """Return the set point (A,) at ``t`` [ns], or None if none is known."""

    def missing(self) -> str:
        """Return why there is none."""

    def objection(self) -> str:
        """Return why these are not the set points that the robot followed, or ''."""
        return ''

    def oddity(self) -> str:
        """Return what is odd about them, and no reason to refuse them, or ''."""
        return ''


class StateTrack(ActionTrack):
    """Joint states as set points: a leader's, or the robot's own. The newest one that is no older than 0.2 s counts."""

    def __init__(self, source: ActionSource, wait: int, scale: Sequence[float] = ()) -> None:
        joints = source.source_joints or source.joints
        unit: Unit = 'rad'  # of no account: positions are taken as they come, and scaled
        self._stream = JointStream(
            name='action', topic=source.topic, joints=joints, units=(unit,) * len(joints), scale=tuple(scale)
        )
        self._buffer = StreamBuffer('action', STATE_AGE, STATE_AGE + wait + NANOSECONDS)
        self._wait = wait
        self._why = 'no joint state yet'

    def push(self, received: int, msg: Any, measured: np.ndarray | None = None) -> None:
        """Add a ``sensor_msgs/JointState``."""
        if not belongs(self._stream, msg):
            self._buffer.leave(self._stream.joints, msg.name)
            return
        self._buffer.push(stamp_of(msg), received, decode(self._stream, msg))

    def at(self, t: int) -> np.ndarray | None:
        """Return the positions known at ``t`` [ns]."""
        found = self._buffer.find(t, self._wait)
        if isinstance(found, str):
            self._why = found
            return None
        return found.value

    def missing(self) -> str:
        """Return why there is no set point."""
        return self._why


class HeldTrack(ActionTrack):
    """Set points that a controller holds: the last ``Float64MultiArray``, or a gripper's ``GripperCommand``."""

    def __init__(self, source: ActionSource, scale: Sequence[float] = ()) -> None:
        self._joints, self._scale = source.joints, tuple(scale) or 1.0
        self._commands = Newest()

    def push(self, received: int, msg: Any, measured: np.ndarray | None = None) -> None:
        """Add a ``std_msgs/Float64MultiArray`` or a ``control_msgs/GripperCommand``."""
        values = np.asarray(msg.data if hasattr(msg, 'data') else [msg.position], dtype=np.float64)
        if len(values) != len(self._joints):
            raise DataError(
                f'action: got {len(values)} numbers, '
                f'allowed {len(self._joints)} ({listed(self._joints)}, in this order)'
            )
        check_finite('action', values)
        self._commands.add(received, values * self._scale)

    def at(self, t: int) -> np.ndarray | None:
        """Return the last command received by ``t`` [ns]; ``t`` must not run backwards."""
        newest = self._commands.at(t)
        return None if newest is None else newest[1]

    def missing(self) -> str:
        """Return why there is no set point."""
        return 'no command yet'


class ActionTracks:
    """The set points of all sources of a task's action, put together in the order of its joints.

    With several sources, one that has not commanded yet is where its joints were first measured: that is where its
    controller holds them.
    """

    def __init__(self, task: TaskSpec) -> None:
        self._task, joints = task, task.action.joints
        self._sources = action_sources(task)
        self._columns = {s.topic: [joints.index(joint) for joint in s.joints] for s in self._sources}
        self._tracks: dict[str, ActionTrack] = {}
        self._begun: set[str] = set()  # which have had a set point
        self._rest: np.ndarray | None = None  # where the joints were first measured
        self._why = 'no command yet'

    def push(self, topic: str, received: int, msg: Any, measured: np.ndarray | None = None) -> None:
        """Add a message received at ``received`` [ns]; ``measured`` is where all the joints are (A,), if known."""
        if topic not in self._tracks:
            (source,) = (s for s in self._sources if s.topic == topic)
            self._tracks[topic] = self._track(source, msg)
        part = None if measured is None else measured[self._columns[topic]]
        self._tracks[topic].push(received, msg, part)

    def _track(self, source: ActionSource, msg: Any) -> ActionTrack:
        factors = self._task.action.scale
        scale = [factors[column] for column in self._columns[source.topic]] if factors else []
        if hasattr(msg, 'joint_names'):
            return CommandTrack(source, self._task.continuous, scale)
        if hasattr(msg, 'name'):
            return StateTrack(source, to_nanoseconds(self._task.arrival_wait), scale)
        return HeldTrack(source, scale)

    def at(self, t: int, measured: np.ndarray | None = None) -> np.ndarray | None:
        """Return the set point (A,) at ``t`` [ns], or None if none is known; ``measured`` is where the joints are."""
        self._rest = measured if self._rest is None else self._rest
        parts = {topic: track.at(t) for topic, track in self._tracks.items()}
        self._begun |= {topic for topic, part in parts.items() if part is not None}
        action = np.empty(len(self._task.action.joints))
        for topic, columns in self._columns.items():
            part = parts.get(topic)
            if part is None and self._begun and topic not in self._begun and self._rest is not None:
                part = self._rest[columns]
            if part is None:
                self._why = self._tracks[topic].missing() if topic in self._tracks else 'no command yet'
                self._why += f' on {topic}' if len(self._sources) > 1 else ''
                return None
            action[columns] = part
        return action

    def missing(self) -> str:
        """Return why there was no set point."""
        return self._why

    def objection(self) -> str:
        """Return why these are not the set points that the robot followed, or ''."""
        return '; '.join(filter(None, (track.objection() for track in self._tracks.values())))

    def oddity(self) -> str:
        """Return what is odd about them, and no reason to refuse them, or ''."""
        return '; '.join(filter(None, (track.oddity() for track in self._tracks.values())))


def action_sources(task: TaskSpec) -> tuple[ActionSource, ...]:
    """Return the topics that recordings have the actions on, with their joints."""
    action = task.action
    if action.sources:
        return action.sources
    topic = action.source_topic or action.topic
    if action.source == 'next_state' and not action.source_topic:
        topic = _own_topic(task)
    later = action.source == 'next_state'
    return (ActionSource(topic=topic, joints=action.joints, source_joints=action.source_joints, next_state=later),)


def next_state_columns(task: TaskSpec) -> list[int]:
    """Return the columns of the action that are where the robot was a control step later."""
    joints = task.action.joints
    return [joints.index(joint) for source in action_sources(task) if source.next_state for joint in source.joints]


def source_types(task: TaskSpec) -> dict[str, set[str]]:
    """Return the topics that recordings have the actions on, with the ROS types that each may have."""
    if not task.action.sources:
        return {source.topic: {_TYPES[task.action.source]} for source in action_sources(task)}
    return {source.topic: _types_of(source) for source in task.action.sources}


def _types_of(source: ActionSource) -> set[str]:
    if source.next_state:
        return {JOINT_STATE}
    return {JOINT_TRAJECTORY, JOINT_STATE, FLOATS} | ({GRIPPER_COMMAND} if len(source.joints) == 1 else set())


def _own_topic(task: TaskSpec) -> str:
    joints = set(task.action.source_joints or task.action.joints)
    streams = [s for s in task.streams if isinstance(s, JointStream)]
    for stream in streams:
        if joints <= set(stream.joints):
            return stream.topic
    observed = '; '.join(f'{s.name}: {listed(s.joints)}' for s in streams)
    raise ConfigError(
        f'action source next_state: no stream observes {listed(sorted(joints))} ({observed or "none has joints"}); '
        'allowed a stream with all of them, or source_topic'
    )
