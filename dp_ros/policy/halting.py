"""The way home."""

from __future__ import annotations

import numpy as np

from dp_ros.data import to_nanoseconds
from dp_ros.policy.committed import behind
from dp_ros.policy.extremes import extremes
from dp_ros.policy.limits import Within, pace, verdict
from dp_ros.policy.splice import joined
from dp_ros.policy.spline import Ending, Knots
from dp_ros.policy.trajectory import Trajectory

HOME_KNOTS = 24
"""Points on the way home: enough that cubics between them are that way within a thousandth."""
HOME_ROUNDS = 10

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
