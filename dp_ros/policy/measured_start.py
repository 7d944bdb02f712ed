"""Points to hold that no plan leads to: where a robot that stands can begin, and where one that moves comes to rest.

Both are single points stamped 0: the controller starts its own way to them when it has them, from where it measures its
robot or from what it commanded last. That way is a cubic from position q and velocity v to p in T. With d = p - q, its
accelerations at the ends are (6 d / T - 4 v) / T and (2 v - 6 d / T) / T, and from rest its peak speed is 3 d / 2 T.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.policy.limits import Exceeded, JointLimits
from dp_ros.policy.measured import MeasuredState, extrapolated
from dp_ros.policy.spline import TAIL_EFFORT, Ending
from dp_ros.policy.trajectory import Trajectory
from dp_ros.policy.workspace import Workspace

UNLIMITED = 0.5
"""How long the way to a point takes where nothing is limited [s]."""
PARTS = (1.0, 0.5, 0.25, 0.0)
"""Parts of the way to stop that are tried where the workspace leaves no room."""


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What a state may be wrong by.

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
    position: np.ndarray | float = 0.0
    velocity: np.ndarray | float = 0.0


def begin_point(positions: np.ndarray, away: np.ndarray, joints: tuple[str, ...], ending: Ending) -> Trajectory:
    """Return ``positions`` (A,) as a point to hold, with time enough to come there from ``away`` (A,) at rest."""
    limits = ending.limits
    duration = UNLIMITED
    if limits is not None:
        by_speed = 1.5 * away / limits.top_speed
        by_acceleration = np.sqrt(6.0 * away / limits.weakest)
        by_jerk = np.cbrt(12.0 * away / limits.top_jerk)
        duration = float(np.maximum(np.maximum(by_speed, by_acceleration), by_jerk).max()) / TAIL_EFFORT
    return _point(positions, max(duration, ending.least), joints)


def stop_point(
    state: MeasuredState,
    velocities: np.ndarray,
    doubt: Doubt,
    joints: tuple[str, ...],
    ending: Ending,
    workspace: Workspace | None,
) -> Trajectory | Exceeded:
    """Return where a robot with this state and ``velocities`` (A,) comes to rest, counted from when it is received.

    The robot is expected where its velocity carries it until the middle of ``doubt``'s latency.
    """
    expected = extrapolated(state, velocities, state.stamp + doubt.age + doubt.latency // 2)
    duration = UNLIMITED
    if ending.limits is not None:
        duration = max(_duration(velocities, doubt, ending.limits), ending.least)
    left: Exceeded | None = None
    for part in PARTS:
        target = expected.positions + part * velocities * duration / 2
        if ending.limits is not None:
            target = np.clip(target, ending.limits.lowest, ending.limits.highest)
        point = _point(target, duration, joints)
        found = None if workspace is None else workspace.left(point)
        if found is None:
            return point
        left = left or found
    assert left is not None
    return left


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
    return float(np.where(np.isinf(brake), 0.0, needed).max()) / TAIL_EFFORT


def _point(positions: np.ndarray, duration: float, joints: tuple[str, ...]) -> Trajectory:
    return Trajectory(
        stamp=0,
        joints=joints,
        times=np.array([to_nanoseconds(duration)], dtype=np.int64),
        positions=positions[None],
        velocities=np.zeros((1, len(positions))),
    )
