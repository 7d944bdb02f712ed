"""What is committed already: the part of a plan that is sent again, and ways to end a plan early."""

from __future__ import annotations

import numpy as np

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.policy.limits import Within, check
from dp_ros.policy.splice import joined
from dp_ros.policy.spline import Ending, Knots
from dp_ros.policy.trajectory import Trajectory

WAITS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Control steps that a plan may be followed before it is braked."""


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
    positions, velocities, bends = plan.states(times - plan.stamp)
    return Knots(
        times=times,
        positions=positions,
        velocities=velocities,
        accelerations=None if plan.accelerations is None else bends,
    )


def resumed(head: Knots, plan: Trajectory, control_dt: int) -> Trajectory:
    """Return the plan itself, sent again; it outlasts ``head`` by a step or more, or a controller would refuse it."""
    due = plan.stamp + plan.times
    times = due[due > head.times[-1]]
    if len(times) == 0:
        times = head.times[-1:] + control_dt
    return joined(head, behind(head, _known(plan, times)), plan.joints)


def braked(head: Knots, plan: Trajectory, *, control_dt: int, ending: Ending, closest: int) -> Trajectory | None:
    """Decelerate along the plan's path behind ``head``; None where the plan's own end is the sooner stop.

    Where the plan itself brakes or turns as hard as it may at the end of ``head``, it is followed a little farther
    first: braking on top of that would have to be so gentle that it comes to rest much later.
    """
    best: Trajectory | None = None
    for wait in WAITS:
        follow = int(head.times[-1]) + round(wait * control_dt)
        end = plan.end if best is None else best.end
        if follow >= end:
            break
        longer = head if not wait else committed_head(plan, oldest=int(head.times[0]), splice=follow, closest=closest)
        found = _braked_at(longer, plan, control_dt=control_dt, ending=ending, before=end)
        best = found or best
    return best


def _braked_at(
    head: Knots, plan: Trajectory, *, control_dt: int, ending: Ending, before: int
) -> Trajectory | None:
    """Decelerate from the end of ``head`` on; None if that is not possible until ``before`` [ns].

    The plan's time p runs slower, from full speed to none in T, with u = t / T. For cubics evenly, p = T (u - u^2 / 2).
    For quintics by 1 - 3 u^2 + 2 u^3, which has no corner, p = T (u - u^3 + u^4 / 2). Both go T / 2 along the plan. T
    is the shortest found that keeps within the limits, the ending's least or more.
    """
    start, limits = int(head.times[-1]), ending.limits
    duration = max(ending.duration(head.velocities[-1]), 2 * control_dt / NANOSECONDS)
    while duration < (before - start) / NANOSECONDS:
        count = max(4, round(2 * duration * NANOSECONDS / control_dt))
        u = (np.arange(1, count + 1) / count)[:, None]
        if ending.quintic:
            along, rate, slowing = u - u**3 + u**4 / 2, 1 - 3 * u**2 + 2 * u**3, 6 * (u**2 - u) / duration
        else:
            along, rate, slowing = u - u**2 / 2, 1 - u, np.full_like(u, -1 / duration)
        times = start + np.rint(u[:, 0] * to_nanoseconds(duration)).astype(np.int64)
        path = _known(plan, start + np.rint(along[:, 0] * to_nanoseconds(duration)).astype(np.int64))
        bends = path.accelerations
        slower = Knots(
            times=times,
            positions=path.positions,
            velocities=path.velocities * rate,
            accelerations=None if bends is None else bends * rate**2 + path.velocities * slowing,
        )
        trajectory = joined(head, behind(head, slower), plan.joints)
        if limits is None or isinstance(check(trajectory, limits), Within):
            return trajectory
        duration *= 1.3
    return None


def behind(head: Knots, knots: Knots) -> Knots:
    """Return ``knots`` with the last of ``head`` before them."""
    last = head[-1:]
    bends = None
    if last.accelerations is not None and knots.accelerations is not None:
        bends = np.concatenate([last.accelerations, knots.accelerations])
    return Knots(
        times=np.concatenate([last.times, knots.times]),
        positions=np.concatenate([last.positions, knots.positions]),
        velocities=np.concatenate([last.velocities, knots.velocities]),
        accelerations=bends,
    )
