"""Cross-fading from the committed plan into a new chunk.

    u   part of the window that has passed           w   weight of the chunk, 6 u^5 - 15 u^4 + 10 u^3
    W   duration of the window [s]                   e   the chunk's curve less the plan's

The commands are q_plan + w e. The weight begins and ends without velocity and acceleration, so the acceleration is

    (1 - w) q_plan'' + w q_chunk'' + 2 w' e' / W + w'' e / W^2

wherever the chunk's steps lie in time: a chunk that agrees with the plan, e = 0, is not altered, and a step that is
due right behind the splice makes no jerk. Samples of a policy disagree, though. A short window makes a jerk of that, a
long one makes the robot slow to react. So the window is as short as it may be without more acceleration than chunks
have inside, which is learned from the last few of them.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.motion.spline import first_velocity, spline_velocities
from dp_ros.motion.trajectory import Trajectory

REMEMBERED = 10
"""Chunks that say what acceleration is usual."""
USUAL = 0.8
"""The quantile of their accelerations that a cross-fade keeps to, joint by joint."""
EDGE = 2
"""Steps at a chunk's ends, where its curve has the acceleration of a guess."""
TRIED = 6
"""Windows tried at most."""


def fade_weight(u: np.ndarray) -> np.ndarray:
    """Return the weight of a chunk where the part ``u`` of the cross-fade has passed, 0 to 1."""
    return np.asarray(u**3 * (u * (6.0 * u - 15.0) + 10.0))


_U = np.linspace(0.0, 1.0, 17)[:, None]
_WEIGHT = fade_weight(_U)
_RATE = 30.0 * _U**2 * (1.0 - _U) ** 2
_CHANGE = 60.0 * _U * (1.0 - _U) * (1.0 - 2.0 * _U)


class CrossFade:
    """Chooses the window for one chunk after the other."""

    def __init__(self) -> None:
        self._usual: deque[np.ndarray] = deque(maxlen=REMEMBERED)

    @property
    def usual(self) -> tuple[np.ndarray, ...]:
        """The accelerations inside the last chunks, each (T, A), oldest first; may be set."""
        return tuple(self._usual)

    @usual.setter
    def usual(self, usual: tuple[np.ndarray, ...]) -> None:
        self._usual = deque(usual, maxlen=REMEMBERED)

    def learn(self, curve: Trajectory) -> None:
        """Take the accelerations inside a chunk for usual."""
        inner = slice(EDGE, -EDGE) if len(curve.times) > 2 * EDGE else slice(None)
        # Between knots a cubic's acceleration is straight, so it is largest at a knot.
        self._usual.append(np.abs(curve.states(curve.times[inner])[2]))

    def _quantile(self) -> np.ndarray | float:
        if not self._usual:
            return 0.0
        ranked = np.sort(np.concatenate(self._usual), axis=0)
        return np.asarray(ranked[int(USUAL * (len(ranked) - 1))])

    def window(self, plan: Trajectory, curve: Trajectory, begin: int, *, control_dt: int, most: int) -> int:
        """Return the shortest window [ns] from ``begin`` [ns] that keeps to what is usual, of up to ``most`` steps.

        Where none does, the one that comes closest.
        """
        if most < 2:
            return most * control_dt
        steps = _tried(most)
        usual = self._quantile()
        faded, bare = _accelerations(plan, curve, begin, steps * control_dt)
        # What plan and chunk do by themselves does not get less in a longer window.
        excess = (faded / np.maximum(np.maximum(usual, 1.05 * bare), 1e-9)).max(axis=1)
        chosen = int(np.argmax(excess <= 1.0)) if (excess <= 1.0).any() else int(excess.argmin())
        return int(steps[chosen]) * control_dt


@lru_cache
def _tried(most: int) -> np.ndarray:
    return np.unique(np.rint(np.geomspace(1, most, min(most, TRIED))).astype(np.int64))


def _accelerations(
    plan: Trajectory, curve: Trajectory, begin: int, windows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the greatest accelerations (K, A) in cross-fades that take ``windows`` (K,) [ns], and as if e were 0."""
    at = np.rint(begin + windows[:, None] * _U[:, 0]).astype(np.int64)
    shape = (*at.shape, len(plan.joints))
    p0, v0, a0 = (values.reshape(shape) for values in plan.states(at.ravel() - plan.stamp))
    p1, v1, a1 = (values.reshape(shape) for values in curve.states(at.ravel() - curve.stamp))
    seconds = (windows / NANOSECONDS)[:, None, None]
    bare = a0 + _WEIGHT * (a1 - a0)
    faded = bare + 2.0 * _RATE / seconds * (v1 - v0) + _CHANGE / seconds**2 * (p1 - p0)
    return np.abs(faded).max(axis=1), np.abs(bare).max(axis=1)


def chunk_curve(due: np.ndarray, actions: np.ndarray, joints: tuple[str, ...]) -> Trajectory:
    """Return the curve through a chunk's steps (T, A), due at ``due`` (T,) [ns], as if nothing came before."""
    if len(due) == 1:
        return Trajectory(stamp=int(due[0]), joints=joints, times=np.zeros(1, dtype=np.int64), positions=actions)
    durations = np.diff(due) / NANOSECONDS
    velocities = spline_velocities(durations, actions, first_velocity(due, actions), 0.0)
    return Trajectory(stamp=int(due[0]), joints=joints, times=due - due[0], positions=actions, velocities=velocities)


def cross_faded(plan: Trajectory, due: np.ndarray, steps: np.ndarray, *, begin: int, window: int) -> np.ndarray:
    """Return ``steps`` (n, A), due at ``due`` (n,) [ns], moved towards the plan until ``window`` after ``begin`` [ns].

    A plan that has ended rests; so does its part of the result.
    """
    if window <= 0:
        return steps
    u = np.minimum(np.maximum((due - begin) / window, 0.0), 1.0)[:, None]
    weight = fade_weight(u)
    planned = plan.positions_at(due - plan.stamp)
    return np.asarray(np.where(u < 1.0, planned + weight * (steps - planned), steps))
