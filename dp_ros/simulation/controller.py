"""A model of ros2_controllers' joint_trajectory_controller (Jazzy, 4.42), from its sources.

Symbols: `now` is the time of a control cycle, `period` the time between two; all times in [ns].

A message that passes validation waits for the next cycle, where the newest one replaces the old trajectory whole. Each
cycle commands the trajectory one period ahead. While the first point is not yet due, the command is on a bridge to it
from the start state: the measured state, or with ``interpolate_from_desired_state`` the last command, which is saved
with the time at which it was given although it is one period ahead, so that a replacement steps twice in one cycle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.errors import ConfigError, listed
from dp_ros.policy.trajectory import Trajectory

STILL = float(np.finfo(np.float32).eps)
"""What the controller takes for a velocity of 0."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The trajectory will be followed from the next cycle."""


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """The trajectory is ignored; what was followed before goes on."""

    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class TrajectoryCommand:
    """A trajectory as it arrives, not yet judged.

    Attributes
    ----------
    stamp
        When ``times`` are counted from [ns]; 0 from the first cycle.
    joints
        Names of the columns.
    times
        Time from start of each point [ns], (N,).
    positions, velocities, accelerations, effort
        (N, A), or None where the points have none.

    """

    stamp: int
    joints: tuple[str, ...]
    times: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray | None = None
    accelerations: np.ndarray | None = None
    effort: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    time: int
    positions: np.ndarray
    velocities: np.ndarray


