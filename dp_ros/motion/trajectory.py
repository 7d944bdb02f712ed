"""A trajectory as a joint_trajectory_controller receives it, and the polynomials that the controller makes of it.

    q(x) = c0 + c1 x + c2 x^2 + ... , x [s] since the segment's first point

Degree 1 from positions alone, 3 with velocities, 5 with accelerations too (joint_trajectory_controller,
`Trajectory::interpolate_between_points`). Sampling and the limit check both use these coefficients, so what is checked
is what the controller will command.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.errors import DataError, check_finite, check_shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """Points on a common time axis; positions [rad or m] and derivatives per second.

    Attributes
    ----------
    stamp
        When ``times`` are counted from [ns]; 0 lets the controller count from the moment of receipt.
    joints
        Names of the columns.
    times
        ``time_from_start`` of each point [ns], shape (N,) int64, strictly increasing, the first 0 or more.
    positions, velocities, accelerations
        Shape (N, A) float64; accelerations need velocities.

    """

    stamp: int
    joints: tuple[str, ...]
    times: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray | None = None
    accelerations: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.stamp < 0:
            raise DataError(f'trajectory stamp: got {self.stamp} ns, allowed 0 or more')
        if not self.joints or len(set(self.joints)) != len(self.joints):
            raise DataError(f'trajectory joints: got {self.joints}, allowed one or more different names')
        self._check_times()
        if self.accelerations is not None and self.velocities is None:
            raise DataError('trajectory: got accelerations without velocities, allowed both or velocities alone')
        for name in ('positions', 'velocities', 'accelerations'):
            self._freeze(name)

    def _check_times(self) -> None:
        times = np.array(self.times)
        if times.dtype.kind not in 'iu':
            raise DataError(f'trajectory times: got {times.dtype}, allowed whole nanoseconds')
        check_shape('trajectory times', times, (None,))
        if len(times) == 0:
            raise DataError('trajectory: got 0 points, allowed 1 or more')
        times = times.astype(np.int64)
        if times[0] < 0 or (np.diff(times) <= 0).any():
            raise DataError(f'trajectory times: got {times} ns, allowed strictly increasing ones from 0 up')
        times.flags.writeable = False
        object.__setattr__(self, 'times', times)

    def _freeze(self, name: str) -> None:
        given = getattr(self, name)
        if given is None:
            return
        array = np.array(given, dtype=np.float64)
        check_shape(f'trajectory {name}', array, (len(self.times), len(self.joints)))
        check_finite(f'trajectory {name}', array)
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    @property
    def end(self) -> int:
        """When the last point is due, on the stamp's time axis [ns]."""
        return self.stamp + int(self.times[-1])

    @cached_property
    def durations(self) -> np.ndarray:
        """Length of each segment [s], shape (N - 1,)."""
        return np.diff(self.times) / NANOSECONDS

    @cached_property
    def coefficients(self) -> np.ndarray:
        """Polynomial of each segment, lowest power first, shape (2, 4 or 6, N - 1, A)."""
        return segment_coefficients(self.durations, self.positions, self.velocities, self.accelerations)

    def sample(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions and velocities (M, A) at ``times`` (M,) [ns from the start]; beyond the ends they rest."""
        return self.states(times)[:2]

    def positions_at(self, times: np.ndarray) -> np.ndarray:
        """Return positions alone (M, A) at ``times`` (M,) [ns from the start]; beyond the ends those of the end."""
        if len(self.times) == 1:
            return np.repeat(self.positions, len(times), axis=0)
        inside, segment, x = self._located(np.asarray(times, dtype=np.int64))
        c = self.coefficients[:, segment]
        positions = c[-1]
        for coefficient in c[-2::-1]:
            positions = positions * x + coefficient
        positions[inside == self.times[-1]] = self.positions[-1]
        return positions

    def states(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return positions, velocities and accelerations (M, A) at ``times`` (M,) [ns from the start].

        Beyond the ends they rest. Where segments meet with different accelerations, the later one's counts.
        """
        at = np.asarray(times, dtype=np.int64)
        if len(self.times) == 1:
            positions = np.repeat(self.positions, len(at), axis=0)
            return positions, np.zeros_like(positions), np.zeros_like(positions)
        inside, segment, x = self._located(at)
        positions, velocities, accelerations = _derivatives(self.coefficients[:, segment], x)
        # At the last point, which is held for ever, nothing may be left of rounding.
        last, away = inside == self.times[-1], at != inside
        if last.any():
            positions[last] = self.positions[-1]
            if self.velocities is not None:
                velocities[last] = self.velocities[-1]
            if self.accelerations is not None:
                accelerations[last] = self.accelerations[-1]
        if away.any():
            velocities[away] = accelerations[away] = 0.0
        return positions, velocities, accelerations

    def _located(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return instants (M,) put between the ends, their segments (M,), and the time into those (M, 1) [s]."""
        # Not numpy.clip, which costs several times as much for so few.
        inside = np.minimum(np.maximum(at, self.times[0]), self.times[-1])
        segment = np.searchsorted(self.times[1:-1], inside, side='right')
        return inside, segment, ((inside - self.times[segment]) / NANOSECONDS)[:, None]


def _derivatives(c: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return polynomials (powers, M, A), lowest power first, at ``x`` (M, 1), and their first two derivatives."""
    if len(c) == 4:  # by far the most frequent
        positions = ((c[3] * x + c[2]) * x + c[1]) * x + c[0]
        return positions, (3.0 * c[3] * x + 2.0 * c[2]) * x + c[1], 6.0 * c[3] * x + 2.0 * c[2]
    positions, velocities, halves = c[-1], np.zeros_like(c[-1]), np.zeros_like(c[-1])
    for coefficient in c[-2::-1]:
        halves = halves * x + velocities
        velocities = velocities * x + positions
        positions = positions * x + coefficient
    return positions, velocities, 2.0 * halves


def segment_coefficients(
    durations: np.ndarray, positions: np.ndarray, velocities: np.ndarray | None, accelerations: np.ndarray | None
) -> np.ndarray:
    """Return the polynomials between points, lowest power first, shape (powers, N - 1, A); durations (N - 1,) in [s].

    With h the duration, d the secant (p1 - p0) / h:

    cubic    c2 = (3 d - 2 v0 - v1) / h             c3 = (v0 + v1 - 2 d) / h^2
    quintic  c3 = (10 d - 6 v0 - 4 v1) / h^2 - (3 a0 - a1) / 2h
             c4 = (8 v0 + 7 v1 - 15 d) / h^3 + (3 a0 - 2 a1) / 2h^2
             c5 = (6 d - 3 v0 - 3 v1) / h^4 + (a1 - a0) / 2h^3
    """
    h = durations[:, None]
    secants = (positions[1:] - positions[:-1]) / h
    if velocities is None:
        return np.stack([positions[:-1], secants])
    v0, v1 = velocities[:-1], velocities[1:]
    if accelerations is None:
        c2 = (3 * secants - 2 * v0 - v1) / h
        c3 = (v0 + v1 - 2 * secants) / h**2
        return np.stack([positions[:-1], v0, c2, c3])
    a0, a1 = accelerations[:-1], accelerations[1:]
    c3 = (10 * secants - 6 * v0 - 4 * v1) / h**2 - (3 * a0 - a1) / (2 * h)
    c4 = (8 * v0 + 7 * v1 - 15 * secants) / h**3 + (3 * a0 - 2 * a1) / (2 * h**2)
    c5 = (6 * secants - 3 * v0 - 3 * v1) / h**4 + (a1 - a0) / (2 * h**3)
    return np.stack([positions[:-1], v0, a0 / 2, c3, c4, c5])
