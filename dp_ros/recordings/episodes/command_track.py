"""Which set point a controller was at, from the trajectories that it was sent."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.errors import DataError, listed
from dp_ros.messages.encoding import trajectory_value
from dp_ros.motion.trajectory import Trajectory
from dp_ros.task.spec import ActionSpec

LATE = 50_000_000  # [ns] by which a recorder may hear a command later than its controller
AHEAD = 10 * NANOSECONDS  # [ns]; a command that begins later than that is of another clock
REJECTED = 0.2  # the share of commands that a controller may reject, and the rest still be what moved the robot


@dataclass(frozen=True, kw_only=True, eq=False)
class _Command:
    received: int
    start: int
    trajectory: Trajectory
    # Where the set point was when this command took over; None at the first one.
    before: np.ndarray | None

    def set_point(self, t: int) -> np.ndarray | None:
        """Return the set point at ``t``: before the first point is due, the controller ramps towards it."""
        due = self.start + int(self.trajectory.times[0])
        if t >= due:
            positions: np.ndarray = self.trajectory.sample(np.array([t - self.start]))[0][0]
            return positions
        if self.before is None:
            return None
        part = (t - self.received) / (due - self.received)
        return self.before + part * (self.trajectory.positions[0] - self.before)


class CommandTrack:
    """The recent commands of a joint_trajectory_controller, in order of receive time.

    A new command replaces the old one whole when it is received. One that ends in the past is rejected, as the
    controller does, so is one of another clock, and both are counted in `rejected`; `count` is of all.
    """

    def __init__(self, action: ActionSpec) -> None:
        self._joints = action.joints
        self._recorded = action.source_joints or action.joints
        self._scale = action.scale or 1.0
        self._commands: deque[_Command] = deque()
        self.count = self.rejected = 0

    def push(self, received: int, msg: Any) -> None:
        """Add a ``trajectory_msgs/JointTrajectory`` received at ``received`` [ns], later than those before."""
        trajectory = self._trajectory(msg)
        self.count += 1
        early = trajectory.stamp - received > AHEAD
        if early or (trajectory.stamp and trajectory.end < received - LATE):
            self.rejected += 1
            return
        command = _Command(
            received=received,
            start=trajectory.stamp or received,
            trajectory=trajectory,
            before=self._commands[-1].set_point(received) if self._commands else None,
        )
        self._commands.append(command)

    def at(self, t: int) -> np.ndarray | None:
        """Return the set point (A,) at ``t`` [ns], or None if none is known; ``t`` must not run backwards."""
        while len(self._commands) > 1 and self._commands[1].received <= t:
            self._commands.popleft()
        if not self._commands or self._commands[0].received > t:
            return None
        return self._commands[0].set_point(t)

    def missing(self) -> str:
        """Return why there is no set point yet."""
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
