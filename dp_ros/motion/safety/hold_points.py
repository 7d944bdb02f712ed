"""Points to hold that no plan leads to: where a robot that stands can begin, and where one that moves comes to rest.

Both are single points stamped 0: the controller starts its own way to them when it has them, from where it measures its
robot or from what it commanded last. That way is a cubic from position q and velocity v to p in T. With d = p - q, its
accelerations at the ends are (6 d / T - 4 v) / T and (2 v - 6 d / T) / T, and from rest its peak speed is 3 d / 2 T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dp_ros.data import NANOSECONDS, Refusal, to_nanoseconds
from dp_ros.motion.checks.workspace import Workspace
from dp_ros.motion.options import PlanOptions
from dp_ros.motion.safety.measured_states import MeasuredState, MeasuredStates, extrapolated
from dp_ros.motion.spline import TAIL_EFFORT, Ending
from dp_ros.motion.steps import beside, clamped
from dp_ros.motion.trajectory import Trajectory
from dp_ros.robot.joint_limits import JointLimits

HELD = 100_000_000
"""For which a point is sent again and again, for copies may be lost [ns]. Each leaves the time that is left.

So a controller that takes all of them goes one way, and one that takes the last alone has the time that it needs.
"""
FASTEST = 4 / 3
"""Times the speed limit: what a way may come to that begins in motion, or nobody knows where."""
UNLIMITED = 0.5
"""How long the way to a point takes where nothing is limited [s]."""
HARDEST = 2.0
"""Times the acceleration limit: what a way that would pass a position limit may take instead."""
ROUNDING = 1e-9
"""Rounding: so little is not beyond a limit, nor a way back from it [rad or m]."""
SLOWEST = 1e-9
"""Less speed than this passes no limit [rad or m per second]."""
NEWTON = 20
"""Steps of Newton's method at most, which converges from above."""
PARTS = (1.0, 0.5, 0.25, 0.0)
"""Parts of the way to stop that are tried where the workspace leaves no room."""


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """Bound what a state may be wrong by.

    Attributes
    ----------
    age
        Of the joint state [ns].
    latency
        Longest time from now to the controller's first command [ns].
    position, velocity
        By how much else, for each joint (A,) [rad or m, per second].

    """

    age: int
    latency: int
    position: np.ndarray
    velocity: np.ndarray


