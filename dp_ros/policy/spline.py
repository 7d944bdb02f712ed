"""The curve of a plan: a cubic spline from a moving start through the steps, and on to rest.

    h_i   duration of segment i [s]        d_i   secant of segment i
    v_i   velocity at knot i               T     duration of the tail [s]

Interior knots are twice continuously differentiable, h_i v_{i-1} + 2 (h_{i-1} + h_i) v_i + h_{i-1} v_{i+1} =
3 (h_i d_{i-1} + h_{i-1} d_i) (de Boor, A Practical Guide to Splines, chapter IV). The start's velocity is given. At the
last step the acceleration is the tail's: the tail decelerates evenly, -v_n / T, straight on, and ends at rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.policy.limits import JointLimits

TAIL_EFFORT = 0.95
"""Part of the acceleration limit that the tail uses: the rest is for rounding."""
LONGEST_TAIL = 60.0
"""Seconds; what would take longer to stop is too fast, and the check says so."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Knots:
    """Points of a plan: times (N,) int64 [ns], absolute; positions and velocities (N, A)."""

    times: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray


def spline_velocities(durations: np.ndarray, positions: np.ndarray, first: np.ndarray, tail: float) -> np.ndarray:
    """Return velocities (N, A) at knots ``positions`` (N, A), the first as given; durations (N - 1,) in [s]."""
    n = len(durations)
    secants = np.diff(positions, axis=0) / durations[:, None]
    matrix = np.zeros((n, n))
    right = np.empty_like(secants)
    before, after = durations[:-1], durations[1:]
    i = np.arange(n - 1)
    matrix[i, i] = 2 * (before + after)
    matrix[i, i + 1] = before
    matrix[i[1:], i[1:] - 1] = after[1:]
    right[:-1] = 3 * (after[:, None] * secants[:-1] + before[:, None] * secants[1:])
    matrix[-1, -1] = 4 + durations[-1] / tail
    right[-1] = 6 * secants[-1]
    if n > 1:
        matrix[-1, -2] = 2.0
        right[0] -= after[0] * first
    else:
        right[0] -= 2 * first
    return np.concatenate([first[None], np.linalg.solve(matrix, right)])


def soften(velocities: np.ndarray, durations: np.ndarray, positions: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Limit velocities ``where`` (N, A) is true so that the curve does not leave the range of its knots.

    A velocity between 0 and three times both neighbouring secants suffices for a monotone cubic (Fritsch and Carlson
    1980). The first knot is never changed, the last has one neighbour.
    """
    secants = np.diff(positions, axis=0) / durations[:, None]
    left, right = secants, np.concatenate([secants[1:], secants[-1:]])
    turning = left * right <= 0.0
    most = np.where(turning, 0.0, 3.0 * np.minimum(np.abs(left), np.abs(right)))
    given = velocities[1:]
    along = np.where(given * left > 0.0, given, 0.0)
    limited = np.clip(along, -most, most)
    return np.concatenate([velocities[:1], np.where(where[1:], limited, given)])


def draw(
    start: Knots, times: np.ndarray, steps: np.ndarray, *, soft: np.ndarray, tail: float, limits: JointLimits | None
) -> Knots:
    """Draw the curve from the last knot of ``start`` through ``steps`` (n, A) at ``times`` (n,) [ns], to rest.

    Returns n + 2 knots: the start's last, unchanged; the steps; the end, at rest. ``soft`` (n + 1, A) says at which
    knots, the start's among them, the curve must not overshoot. ``tail`` is the least duration of the tail [s].
    """
    knots = np.concatenate([start.times[-1:], times])
    positions = np.concatenate([start.positions[-1:], steps])
    durations = np.diff(knots) / NANOSECONDS
    longer = stopping_time((positions[-1] - positions[-2]) / durations[-1], limits, tail)
    for _ in range(3):
        velocities = spline_velocities(durations, positions, start.velocities[-1], longer)
        # The curve's last acceleration is the tail's: it must be known how long the tail is, to what it may spare.
        if stopping_time(velocities[-1], limits, tail) <= (1 + (1 - TAIL_EFFORT) / 2) * longer:
            break
        longer = stopping_time(velocities[-1], limits, tail)
    if soft.any():
        velocities = soften(velocities, durations, positions, soft)
    longer = stopping_time(velocities[-1], limits, tail)
    rest = positions[-1] + velocities[-1] * longer / 2
    if limits is not None:
        # Where there is no room for the tail, the last step is reached slower.
        rest = np.clip(rest, np.minimum(limits.lowest, positions[-1]), np.maximum(limits.highest, positions[-1]))
        velocities[-1] = (rest - positions[-1]) * 2 / longer
    return Knots(
        times=np.append(knots, knots[-1] + to_nanoseconds(longer)),
        positions=np.concatenate([positions, rest[None]]),
        velocities=np.concatenate([velocities, np.zeros((1, positions.shape[1]))]),
    )


def stopping_time(velocities: np.ndarray, limits: JointLimits | None, least: float) -> float:
    """Return how long an even deceleration of all joints (A,) takes [s], ``least`` or more."""
    if limits is None:
        return least
    needed = float((np.abs(velocities) / limits.top_acceleration).max()) / TAIL_EFFORT
    return max(least, min(needed, LONGEST_TAIL))


def reachable(head: Knots, due: np.ndarray, steps: np.ndarray, limits: JointLimits) -> np.ndarray:
    """Estimate which steps (n, A), due at ``due`` (n,) [ns], one cubic from the end of ``head`` reaches within limits.

    It arrives with the velocity that the steps have there: with h the duration, d the secant, the accelerations at its
    ends are (6 d - 4 v0 - 2 v1) / h and (2 v0 + 4 v1 - 6 d) / h, the speed in the middle (6 d - v0 - v1) / 4.
    """
    h = np.maximum((due - head.times[-1])[:, None] / NANOSECONDS, 1e-9)
    v0 = head.velocities[-1]
    v1 = np.gradient(steps, due / NANOSECONDS, axis=0) if len(due) > 1 else np.zeros_like(steps)
    d = (steps - head.positions[-1]) / h
    accelerations = np.maximum(np.abs(6 * d - 4 * v0 - 2 * v1), np.abs(2 * v0 + 4 * v1 - 6 * d)) / h
    slow = (accelerations <= limits.top_acceleration) & (np.abs(6 * d - v0 - v1) <= 4 * limits.top_speed)
    return np.asarray(slow.all(axis=1) & (due > head.times[-1]))


def travel_time(distance: np.ndarray, velocity: np.ndarray, limits: JointLimits) -> float:
    """Estimate how long a cubic needs over ``distance`` (A,), from ``velocity`` (A,) to rest [s]."""
    brake = 2 * np.abs(velocity) / limits.top_acceleration
    by_acceleration = brake + np.sqrt(brake**2 + 6 * np.abs(distance) / limits.top_acceleration)
    return float(np.maximum(by_acceleration, 1.5 * np.abs(distance) / limits.top_speed).max())
