"""A plan's beginning: where the robot is measured to be, and is expected to be when it takes the first command."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.policy.limits import JointLimits
from dp_ros.policy.spline import Knots
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
