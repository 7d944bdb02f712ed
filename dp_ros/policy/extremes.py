"""Where a trajectory's position, velocity and acceleration may be largest.

Between points a trajectory is a polynomial (`trajectory.segment_coefficients`), so its extremes are at the segment's
ends or at a root of the next derivative. Those instants are found here. For cubics they have a closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp_ros.policy.trajectory import Trajectory


@dataclass(frozen=True, kw_only=True, eq=False)
class Extremes:
    """Candidates for the extremes: values (K, S, A) at instants (K, S, A) [s into each segment], by quantity."""

    position: tuple[np.ndarray, np.ndarray]
    velocity: tuple[np.ndarray, np.ndarray]
    acceleration: tuple[np.ndarray, np.ndarray]


def extremes(trajectory: Trajectory) -> Extremes:
    """Find where position, velocity and acceleration may be largest in each segment."""
    if len(trajectory.times) == 1:
        start = np.zeros_like(trajectory.positions)[None]
        given = [trajectory.velocities, trajectory.accelerations]
        velocity, acceleration = (start if value is None else value[None] for value in given)
        return Extremes(
            position=(trajectory.positions[None], start), velocity=(velocity, start), acceleration=(acceleration, start)
        )
    if trajectory.velocities is None:
        return _linear_extremes(trajectory)
    if trajectory.accelerations is None:
        return _cubic_extremes(trajectory)
    return _quintic_extremes(trajectory)


def _ends(trajectory: Trajectory, values: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Values at both ends of each segment, from the points themselves, so that no rounding is added."""
    zero = np.zeros_like(values[1:])
    return [values[:-1], values[1:]], [zero, zero + trajectory.durations[:, None]]


def _linear_extremes(trajectory: Trajectory) -> Extremes:
    slopes = trajectory.coefficients[1]
    values, instants = (np.stack(part) for part in _ends(trajectory, trajectory.positions))
    # Velocity jumps where slopes differ, and at the end, where the last point is held.
    jumps = np.diff(slopes, axis=0, append=np.zeros_like(slopes[:1])) != 0.0
    corners = np.where(jumps, np.inf, 0.0)[None]
    return Extremes(
        position=(values, instants), velocity=(slopes[None], instants[:1]), acceleration=(corners, instants[1:])
    )


def _cubic_extremes(trajectory: Trajectory) -> Extremes:
    assert trajectory.velocities is not None
    c0, c1, c2, c3 = trajectory.coefficients
    h = trajectory.durations[:, None]
    with np.errstate(all='ignore'):
        # Roots of c1 + 2 c2 x + 3 c3 x^2 without cancellation; none, or one out of reach, becomes an end.
        root = np.sqrt(np.maximum(c2 * c2 - 3 * c3 * c1, 0.0))
        q = -(c2 + np.copysign(root, c2))
        turns = np.clip(np.nan_to_num(np.stack([q / (3 * c3), c1 / q]), nan=0.0), 0.0, h)
        inflection = np.clip(np.nan_to_num(-c2 / (3 * c3), nan=0.0), 0.0, h)
    ends, instants = _ends(trajectory, trajectory.positions)
    turned = c0 + turns * (c1 + turns * (c2 + turns * c3))
    speeds, _ = _ends(trajectory, trajectory.velocities)
    fastest = c1 + inflection * (2 * c2 + inflection * 3 * c3)
    return Extremes(
        position=(np.stack([*ends, *turned]), np.stack([*instants, *turns])),
        velocity=(np.stack([*speeds, fastest]), np.stack([*instants, inflection])),
        acceleration=(np.stack([2 * c2, 2 * c2 + 6 * c3 * h]), np.stack(instants)),
    )


def _quintic_extremes(trajectory: Trajectory) -> Extremes:
    """Roots of quartics have no useful closed form: found by numpy, segment by segment. The planner sends cubics."""
    c, h = trajectory.coefficients, trajectory.durations
    powers = np.polynomial.polynomial
    found = []
    for order, count in ((0, 6), (1, 5), (2, 4)):
        values = np.empty((count, *c.shape[1:]))
        instants = np.zeros_like(values)
        for s, a in np.ndindex(*c.shape[1:]):
            curve = powers.polyder(c[:, s, a], order) if order else c[:, s, a]
            roots = _real_roots(powers.polyder(curve), h[s])
            instants[: len(roots), s, a] = roots
            instants[-1, s, a] = h[s]
            values[:, s, a] = powers.polyval(instants[:, s, a], curve)
        found.append((values, instants))
    return Extremes(position=found[0], velocity=found[1], acceleration=found[2])


def _real_roots(curve: np.ndarray, h: float) -> np.ndarray:
    """Real parts of all roots in (0, h): an imaginary part may be rounding, and one candidate more costs nothing."""
    scaled = curve * h ** np.arange(len(curve))
    largest = np.abs(scaled).max()
    kept = np.where(np.abs(scaled) < 1e-14 * largest, 0.0, scaled)
    roots = np.roots(kept[::-1]).real * h if largest > 0.0 else np.empty(0)
    return roots[(roots > 0.0) & (roots < h)]
