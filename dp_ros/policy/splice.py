"""Fitting new steps behind committed ones, within the limits.

The committed knots are never changed. Behind them the time of the new steps may be: `stretch` scales their spacing
uniformly, so that their path is kept, and `lead` is the way from the last committed knot to the first step, which no
scaling of the steps can help when the robot moves elsewhere than they begin. Where the curve between two steps would
leave a position limit it is softened. Every round ends in the check of the trajectory that will be sent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.policy.extremes import Extremes, extremes
from dp_ros.policy.limits import (
    ROUNDING,
    JointLimits,
    Within,
    acceleration_ratio,
    outside,
    speed_ratio,
    verdict,
)
from dp_ros.policy.spline import Knots, draw
from dp_ros.policy.trajectory import Trajectory

ROUNDS = 24
LONGEST_LEAD = 60 * NANOSECONDS
GREATEST_STRETCH = 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A trajectory within the limits; the steps' spacing times ``stretch``, the first at ``joins`` [ns]."""

    trajectory: Trajectory
    stretch: float
    joins: int


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """Why no trajectory was found."""

    reason: str


def fit(
    head: Knots,
    due: np.ndarray,
    steps: np.ndarray,
    *,
    joints: tuple[str, ...],
    limits: JointLimits | None,
    tail: float,
    lead: int = 0,
) -> Fitted | Misfit:
    """Append ``steps`` (n, A), due at ``due`` (n,) [ns], to ``head``; ``lead`` is the least time to the first [ns]."""
    start = int(head.times[-1])
    gap = int(due[0]) - start
    spacing, stretch, lead = due - due[0], 1.0, max(lead, gap)
    soft = np.zeros((len(steps) + 1, len(joints)), dtype=bool)
    seam = len(head.times) - 1
    if lead > LONGEST_LEAD:
        return Misfit(reason=f'lead-in: got {lead / 1e9:.1f} s, allowed up to {LONGEST_LEAD / 1e9:.0f} s')
    reason = ''
    for _ in range(ROUNDS):
        times = start + lead + np.rint(spacing * stretch).astype(np.int64)
        trajectory = joined(head, draw(head, times, steps, soft=soft, tail=tail, limits=limits), joints)
        if limits is None:
            return Fitted(trajectory=trajectory, stretch=stretch, joins=start + lead)
        found = extremes(trajectory)
        result = verdict(trajectory, found, limits)
        if isinstance(result, Within):
            return Fitted(trajectory=trajectory, stretch=stretch, joins=start + lead)
        reason = str(result)
        if result.quantity == 'position':
            softer = _soften_where_outside(soft, found, limits, seam)
            if (softer == soft).all():
                return Misfit(reason=reason)
            soft = softer
            continue
        slower = _slower(stretch, lead, gap, found, limits, seam)
        if slower is None:
            break
        stretch, lead = slower
    return Misfit(reason=f'{reason}; and slowing down does not help')


def joined(head: Knots, curve: Knots, joints: tuple[str, ...]) -> Trajectory:
    """Return the trajectory of ``head`` and ``curve``, which starts with the last knot of ``head``."""
    stamp = int(head.times[0])
    return Trajectory(
        stamp=stamp,
        joints=joints,
        times=np.concatenate([head.times[:-1], curve.times]) - stamp,
        positions=np.concatenate([head.positions[:-1], curve.positions]),
        velocities=np.concatenate([head.velocities[:-1], curve.velocities]),
    )


def _soften_where_outside(soft: np.ndarray, found: Extremes, limits: JointLimits, seam: int) -> np.ndarray:
    """Mark both knots of every new segment that leaves a position limit; the tail has been drawn inside."""
    left = outside(found, limits).max(axis=0)[seam:-1] > ROUNDING
    softer = soft.copy()
    softer[:-1] |= left
    softer[1:] |= left
    softer[0] = soft[0]
    return softer


def _slower(
    stretch: float, lead: int, gap: int, found: Extremes, limits: JointLimits, seam: int
) -> tuple[float, int] | None:
    """Lengthen the lead if the worst excess is there, else stretch the steps; None if that is out of proportion."""
    speed = speed_ratio(found, limits).max(axis=(0, 2))[seam:]
    acceleration = acceleration_ratio(found, limits).max(axis=(0, 2))[seam:]
    pace = np.maximum(speed, np.sqrt(acceleration))
    if not 1.0 < pace.max() < np.inf:
        return None
    # The spline is smooth where the lead ends, so an excess there shows in both segments: it is the lead's.
    if pace[0] >= 0.999999 * pace[1:].max():
        # Acceleration falls with 1/T^2 from rest and with 1/T from speed: between the two it converges for both.
        lead = round(1.01 * lead * max(float(speed[0]), float(acceleration[0]) ** 0.75))
    else:
        stretch *= 1.005 * float(pace[1:].max())
        lead = max(lead, round(gap * stretch))
    return None if stretch > GREATEST_STRETCH or lead > LONGEST_LEAD else (stretch, lead)
