"""What is committed already: the part of a plan that is sent again, and ways to end a plan early."""

from __future__ import annotations

import numpy as np

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.policy.limits import JointLimits, Within, check
from dp_ros.policy.splice import joined
from dp_ros.policy.spline import Knots, stopping_time
from dp_ros.policy.steps import Excess, clamped
from dp_ros.policy.trajectory import Trajectory


def committed_head(plan: Trajectory, *, oldest: int, splice: int, closest: int) -> Knots:
    """Return the plan's knots from the last one due by ``oldest`` to a knot at ``splice`` [ns].

    That last knot lies on the plan's own curve. A cubic cut in two is the same cubic, so no part that is sent again
    changes its shape. Where a knot of the plan is closer than ``closest``, the cut is moved later.
    """
    due = plan.stamp + plan.times
    if due[-1] <= oldest:
        # Of a plan that has long ended, the rest is sent again, not a point of an hour ago.
        return _known(plan, np.array([oldest, max(splice, oldest + closest)]))
    splice = max(splice, int(due[0]))
    last = int(np.searchsorted(due, splice, side='right')) - 1
    if 0 < splice - due[last] < closest:
        splice = int(due[last]) + closest
    if last + 1 < len(due) and due[last + 1] - splice < closest:
        last, splice = last + 1, int(due[last + 1])
    first = max(int(np.searchsorted(due, oldest, side='right')) - 1, 0)
    kept = due[first : last + 1]
    return _known(plan, kept if kept[-1] == splice else np.append(kept, splice))


def _known(plan: Trajectory, times: np.ndarray) -> Knots:
    """Return the plan at ``times`` [ns]; where it has a knot, exactly that knot."""
    positions, velocities = plan.sample(times - plan.stamp)
    return Knots(times=times, positions=positions, velocities=velocities)


def resumed(head: Knots, plan: Trajectory, control_dt: int) -> Trajectory:
    """Return the plan itself, sent again; it outlasts ``head`` by a step or more, or a controller would refuse it."""
    due = plan.stamp + plan.times
    times = due[due > head.times[-1]]
    if len(times) == 0:
        times = head.times[-1:] + control_dt
    rest = _known(plan, times)
    return joined(head, _continued(head, times, rest.positions, rest.velocities), plan.joints)


def braked(
    head: Knots, plan: Trajectory, *, control_dt: int, limits: JointLimits | None, least: float
) -> Trajectory | None:
    """Decelerate along the plan's path behind ``head``; None where the plan's own end is the better stop.

    Its time runs slower evenly, from full speed to none in T: plan time passed is t - t^2 / 2T. T is the shortest found
    that keeps within the limits, ``least`` [s] or more.
    """
    start = int(head.times[-1])
    duration = stopping_time(head.velocities[-1], limits, max(least, 2 * control_dt / NANOSECONDS))
    while duration / 2 < (plan.end - start) / NANOSECONDS:
        count = max(4, round(2 * duration * NANOSECONDS / control_dt))
        passed = np.arange(1, count + 1) / count
        times = start + np.rint(passed * to_nanoseconds(duration)).astype(np.int64)
        along = start + np.rint((passed - passed**2 / 2) * to_nanoseconds(duration)).astype(np.int64)
        positions, velocities = plan.sample(along - plan.stamp)
        trajectory = joined(head, _continued(head, times, positions, velocities * (1 - passed)[:, None]), plan.joints)
        if limits is None or isinstance(check(trajectory, limits), Within):
            return trajectory
        duration *= 1.3
    return None


def braked_in_one_point(
    positions: np.ndarray,
    velocities: np.ndarray,
    joints: tuple[str, ...],
    *,
    limits: JointLimits | None,
    tolerance: float,
    least: int,
) -> Trajectory | Excess:
    """Return the point where a robot with this state (A,) comes to rest, in ``least`` [ns] or more after receipt."""
    inside = clamped(positions[None], limits, tolerance)
    if isinstance(inside, Excess):
        return inside
    duration = stopping_time(velocities, limits, least / NANOSECONDS)
    target = inside + velocities * duration / 2
    if limits is not None:
        target = np.clip(target, limits.lowest, limits.highest)
    wait = np.array([to_nanoseconds(duration)], dtype=np.int64)
    return Trajectory(stamp=0, joints=joints, times=wait, positions=target, velocities=np.zeros_like(target))


def _continued(head: Knots, times: np.ndarray, positions: np.ndarray, velocities: np.ndarray) -> Knots:
    return Knots(
        times=np.concatenate([head.times[-1:], times]),
        positions=np.concatenate([head.positions[-1:], positions]),
        velocities=np.concatenate([head.velocities[-1:], velocities]),
    )
