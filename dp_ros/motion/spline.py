"""The curve of a plan: a cubic spline from a moving start through the steps, and on to rest.

    h_i   duration of segment i [s]        d_i   secant of segment i
    v_i   velocity at knot i               T     duration of the tail [s]

Interior knots are twice continuously differentiable, h_i v_{i-1} + 2 (h_{i-1} + h_i) v_i + h_{i-1} v_{i+1} =
3 (h_i d_{i-1} + h_{i-1} d_i) (de Boor, A Practical Guide to Splines, chapter IV). The start's velocity is given. At
the last step the acceleration is the tail's, which goes straight on to rest. A cubic tail decelerates evenly, -v_n / T
over v_n T / 2. A quintic one lets go of its deceleration evenly, from -2 v_n / T to 0 over v_n T / 3, so that none is
left at the end. Quintic points have the cubic spline's accelerations, so between the steps both are the same curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.robot.joint_limits import JointLimits

TAIL_EFFORT = 0.95
"""Part of the acceleration limit that the tail uses: the rest is for rounding."""
LONGEST_TAIL = 60.0
"""Seconds; what would take longer to stop is too fast, and the check says so."""
FORWARD = (np.array([-1.0, 1.0]), np.array([-3.0, 4.0, -1.0]) / 2, np.array([-11.0, 18.0, -9.0, 2.0]) / 6)
"""Weights of the first two, three and four steps in the derivative at the first."""
CUBIC_SLOPE, QUINTIC_SLOPE = 3.0, 5.0 / 3.0
"""How many times the secant a softened velocity may be: a quintic without acceleration at its ends bulges earlier."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Knots:
    """Points of a plan: times (N,) int64 [ns], absolute; positions, velocities, for quintics accelerations (N, A)."""

    times: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray
    accelerations: np.ndarray | None = None

    def __getitem__(self, part: slice) -> Knots:
        accelerations = None if self.accelerations is None else self.accelerations[part]
        return Knots(
            times=self.times[part],
            positions=self.positions[part],
            velocities=self.velocities[part],
            accelerations=accelerations,
        )


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a curve comes to rest: within ``limits``, in ``least`` [s] or more, by a cubic or by a quintic."""

    limits: JointLimits | None
    least: float
    quintic: bool = False

    @property
    def acceleration(self) -> float:
        """The deceleration where the tail begins, as a multiple of v / T."""
        return 2.0 if self.quintic else 1.0

    @property
    def travel(self) -> float:
        """How far the tail goes, as a part of v T."""
        return 1.0 / (1.0 + self.acceleration)

    def duration(self, velocities: np.ndarray) -> float:
        """Return how long it takes to stop all joints (A,) [s]."""
        if self.limits is None:
            return self.least
        speeds = self.acceleration * np.abs(velocities)
        needed = float((speeds / self.limits.top_deceleration).max())
        if self.quintic:
            needed = max(needed, float(np.sqrt(speeds / self.limits.top_jerk).max()))
        return max(self.least, min(needed / TAIL_EFFORT, LONGEST_TAIL))


def spline_velocities(
    durations: np.ndarray, positions: np.ndarray, first: np.ndarray, acceleration: float
) -> np.ndarray:
    """Return velocities (N, A) at knots ``positions`` (N, A), the first as given; durations (N - 1,) in [s].

    At the last knot the acceleration is -``acceleration`` [1/s] times the velocity there.
    """
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
    matrix[-1, -1] = 4 + durations[-1] * acceleration
    right[-1] = 6 * secants[-1]
    if n > 1:
        matrix[-1, -2] = 2.0
        right[0] -= after[0] * first
    else:
        right[0] -= 2 * first
    return np.concatenate([first[None], np.linalg.solve(matrix, right)])


def first_velocity(times: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Guess the velocity (A,) with which evenly spaced ``steps`` (n, A), at ``times`` (n,) [ns], begin.

    That of the polynomial through the first of them, up to four.
    """
    weights = FORWARD[min(len(steps), len(FORWARD) + 1) - 2]
    return np.asarray(weights @ steps[: len(weights)] / ((times[1] - times[0]) / NANOSECONDS))


