"""Listen to the controllers' own state: where they command the joints to be, and whether they are active.

Both are heard only where the ROS packages of their messages are installed: `control_msgs` for the topic
`controller_state` of each joint_trajectory_controller, `controller_manager_msgs` for the topic `activity` of the
controller_manager beside it. All works without. Messages are decoded when they are asked for: a controller sends
hundreds a second.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message

from dp_ros.messages.encoding import stamp_of
from dp_ros.ros.diagnostics import OK, WARN
from dp_ros.ros.lifecycle import ManagedNode

STATUS = 'controller state'
STATE, ACTIVITY = 'control_msgs/JointTrajectoryControllerState', 'controller_manager_msgs/ControllerManagerActivity'
LARGEST = 1_000_000  # [bytes] of a message that is decoded
MAX_AGE = 500_000_000  # [ns]: an active controller sends its state in each of its cycles
NEWEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


def installed(kind: str) -> type | None:
    """Return a message type by its name, or None if its package is not installed."""
    package, name = kind.split('/')
    try:
        found = getattr(importlib.import_module(f'{package}.msg'), name, None)
    except ImportError:
        return None
    return found if isinstance(found, type) else None


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Hold what a controller commands: its stamp [ns], and positions [rad or m] in the wanted order."""

    stamp: int
    positions: np.ndarray


class Latest:
    """The newest message of a topic, decoded once and when it is asked for.

    Parameters
    ----------
    node, topic, qos
        Who listens, where and how.
    kind
        The type of the messages.
    read
        Makes a value of a message; raises ValueError if it makes no sense.

    """

    def __init__(self, node: ManagedNode, topic: str, qos: QoSProfile, kind: type, read: Callable[[Any], Any]) -> None:
        self._node, self._kind, self._read = node, kind, read
        self.topic = topic
        self._new: bytes | None = None
        self._value: Any = None
        self.received = self.wrong = 0
        # Raw: decoding a state takes a quarter of a millisecond, and one that can't be decoded would end the executor.
        self._subscription = node.create_subscription(kind, topic, self.receive, qos, raw=True)

    def receive(self, message: bytes) -> None:
        """Keep a message for when its value is asked for."""
        self.received += 1
        self._new = message

    def value(self) -> Any:
        """Return what the newest message that makes sense says, or None."""
        if self._new is None:
            return self._value
        message, self._new = self._new, None
        try:
            if len(message) > LARGEST:
                raise ValueError(f'{self.topic}: got {len(message)} bytes, allowed {LARGEST}')
            self._value = self._read(deserialize_message(message, self._kind))
        except Exception:  # whatever the decoder of a package that we don't know raises
            self.wrong += 1
        return self._value

    def close(self) -> None:
        """Listen no more."""
        self._node.destroy_subscription(self._subscription)