class HoldPoints:
    """Make points to hold that every controller takes within the limits.

    Parameters
    ----------
    joints, control_dt, limits, options
        The planner's.

    """

    def __init__(
        self, joints: tuple[str, ...], control_dt: int, limits: JointLimits | None, options: PlanOptions
    ) -> None:
        self._joints, self._limits, self._options = joints, limits, options
        self._continuous = options.turning(joints)
        # The points have no accelerations, so the controller's way to them is a cubic.
        self._ending = Ending(limits=limits, least=control_dt / NANOSECONDS)

    def beginning(
        self, states: MeasuredStates, plan: Trajectory | None, held: np.ndarray | None, now: int
    ) -> Trajectory | Refusal:
        """Return a point as `begin` does for a robot whose controller is on ``plan``, or holds ``held`` (A,)."""
        places = [] if held is None else [held]
        velocities = np.zeros((1, len(self._joints)))
        if plan is not None and held is None:  # the plan may go on until the last copy of the point arrives
            until = now + np.linspace(0, HELD + self._options.splice_margin, 4).astype(np.int64)
            commanded, velocities = plan.sample(until - plan.stamp)
            places = list(commanded)
        positions = self._in_turn_of(plan, states.newest).positions
        places = [beside(place, positions, self._continuous) for place in places]
        point = self.begin(positions, places, np.abs(velocities).max(axis=0))
        if isinstance(point, Refusal) or self._limits is None:
            return point
        target, duration = point.positions[0], float(point.times[0]) / NANOSECONDS
        for place, speed in zip(places, velocities, strict=False):
            if (np.abs(_short_of_limits(place, speed, target, duration, self._limits) - target) > ROUNDING).any():
                return Refusal(reason='a plan that was given up may lead beyond a position limit: it ends first')
        return point

    def hold(
        self, states: MeasuredStates, plan: Trajectory | None, held: np.ndarray | None, now: int
    ) -> Trajectory | Refusal:
        """Return a point as `stop` does for a robot that moves, and may be on ``plan`` or held at ``held`` (A,)."""
        state = replace(self._in_turn_of(plan, states.newest), velocities=states.velocities(self._limits))
        planned = None
        if plan is not None:
            planned = plan.sample(np.array([now - plan.stamp]))
        elif held is not None:  # or a clock that was set forward made the controller leap there
            planned = beside(held, state.positions, self._continuous)[None], np.zeros((1, len(self._joints)))
        return self.stop(state, now, planned, states.largest_step())

    def hold_planned(self, plan: Trajectory, now: int) -> Trajectory | Refusal:
        """Return a point as `stop` does for a robot that was on ``plan`` at ``now`` [ns], when no clock counts."""
        positions, velocities = plan.sample(np.array([now - plan.stamp]))
        state = MeasuredState(stamp=now, positions=positions[0], velocities=velocities[0])
        # A clock that is set forward makes the controller leap to the plan's end.
        return self.stop(state, now, (plan.positions[-1:], velocities))

    def possible(self, positions: np.ndarray) -> np.ndarray | None:
        """Return where a robot was measured (A,), or None if it is so far outside of its limits that this is false."""
        if self._limits is None:
            return positions
        beyond = np.maximum(self._limits.lowest - positions, positions - self._limits.highest)
        return None if (beyond > self._options.joint_state_error).any() else positions

    def _in_turn_of(self, plan: Trajectory | None, state: MeasuredState | None) -> MeasuredState:
        """Return a state in the turn of the commands so far: a new plan must not unwind a joint."""
        assert state is not None, 'a planner that is not blind has a joint state'
        if plan is None:
            return state
        planned = plan.positions_at(np.array([state.stamp - plan.stamp]))[0]
        return replace(state, positions=beside(state.positions, planned, self._continuous))

    def begin(
        self, positions: np.ndarray, held: Sequence[np.ndarray], speeds: np.ndarray | None = None
    ) -> Trajectory | Refusal:
        """Return a point to hold at the measured ``positions`` (A,) of a robot that stands.

        The controller takes its own way there, from where it measures its robot or from what it commanded last. The
        point leaves it the time that it needs for that, however wrong the joint states are, up to
        `joint_state_error`, or from each of the positions ``held`` that it may hold. ``speeds`` (A,) are those that it
        may have after all, on a plan that was given up but is under way.
        """
        inside = clamped(positions[None], self._limits, self._options.position_tolerance, 'measured')
        if isinstance(inside, Refusal):
            return inside
        away = np.full(len(self._joints), self._options.joint_state_error)
        for place in held:
            away = np.maximum(away, np.abs(place - inside[0]))
        speeds = np.zeros_like(away) if speeds is None else speeds
        point = _begin_point(inside[0], away, speeds, self._joints, self._ending)
        workspace = self._options.workspace
        left = None if workspace is None else workspace.first_violation(point)
        return point if left is None else replace(left, reason=f'measured {left}')

    def stop(
        self,
        state: MeasuredState,
        now: int,
        planned: tuple[np.ndarray, np.ndarray] | None,
        away: np.ndarray | float = 0.0,
    ) -> Trajectory | Refusal:
        """Return a point at which a robot in this state comes to rest; ``now`` [ns] is when it is sent.

        ``planned`` are the positions and velocities (1, A) of a plan that it may follow after all. A velocity counts
        only as far as both have it: a leap of the joint states looks like one. The robot may be ``away`` (A,) from the
        state, or by `joint_state_error`; where it is by more, no velocity counts.
        """
        # A robot on a plan is within the limits: one that is measured beyond them was pushed there, or is not.
        tolerance = self._options.position_tolerance if planned is None else np.inf
        inside = clamped(state.positions[None], self._limits, tolerance, 'measured')
        if isinstance(inside, Refusal):
            return inside
        away = np.maximum(away, np.abs(state.positions - inside[0]))
        state = replace(state, positions=inside[0])
        starts = [(state.positions, state.velocities)]
        error = np.maximum(np.full(len(self._joints), self._options.joint_state_error), away)
        measured = other = state.velocities
        if planned is not None:
            starts.append((planned[0][0], planned[1][0]))
            error, other = np.maximum(error, np.abs(planned[0][0] - state.positions)), planned[1][0]
        both = np.clip(0.0, np.minimum(measured, other), np.maximum(measured, other))
        both = np.where(away > self._options.joint_state_error, 0.0, both)
        speed = np.maximum(np.abs(measured - both), np.abs(other - both))
        state = replace(state, velocities=both)
        age, latency = max(now - state.stamp, 0), self._options.splice_margin
        doubt = Doubt(age=age, latency=latency, position=error, velocity=speed)
        return _stop_point(state, doubt, starts, self._joints, self._ending, self._options.workspace)


def _begin_point(
    positions: np.ndarray, away: np.ndarray, speeds: np.ndarray, joints: tuple[str, ...], ending: Ending
) -> Trajectory:
    """Return ``positions`` (A,) as a point to hold, with time enough to come there from ``away`` (A,) at ``speeds``."""
    limits = ending.limits
    duration = UNLIMITED
    if limits is not None:
        by_speed = _by_speed(away, speeds, limits.top_speed)
        by_acceleration = 2.0 * speeds / limits.weakest
        by_acceleration += np.sqrt(by_acceleration**2 + 6.0 * away / limits.weakest)
        by_jerk = np.cbrt(12.0 * away / limits.top_jerk)
        duration = float(np.maximum(np.maximum(by_speed, by_acceleration), by_jerk).max()) / TAIL_EFFORT
    return _point(positions, max(duration, ending.least) + HELD / NANOSECONDS, joints)


