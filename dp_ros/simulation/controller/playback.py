"""A trajectory as the controller samples it: segment by segment, each of the degree that its two points allow.

Times are in [ns], positions in [rad or m], derivatives per second.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.motion.trajectory import segment_coefficients


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """A point of a trajectory, or a state: arrays (A,), None where a message's field would be empty."""

    positions: np.ndarray
    velocities: np.ndarray | None = None
    accelerations: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """What a trajectory says for one time.

    Attributes
    ----------
    state
        The state asked for; velocities and accelerations are 0 where nothing tells them.
    point
        Index of the point that the segment starts at; 0 on the bridge.
    last
        Whether the last point has been passed.

    """

    state: Point
    point: int
    last: bool


class Playback:
    """Points on a time axis, and the bridge to the first of them from the state before.

    Parameters
    ----------
    stamp
        When ``times`` are counted from; 0 is the first sampling time.
    times, points
        One or more, the times strictly increasing.
    splines
        False steps from point to point. Once any sample was past the last point, there is no way back before it.

    """

    def __init__(
        self,
        stamp: int,
        times: Sequence[int],
        points: Sequence[Point],
        *,
        splines: bool = True,
    ) -> None:
        assert len(times) == len(points) > 0
        self.start = stamp
        self.times = [int(t) for t in times]
        self.points = list(points)
        self.begun = False
        self._splines = splines
        self._ended = False
        self._before = (0, points[0])
        self._cache: dict[int, np.ndarray] = {}

    def begin(self, now: int, time: int, state: Point, continuous: np.ndarray | None = None) -> None:
        """Start playing at ``now``, from a state at ``time``; ``continuous`` (A,) bool joints turn the shorter way."""
        first = self.points[0]
        zeros = np.zeros_like(first.positions)
        # Else the bridge would be of a lower degree than the segments after it.
        if state.velocities is None and first.velocities is not None:
            state = replace(state, velocities=zeros)
        if state.accelerations is None and first.accelerations is not None:
            state = replace(state, accelerations=zeros)
        if continuous is not None and continuous.any():
            turned = first.positions - shortest_turn(state.positions, first.positions)
            state = replace(state, positions=np.where(continuous, turned, state.positions))
        self._before = (time, state)
        self.start = self.start or now
        self.begun = True

    def due(self, point: int) -> int:
        """Return when a point is due."""
        return self.start + self.times[point]

    def sample(self, t: int) -> Sample | None:
        """Return the state at ``t``, or None before the state that the bridge starts from."""
        if t < self._before[0]:
            return None
        if t < self.due(0):
            state = self._before[1]
            return Sample(state=self._between(-1, t) if self._splines else state, point=0, last=False)
        following = bisect_right(self.times, t - self.start)
        end = len(self.times)
        if following == end or self._ended:
            self._ended = True
            return Sample(state=_whole(self.points[-1]), point=end - 1, last=True)
        i = following - 1
        state = self._between(i, t) if self._splines else _whole(self.points[following])
        return Sample(state=state, point=i, last=False)

    def _between(self, i: int, t: int) -> Point:
        """Return the state on the segment from point ``i``; -1 is the bridge."""
        if (c := self._cache.get(i)) is None:
            c = self._cache[i] = self._segment(i)
        x = (t - (self._before[0] if i < 0 else self.due(i))) / NANOSECONDS
        positions, velocities, accelerations = _basis(x, len(c)) @ c
        return Point(positions=positions, velocities=velocities, accelerations=accelerations)

    def _segment(self, i: int) -> np.ndarray:
        time, a = self._before if i < 0 else (self.due(i), self.points[i])
        b = self.points[i + 1]
        duration = np.array([(self.due(i + 1) - time) / NANOSECONDS])
        positions = np.stack([a.positions, b.positions])
        velocities = _pair(a.velocities, b.velocities)
        accelerations = _pair(a.accelerations, b.accelerations)
        if velocities is None and accelerations is not None:
            # The real controller has no rule for such a segment, and leaves its output at 0.
            return np.zeros((2, len(a.positions)))
        return segment_coefficients(duration, positions, velocities, accelerations)[:, 0]


def shortest_turn(start: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Return the shorter ways round from ``start`` to ``goal`` [rad]; a half turn goes where the numbers say."""
    turn = np.remainder(goal - start + np.pi, 2.0 * np.pi) - np.pi
    half = np.abs(np.abs(turn) - np.pi) < 1e-9
    return np.where(half, np.where(goal > start, np.abs(turn), -np.abs(turn)), turn)


def _basis(x: float, count: int) -> np.ndarray:
    """Return the powers of ``x``, their first and their second derivatives, (3, count)."""
    powers = [x**k for k in range(count)]
    first = [k * powers[k - 1] if k else 0.0 for k in range(count)]
    second = [k * (k - 1) * powers[k - 2] if k > 1 else 0.0 for k in range(count)]
    return np.array([powers, first, second])


def _pair(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    return None if a is None or b is None else np.stack([a, b])


def _whole(point: Point) -> Point:
    zeros = np.zeros_like(point.positions)
    return Point(
        positions=point.positions,
        velocities=zeros if point.velocities is None else point.velocities,
        accelerations=zeros if point.accelerations is None else point.accelerations,
    )
