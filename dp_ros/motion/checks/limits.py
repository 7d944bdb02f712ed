"""Joint limits, and the check of a whole trajectory against them: every instant, not only the points."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

from dp_ros.data import Refusal, to_nanoseconds
from dp_ros.errors import LimitError, listed
from dp_ros.motion.checks.extrema import Extrema, Hull, extrema
from dp_ros.motion.trajectory import Trajectory
from dp_ros.robot.joint_limits import JointLimits

Quantity = Literal['position', 'velocity', 'acceleration', 'deceleration', 'jerk', 'workspace']

ROUNDING = 1e-9
"""What floating point may add to a value exactly at its limit: absolute for positions, relative for the others."""
JERK_ROUNDING = 1e-6
"""The same for jerk, which is a difference of positions divided by the third power of a short time."""


def excess(joint: str, quantity: Quantity, value: float, limit: float, at: int) -> Refusal:
    """Return that a joint's ``quantity`` is ``value``, beyond its ``limit``, at ``at`` from the start [ns]."""
    bounded_below = quantity in ('position', 'workspace') and value <= limit
    reason = (
        f'{joint} {quantity}: got {value:.6g} at {at / 1e9:.3f} s, '
        f'allowed {"from" if bounded_below else "up to"} {limit:.6g}'
    )
    return Refusal(reason=reason, stop=True, quantity=quantity, joint=joint, at=at)


@lru_cache(maxsize=16)
def hull(limits: JointLimits) -> Hull:
    """Return what `extrema` may leave unsolved: where a polynomial's hull is within these, so is the polynomial."""
    return Hull(
        lowest=limits.lowest,
        highest=limits.highest,
        speed=limits.top_speed,
        acceleration=limits.weakest,
        alike=limits.brakes_alike,
    )


def outside(found: Extrema, limits: JointLimits) -> np.ndarray:
    """How far each candidate position is outside its limits [rad or m], shape (K, S, A); 0 or less is inside."""
    values = found.position[0]
    return np.maximum(values - limits.highest, limits.lowest - values)


def speed_ratio(found: Extrema, limits: JointLimits) -> np.ndarray:
    """Speed over its limit, shape (K, S, A)."""
    return np.abs(found.velocity[0]) / limits.top_speed


def acceleration_ratio(found: Extrema, limits: JointLimits) -> np.ndarray:
    """Acceleration over its limit, or deceleration over its own, shape (K, S, A)."""
    values, top = np.abs(found.acceleration[0]), limits.top_acceleration
    # A corner of a positions-only trajectory is infinite, which is no excess where nothing is limited.
    if limits.brakes_alike:
        return np.where(np.isinf(top), 0.0, values) / top
    top = np.where(found.power > 0, top, np.where(found.power < 0, limits.top_deceleration, limits.weakest))
    return np.where(np.isinf(top), 0.0, values) / top


def jerk_ratio(found: Extrema, limits: JointLimits) -> np.ndarray:
    """Jerk over its limit, shape (K, S, A)."""
    return np.abs(found.jerk[0]) / limits.top_jerk


def overspeed(found: Extrema, limits: JointLimits) -> np.ndarray:
    """Return how many times too fast each segment is, (S,): speed grows with it, acceleration squared, jerk cubed."""
    speed = speed_ratio(found, limits).max(axis=(0, 2))
    acceleration = np.sqrt(acceleration_ratio(found, limits).max(axis=(0, 2)))
    fastest = np.maximum(speed, acceleration)
    if not limits.any_jerk:
        return np.asarray(fastest)
    return np.asarray(np.maximum(fastest, np.cbrt(jerk_ratio(found, limits).max(axis=(0, 2)))))


def check(trajectory: Trajectory, limits: JointLimits) -> Refusal | None:
    """Return the worst excess of any instant of a trajectory over the limits of the same joints; None within them."""
    return verdict(trajectory, extrema(trajectory, hull(limits)), limits)


def verdict(trajectory: Trajectory, found: Extrema, limits: JointLimits) -> Refusal | None:
    """Return the worst excess of the extrema found in a trajectory over the limits, positions first; None within."""
    if trajectory.joints != limits.joints:
        raise LimitError(f'limits: got joints {listed(trajectory.joints)}, allowed {listed(limits.joints)}')
    beyond = outside(found, limits)
    # Asked as "not at most", so that a NaN out of an overflow is an excess too.
    if not beyond.max() <= ROUNDING:
        return _worst(trajectory, limits, 'position', found.position, beyond)
    speed, acceleration = speed_ratio(found, limits), acceleration_ratio(found, limits)
    if not speed.max() <= max(1.0 + ROUNDING, acceleration.max()):
        return _worst(trajectory, limits, 'velocity', found.velocity, speed)
    if not acceleration.max() <= 1.0 + ROUNDING:
        return _worst(trajectory, limits, 'acceleration', found.acceleration, acceleration)
    if limits.any_jerk:
        jerk = jerk_ratio(found, limits)
        if not jerk.max() <= 1.0 + JERK_ROUNDING:
            return _worst(trajectory, limits, 'jerk', found.jerk, jerk)
    return None


def _worst(
    trajectory: Trajectory,
    limits: JointLimits,
    quantity: Quantity,
    candidates: tuple[np.ndarray, np.ndarray],
    beyond: np.ndarray,
) -> Refusal:
    k, s, a = (int(i) for i in np.unravel_index(beyond.argmax(), beyond.shape))
    value, instant = float(candidates[0][k, s, a]), float(candidates[1][k, s, a])
    if quantity == 'position':
        limit = limits.upper[a] if value > limits.upper[a] else limits.lower[a]
    else:
        value = abs(value)
        limit = value / float(beyond[k, s, a])
        if quantity == 'acceleration' and not limits.brakes_alike and np.isclose(limit, limits.top_deceleration[a]):
            quantity = 'deceleration'
        limit = limits.column(quantity)[a]
    return excess(trajectory.joints[a], quantity, value, limit, int(trajectory.times[s]) + to_nanoseconds(instant))
