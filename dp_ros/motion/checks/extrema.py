"""Where a trajectory's position, velocity, acceleration and jerk may be largest.

Between points a trajectory is a polynomial (`trajectory.segment_coefficients`), so its extrema are at the segment's
ends or at a root of the next derivative. Those instants are found here: for cubics in closed form, for quintics as
eigenvalues of companion matrices. A polynomial lies in the hull of its Bernstein coefficients (Farouki 2012), so where
that hull is within given bounds, its ends stand for the extrema and no root is sought.

Braking and speeding up may have limits of their own. They change places where the velocity is 0, so the accelerations
there are candidates too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np

from dp_ros.motion.trajectory import Trajectory

AN_END = 1e-9
"""A part of a segment so small that a root this close to an end is the end."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Extrema:
    """Candidates for the extrema: values (K, S, A) at instants (K, S, A) [s into each segment], by quantity.

    Attributes
    ----------
    position, velocity, acceleration, jerk
        Values and instants.
    power
        For each acceleration: above 0 where it speeds up, below 0 where it brakes, 0 where it does either.

    """

    position: tuple[np.ndarray, np.ndarray]
    velocity: tuple[np.ndarray, np.ndarray]
    acceleration: tuple[np.ndarray, np.ndarray]
    jerk: tuple[np.ndarray, np.ndarray]
    power: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Hull:
    """Bounds (A,) within which extrema need not be exact; ``alike``: braking has no limit of its own."""

    lowest: np.ndarray
    highest: np.ndarray
    speed: np.ndarray
    acceleration: np.ndarray
    alike: bool


def extrema(trajectory: Trajectory, enough: Hull | None = None) -> Extrema:
    """Find where each quantity may be largest in each segment; within ``enough``, bounds of them suffice."""
    if len(trajectory.times) == 1:
        return _single_point(trajectory)
    if trajectory.velocities is None:
        return _linear_extremes(trajectory)
    if trajectory.accelerations is None:
        return _cubic_extremes(trajectory)
    return _quintic_extrema(trajectory, enough)


def speed_bounds(trajectory: Trajectory) -> np.ndarray:
    """Return what no joint's speed exceeds in each segment, (S, A) [rad/s or m/s]: the hull of its Bernstein form."""
    c, h = trajectory.coefficients, trajectory.durations[:, None]
    hull = np.tensordot(_bernstein(len(c) - 1), c * h ** np.arange(len(c))[:, None, None], axes=1)
    return np.asarray(np.abs((len(c) - 1) * np.diff(hull, axis=0) / h).max(axis=0))


@lru_cache(maxsize=4)
def _bernstein(degree: int) -> np.ndarray:
    """Return the matrix from powers on [0, 1] to Bernstein coefficients."""
    return np.array([[comb(j, k) / comb(degree, k) for k in range(degree + 1)] for j in range(degree + 1)])


def _single_point(trajectory: Trajectory) -> Extrema:
    start = np.zeros_like(trajectory.positions)[None]
    given = [trajectory.velocities, trajectory.accelerations]
    velocity, acceleration = (start if value is None else value[None] for value in given)
    return Extrema(
        position=(trajectory.positions[None], start),
        velocity=(velocity, start),
        acceleration=(acceleration, start),
        jerk=(start, start),
        power=start,
    )


