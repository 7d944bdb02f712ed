"""Set points out of recordings, from whichever source the task names."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import numpy as np

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.errors import ConfigError, DataError, check_finite, listed
from dp_ros.messages.encoding import JOINT_STATE, JOINT_TRAJECTORY, decode, stamp_of
from dp_ros.policy.stream_buffer import StreamBuffer
from dp_ros.recordings.episodes.command_track import CommandTrack
from dp_ros.task.spec import ActionSpec, JointStream, TaskSpec

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

    def push(self, received: int, msg: Any) -> None:
        """Add a message received at ``received`` [ns]."""

    def at(self, t: int) -> np.ndarray | None:
        """Return the set point (A,) at ``t`` [ns], or None if none is known."""

    def missing(self) -> str:
        """Return why there is none."""

    def objection(self) -> str:
        """Return why these are not the set points that the robot followed, or ''."""

    def oddity(self) -> str:
        """Return what is odd about them, and no reason to refuse them, or ''."""


class StateTrack:
    """Joint states as set points: a leader's, or the robot's own. The newest one that is no older than 0.2 s counts."""

    def __init__(self, action: ActionSpec, topic: str, wait: int) -> None:
        joints = action.source_joints or action.joints
        self._stream = JointStream(name='action', topic=topic, joints=joints, units=action.units, scale=action.scale)
        self._buffer = StreamBuffer('action', STATE_AGE, STATE_AGE + wait + NANOSECONDS)
        self._wait = wait
        self._why = 'no joint state yet'

    def push(self, received: int, msg: Any) -> None:
        """Add a ``sensor_msgs/JointState``."""
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

    def objection(self) -> str:
        """Return '': whatever was measured is."""
        return ''

    oddity = objection


class FloatsTrack:
    """``std_msgs/Float64MultiArray`` as set points: a forwarding controller holds the last one that it received."""

    def __init__(self, action: ActionSpec) -> None:
        self._joints, self._scale = action.joints, action.scale or 1.0
        self._commands: deque[tuple[int, np.ndarray]] = deque()

    def push(self, received: int, msg: Any) -> None:
        """Add a ``std_msgs/Float64MultiArray``."""
        values = np.asarray(msg.data, dtype=np.float64)
        if len(values) != len(self._joints):
            raise DataError(
                f'action: got {len(values)} numbers, '
                f'allowed {len(self._joints)} ({listed(self._joints)}, in this order)'
            )
        check_finite('action', values)
        self._commands.append((received, values * self._scale))

    def at(self, t: int) -> np.ndarray | None:
        """Return the last command received by ``t`` [ns]; ``t`` must not run backwards."""
        while len(self._commands) > 1 and self._commands[1][0] <= t:
            self._commands.popleft()
        return self._commands[0][1] if self._commands and self._commands[0][0] <= t else None

    def missing(self) -> str:
        """Return why there is no set point."""
        return 'no command yet'

    def objection(self) -> str:
        """Return '': a forwarding controller takes all."""
        return ''

    oddity = objection


def action_topic(task: TaskSpec) -> tuple[str, str]:
    """Return the topic that recordings have the actions on, and its ROS type."""
    action = task.action
    topic = action.source_topic or action.topic
    if action.source == 'next_state' and not action.source_topic:
        topic = _own_topic(task)
    return topic, _TYPES[action.source]


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


def action_track(task: TaskSpec) -> ActionTrack:
    """Return an empty track of the task's action source."""
    action = task.action
    if action.source == 'joint_trajectory':
        return CommandTrack(action)
    if action.source == 'float64_multi_array':
        return FloatsTrack(action)
    return StateTrack(action, action_topic(task)[0], to_nanoseconds(task.arrival_wait))
