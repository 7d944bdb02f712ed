"""A model of ros2_controllers' joint_trajectory_controller with position commands, from its sources.

Symbols: `now` is the time of a control cycle, `period` the time between two; all times in [ns].

A message that passes validation waits for the next cycle, where the newest one replaces the old trajectory whole, as in
Jazzy (4.42). Each cycle commands the trajectory one period ahead. While the first point is not
yet due, the command is on a bridge to it from the start state: the measured state, or with
``interpolate_from_desired_state`` the last command, which is saved with the time at which it was given although it is
one period ahead, so that a replacement steps twice in one cycle.

Inactive, it judges messages and forgets them, and the hardware holds what was commanded last.

Not modelled: ``allow_trajectory_replacement`` of newer versions, actions, PID gains, ``decelerate_on_cancel``,
``allow_integration_in_goal_trajectories``, effort.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS, Refusal, to_nanoseconds
from dp_ros.errors import ConfigError
from dp_ros.simulation.controller.joint_order import JointOrder
from dp_ros.simulation.controller.playback import Playback, Point, Sample, shortest_turn
from dp_ros.simulation.controller.spec import SPLINES, ControllerSpec
from dp_ros.simulation.controller.validation import (
    STILL,
    Accepted,
    ControllerDied,
    Ignored,
    TrajectoryCommand,
    fault,
)

__all__ = [
    'STILL', 'Accepted', 'ControllerDied', 'ControllerSpec', 'Ignored', 'JointTrajectoryController',
    'TrajectoryCommand',
]  # fmt: skip

PATH, GOAL, TIMEOUT = 'path_tolerance', 'goal_tolerance', 'timeout'
"""Why a controller gives a trajectory up and holds the measured position."""
INACTIVE = 'inactive'


class JointTrajectoryController:
    """The controller of some joints; see the module's text.

    Parameters
    ----------
    joints
        Names in the order of the set points.
    spec
        Its settings.
    changes
        Settings of :class:`ControllerSpec` that differ from ``spec``, by name.

    Attributes
    ----------
    active
        Whether it takes messages and commands.
    scaling
        How many times as fast as planned trajectories run.
    held_up
        How often it gave a trajectory up, by `PATH`, `GOAL` and `TIMEOUT`.
    reason
        Why it holds instead of following, in words; empty while it follows.

    """

    def __init__(self, joints: tuple[str, ...], *, spec: ControllerSpec | None = None, **changes: Any) -> None:
        self.joints = tuple(joints)
        self.spec = replace(spec or ControllerSpec(), **changes)
        self.spec.check_joints(self.joints)
        self.period = round(NANOSECONDS / self.spec.rate)
        count = len(self.joints)
        self._path = np.broadcast_to(np.asarray(self.spec.trajectory_tolerance, dtype=np.float64), count)
        self._goal = np.broadcast_to(np.asarray(self.spec.goal_tolerance, dtype=np.float64), count)
        self._continuous = np.array([joint in self.spec.continuous for joint in self.joints])
        # The real one warns, and goes on without.
        in_use = self.spec.cmd_timeout > self.spec.goal_time
        self._timeout = to_nanoseconds(self.spec.cmd_timeout) if in_use else 0
        self._scales = self.spec.command_interfaces == ('position',)
        self.scaling = self.spec.initial_scaling_factor if self._scales else 1.0
        self._measures_speed = 'velocity' in self.spec.state_interfaces
        self._judges_speed = self._measures_speed and 'velocity' in self.spec.command_interfaces
        self.held_up = dict.fromkeys((PATH, GOAL, TIMEOUT), 0)
        self.active = True
        self._order = JointOrder(self.joints)
        self.reset(np.zeros(count))

    def reset(self, positions: np.ndarray) -> None:
        """Hold ``positions`` (A,), as after a first activation; an inactive one stays inactive."""
        self._set_point = np.array(positions, dtype=np.float64)
        self._last = Point(positions=self._set_point, velocities=np.zeros(len(self.joints)))
        self._saved: int | None = None
        self._cycle: int | None = None
        self._time = 0
        self._pending: TrajectoryCommand | None = None
        self._playback = self._hold(self._set_point)
        self._next: Playback | None = None
        self._holding = True
        self._order.held(self._set_point)
        self.reason = '' if self.active else INACTIVE

    def deactivate(self) -> None:
        """Take and command nothing from now on, wherever a trajectory was; what was commanded last stays commanded."""
        self.active = False
        self.reset(self._set_point)

    def activate(self, measured: np.ndarray) -> None:
        """Begin anew, with no memory of messages, by holding what was commanded last.

        With ``set_last_command_interface_value_as_state_on_activation`` false that is ``measured`` (A,) instead.
        """
        if self.active:
            return
        self.active = True
        last = self.spec.set_last_command_interface_value_as_state_on_activation
        self.reset(self._set_point if last else np.asarray(measured))

    @property
    def set_point(self) -> np.ndarray:
        """What the last cycle commanded, (A,)."""
        return self._set_point.copy()

    def set_speed_scaling(self, factor: float) -> None:
        """Run trajectories at ``factor`` times their speed, as a message on ``~/speed_scaling_input`` does.

        Each message that arrives starts on the true time again, so scaling and stamps don't go together. With a
        velocity interface the real controller does not scale, and takes 1.
        """
        if not 0.0 <= factor < np.inf:
            raise ConfigError(f'speed scaling: got {factor}, allowed finite numbers from 0 up')
        self.scaling = factor if self._scales else 1.0

    def command(self, trajectory: Any, now: int) -> Accepted | Refusal | Ignored:
        """Judge a trajectory that arrives at ``now``; it needs the attributes of :class:`TrajectoryCommand`.

        Raises :class:`ControllerDied` at what ends the real controller, an inactive one too.
        """
        reason = fault(trajectory, now, self.joints, self.spec)
        if reason:
            return Refusal(reason=reason)
        if not self.active:
            return Ignored()
        self._pending = trajectory
        self._holding = False
        self.reason = ''
        return Accepted()

    def update(self, now: int, measured: np.ndarray, velocities: np.ndarray | None = None) -> np.ndarray:
        """Run the control cycle at ``now`` with the measured state; return the set point (A,) for the robot.

        A cycle that comes late is one long cycle: the trajectory's time is that of the clock, so the set point steps to
        where the trajectory is by now.
        """
        if not self.active:
            return self._set_point.copy()
        elapsed = self.period if self._cycle is None else now - self._cycle
        self._cycle = now
        self._take()
        state = Point(
            positions=np.array(measured, dtype=np.float64),
            velocities=np.array(velocities) if self._measures_speed and velocities is not None else None,
        )
        playback, first = self._playback, not self._playback.begun
        if first:
            self._begin(now, state)
        else:
            self._time += elapsed if self.scaling == 1.0 else round(elapsed * self.scaling)
        desired = playback.sample(self._time) if self._judged() else None
        command = playback.sample(self._time + self.period)
        if command is None:
            return self._set_point.copy()
        if self._may_write(state, desired, command, first):
            self._set_point = command.state.positions
            # The quirk: it is one period ahead of the time that it is saved with.
            self._last, self._saved = command.state, now
        return self._set_point.copy()

    def _judged(self) -> bool:
        return not self._holding and bool(self._path.any() or self._goal.any() or self._judges_speed)

    def _begin(self, now: int, state: Point) -> None:
        self._time = now
        time = now
        if self.spec.interpolate_from_desired_state:
            time, state = (now if self._saved is None else self._saved), self._last
        self._playback.begin(now, time, state, self._continuous)

    def _take(self) -> None:
        """Replace what is followed by the newest message, or by the hold that a violation asked for."""
        arrived, self._pending = self._pending, None
        hold, self._next = self._next, None
        if arrived is not None:
            points = self._order.points(arrived, self._set_point)
            self._playback = self._new(arrived.stamp, [int(t) for t in arrived.times], points)
        elif hold is not None:
            self._playback = hold
            self._order.held(hold.points[0].positions)

    def _new(self, stamp: int, times: list[int], points: list[Point]) -> Playback:
        return Playback(stamp, times, points, splines=self.spec.interpolation_method == SPLINES)

    def _hold(self, positions: np.ndarray) -> Playback:
        return self._new(0, [0], [Point(positions=np.array(positions, dtype=np.float64))])

    # Giving up.

    def _may_write(self, state: Point, desired: Sample | None, command: Sample, first: bool) -> bool:
        """Check time-out and tolerances; return whether this cycle's command goes out."""
        if self._holding:
            return True
        since = self._time - self._playback.due(command.point)
        if command.last and self._timeout and since > self._timeout:
            # The command still goes out; the hold follows in the next cycle, and nothing else is checked any more.
            self._give_up(TIMEOUT, state, f'no new trajectory for {since / NANOSECONDS:.3f} s after the last point')
            return True
        if desired is None:
            return True
        error = desired.state.positions - state.positions
        if self._continuous.any():
            turned = shortest_turn(state.positions, desired.state.positions)
            error = np.where(self._continuous, turned, error)
        outside = (self._path > 0.0) & (np.abs(error) > self._path)
        if (not command.last or first) and outside.any():
            self._give_up(PATH, state, self._words(error, outside, self._path))
            return False
        if command.last and 0.0 < self.spec.goal_time < since / NANOSECONDS:
            outside, fast = (self._goal > 0.0) & (np.abs(error) > self._goal), self._too_fast(desired, state)
            if outside.any() or fast.any():
                words = self._words(error, outside, self._goal) if outside.any() else 'not at rest'
                self._give_up(GOAL, state, words)
                return False
        return True

    def _too_fast(self, desired: Sample, state: Point) -> np.ndarray:
        if not self._judges_speed or state.velocities is None or self.spec.stopped_velocity_tolerance == 0.0:
            return np.zeros(len(self.joints), dtype=bool)
        assert desired.state.velocities is not None
        return np.abs(desired.state.velocities - state.velocities) > self.spec.stopped_velocity_tolerance

    def _words(self, error: np.ndarray, outside: np.ndarray, allowed: np.ndarray) -> str:
        worst = int(np.argmax(np.where(outside, np.abs(error), -1.0)))
        return f'{self.joints[worst]} is {abs(error[worst]):.4g} off, allowed {allowed[worst]:.4g}'

    def _give_up(self, kind: str, state: Point, words: str) -> None:
        self.held_up[kind] += 1
        self.reason = f'{kind}: {words}'
        self._next = self._hold(state.positions)
        self._holding = True
