"""Whether a trajectory keeps its distance from obstacles, at every instant of it and not only at samples.

    d(t)      distance of a shape from an obstacle, or of two shapes
    d_a, d_b  its values, or lower bounds of them, at the ends of an interval
    L         how far a point of the shape can move in the interval, by its joints' speeds

No point of the shape is farther than L from where it was, so d(t) >= (d_a + d_b - L) / 2 in the interval. Where that
is not enough, exact distances are put in place of bounds, and then the interval is split. What cannot be told apart
from a contact by `CLOSEST` is one: nothing that comes too close passes.

The bounds are those between spheres around a shape and the box around an obstacle, for all samples at once. Distances
are Coal's, of the pairs and samples that need them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.motion.checks.extrema import speed_bounds
from dp_ros.motion.obstacles import Contact
from dp_ros.motion.trajectory import Trajectory
from dp_ros.planning.shapes import Placed

if TYPE_CHECKING:
    from dp_ros.planning.collision import CollisionCheck

CLOSEST = 0.0002
"""Way of a shape within an interval that is not split any more [m]."""
BEFORE = 0.01
"""The same where a contact has been found behind it [m]: then it may be said to begin so much earlier."""
STRIDE = 0.1
"""Way of a shape within an interval that is looked at first [m]."""
PARTS = 4
"""Into which an interval is split."""
MOST_PARTS = 64
"""Intervals of a segment at first."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Pairs to be checked: shapes (P,), what they may meet (P,), and the lever of each joint (P, A).

    They must be ``needed`` (P,) [m] apart, and more from ``stamp`` (P,) [ns] on: by ``rate`` [m/s] and ``half``
    [m/s^2], times the time and its square. What they may meet moves with a speed ``drift`` (P,) [m/s] itself.
    """

    shape: np.ndarray
    other: np.ndarray
    levers: np.ndarray
    needed: np.ndarray
    drift: np.ndarray
    rate: np.ndarray
    half: np.ndarray
    stamp: np.ndarray

    def growth(self, times: np.ndarray) -> np.ndarray:
        """Return how much more distance is needed at times (M,) [ns], (M, P) [m]."""
        seconds = (times[:, None] - self.stamp) / NANOSECONDS
        return np.asarray(self.rate * seconds + self.half * seconds**2)

    def only(self, kept: np.ndarray) -> Pairs:
        """Return some of the pairs."""
        return Pairs(**{name: values[kept] for name, values in vars(self).items()})


class Sweep:
    """One search through a trajectory; see the module's text."""

    def __init__(
        self,
        check: CollisionCheck,
        trajectory: Trajectory,
        begin: int,
        pairs: Pairs,
        others: list[Placed],
        *,
        slack: float | None = None,
        resting: int = 0,
    ) -> None:
        """See the module's text; after its end it rests for so long as is looked at too, ``resting`` [ns]."""
        self._check, self._trajectory, self._pairs, self._others = check, trajectory, pairs, others
        self._needed = pairs.needed
        self._grows = bool(pairs.rate.any() or pairs.half.any())
        self._found: Contact | None = None
        self._latest = 2**63 - 1
        self._times = self._edges(max(begin, trajectory.stamp), resting)
        self._placed = check.robot.placements(self._at(self._times))
        self._bounds = check.bounds(self._placed, pairs, others, self._times) if len(pairs.shape) else None
        self._known = np.zeros((len(self._times), len(pairs.shape)), dtype=bool)
        if slack is not None and self._bounds is not None:
            self._ease(slack)

    def first(self) -> Contact | None:
        """Return the first contact, or None."""
        if self._bounds is None:
            return None
        first = np.arange(len(self._times) - 1)
        last = first + 1
        if not len(first):  # it only rests
            self._measure(np.zeros(1, dtype=np.int64), self._bounds[:1] < self._allowed(self._times[:1]))
        else:
            self._measure_ends(first, last, self._close(first, last))
            self._leave_out(first, last)
        while len(first):
            close = self._close(first, last) & (self._times[first] < self._latest)[:, None]
            open_ = np.asarray(close.any(axis=1))
            first, last, close = first[open_], last[open_], close[open_]
            if not len(first):
                break
            growth = self._allowed(self._times[last]) - self._allowed(self._times[first])
            # Where there is a contact for certain, it does not matter much what just before it is.
            least = CLOSEST if self._found is None else BEFORE
            tight = close & (self._way(self._times[first], self._times[last]) + growth <= least)
            if tight.any():
                row, pair = (int(i) for i in np.argwhere(tight)[0])
                at = int(self._times[first[row]])
                distance = float(min(self._bounds[first[row], pair], self._bounds[last[row], pair]))
                self._find(pair, distance, float(self._allowed(self._times[last[row : row + 1]])[0, pair]), at)
                before = self._times[first] < self._latest
                first, last, close = first[before], last[before], close[before]
            first, last = self._split(first, last, close)
        return self._found

    def _edges(self, begin: int, resting: int) -> np.ndarray:
        """Return the times between which is looked first [ns], the first ``begin`` and the last the end."""
        trajectory = self._trajectory
        end = trajectory.end
        if begin >= end or len(trajectory.times) == 1:
            self._speeds, self._starts = np.zeros((1, len(trajectory.joints))), np.array([begin])
            return np.array([begin], dtype=np.int64)
        knots = trajectory.stamp + trajectory.times
        self._speeds, self._starts = speed_bounds(trajectory), knots[:-1]
        if resting:
            self._speeds, self._starts = np.vstack([self._speeds, np.zeros(len(trajectory.joints))]), knots
        inner = knots[(knots > begin) & (knots < end)]
        edges = np.concatenate([[begin], inner, [end, end + resting] if resting else [end]]).astype(np.int64)
        way = self._way(edges[:-1], edges[1:]).max(axis=1, initial=0.0)
        parts = np.clip(np.ceil(way / STRIDE), 1, MOST_PARTS).astype(np.int64)
        share = np.concatenate([np.arange(count) for count in parts]) / np.repeat(parts, parts)
        times = np.repeat(edges[:-1], parts) + (share * np.repeat(np.diff(edges), parts)).astype(np.int64)
        return np.unique(np.append(times, edges[-1]))

    def _at(self, times: np.ndarray) -> np.ndarray:
        return self._trajectory.positions_at(times - self._trajectory.stamp)

    def _way(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Return how far points of each pair can move between times (M,) [ns] within segments, (M, P) [m]."""
        segment = np.clip(np.searchsorted(self._starts, begin, side='right') - 1, 0, len(self._speeds) - 1)
        seconds = (end - begin) / NANOSECONDS
        own = (self._speeds[segment] * seconds[:, None]) @ self._pairs.levers.T
        return np.asarray(own + self._pairs.drift * seconds[:, None])

    def _allowed(self, times: np.ndarray) -> np.ndarray:
        """Return what distance is needed until times (M,) [ns], (M, P) [m]."""
        if not self._grows:
            return np.broadcast_to(self._needed, (len(times), len(self._needed)))
        return np.asarray(self._needed + self._pairs.growth(times))

    def _close(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return in which intervals which pairs may be closer than allowed, (M, P)."""
        assert self._bounds is not None
        begin, end = self._times[first], self._times[last]
        # Asked as "not at least", so that a NaN is close.
        return ~((self._bounds[first] + self._bounds[last] - self._way(begin, end)) / 2 >= self._allowed(end))

    def _leave_out(self, first: np.ndarray, last: np.ndarray) -> None:
        """Look no more at pairs that are clear throughout."""
        assert self._bounds is not None
        kept = np.flatnonzero(self._close(first, last).any(axis=0))
        self._pairs, self._needed = self._pairs.only(kept), self._needed[kept]
        self._bounds, self._known = self._bounds[:, kept], self._known[:, kept]

    def _measure_ends(self, first: np.ndarray, last: np.ndarray, close: np.ndarray) -> None:
        """Put exact distances in place of bounds where intervals begin and end, of ``close`` pairs (M, P)."""
        wanted = np.zeros_like(self._known)
        wanted[first] |= close
        wanted[last] |= close  # each is the end of one interval, and the beginning of another
        samples = np.flatnonzero(wanted.any(axis=1))
        self._measure(samples, wanted[samples])

    def _measure(self, samples: np.ndarray, close: np.ndarray) -> None:
        """Put exact distances in place of bounds, at samples (M,) in order of time, of ``close`` pairs (M, P).

        Until there is a contact: what comes after it does not matter.
        """
        assert self._bounds is not None
        wanted = close & ~self._known[samples]
        for row in np.flatnonzero(wanted.any(axis=1)):
            sample = int(samples[row])
            if self._times[sample] >= self._latest:
                return
            poses, pairs = self._check.poses(self._placed, sample), np.flatnonzero(wanted[row])
            time = int(self._times[sample])
            for pair in pairs:
                self._bounds[sample, pair] = self._check.distance(self._pairs, int(pair), self._others, poses, time)
            self._known[sample, pairs] = True
            allowed = self._allowed(self._times[sample : sample + 1])[0, pairs]
            worst = int((self._bounds[sample, pairs] - allowed).argmin())
            if not self._bounds[sample, pairs[worst]] >= allowed[worst]:
                distance = float(self._bounds[sample, pairs[worst]])
                self._find(int(pairs[worst]), distance, float(allowed[worst]), int(self._times[sample]))

    def _find(self, pair: int, distance: float, allowed: float, at: int) -> None:
        if at < self._latest:
            self._found = self._check.contact(self._pairs, pair, self._others, distance, allowed, at)
            self._latest = at

    def _split(self, first: np.ndarray, last: np.ndarray, close: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the parts of intervals in order of time; at their ends, ``close`` pairs (M, P) are measured.

        The others are known to be clear in the whole interval: there, their distance is taken for infinite.
        """
        begin, length = self._times[first, np.newaxis], (self._times[last] - self._times[first])[:, np.newaxis]
        inner = begin + length * np.arange(1, PARTS) // PARTS
        whole = length[:, 0] >= PARTS
        first, last, close, inner = first[whole], last[whole], close[whole], inner[whole]
        if not len(first):
            return first, last
        number = (len(self._times) + np.arange(inner.size)).reshape(inner.shape)
        placed = self._check.robot.placements(self._at(inner.ravel()))
        self._times = np.concatenate([self._times, inner.ravel()])
        both = zip(self._placed, placed, strict=True)
        self._placed = np.concatenate(next(both)), np.concatenate(next(both))
        wanted = np.repeat(close, PARTS - 1, axis=0)
        assert self._bounds is not None
        self._bounds = np.concatenate([self._bounds, np.full(wanted.shape, np.inf)])
        self._known = np.concatenate([self._known, np.zeros_like(wanted)])
        self._measure(number.ravel(), wanted)
        edges = np.concatenate([first[:, np.newaxis], number, last[:, np.newaxis]], axis=1)
        return edges[:, :-1].ravel(), edges[:, 1:].ravel()

    def _ease(self, slack: float) -> None:
        """Ask for no more distance than there is where it begins: from there it must only not come closer."""
        assert self._bounds is not None
        begins, kept = self._bounds[0], self._needed - slack
        poses = self._check.poses(self._placed, 0)
        near = np.flatnonzero(begins < self._needed + 2 * CLOSEST)
        for pair in near:
            begins[pair] = self._check.distance(self._pairs, int(pair), self._others, poses, int(self._times[0]))
        self._known[0, near] = True
        eased = np.where(begins >= kept, np.maximum(kept, begins - 2 * CLOSEST), begins - 2 * CLOSEST)
        closer = self._known[0] & (begins < self._needed + 2 * CLOSEST) & (begins > 0.0)
        self._needed = np.where(closer, np.minimum(self._needed, eased), self._needed)
        for pair in near[begins[near] < self._needed[near]]:
            self._find(int(pair), float(begins[pair]), float(self._needed[pair]), int(self._times[0]))
