"""A box that a point of the tool must not leave.

Between two instants the tool's path is not straight. With f(t) how far the tool is beyond a side of the box and B a
bound of its acceleration, f is at most max(f_0, f_1) + B d^2 / 8 within d seconds (the error of linear interpolation).
So where that is below 0 no instant between is outside; where it isn't, d is halved. What cannot be told apart from a
touch by `CLOSEST` counts as outside: nothing that leaves the box passes.

    p    the tool point; J_i = dp/dq_i                       r_i  longest lever of joint i: how fast p moves with it
    |dp/dt| <= sum_i r_i |q'_i|       |d2p/dt2| <= sum_i r_i |q''_i| + sum_ij r_max(i,j) |q'_i| |q'_j|

The second derivatives hold since a joint turns the levers of those behind it, and no lever of one before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np

from dp_ros.data import Refusal
from dp_ros.errors import ConfigError
from dp_ros.motion.checks.limits import excess
from dp_ros.motion.trajectory import Trajectory
from dp_ros.robot.kinematics import Chain

COARSE, CLOSEST = 1e-3, 1e-4
"""What the path may differ from samples [m]: at first, and where the box is so close that it matters."""
MOST_PARTS = 256
AXES = 'xyz'


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A box, ``lower`` to ``upper`` (x, y, z) [m] in the axes where the chain begins, around the chain's end."""

    chain: Chain
    lower: tuple[float, float, float]
    upper: tuple[float, float, float]

    def __post_init__(self) -> None:
        for axis, low, high in zip(AXES, self.lower, self.upper, strict=True):
            if not low < high:
                raise ConfigError(f'workspace {axis}: got {low} to {high}, allowed lower < upper')

    @property
    def joints(self) -> tuple[str, ...]:
        """The joints that the chain's positions are given in."""
        return self.chain.joints

    def first_violation(self, trajectory: Trajectory) -> Refusal | None:
        """Return the farthest point outside the box; None if the tool is inside at every instant."""
        times = trajectory.times
        if len(times) == 1:
            return self._farthest(trajectory, times)
        acceleration = _accelerations(trajectory, self.chain)
        length = np.diff(times) / 1e9
        parts = np.ceil(length * np.sqrt(acceleration / (8 * COARSE)))
        parts = np.minimum(np.maximum(parts, 1), MOST_PARTS).astype(np.int64)
        starts, lengths = np.repeat(times[:-1], parts), np.repeat(np.diff(times) / parts, parts)
        which = np.concatenate([np.arange(n) for n in parts])
        begin = starts + which * lengths
        acceleration = np.repeat(acceleration, parts)
        # Each interval's end is the next one's start.
        edges = np.append(begin, float(times[-1]))
        beyond = self._beyond(trajectory, edges)
        first, last, end = beyond[:-1], beyond[1:], edges[1:]
        while True:
            if not max(first.max(initial=-np.inf), last.max(initial=-np.inf)) <= 0.0:
                return self._farthest(trajectory, np.rint(np.concatenate([begin, end])).astype(np.int64))
            error = acceleration * ((end - begin) / 1e9) ** 2 / 8
            open_ = ~(np.maximum(first, last) + error <= 0.0)
            if not open_.any():
                return None
            if (error[open_] <= CLOSEST).any():
                # It cannot be told on which side it is.
                close = open_ & (error <= CLOSEST)
                instants = np.rint(np.concatenate([begin[close], end[close]])).astype(np.int64)
                return self._farthest(trajectory, instants)
            begin, end, acceleration, first, last = (
                values[open_] for values in (begin, end, acceleration, first, last)
            )
            middle = (begin + end) / 2
            between = self._beyond(trajectory, middle)
            begin, end = np.concatenate([begin, middle]), np.concatenate([middle, end])
            first, last = np.concatenate([first, between]), np.concatenate([between, last])
            acceleration = np.concatenate([acceleration, acceleration])

    def _tool(self, trajectory: Trajectory, times: np.ndarray) -> np.ndarray:
        return self.chain.points(trajectory.positions_at(np.rint(times).astype(np.int64)))

    def _beyond(self, trajectory: Trajectory, times: np.ndarray) -> np.ndarray:
        """Return how far the tool is beyond the side that it is farthest beyond [m], (M,)."""
        tool = self._tool(trajectory, times)
        return np.asarray(np.maximum(tool - self.upper, self.lower - tool).max(axis=1))

    def _farthest(self, trajectory: Trajectory, times: np.ndarray) -> Refusal | None:
        """Return the worst of some instants, even if it only touches the box; a single point may touch it."""
        tool = self._tool(trajectory, times)
        beyond = np.maximum(tool - self.upper, self.lower - tool)
        if len(trajectory.times) == 1 and beyond.max() <= 0.0:
            return None
        k, axis = (int(i) for i in np.unravel_index(beyond.argmax(), beyond.shape))
        value = float(tool[k, axis])
        above = value - self.upper[axis] >= self.lower[axis] - value
        limit = self.upper[axis] if above else self.lower[axis]
        return excess(f'{self.chain.link} {AXES[axis]}', 'workspace', value, limit, int(times[k]))


def _accelerations(trajectory: Trajectory, chain: Chain) -> np.ndarray:
    """Return a bound of the tool's acceleration in each segment [m/s^2], (S,)."""
    c, h = trajectory.coefficients, trajectory.durations[:, None]
    count = len(c)
    scaled = c * h ** np.arange(count)[:, None, None]
    hull = np.tensordot(_bernstein(count - 1), scaled, axes=1)
    positions = np.abs(hull).max(axis=(0, 1))
    speeds = (count - 1) * np.diff(hull, axis=0) / h
    accelerations = (count - 2) * np.diff(speeds, axis=0) / h if count > 2 else np.zeros_like(speeds)
    return chain.acceleration_bound(np.abs(speeds).max(axis=0), np.abs(accelerations).max(axis=0), positions)


@lru_cache(maxsize=4)
def _bernstein(degree: int) -> np.ndarray:
    """Return the matrix from powers on [0, 1] to Bernstein coefficients."""
    return np.array([[comb(j, k) / comb(degree, k) for k in range(degree + 1)] for j in range(degree + 1)])