def spline_accelerations(
    durations: np.ndarray, positions: np.ndarray, velocities: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """Return accelerations (N, A) at the knots of cubics, the first as given; elsewhere those before each knot."""
    h = durations[:, None]
    secants = np.diff(positions, axis=0) / h
    return np.concatenate([first[None], (2 * velocities[:-1] + 4 * velocities[1:] - 6 * secants) / h])


def soften(
    velocities: np.ndarray, durations: np.ndarray, positions: np.ndarray, where: np.ndarray, steepest: float
) -> np.ndarray:
    """Limit velocities ``where`` (N, A) is true so that the curve does not leave the range of its knots.

    A velocity between 0 and ``steepest`` times both neighbouring secants: 3 suffices for a monotone cubic (Fritsch and
    Carlson 1980). The first knot is never changed, the last has one neighbour.
    """
    secants = np.diff(positions, axis=0) / durations[:, None]
    left, right = secants, np.concatenate([secants[1:], secants[-1:]])
    turning = left * right <= 0.0
    most = np.where(turning, 0.0, steepest * np.minimum(np.abs(left), np.abs(right)))
    given = velocities[1:]
    along = np.where(given * left > 0.0, given, 0.0)
    limited = np.clip(along, -most, most)
    return np.concatenate([velocities[:1], np.where(where[1:], limited, given)])


def draw(
    start: Knots, times: np.ndarray, steps: np.ndarray, *, soft: np.ndarray, ending: Ending, ends: bool = False
) -> Knots:
    """Draw the curve from the last knot of ``start`` through ``steps`` (n, A) at ``times`` (n,) [ns], to rest.

    Returns n + 2 knots: the start's last, unchanged; the steps; the end, at rest. ``soft`` (n + 1, A) says at which
    knots, the start's among them, the curve must not overshoot; ``ends`` has it come to rest at the last step already.
    """
    knots = np.concatenate([start.times[-1:], times])
    positions = np.concatenate([start.positions[-1:], steps])
    durations = np.diff(knots) / NANOSECONDS
    tail = ending.duration((positions[-1] - positions[-2]) / durations[-1])
    for _ in range(3):
        velocities = spline_velocities(durations, positions, start.velocities[-1], ending.acceleration / tail)
        # The curve's last acceleration is the tail's: it must be known how long the tail is, to what it may spare.
        if ending.duration(velocities[-1]) <= (1 + (1 - TAIL_EFFORT) / 2) * tail:
            break
        tail = ending.duration(velocities[-1])
    if soft.any():
        velocities = soften(velocities, durations, positions, soft, QUINTIC_SLOPE if ending.quintic else CUBIC_SLOPE)
    if ends:
        velocities[-1] = 0.0
    tail = ending.duration(velocities[-1])
    rest = positions[-1] + velocities[-1] * tail * ending.travel
    if ending.limits is not None:
        # Where there is no room for the tail, the last step is reached slower.
        low, high = ending.limits.lowest, ending.limits.highest
        rest = np.minimum(np.maximum(rest, np.minimum(low, positions[-1])), np.maximum(high, positions[-1]))
        velocities[-1] = (rest - positions[-1]) / (tail * ending.travel)
    still = np.zeros((1, positions.shape[1]))
    accelerations = None
    if ending.quintic:
        assert start.accelerations is not None
        accelerations = spline_accelerations(durations, positions, velocities, start.accelerations[-1])
        accelerations[1:][soft[1:]] = 0.0
        accelerations[-1] = velocities[-1] * (-ending.acceleration / tail)
        accelerations = np.concatenate([accelerations, still])
    return Knots(
        times=np.append(knots, knots[-1] + to_nanoseconds(tail)),
        positions=np.concatenate([positions, rest[None]]),
        velocities=np.concatenate([velocities, still]),
        accelerations=accelerations,
    )


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
    slow = (accelerations <= limits.weakest) & (np.abs(6 * d - v0 - v1) <= 4 * limits.top_speed)
    slow &= 6 * np.abs(v0 + v1 - 2 * d) <= limits.top_jerk * h**2
    return np.asarray(slow.all(axis=1) & (due > head.times[-1]))


def travel_time(distance: np.ndarray, velocity: np.ndarray, limits: JointLimits) -> float:
    """Estimate how long a cubic needs over ``distance`` (A,), from ``velocity`` (A,) to rest [s]."""
    brake = 2 * np.abs(velocity) / limits.weakest
    by_acceleration = brake + np.sqrt(brake**2 + 6 * np.abs(distance) / limits.weakest)
    by_jerk = np.sqrt(12 * np.abs(velocity) / limits.top_jerk) + np.cbrt(24 * np.abs(distance) / limits.top_jerk)
    by_speed = 1.5 * np.abs(distance) / limits.top_speed
    return float(np.maximum(np.maximum(by_acceleration, by_jerk), by_speed).max())
