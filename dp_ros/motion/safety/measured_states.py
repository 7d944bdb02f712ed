"""The last joint states, and what they tell: where the robot is, how fast it moves, and whether it stands.

A joint state is evidence, not truth. What a joint cannot have reached since the last one is refused (`Plausibility`),
and a measured velocity counts only where the positions agree with it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.errors import check_finite, check_shape
from dp_ros.motion.steps import FARTHEST, beside
from dp_ros.robot.joint_limits import JointLimits

KEPT = 600_000_000
"""For how long joint states are remembered [ns]."""
MOST = 128
"""How many are remembered at most."""
STANDING = 150_000_000
"""A robot that has not moved for so long stands [ns]."""
SPAN = 60_000_000
"""Over how long a velocity is taken from positions [ns], and the least part of it that will do."""
LEAST_SPAN = 8_000_000
SPEED_MARGIN = 1.5
"""How many times faster than its limit a joint may seem to move: it lags, overshoots, or is pushed."""
SLACK = 0.02
"""What the stamps of two joint states may be wrong by, against each other [s]."""
NOISE = 0.005
"""What an encoder may add [rad or m]."""
SEVERAL = 5
"""So many implausible joint states in a row are no glitch any more."""
AGREED = 1_000_000_000
"""For so long refused joint states must agree before they are believed of a robot that is not moved [ns]."""
SLIP = 0.002
"""By how much a joint that stands may move, where no velocity limit says more [rad or m]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredState:
    """Joint positions and velocities (A,), measured at ``stamp`` [ns]."""

    stamp: int
    positions: np.ndarray
    velocities: np.ndarray


class MeasuredStates:
    """The newest joint states, oldest first.

    Parameters
    ----------
    continuous
        Which joints turn without end, (A,) bool. Their positions are remembered unwrapped.
    max_age
        Oldest measurement that counts [ns].

    """

    def __init__(self, continuous: np.ndarray, max_age: int) -> None:
        self._continuous = continuous
        self._max_age = max_age
        self._states: deque[MeasuredState] = deque(maxlen=MOST)

    @property
    def newest(self) -> MeasuredState | None:
        """The newest joint state."""
        return self._states[-1] if self._states else None

    def take(self, stamp: int, positions: np.ndarray, velocities: np.ndarray | None) -> None:
        """Take a joint state (A,), unless it is older than the last; DataError if it is not whole."""
        count = len(self._continuous)
        speeds = np.zeros(count) if velocities is None else velocities
        for what, array in (('measured positions', positions), ('measured velocities', speeds)):
            check_shape(what, np.asarray(array), (count,))
            check_finite(what, np.asarray(array))
        last = self.newest
        if last is not None and stamp <= last.stamp:
            return
        unwrapped = np.array(positions, dtype=np.float64)
        if last is not None:
            unwrapped = beside(unwrapped, last.positions, self._continuous)
        self._states.append(
            MeasuredState(stamp=stamp, positions=unwrapped, velocities=np.array(speeds, dtype=np.float64))
        )
        while self._states[0].stamp < stamp - KEPT:
            self._states.popleft()

    def blind(self, now: int) -> str:
        """Return why it is not known where the robot is; nothing if it is."""
        if self.newest is None:
            return 'joint state: got none, allowed one before a chunk'
        age = abs(now - self.newest.stamp)
        if age > self._max_age:
            return f'joint state: got one {age / 1e9:.3f} s from now, allowed {self._max_age / 1e9:.3f} s'
        return ''

    def since(self, span: int) -> tuple[np.ndarray, np.ndarray]:
        """Return stamps (M,) [ns] and positions (M, A) of the newest ``span`` [ns]."""
        assert self.newest is not None
        first = self.newest.stamp - span
        recent = [state for state in self._states if state.stamp >= first]
        return np.array([s.stamp for s in recent], dtype=np.int64), np.stack([s.positions for s in recent])

    @property
    def tells_speed(self) -> bool:
        """Whether there are positions enough to tell how fast the robot moves."""
        return len(self._states) > 1 and self._states[-1].stamp - self._states[0].stamp >= LEAST_SPAN

    def standing(self, slip: np.ndarray) -> bool:
        """Return whether no joint moved by more than ``slip`` (A,) for `STANDING` [ns]."""
        if self.newest is None or self._states[0].stamp > self.newest.stamp - STANDING:
            return False
        return bool((np.ptp(self.lately(STANDING), axis=0) <= slip).all())

    def largest_step(self) -> np.ndarray:
        """Return the largest way of each joint (A,) from one joint state to the next, lately: it may be false."""
        return np.abs(np.diff(self.lately(STANDING), axis=0)).max(axis=0, initial=0.0)

    def lately(self, span: int) -> np.ndarray:
        """Return the positions (M, A) of the newest ``span`` [ns], and where the robot was when it began."""
        assert self.newest is not None
        first = self.newest.stamp - span
        before = [state.positions[None] for state in self._states if state.stamp <= first]
        return np.concatenate([*before[-1:], self.since(span)[1]])

    def velocities(self, limits: JointLimits | None) -> np.ndarray:
        """Return how fast the joints move (A,), as their positions tell.

        A measured velocity is used where it agrees with the positions, or where there is one joint state alone and
        the joint can be that fast. No velocity is above its limit.
        """
        assert self.newest is not None
        given = self.newest.velocities
        stamps, positions = self.since(SPAN)
        span = int(stamps[-1] - stamps[0])
        if span < LEAST_SPAN:
            top = np.inf if limits is None else SPEED_MARGIN * limits.top_speed
            return np.where(np.abs(given) <= top, given, 0.0)
        seconds = (stamps - stamps.mean()) / NANOSECONDS
        slope = seconds @ (positions - positions.mean(axis=0)) / (seconds @ seconds)
        change = np.full_like(slope, np.inf) if limits is None else limits.weakest
        doubt = change * span / NANOSECONDS + 2.0 * NOISE / (span / NANOSECONDS)
        found = np.where(np.abs(given - slope) <= doubt, given, slope) if given.any() else slope
        return found if limits is None else np.clip(found, -limits.top_speed, limits.top_speed)