def _ends(trajectory: Trajectory, values: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Values at both ends of each segment, from the points themselves, so that no rounding is added."""
    zero = np.zeros_like(values[1:])
    return [values[:-1], values[1:]], [zero, zero + trajectory.durations[:, None]]


def _power_at_ends(speeds: list[np.ndarray], accelerations: list[np.ndarray]) -> list[np.ndarray]:
    """Whether it speeds up behind the start and before the end; from rest it does, and to rest it brakes."""
    starts, stops = (np.sign(v * a) for v, a in zip(speeds, accelerations, strict=True))
    return [np.where(speeds[0] == 0.0, 1.0, starts), np.where(speeds[1] == 0.0, -1.0, stops)]


def _linear_extremes(trajectory: Trajectory) -> Extrema:
    slopes = trajectory.coefficients[1]
    values, instants = (np.stack(part) for part in _ends(trajectory, trajectory.positions))
    # Velocity jumps where slopes differ, and at the end, where the last point is held.
    jumps = np.diff(slopes, axis=0, append=np.zeros_like(slopes[:1])) != 0.0
    corners = np.where(jumps, np.inf, 0.0)[None]
    return Extrema(
        position=(values, instants),
        velocity=(slopes[None], instants[:1]),
        acceleration=(corners, instants[1:]),
        jerk=(np.zeros_like(corners), instants[1:]),
        power=np.zeros_like(corners),
    )


def _cubic_extremes(trajectory: Trajectory) -> Extrema:
    assert trajectory.velocities is not None
    c0, c1, c2, c3 = trajectory.coefficients
    h = trajectory.durations[:, None]
    with np.errstate(all='ignore'):
        # Roots of c1 + 2 c2 x + 3 c3 x^2 without cancellation; none, or one out of reach, becomes an end.
        root = np.sqrt(np.maximum(c2 * c2 - 3 * c3 * c1, 0.0))
        q = -(c2 + np.copysign(root, c2))
        turns = _within(np.stack([q / (3 * c3), c1 / q]), h)
        inflection = _within(-c2 / (3 * c3), h)
    ends, instants = _ends(trajectory, trajectory.positions)
    turned = c0 + turns * (c1 + turns * (c2 + turns * c3))
    speeds, _ = _ends(trajectory, trajectory.velocities)
    fastest = c1 + inflection * (2 * c2 + inflection * 3 * c3)
    accelerations = [2 * c2, 2 * c2 + 6 * c3 * h]
    # A speed whose turn is taken for the end is none: that end speeds up from rest, or brakes to it.
    none = 4.0 * AN_END * h * np.maximum(np.abs(accelerations[0]), np.abs(accelerations[1]))
    moving = [np.where(np.abs(speed) <= none, 0.0, speed) for speed in speeds]
    # A turn that is an end has been judged there.
    turning = np.where((turns > AN_END * h) & (turns < (1.0 - AN_END) * h), 2 * c2 + 6 * c3 * turns, 0.0)
    return Extrema(
        position=(np.stack([*ends, *turned]), np.stack([*instants, *turns])),
        velocity=(np.stack([*speeds, fastest]), np.stack([*instants, inflection])),
        acceleration=(np.stack([*accelerations, *turning]), np.stack([*instants, *turns])),
        jerk=((6 * c3)[None], instants[0][None]),
        power=np.stack([*_power_at_ends(moving, accelerations), *np.zeros_like(turning)]),
    )


def _quintic_extrema(trajectory: Trajectory, enough: Hull | None) -> Extrema:
    """Solve quadratics always, cubics and quartics where a hull is not within ``enough``. Here instants are x / h."""
    h = trajectory.durations[:, None]
    curves = [trajectory.coefficients * h ** np.arange(6)[:, None, None]]
    for _ in range(3):
        curves.append(curves[-1][1:] * np.arange(1, len(curves[-1]))[:, None, None])
    shape = curves[0].shape[1:]
    ends = np.stack([np.zeros(shape), np.ones(shape)])
    positions = np.tensordot(_bernstein(5), curves[0], axes=1)
    speeds = 5 * np.diff(positions, axis=0) / h
    steady = np.concatenate([ends, _quadratic_roots(curves[3])])
    accelerations = _value(curves[2], steady) / h**2
    inside = _inside(positions, speeds, accelerations, enough)
    still = np.zeros((4, *shape))
    _put(still, ~(inside[0] & inside[2]), _roots, curves[1])
    straight = np.zeros((3, *shape))
    _put(straight, ~inside[1], _roots, curves[2])
    turns, fastest = np.concatenate([ends, still]), np.concatenate([ends, straight])
    positions = np.where(inside[0], positions, _value(curves[0], turns))
    speeds = np.where(inside[1], speeds, _value(curves[1], fastest) / h)
    power = np.zeros_like(accelerations)
    if enough is None or not enough.alike:
        steady = np.concatenate([steady, still])
        accelerations = np.concatenate([accelerations, _value(curves[2], still) / h**2])
        power = _power(curves[1], steady, accelerations)
    with np.errstate(all='ignore'):
        jolts = np.concatenate([ends, _within(-curves[3][1] / (2 * curves[3][2]), 1.0)[None]])
    return Extrema(
        position=(positions, turns * h),
        velocity=(speeds, fastest * h),
        acceleration=(accelerations, steady * h),
        jerk=(_value(curves[3], jolts) / h**3, jolts * h),
        power=power,
    )


def _inside(
    positions: np.ndarray, speeds: np.ndarray, accelerations: np.ndarray, enough: Hull | None
) -> list[np.ndarray]:
    """Say for which segments and joints (S, A) position, speed and acceleration are surely within. NaN is not."""
    if enough is None:
        return [np.zeros(positions.shape[1:], dtype=bool)] * 3
    kept = (positions >= enough.lowest).all(axis=0) & (positions <= enough.highest).all(axis=0)
    slow = (np.abs(speeds) <= enough.speed).all(axis=0)
    mild = (np.abs(accelerations) <= enough.acceleration).all(axis=0)
    return [kept, slow, mild | enough.alike]


def _put(values: np.ndarray, where: np.ndarray, solve: Callable[[np.ndarray], np.ndarray], curve: np.ndarray) -> None:
    """Set ``values`` (K, S, A) where ``where`` (S, A) is true to what ``solve`` makes of those polynomials."""
    if where.any():
        values[:, where] = solve(curve[:, where])


def _power(curve: np.ndarray, at: np.ndarray, accelerations: np.ndarray) -> np.ndarray:
    """Return whether accelerations (K, S, A) speed up or brake; ``curve`` is the velocity's."""
    speeds = _value(curve, at)
    # What is left of a root's velocity is rounding.
    speeds[np.abs(speeds) <= 1e-9 * np.abs(curve).max(axis=0)] = 0.0
    first, last = _power_at_ends([speeds[0], speeds[1]], [accelerations[0], accelerations[1]])
    return np.where(at < AN_END, first, np.where(at > 1.0 - AN_END, last, np.sign(speeds * accelerations)))


def _quadratic_roots(curve: np.ndarray) -> np.ndarray:
    """Return the roots of quadratics (3, S, A) without cancellation, put into 0 to 1; none becomes an end."""
    half = curve[1] / 2
    with np.errstate(all='ignore'):
        q = -(half + np.copysign(np.sqrt(np.maximum(half * half - curve[2] * curve[0], 0.0)), half))
        return _within(np.stack([q / curve[2], curve[0] / q]), 1.0)


def _within(instants: np.ndarray, end: np.ndarray | float) -> np.ndarray:
    """Put instants into 0 to ``end``; NaN, for none, becomes 0."""
    return np.asarray(np.fmin(np.fmax(instants, 0.0), end))


def _value(curve: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return polynomials (P, N), lowest power first, at ``at`` (K, N)."""
    value = np.zeros_like(at) + curve[-1]
    for coefficient in curve[-2::-1]:
        value = value * at + coefficient
    return np.asarray(value)


def _roots(curve: np.ndarray) -> np.ndarray:
    """Return the real parts of all roots of polynomials (P, N), put into 0 to 1, shape (P - 1, N).

    An imaginary part may be rounding, and one candidate more costs nothing. A leading coefficient of 0 is made
    tiny instead: that moves no root between 0 and 1, and only adds some far away.
    """
    degree = len(curve) - 1
    largest = np.abs(curve).max(axis=0)
    # NaN and infinity stay in the values, where the check finds them.
    scale = np.where((largest > 0.0) & np.isfinite(largest), largest, 1.0)
    lowest_first = np.nan_to_num(curve / scale, nan=0.0, posinf=0.0, neginf=0.0)
    tiny = 1e-13
    lead = np.where(np.abs(lowest_first[-1]) < tiny, np.copysign(tiny, lowest_first[-1]), lowest_first[-1])
    matrices = np.zeros((curve.shape[1], degree, degree))
    matrices[:, np.arange(1, degree), np.arange(degree - 1)] = 1.0
    matrices[:, :, -1] = (-lowest_first[:-1] / lead).T
    return np.clip(np.linalg.eigvals(matrices).real.T, 0.0, 1.0)