class ControllerStates:
    """Listen to the controllers of one plan, as far as their messages are installed.

    Parameters
    ----------
    node
        Who listens.
    controllers
        The joints of each controller, by its name with its namespace.
    joints
        All joints, in the plan's order.
    find
        Returns a message type by its name, or None.

    Attributes
    ----------
    controllers
        As given.
    state_type, activity_type
        The types of the messages, None where they are not installed.
    states
        The newest state of each controller by its name, from `open` to `close`.

    """

    def __init__(
        self,
        node: ManagedNode,
        controllers: Mapping[str, Sequence[str]],
        joints: Sequence[str],
        *,
        find: Callable[[str], type | None] = installed,
    ) -> None:
        self._node, self._joints = node, tuple(joints)
        self.controllers = {name: tuple(own) for name, own in controllers.items()}
        self.state_type, self.activity_type = find(STATE), find(ACTIVITY)
        self.states: dict[str, Latest] = {}
        self._activities: dict[str, Latest] = {}

    def open(self) -> None:
        """Listen, to what is installed. What was heard before does not count."""
        self.close()
        try:
            if self.state_type is not None:
                for name, joints in self.controllers.items():
                    self.states[name] = self._listen(f'{name}/controller_state', NEWEST, self.state_type, joints)
            if self.activity_type is not None:
                for manager in {_manager(name) for name in self.controllers}:
                    self._activities[manager] = self._listen(f'{manager}/activity', LATCHED, self.activity_type, None)
        except Exception as error:  # installed in part, or for another version of ROS
            self._node.get_logger().warning(f'{STATUS}: cannot be heard: {error}')
            self.close()

    def _listen(self, topic: str, qos: QoSProfile, kind: type, joints: tuple[str, ...] | None) -> Latest:
        if joints is None:
            return Latest(self._node, topic, qos, kind, _labels)
        return Latest(self._node, topic, qos, kind, lambda message: _reference(message, joints))

    def close(self) -> None:
        """Listen no more, and forget what was heard."""
        for latest in (*self.states.values(), *self._activities.values()):
            latest.close()
        self.states, self._activities = {}, {}

    def reference(self, now: int) -> tuple[int, np.ndarray] | None:
        """Return where the controllers command the joints to be: the oldest stamp [ns], and positions (A,) [rad or m].

        NaN stands for a joint that none of them has. None if one has not said it about ``now`` [ns].
        """
        if not self.states:
            return None
        positions: dict[str, float] = {}
        stamps = []
        for name, joints in self.controllers.items():
            found: Reference | None = self.states[name].value()
            if found is None or abs(now - found.stamp) > MAX_AGE:
                return None
            stamps.append(found.stamp)
            positions |= dict(zip(joints, found.positions, strict=True))
        return min(stamps), np.array([positions.get(joint, np.nan) for joint in self._joints])

    def inactive(self) -> str:
        """Return which controllers are known not to be active, in words, or ''."""
        found = []
        for name in self.controllers:
            manager = self._activities.get(_manager(name))
            labels = manager.value() if manager is not None else None
            label = labels.get(name.rpartition('/')[2]) if labels else None
            if label is not None and label != 'active':
                found.append(f'controller {name}: got the state {label!r}, allowed active')
        return '; '.join(found)

    def report(self, now: int) -> None:
        """Bring the status up to date."""
        if self.state_type is None and self.activity_type is None:
            self._node.diagnostics.report(STATUS, OK, 'not installed')
            return
        heard = [*self.states.values(), *self._activities.values()]
        reference, inactive = self.reference(now), self.inactive()
        values = {
            'control_msgs': 'not installed' if self.state_type is None else 'installed',
            'controller_manager_msgs': 'not installed' if self.activity_type is None else 'installed',
            'reference_age_ms': '' if reference is None else f'{(now - reference[0]) / 1e6:.1f}',
            **{f'received {latest.topic}': latest.received for latest in heard},
            'wrong': sum(latest.wrong for latest in heard),
        }
        text = inactive or ('heard' if any(latest.received for latest in heard) else 'nothing heard')
        self._node.diagnostics.report(STATUS, WARN if inactive else OK, text, values)


def _manager(controller: str) -> str:
    """Return the name of the controller_manager of a controller: it is in the same namespace."""
    return f'{controller.rpartition("/")[0]}/controller_manager'


def _reference(message: Any, joints: tuple[str, ...]) -> Reference:
    names, positions = list(message.joint_names), np.asarray(message.reference.positions, dtype=np.float64)
    if len(set(names)) != len(names) or positions.shape != (len(names),):
        raise ValueError(f'reference: got {len(positions)} positions for {names}, allowed one for each')
    chosen = positions[[names.index(joint) for joint in joints]]
    stamp = stamp_of(message)
    if not np.isfinite(chosen).all() or stamp <= 0:
        raise ValueError(f'reference: got {chosen.tolist()} at {stamp}, allowed finite numbers at a time after 0')
    return Reference(stamp=stamp, positions=chosen)


def _labels(message: Any) -> dict[str, str]:
    return {str(each.name): str(each.state.label) for each in message.controllers}