def slip_allowed(limits: JointLimits | None, count: int) -> np.ndarray:
    """Return by how much a joint (A,) may move and still stands [rad or m]: its way in 2 ms at top speed, or less."""
    if limits is None:
        return np.full(count, SLIP)
    return np.where(np.isfinite(limits.top_speed), np.minimum(SLIP, 0.002 * limits.top_speed), SLIP)


class Plausibility:
    """Refuses positions that no joint can have reached since the last joint state that was taken.

    Parameters
    ----------
    limits
        Of the joints; what has no limit of velocity may be anywhere.
    continuous
        Which joints turn without end, (A,) bool.

    """

    def __init__(self, limits: JointLimits, continuous: np.ndarray) -> None:
        self._limits, self._continuous = limits, continuous
        self._last: MeasuredState | None = None
        self._arrival = 0
        self._other: MeasuredState | None = None
        self._reach_for = 0  # [ns] for which the robot may have been under way when the last was refused
        self._since = 0  # when those that agree with each other began [ns]
        self.refused = 0  # in a row
        self.agreeing = 0  # for how long those refused last agree with each other [ns]

    def resume(self) -> None:
        """Go on after a pause in which no joint state came: what was refused before it counts no more."""
        self._other = None
        self.refused = self.agreeing = 0

    def fault(self, state: MeasuredState, arrival: int) -> str:
        """Return why a joint state that arrived at ``arrival`` [ns] cannot be true, or '' and take it."""
        wrong = np.abs(state.positions) > FARTHEST
        if wrong.any():
            joint = int(wrong.argmax())
            self.refused += 1
            return f'{self._limits.joints[joint]}: got a position of {state.positions[joint]:.6g}'
        if self._last is not None:
            fault = self._against(self._last, state, arrival)
            if fault:
                return self._refuse(state, fault, arrival)
        self.take(state, arrival)
        return ''

    def take(self, state: MeasuredState, arrival: int) -> None:
        """Take a joint state for true: the next is compared with it."""
        self._last, self._arrival, self._other = state, arrival, None
        self.refused = self.agreeing = 0

    def _refuse(self, state: MeasuredState, fault: str, arrival: int) -> str:
        if self._other is None or self._against(self._other, state, arrival):
            self._since = arrival
        self.agreeing = max(arrival - self._since, 0)
        self._other = state
        self.refused += 1
        return fault

    def _against(self, before: MeasuredState, state: MeasuredState, arrival: int) -> str:
        passed = state.stamp - before.stamp
        if before is self._last:
            passed = max(passed, arrival - self._arrival)
            # What was too far then is not true only because time has passed.
            if self.refused >= SEVERAL and self.agreeing < AGREED:
                passed = min(passed, self._reach_for)
            self._reach_for = passed
        seconds = max(passed, 0) / NANOSECONDS + SLACK
        reach = SPEED_MARGIN * self._limits.top_speed * seconds + NOISE
        moved = np.abs(beside(state.positions, before.positions, self._continuous) - before.positions)
        if not (moved > reach).any():
            return ''
        joint = int((moved / reach).argmax())
        return (
            f'{self._limits.joints[joint]}: got a move of {moved[joint]:.4g} in {seconds - SLACK:.3f} s, '
            f'allowed {reach[joint]:.4g}'
        )


def extrapolated(state: MeasuredState, to: int) -> MeasuredState:
    """Return where a robot that goes on with its velocities is at ``to`` [ns]."""
    since = (to - state.stamp) / NANOSECONDS
    return replace(state, stamp=to, positions=state.positions + since * state.velocities)
