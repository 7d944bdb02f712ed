"""Whether the robot follows what it was commanded.

A trajectory whose first point is due already is right only for a controller that is on the plan: any other makes its
robot jump there. So before each, the newest measured positions are compared with the commanded ones. A robot follows
late, by its own lag and that of its messages. That lag is the same from one moment to the next, and is learned from
motion: what explains the last positions by one lag for each joint, close to the usual one, is following. What doesn't
is a controller that was switched off or lost a message, a protective stop, a hand.

    m_i    positions measured at t_i        c(t)   commanded position        s    lag

    e = min over s of max over i of |m_i - c(t_i - s)|    must be within a tolerance, for each joint

A message that is on its way meets the robot later than it was measured. A joint that has stood all the while may have
no controller at all, and be left behind by the whole plan; one that drifts off may drift on. How far it would have to
leap then, at the latest, is within `LEAP` times the tolerance, or nothing is sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.motion.safety.measured_states import SLIP, MeasuredStates
from dp_ros.motion.steps import beside
from dp_ros.motion.trajectory import Trajectory

WINDOW = 120_000_000
"""Over how long positions are compared [ns]."""
COMPARED = 6
"""How many of them."""
STEP = 5_000_000
"""Between two lags that are tried [ns]."""
EARLIEST = -10_000_000
"""A measurement may seem to be ahead of its command by so much: clocks differ, and controllers look ahead [ns]."""
ABOUT = 8_000_000
"""What a lag that is known may change by [ns]."""
LEARNING = 0.3
LEAP = 2.0
"""So many times its tolerance a joint may be off the plan when the controller has the next message."""
REFERENCE = np.arange(-20, 21, 4, dtype=np.int64) * 1_000_000
"""Around its stamp, when a controller may have commanded what it says [ns]: it looks ahead by a period."""
TURNOVER = 1_000_000_000
"""For how long what was commanded is remembered [ns]."""


def farthest(what: str, joints: Sequence[str], off: np.ndarray, allowed: np.ndarray) -> str:
    """Return ``what``, with the joint that is off by most of what is allowed; '' if none is off by more.

    ``off`` and ``allowed`` are (A,) [rad or m]; ``what`` has ``{joint}``, ``{off}`` and ``{allowed}``.
    """
    excess = off / allowed
    if not excess.max() > 1.0:
        return ''
    worst = int(excess.argmax())
    return what.format(joint=joints[worst], off=f'{off[worst]:.4g}', allowed=f'{allowed[worst]:.4g}')


class CommandedPath:
    """What was commanded when: one trajectory until the next is spliced in."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, Trajectory]] = deque()

    @property
    def pieces(self) -> tuple[tuple[int, Trajectory], ...]:
        """The trajectories, each with when it began to count [ns], oldest first; may be set."""
        return tuple(self._pieces)

    @pieces.setter
    def pieces(self, pieces: tuple[tuple[int, Trajectory], ...]) -> None:
        self._pieces = deque(pieces)

    def add(self, trajectory: Trajectory, since: int) -> None:
        """Take it that ``trajectory`` is followed from ``since`` [ns] on."""
        while self._pieces and self._pieces[-1][0] >= since:
            self._pieces.pop()
        self._pieces.append((since, trajectory))
        while len(self._pieces) > 1 and self._pieces[1][0] < since - TURNOVER:
            self._pieces.popleft()

    def positions_at(self, times: np.ndarray) -> np.ndarray:
        """Return what was commanded at ``times`` (M,) [ns], (M, A)."""
        assert self._pieces, 'a path has a piece before it is asked for positions'
        sinces = np.array([since for since, _ in self._pieces], dtype=np.int64)
        which = np.maximum(np.searchsorted(sinces, times, side='right') - 1, 0)
        found = np.empty((len(times), len(self._pieces[0][1].joints)))
        for index in np.unique(which):
            trajectory, here = self._pieces[index][1], which == index
            found[here] = trajectory.positions_at(times[here] - trajectory.stamp)
        return found

    def away(self, stamp: int, positions: np.ndarray, continuous: np.ndarray) -> np.ndarray:
        """Return how far positions (A,) that a controller commands about ``stamp`` [ns] are from the path; NaN: not."""
        commanded = self.positions_at(stamp + REFERENCE)
        away = np.abs(beside(positions, commanded[-1], continuous) - commanded).min(axis=0)
        return np.where(np.isnan(positions), 0.0, away)