def _stop_point(
    state: MeasuredState,
    doubt: Doubt,
    starts: Sequence[tuple[np.ndarray, np.ndarray]],
    joints: tuple[str, ...],
    ending: Ending,
    workspace: Workspace | None,
) -> Trajectory | Refusal:
    """Return where a robot with this state comes to rest, counted from when the point is received.

    The robot is expected where its velocity carries it until the middle of ``doubt``'s latency. It stops short of a
    position limit beyond which the way would lead from one of ``starts``, positions and velocities (A,).
    """
    velocities = state.velocities
    expected = extrapolated(state, state.stamp + doubt.age + doubt.latency // 2)
    duration = UNLIMITED
    if ending.limits is not None:
        duration = max(_duration(velocities, doubt, ending.limits), ending.least)
    duration += HELD / NANOSECONDS
    left: Refusal | None = None
    for part in PARTS:
        target = expected.positions + part * velocities * duration / 2
        if ending.limits is not None:
            target = np.clip(target, ending.limits.lowest, ending.limits.highest)
            late = (doubt.age + doubt.latency) / NANOSECONDS
            for place, speed in starts:
                target = _short_of_limits(place + late * speed, speed, target, duration, ending.limits)
        point = _point(target, duration, joints)
        found = None if workspace is None else workspace.first_violation(point)
        if found is None:
            return point
        left = left or found
    assert left is not None
    return replace(left, reason=f'measured {left}')


def _short_of_limits(
    place: np.ndarray, speed: np.ndarray, target: np.ndarray, duration: float, limits: JointLimits
) -> np.ndarray:
    """Return ``target`` (A,), moved back where the way there from ``place`` at ``speed`` would pass a position limit.

    No farther than `HARDEST` and the speed limit allow: a way of -c v T goes back at up to
    (4 + 6 c)^2 / (12 + 24 c) - 1 times v.
    """
    towards = np.where(speed < 0.0, -1.0, 1.0)
    place = np.clip(place, limits.lowest, limits.highest)
    room = np.where(speed < 0.0, place - limits.lowest, limits.highest - place)
    fast = np.maximum(np.abs(speed), SLOWEST)
    way, gain = (target - place) * towards, fast * duration
    twice = 1 + 2 * limits.top_speed / fast
    least = -gain * (twice + np.sqrt(twice**2 - 1) - 3) / 6
    least = np.maximum(least, (4 * gain - HARDEST * limits.weakest * duration**2) / 6)
    for _ in range(NEWTON):
        turns = gain > np.maximum(3 * way, 0.0)  # in the midst of the way, and comes back
        at = np.where(turns, gain / np.where(turns, 3 * gain - 6 * way, 1.0), 1.0)
        share = at**2 * (3 - 2 * at)
        beyond = gain * at * (1 - at) ** 2 + share * way - room
        over = turns & (beyond > ROUNDING)
        if not over.any():
            break
        way = np.where(over, np.maximum(way - beyond / share, np.minimum(least, way)), way)
    return np.clip(place + towards * way, limits.lowest, limits.highest)


def _duration(velocities: np.ndarray, doubt: Doubt, limits: JointLimits) -> float:
    """Return how long it takes all joints to stop [s], however wrong their state may be.

    With e the error of the position and f that of the velocity, the first acceleration is (v + 4 f) / T + 6 e / T^2.
    """
    age, latency = doubt.age / NANOSECONDS, doubt.latency / NANOSECONDS
    most = np.where(np.isfinite(limits.top_acceleration), limits.top_acceleration, 0.0)
    speed = np.abs(velocities)
    change = np.minimum(most * age, np.maximum(limits.top_speed - speed, 0.0))
    error = speed * latency / 2 + change * age + doubt.position
    change = change + doubt.velocity
    first, brake = speed + 4 * change, limits.weakest
    needed = (first + np.sqrt(first**2 + 24 * brake * error)) / (2 * brake)
    needed = np.maximum(np.where(np.isinf(brake), 0.0, needed), _by_speed(error, speed + change, limits.top_speed))
    return float(needed.max()) / TAIL_EFFORT


def _by_speed(error: np.ndarray, speed: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Return how long a way takes that makes up for ``error`` (A,) within the speed limit, from rest [s].

    From ``speed`` on, v, it comes to (v + x)^2 / 4 x at most, x = 6 e / T: within `FASTEST` times the limit.
    """
    most = np.where(np.isfinite(most), most, 1e9)
    speed = np.minimum(speed, most)
    twice = 4 * FASTEST * most - 2 * speed
    return np.maximum(1.5 * error / most, TAIL_EFFORT * 12 * error / (twice + np.sqrt(twice**2 - 4 * speed**2)))


def _point(positions: np.ndarray, duration: float, joints: tuple[str, ...]) -> Trajectory:
    return Trajectory(
        stamp=0,
        joints=joints,
        times=np.array([to_nanoseconds(duration)], dtype=np.int64),
        positions=positions[None],
        velocities=np.zeros((1, len(positions))),
    )
