"""Ways to rest that are no chunk's: a point to hold, and the way home."""

from __future__ import annotations

import numpy as np

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.policy.committed import behind
from dp_ros.policy.extremes import extremes
from dp_ros.policy.limits import Exceeded, Within, pace, verdict
from dp_ros.policy.splice import joined
from dp_ros.policy.spline import Ending, Knots
from dp_ros.policy.trajectory import Trajectory
from dp_ros.policy.workspace import Workspace

HOME_KNOTS = 24
"""Points on the way home: enough that cubics between them are that way within a thousandth."""
HOME_ROUNDS = 10
REACHES = (1.0, 0.5, 0.25, 0.0)
"""Parts of the way to stop that are tried where the workspace leaves no room."""


def held_point(
    positions: np.ndarray, velocities: np.ndarray, joints: tuple[str, ...], ending: Ending, workspace: Workspace | None
) -> Trajectory | Exceeded:
    """Return the point where a robot with this state (A,) comes to rest, counted from when it is received."""
    duration = ending.duration(velocities)
    left: Exceeded | None = None
    for part in REACHES:
        target = (positions + part * velocities * duration * ending.reach)[None]
        if ending.limits is not None:
            target = np.clip(target, ending.limits.lowest, ending.limits.highest)
        wait = np.array([to_nanoseconds(duration)], dtype=np.int64)
        point = Trajectory(stamp=0, joints=joints, times=wait, positions=target, velocities=np.zeros_like(target))
        found = None if workspace is None else workspace.left(point)
        if found is None:
            return point
        left = left or found
    assert left is not None
    return left


def as_plan(
    point: Trajectory, positions: np.ndarray, velocities: np.ndarray, now: int, wait: int, quintic: bool
) -> Trajectory:
    """Return what a robot that is sent a point to hold is expected to do: go on (A,) for ``wait`` [ns], then stop."""
    places = np.stack([positions - velocities * wait / NANOSECONDS, positions, point.positions[0]])
    return Trajectory(
        stamp=max(now, 1),
        joints=point.joints,
        times=np.array([0, wait, wait + point.times[0]]),
        positions=places,
        velocities=np.stack([velocities, velocities, np.zeros_like(velocities)]),
        accelerations=np.zeros_like(places) if quintic else None,
    )


def resting(head: Knots, ending: Ending, joints: tuple[str, ...]) -> Trajectory:
    """Return ``head`` and a stop behind it, straight on as far as the position limits let it."""
    velocities = head.velocities[-1:]
    duration = ending.duration(velocities[0])
    rest = head.positions[-1:] + velocities * duration * ending.reach
    if ending.limits is not None:
        rest = np.clip(rest, ending.limits.lowest, ending.limits.highest)
    still = np.zeros_like(rest)
    stop = Knots(
        times=head.times[-1:] + to_nanoseconds(duration),
        positions=rest,
        velocities=still,
        accelerations=still if ending.quintic else None,
    )
    return joined(head, behind(head, stop), joints)


def homeward(rest: Trajectory, goal: np.ndarray, duration: float, ending: Ending) -> Trajectory:
    """Return ``rest`` and the way from its end to ``goal`` (A,), with the least jerk there is.

    s(u) = 10 u^3 - 15 u^4 + 6 u^5 (Flash and Hogan 1985): straight in joint space, so no position limit is passed. It
    takes ``duration`` [s], or as much longer as the limits want.
    """
    u = (np.arange(1, HOME_KNOTS + 1) / HOME_KNOTS)[:, None]
    start, way = rest.positions[-1], goal - rest.positions[-1]
    for _ in range(HOME_ROUNDS):
        assert rest.velocities is not None
        knots = Knots(
            times=rest.end + np.rint(u[:, 0] * to_nanoseconds(duration)).astype(np.int64),
            positions=np.where(u < 1.0, start + way * u**3 * (10 + u * (6 * u - 15)), goal),
            velocities=way * 30 * u**2 * (1 - u) ** 2 / duration,
            accelerations=way * 60 * u * (1 - u) * (1 - 2 * u) / duration**2 if ending.quintic else None,
        )
        head = Knots(
            times=rest.stamp + rest.times,
            positions=rest.positions,
            velocities=rest.velocities,
            accelerations=rest.accelerations,
        )
        trajectory = joined(head, behind(head, knots), rest.joints)
        if ending.limits is None:
            return trajectory
        found = extremes(trajectory, ending.limits.hull)
        if isinstance(verdict(trajectory, found, ending.limits), Within):
            return trajectory
        duration *= max(1.01, 1.01 * float(pace(found, ending.limits)[len(rest.times) - 1 :].max()))
    return trajectory
