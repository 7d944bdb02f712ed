"""What is committed already: the part of a plan that is sent again."""

from __future__ import annotations

import numpy as np

from dp_ros.motion.splice import joined
from dp_ros.motion.spline import Knots
from dp_ros.motion.trajectory import Trajectory


def committed_head(plan: Trajectory, *, oldest: int, splice: int, closest: int) -> Knots:
    """Return the plan's knots from the last one due by ``oldest`` to a knot at ``splice`` [ns].

    That last knot lies on the plan's own curve. A cubic cut in two is the same cubic, so no part that is sent again
    changes its shape. Where a knot of the plan is closer than ``closest``, the cut is moved later.
    """
    due = plan.stamp + plan.times
    if due[-1] <= oldest:
        # Of a plan that has long ended, the rest is sent again, not a point of an hour ago.
        return known(plan, np.array([oldest, max(splice, oldest + closest)]))
    splice = max(splice, int(due[0]))
    last = int(np.searchsorted(due, splice, side='right')) - 1
    if 0 < splice - due[last] < closest:
        splice = int(due[last]) + closest
    if last + 1 < len(due) and due[last + 1] - splice < closest:
        last, splice = last + 1, int(due[last + 1])
    first = max(int(np.searchsorted(due, oldest, side='right')) - 1, 0)
    kept = due[first : last + 1]
    return known(plan, kept if kept[-1] == splice else np.append(kept, splice))


def known(plan: Trajectory, times: np.ndarray) -> Knots:
    """Return the plan at ``times`` [ns]; where it has a knot, exactly that knot."""
    positions, velocities, accelerations = plan.states(times - plan.stamp)
    return Knots(
        times=times,
        positions=positions,
        velocities=velocities,
        accelerations=None if plan.accelerations is None else accelerations,
    )


def resumed(head: Knots, plan: Trajectory, control_dt: int) -> Trajectory:
    """Return the plan itself, sent again; it outlasts ``head`` by a step or more, or a controller would refuse it."""
    due = plan.stamp + plan.times
    times = due[due > head.times[-1]]
    if len(times) == 0:
        times = head.times[-1:] + control_dt
    return joined(head, behind(head, known(plan, times)), plan.joints)


def behind(head: Knots, knots: Knots) -> Knots:
    """Return ``knots`` with the last of ``head`` before them."""
    last = head[-1:]
    accelerations = None
    if last.accelerations is not None and knots.accelerations is not None:
        accelerations = np.concatenate([last.accelerations, knots.accelerations])
    return Knots(
        times=np.concatenate([last.times, knots.times]),
        positions=np.concatenate([last.positions, knots.positions]),
        velocities=np.concatenate([last.velocities, knots.velocities]),
        accelerations=accelerations,
    )


def standing(positions: np.ndarray, stamp: int, joints: tuple[str, ...], *, quintic: bool) -> Trajectory:
    """Return a plan that stands at ``positions`` (A,) from ``stamp`` [ns] on."""
    still = np.zeros((1, len(joints)))
    return Trajectory(
        stamp=stamp,
        joints=joints,
        times=np.zeros(1, dtype=np.int64),
        positions=np.asarray(positions)[None],
        velocities=still,
        accelerations=still if quintic else None,
    )