class Following:
    """Compares measured positions with the commanded path.

    Parameters
    ----------
    tolerance
        Largest distance that is followed, by joint (A,) [rad or m].
    expected_lag
        Longest lag that explains anything before motion has shown one [ns]: a robot that stands is explained by any.
    max_lag
        Longest lag of all [ns].
    continuous
        Which joints turn without end, (A,) bool.

    """

    def __init__(self, tolerance: np.ndarray, expected_lag: int, max_lag: int, continuous: np.ndarray) -> None:
        self.tolerance = tolerance
        self._expected = expected_lag
        self._continuous = continuous
        self._lags = np.arange(EARLIEST, max_lag + 1, STEP, dtype=np.int64)
        self._lag: np.ndarray = np.full(len(tolerance), np.nan)

    @property
    def lag(self) -> np.ndarray:
        """The lag of each joint (A,) [s], as far as motion has shown it; NaN where it hasn't. May be set."""
        return self._lag / NANOSECONDS

    @lag.setter
    def lag(self, lag: np.ndarray) -> None:
        self._lag = lag * NANOSECONDS

    def distance(self, states: MeasuredStates, path: CommandedPath) -> np.ndarray:
        """Return how far each joint (A,) is from what a lag explains [rad or m]."""
        _, positions, off = self._compared(states, path, self._lags)
        errors = np.abs(off).max(axis=1)
        usual = self._usual()
        self._learn(self._lags[errors.argmin(axis=0)], errors.min(axis=0), np.ptp(positions, axis=0))
        return np.asarray(np.where(usual, errors, np.inf).min(axis=0))

    def leap(self, states: MeasuredStates, path: CommandedPath, until: int) -> np.ndarray:
        """Return how far each joint (A,) may be from the path when a controller gets more of it by ``until`` [ns]."""
        usual = self._usual()
        lags, usual = self._lags[usual.any(axis=1)], usual[usual.any(axis=1)]
        stamps, positions, off = self._compared(states, path, lags)
        best = np.where(usual, np.abs(off).max(axis=1), np.inf).argmin(axis=0)
        off = np.take_along_axis(off, best[None, None], axis=0)[0]
        earlier = max(-3, -len(off))
        drift, way = off[-1] - off[earlier], positions[-1] - positions[earlier]
        # A loose drive lags now more and now less; one that does not do half of its way is not driven.
        drift = np.where(np.abs(drift) > np.abs(drift + way) / 2, drift, 0.0)
        ahead = (until - stamps[-1] + lags[best]) / max(1, stamps[-1] - stamps[earlier])
        left_behind = np.abs(path.positions_at(np.array([until]))[0] - positions[-1])
        stood = np.ptp(states.lately(WINDOW), axis=0) <= np.minimum(self.tolerance / 2, SLIP)
        return np.where(stood, left_behind, np.abs(off[-1] + drift * ahead))

    def _compared(
        self, states: MeasuredStates, path: CommandedPath, lags: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return stamps (M,), measured positions (M, A), and the path's less these, for each of ``lags`` (L, M, A)."""
        stamps, positions = states.since(WINDOW)
        # The newest always, and others evenly before it.
        kept = np.unique(np.linspace(len(stamps) - 1, 0, min(COMPARED, len(stamps))).astype(np.int64))
        stamps, positions = stamps[kept], positions[kept]
        at = (stamps[None, :] - lags[:, None]).ravel()
        commanded = path.positions_at(at).reshape(len(lags), len(stamps), -1)
        newest = beside(positions[-1], commanded[-1, -1], self._continuous)
        positions = positions + (newest - positions[-1])
        return stamps, positions, commanded - positions

    def _usual(self) -> np.ndarray:
        """Return which lags (L, A) explain anything."""
        lags = self._lags[:, None]
        return np.where(np.isnan(self._lag), lags <= self._expected, np.abs(lags - self._lag) <= ABOUT)

    def _learn(self, lags: np.ndarray, errors: np.ndarray, moved: np.ndarray) -> None:
        """Take a lag that explains a motion well for the usual one."""
        clear = (errors < np.minimum(self.tolerance, moved) / 4) & (moved > self.tolerance / 2)
        known = np.where(np.isnan(self._lag), lags, self._lag)
        self._lag = np.where(clear, known + LEARNING * (lags - known), self._lag)