class JointTrajectoryController:
    """The controller of some joints; see the module's text.

    Parameters
    ----------
    joints
        Names in the order of the set points.
    rate
        Control cycles a second [Hz].

    """

    def __init__(
        self,
        joints: tuple[str, ...],
        *,
        rate: float = 100.0,
        interpolate_from_desired_state: bool = False,
        allow_nonzero_velocity_at_trajectory_end: bool = False,
        allow_partial_joints_goal: bool = False,
    ) -> None:
        if not joints or len(set(joints)) != len(joints):
            raise ConfigError(f'controller joints: got {listed(joints)}, allowed one or more different names')
        if not 1.0 <= rate <= 10_000.0:
            raise ConfigError(f'controller rate: got {rate}, allowed 1 to 10000 Hz')
        self.joints = tuple(joints)
        self.period = round(NANOSECONDS / rate)
        self._from_desired = interpolate_from_desired_state
        self._moving_end = allow_nonzero_velocity_at_trajectory_end
        self._partial = allow_partial_joints_goal
        self.reset(np.zeros(len(joints)))

    def reset(self, positions: np.ndarray) -> None:
        """Hold ``positions`` (A,), as after activation."""
        self._held = np.array(positions, dtype=np.float64)
        self._pending: Trajectory | None = None
        self._followed: Trajectory | None = None
        self._bridge: Trajectory | None = None
        self._start = 0
        self._last: _State | None = None

    def command(self, trajectory: Any, now: int) -> Accepted | Rejected:
        """Judge a trajectory that arrives at ``now``; it needs the attributes of :class:`TrajectoryCommand`."""
        reason = self._fault(trajectory, now)
        if reason:
            return Rejected(reason=reason)
        self._pending = self._in_own_order(trajectory)
        return Accepted()

    def update(self, now: int, measured: np.ndarray, velocities: np.ndarray) -> np.ndarray:
        """Run the control cycle at ``now``; return the set point (A,) that the robot gets for it."""
        if self._pending is not None:
            self._take(self._pending, now, measured, velocities)
            self._pending = None
        if self._followed is None:
            return self._held.copy()
        positions, speeds = self._sample(now + self.period)
        self._last = _State(time=now, positions=positions, velocities=speeds)
        self._held = positions
        return positions.copy()

    def _take(self, trajectory: Trajectory, now: int, measured: np.ndarray, velocities: np.ndarray) -> None:
        self._followed = trajectory
        self._start = trajectory.stamp or now
        before = _State(time=now, positions=np.array(measured), velocities=np.array(velocities))
        if self._from_desired:
            before = self._last or _State(time=now, positions=self._held, velocities=np.zeros(len(self.joints)))
        due = self._start + int(trajectory.times[0])
        self._bridge = None
        if due > before.time:
            self._bridge = self._bridge_to(trajectory, before, due)

    def _bridge_to(self, trajectory: Trajectory, before: _State, due: int) -> Trajectory:
        """Return the segment from the start state to the first point; accelerations of the start count as 0."""
        point = trajectory.positions[0]
        speeds, bends = trajectory.velocities, trajectory.accelerations
        return Trajectory(
            stamp=max(before.time, 1),
            joints=self.joints,
            times=np.array([0, due - before.time], dtype=np.int64),
            positions=np.stack([before.positions, point]),
            velocities=None if speeds is None else np.stack([before.velocities, speeds[0]]),
            accelerations=None if bends is None else np.stack([np.zeros_like(point), bends[0]]),
        )

    def _sample(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        assert self._followed is not None
        if self._bridge is not None and t < self._start + int(self._followed.times[0]):
            positions, speeds = self._bridge.sample(np.array([t - self._bridge.stamp]))
        else:
            positions, speeds = self._followed.sample(np.array([t - self._start]))
        return positions[0], speeds[0]

    def _fault(self, command: Any, now: int) -> str:
        """Return why a trajectory is rejected, or nothing. The order is the controller's."""
        joints, times = tuple(command.joints), np.asarray(command.times)
        if len(joints) != len(self.joints) and not self._partial:
            return f'joints: got {len(joints)}, allowed {len(self.joints)} (allow_partial_joints_goal is false)'
        if not joints:
            return 'joints: got none'
        unknown = [joint for joint in joints if joint not in self.joints]
        if unknown or len(set(joints)) != len(joints):
            return f'joints: got {listed(joints)}, allowed {listed(self.joints)}'
        if len(times) == 0:
            return 'points: got none, allowed one or more (to stop, send one point to hold)'
        return (
            self._fault_of_points(command, len(joints), len(times))
            or self._fault_of_end(command, now, times)
            or self._fault_of_times(times)
        )

    def _fault_of_end(self, command: Any, now: int, times: np.ndarray) -> str:
        if command.stamp < 0:
            return f'stamp: got {command.stamp} ns, allowed 0 or more'
        end = int(command.stamp) + int(times[-1])
        if command.stamp != 0 and end < now:
            return f'ends in the past: at {end} ns, {(now - end) / 1e9:.3f} s before now'
        speeds = command.velocities
        if speeds is not None and not self._moving_end and np.any(np.abs(np.asarray(speeds)[-1]) > STILL):
            return f'velocities of the last point: got {np.asarray(speeds)[-1].tolist()}, allowed 0'
        return ''

    @staticmethod
    def _fault_of_times(times: np.ndarray) -> str:
        if times[0] < 0 or np.any(np.diff(times) <= 0):
            return 'time_from_start: got times that do not increase strictly from 0 or more'
        return ''

    @staticmethod
    def _fault_of_points(command: Any, joints: int, points: int) -> str:
        if getattr(command, 'effort', None) is not None:
            return 'effort: got some, allowed none without an effort interface'
        for name in ('positions', 'velocities', 'accelerations'):
            values = getattr(command, name)
            if values is None and name != 'positions':
                continue
            lengths = [] if values is None else [len(row) for row in values]
            if lengths != [joints] * points:
                return f'{name}: got {lengths} values at the points, allowed {joints} at each of {points}'
            # The real controller has no such check, and would move by them.
            if not np.isfinite(np.asarray(values, dtype=np.float64)).all():
                return f'{name}: got NaN or infinity, allowed finite numbers'
        return ''

    def _in_own_order(self, command: Any) -> Trajectory:
        """Return the trajectory over this controller's joints; those it leaves out rest where they are commanded."""
        places = [command.joints.index(j) if j in command.joints else None for j in self.joints]

        def columns(values: np.ndarray | None, rest: np.ndarray) -> np.ndarray | None:
            if values is None:
                return None
            held = np.broadcast_to(rest, (len(values), len(rest)))
            return np.stack([held[:, i] if p is None else values[:, p] for i, p in enumerate(places)], axis=1)

        still = np.zeros(len(self.joints))
        velocities = columns(command.velocities, still)
        # The controller ignores accelerations that come without velocities.
        accelerations = None if velocities is None else columns(command.accelerations, still)
        positions = columns(np.asarray(command.positions, dtype=np.float64), self._held)
        assert positions is not None
        return Trajectory(
            stamp=int(command.stamp),
            joints=self.joints,
            times=np.asarray(command.times, dtype=np.int64),
            positions=positions,
            velocities=velocities,
            accelerations=accelerations,
        )
