"""Where the robot is measured to be, and a plan that begins there.

On the first chunk, after `reset`, or when the robot is farther than `far` from the plan, the plan begins anew at the
measured state and the measurement's stamp, which is past, so its first point is already due. Until `splice_margin`
after now it goes on as the robot does (it rests, or keeps its measured velocity), then a timed lead-in joins the chunk
at a later step. A trajectory stamped 0 would start whenever it arrives: then neither side knows the other's time, and
the next, anchored trajectory makes the robot jump by latency times velocity. This way both know it, and no command
depends on when within the margin the message arrives: at rest it is the measured position, in motion the position where
the robot is expected.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.errors import check_finite, check_shape
from dp_ros.policy.limits import JointLimits
from dp_ros.policy.spline import Knots
from dp_ros.policy.steps import Excess, beside, clamped
from dp_ros.policy.trajectory import Trajectory


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredState:
    """Joint positions and velocities (A,), measured at ``stamp`` [ns]."""

    stamp: int
    positions: np.ndarray
    velocities: np.ndarray


class Whereabouts:
    """The newest joint state of ``count`` joints, and what it says about a plan.

    Parameters
    ----------
    continuous
        Which joints turn without end, (A,) bool.
    max_age
        Oldest measurement that counts [ns].

    """

    def __init__(self, continuous: np.ndarray, max_age: int) -> None:
        self._continuous = continuous
        self._max_age = max_age
        self.newest: MeasuredState | None = None

    def take(self, stamp: int, positions: np.ndarray, velocities: np.ndarray | None) -> None:
        """Take a joint state (A,), unless it is older than the last; DataError if it is not whole."""
        count = len(self._continuous)
        speeds = np.zeros(count) if velocities is None else velocities
        for what, array in (('measured positions', positions), ('measured velocities', speeds)):
            check_shape(what, np.asarray(array), (count,))
            check_finite(what, np.asarray(array))
        if self.newest is None or stamp > self.newest.stamp:
            self.newest = MeasuredState(
                stamp=stamp,
                positions=np.array(positions, dtype=np.float64),
                velocities=np.array(speeds, dtype=np.float64),
            )

    def blind(self, now: int) -> str:
        """Return why it is not known where the robot is; nothing if it is."""
        if self.newest is None:
            return 'joint state: got none, allowed one before a chunk'
        age = abs(now - self.newest.stamp)
        if age > self._max_age:
            return f'joint state: got one {age / 1e9:.3f} s from now, allowed {self._max_age / 1e9:.3f} s'
        return ''

    def beside(self, plan: Trajectory | None) -> MeasuredState:
        """Return the newest state in the turn of the commands so far: a new plan must not unwind a joint."""
        state = self.newest
        assert state is not None
        if plan is None:
            return state
        planned = plan.places(np.array([state.stamp - plan.stamp]))[0]
        return replace(state, positions=beside(state.positions, planned, self._continuous))

    def distance(self, plan: Trajectory | None) -> float:
        """Return the largest distance of any joint from the plan [rad or m]; infinite where one is not known."""
        if plan is None or self.newest is None:
            return np.inf
        planned = plan.places(np.array([self.newest.stamp - plan.stamp]))[0]
        return float(np.abs(beside(self.newest.positions, planned, self._continuous) - planned).max())


def seeded_head(
    state: MeasuredState, begin: int, splice: int, *, limits: JointLimits | None, tolerance: float, quintic: bool
) -> Knots | Excess:
    """Return two knots, at ``begin`` and ``splice`` [ns], on the line along which the robot is expected to go on."""
    times = np.array([begin, splice], dtype=np.int64)
    since = ((times - state.stamp) / NANOSECONDS)[:, None]
    line = state.positions + since * state.velocities
    positions = clamped(line, limits, tolerance)
    if isinstance(positions, Excess):
        return positions
    # A joint that rests on its limit, with noise in its velocity, is expected to stay there.
    on_limit = (positions != line).any(axis=0)
    positions = np.where(on_limit, positions[-1], positions)
    velocities = np.where(on_limit, 0.0, state.velocities)
    return Knots(
        times=times,
        positions=positions,
        velocities=np.stack([velocities, velocities]),
        accelerations=np.zeros_like(positions) if quintic else None,
    )
