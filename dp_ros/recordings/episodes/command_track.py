"""Which set point a controller was at, from the trajectories that it was sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.errors import DataError, listed
from dp_ros.messages.encoding import trajectory_value
from dp_ros.motion.steps import beside
from dp_ros.motion.trajectory import Trajectory
from dp_ros.task.spec import ActionSource, ActionSpec

LATE = 50_000_000  # [ns] by which a recorder may hear a command later than its controller
AHEAD = 10 * NANOSECONDS  # [ns]; a command that begins later than that is of another clock
REJECTED = 0.2  # the share of commands that a controller may reject, and the rest still be what moved the robot


@dataclass(frozen=True, kw_only=True, eq=False)
class _Command:
    """What a controller plays from ``received`` on [ns]; nobody knows what before ``known``."""

    received: int
    known: int
    start: int
    trajectory: Trajectory

    def state(self, t: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the set point and its velocity (A,) at ``t`` [ns], or None where they are not known."""
        if t < self.known:
            return None
        positions, velocities = self.trajectory.sample(np.array([t - self.start]))
        return positions[0], velocities[0]


class CommandTrack:
    """The recent commands of a joint_trajectory_controller, in order of receive time.

    A new command replaces the old one whole when it is received. Where its first point is not due yet, the set point
    moves there from where it was, at the first command from where the joints were measured: on a straight line, or on
    the polynomial of the point's velocities and accelerations. So commands that come faster than they are due, as a
    person's often do, move it all the same. It counts from when the first command was due, which may be a moment before
    that was received.

    One that ends in the past is rejected, as the controller does, so is one of another clock, and both are counted in
    `rejected`; `count` is of all.

    Parameters
    ----------
    continuous
        Joints that turn without end: they go the shorter way to the first point.
    scale
        What their numbers are multiplied by to be in m or rad; empty: nothing.

    """

    def __init__(
        self, action: ActionSpec | ActionSource, continuous: Sequence[str] = (), scale: Sequence[float] = ()
    ) -> None:
        self._joints = action.joints
        self._recorded = action.source_joints or action.joints
        self._continuous = np.array([joint in continuous for joint in action.joints])
        self._scale = tuple(scale) or 1.0
        self._commands: deque[_Command] = deque()
        self._first_due = 0  # [ns]
        self.count = self.rejected = 0

    def push(self, received: int, msg: Any, measured: np.ndarray | None = None) -> None:
        """Add a ``trajectory_msgs/JointTrajectory`` received at ``received`` [ns], later than those before.

        ``measured`` is where the joints were then (A,), if that is known.
        """
        trajectory = self._trajectory(msg)
        self.count += 1
        early = trajectory.stamp - received > AHEAD
        if early or (trajectory.stamp and trajectory.end < received - LATE):
            self.rejected += 1
            return
        start = trajectory.stamp or received
        due = start + int(trajectory.times[0])
        begin = self._state(received, measured) if due > received else None
        if begin is not None:
            self._first_due = self._first_due if self._commands else due
            start, due, trajectory = received, received, self._led_in(trajectory, due - received, *begin)
        elif not self._commands:  # nothing else was followed meanwhile: so the tick that it was made at has a set point
            received = max(due, received - LATE)
        self._commands.append(_Command(received=received, known=due, start=start, trajectory=trajectory))

    def _state(self, received: int, measured: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
        known = self._commands[-1].state(received) if self._commands else None
        return known if known or measured is None else (measured, np.zeros_like(measured))

    def _led_in(self, plan: Trajectory, due: int, positions: np.ndarray, velocities: np.ndarray) -> Trajectory:
        """Return a trajectory that begins with a state, and is at its first point ``due`` [ns] later."""

        def after(first: np.ndarray, rows: np.ndarray | None) -> np.ndarray | None:
            return None if rows is None else np.concatenate([first[None], rows])

        first = beside(positions, plan.positions[0], self._continuous)
        return replace(
            plan,
            stamp=0,
            times=np.concatenate([[0], plan.times - plan.times[0] + due]),
            positions=np.concatenate([first[None], plan.positions]),
            velocities=after(velocities, plan.velocities),
            accelerations=after(np.zeros_like(velocities), plan.accelerations),
        )

    def at(self, t: int) -> np.ndarray | None:
        """Return the set point (A,) at ``t`` [ns], or None if none is known; ``t`` must not run backwards."""
        while len(self._commands) > 1 and self._commands[1].received <= t:
            self._commands.popleft()
        if not self._commands or self._commands[0].received > t:
            return None
        state = self._commands[0].state(t)
        # On the way to the first command's first point, how the joints were measured decides, and no command does.
        return None if state is None or t < self._first_due else state[0]

    def missing(self) -> str:
        """Return why there is no set point yet."""
        if self._commands:
            return 'no command has been due yet, and where the joints were when the first came is not known'
        return 'no command yet' + (f' ({self.rejected} ended before they were received)' if self.rejected else '')

    def objection(self) -> str:
        """Return why these are not the commands that the robot followed, or ''."""
        if self.rejected <= REJECTED * self.count:
            return ''
        return (
            f'action: got {self.oddity()}; allowed {REJECTED:.0%}: are the clocks of commander and recorder the same?'
        )

    def oddity(self) -> str:
        """Return what is odd about them, and no reason to refuse them, or ''."""
        if not self.rejected:
            return ''
        return (
            f'{self.rejected} of {self.count} commands that end before they were received, which a controller rejects, '
            f'or begin more than {AHEAD / NANOSECONDS:g} s after'
        )

    def _trajectory(self, msg: Any) -> Trajectory:
        fields = trajectory_value(msg)
        twice = [joint for joint in self._recorded if fields.joints.count(joint) > 1]
        if twice:
            raise DataError(f'action joints: got {listed(twice)} more than once, allowed each once')
        absent = [joint for joint in self._recorded if joint not in fields.joints]
        if absent:
            raise DataError(
                f'action joints: wanted {listed(absent)}, which the message lacks; it has {listed(fields.joints)}'
            )
        columns = [fields.joints.index(joint) for joint in self._recorded]
        values = (fields.positions, fields.velocities, fields.accelerations)
        positions, velocities, accelerations = (None if v is None else v[:, columns] * self._scale for v in values)
        assert positions is not None
        # A controller that gets accelerations without velocities interpolates linearly.
        return Trajectory(
            stamp=fields.stamp,
            joints=self._joints,
            times=fields.times,
            positions=positions,
            velocities=velocities,
            accelerations=None if velocities is None else accelerations,
        )
