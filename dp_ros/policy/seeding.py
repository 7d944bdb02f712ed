"""A plan's beginning: from the measured state onto a chunk that goes on meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.policy.limits import JointLimits
from dp_ros.policy.splice import LONGEST_LEAD
from dp_ros.policy.spline import Knots, travel_time
from dp_ros.policy.steps import Excess, clamped


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredState:
    """Joint positions and velocities (A,), measured at ``stamp`` [ns]."""

    stamp: int
    positions: np.ndarray
    velocities: np.ndarray


def seeded_head(
    state: MeasuredState, begin: int, splice: int, limits: JointLimits | None, tolerance: float
) -> Knots | Excess:
    """Return two knots, at ``begin`` and ``splice`` [ns], on the line along which the robot is expected to go on."""
    times = np.array([begin, splice], dtype=np.int64)
    since = ((times - state.stamp) / NANOSECONDS)[:, None]
    line = state.positions + since * state.velocities
    positions = clamped(line, limits, tolerance)
    if isinstance(positions, Excess):
        return positions
    # A joint that rests on its limit, with noise in its velocity, is expected to stay there.
    on_limit = (positions != line).any(axis=0)
    positions = np.where(on_limit, positions[-1], positions)
    velocities = np.where(on_limit, 0.0, state.velocities)
    return Knots(times=times, positions=positions, velocities=np.stack([velocities, velocities]))


def joining_step(
    due: np.ndarray, actions: np.ndarray, head: Knots, limits: JointLimits | None, lead_in: int
) -> tuple[int, int]:
    """Return the first step that can be reached in time, and the least time to it [ns].

    It is the last step, and later than due, where none is due late enough; it is beyond the last where the chunk has
    passed altogether.
    """
    left = due - head.times[-1]
    if left[-1] <= 0:
        return len(due), 0
    needed = np.full(len(due), lead_in, dtype=np.int64)
    if limits is not None:
        travel = travel_time(actions - head.positions[-1], head.velocities[-1], limits)
        needed = np.maximum(
            needed, (np.minimum(travel, 10 * LONGEST_LEAD / NANOSECONDS) * NANOSECONDS).astype(np.int64)
        )
    reachable = left >= needed
    first = int(reachable.argmax()) if reachable.any() else len(due) - 1
    return first, int(needed[first])
