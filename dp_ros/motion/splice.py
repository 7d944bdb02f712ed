"""Fitting new steps behind committed ones, within the limits.

The committed knots are never changed. What is too much for the limits behind them has one of two causes:

- The steps themselves are too fast. Their time is stretched uniformly, from the splice on; their path is kept.
- They begin elsewhere than the plan is. More time does not help a robot that is in motion there: it goes farther
  astray, and the next chunk finds it farther behind. The plan joins the steps later instead, at one that it can reach,
  and is on the chunk's time again from there; late only where no step can be reached in time.

Where the curve leaves a position limit between two steps it is softened. Every round ends in the check of the
trajectory that will be sent. Where that does not help, as close to a limit in motion towards it, the steps are refused,
but are not dangerous: they lie within the limits, and so does what was committed before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dp_ros.data import NANOSECONDS, Refusal, to_nanoseconds
from dp_ros.motion.checks.extrema import Extrema, extrema
from dp_ros.motion.checks.limits import ROUNDING, hull, outside, overspeed, verdict
from dp_ros.motion.spline import Ending, Knots, draw, first_velocity, reachable, travel_time
from dp_ros.motion.trajectory import Trajectory
from dp_ros.robot.joint_limits import JointLimits

ROUNDS = 24
LONGEST_LEAD = 60 * NANOSECONDS
GREATEST_STRETCH = 20.0
DELAYS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
"""Times of a step that joining may wait, where a chunk at full speed cannot be caught up with."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A trajectory within the limits: it joins step ``first`` at ``joins`` [ns], and goes ``stretch`` times slower."""

    trajectory: Trajectory
    first: int
    joins: int
    stretch: float


def fit(
    head: Knots,
    due: np.ndarray,
    steps: np.ndarray,
    *,
    joints: tuple[str, ...],
    ending: Ending,
    lead: int,
) -> Fitted | Refusal:
    """Append ``steps`` (n, A), due at ``due`` (n,) [ns], later than the end of ``head``, to ``head``.

    ``lead`` is the least time to the step that is joined [ns].
    """
    attempt, limits = _Attempt(head, due, steps, lead, len(joints)), ending.limits
    for _ in range(ROUNDS):
        if attempt.stretch > GREATEST_STRETCH or attempt.lead > LONGEST_LEAD:
            return Refusal(reason=attempt.too_slow(), stop=True)
        times = attempt.times()
        curve = draw(head, times, steps[attempt.first :], soft=attempt.soft, ending=ending)
        trajectory = joined(head, curve, joints)
        found = None if limits is None else extrema(trajectory, hull(limits))
        result = None if limits is None or found is None else verdict(trajectory, found, limits)
        if result is None:
            joins = int(times[0])
            return Fitted(trajectory=trajectory, first=attempt.first, joins=joins, stretch=attempt.stretch)
        assert limits is not None and found is not None
        helped = attempt.soften if result.quantity == 'position' else attempt.slow_down
        if not helped(found, limits, ending):
            between = result.quantity == 'position'  # the steps themselves are within their limits
            return replace(result, reason=f'{result}; no later or slower way was found', stop=not between)
    return Refusal(reason=f'no way within the limits was found in {ROUNDS} rounds', stop=True)


def joined(head: Knots, curve: Knots, joints: tuple[str, ...]) -> Trajectory:
    """Return the trajectory of ``head`` and ``curve``, which starts with the last knot of ``head``."""
    stamp = int(head.times[0])
    accelerations = None
    if head.accelerations is not None and curve.accelerations is not None:
        accelerations = np.concatenate([head.accelerations[:-1], curve.accelerations])
    return Trajectory(
        stamp=stamp,
        joints=joints,
        times=np.concatenate([head.times[:-1], curve.times]) - stamp,
        positions=np.concatenate([head.positions[:-1], curve.positions]),
        velocities=np.concatenate([head.velocities[:-1], curve.velocities]),
        accelerations=accelerations,
    )


class _Attempt:
    """What is tried: the step joined first, the least time to it [ns], the stretch, and where the curve is softened."""

    def __init__(self, head: Knots, due: np.ndarray, steps: np.ndarray, lead: int, joints: int) -> None:
        self.head, self.due, self.steps, self.lead = head, due, steps, lead
        self.start = int(head.times[-1])
        self.seam = len(head.times) - 1
        self.stretch = 1.0
        self.stretched = False
        self.soft = np.zeros((len(steps) + 1, joints), dtype=bool)
        self.first = 0
        self.join(self.left() >= lead)

    def left(self) -> np.ndarray:
        """Return the time from the splice to each step [ns]."""
        return np.rint((self.due - self.start) * self.stretch).astype(np.int64)

    def times(self) -> np.ndarray:
        """Return when the steps from the first joined one on are reached [ns]."""
        left = self.left()[self.first :]
        return np.asarray(self.start + left + max(0, self.lead - int(left[0])))

    def join(self, possible: np.ndarray) -> None:
        """Join the first possible step (n,), or the last step of all."""
        self.first = int(possible.argmax()) if possible.any() else len(self.steps) - 1
        self.soft = np.zeros((len(self.steps) - self.first + 1, self.soft.shape[1]), dtype=bool)

    def join_within_reach(self, limits: JointLimits, after: int) -> None:
        """Join a step behind ``after`` that can be reached in time; if none can, with the least delay of all steps."""
        left = self.left()
        spacing = int(left[-1] - left[0]) // max(1, len(left) - 1)
        for delay in DELAYS:
            arrival = left + round(delay * spacing)
            near = reachable(self.head, self.start + arrival, self.steps, limits) & (arrival >= self.lead)
            near[: after + 1] = False
            if near.any():
                self.join(near)
                self.lead = max(self.lead, int(arrival[self.first]))
                return
        self.join(near)
        way = self.steps[-1] - self.head.positions[-1]
        self.lead = max(self.lead, to_nanoseconds(travel_time(way, self.head.velocities[-1], limits)))

    def stretch_for(self, limits: JointLimits, ending: Ending) -> None:
        """Stretch the steps as much as they need by themselves, without a splice."""
        self.stretched = True
        if len(self.steps) < 3:
            return
        speeds = first_velocity(self.due, self.steps)
        # Between the steps a quintic is the cubic too.
        alone = Knots(times=self.due[:1], positions=self.steps[:1], velocities=speeds[None])
        soft = np.zeros((len(self.steps), self.soft.shape[1]), dtype=bool)
        curve = draw(alone, self.due[1:], self.steps[1:], soft=soft, ending=replace(ending, quintic=False))
        # The first segment shows the guess of its speed, the last is the tail.
        found = extrema(joined(alone, curve, limits.joints), hull(limits))
        self.stretch = max(1.0, 1.005 * float(overspeed(found, limits)[1:-1].max()))

    def too_slow(self) -> str:
        """Say by how much the steps would have to wait for the limits."""
        return (
            f'chunk: got steps {self.stretch:.1f} times too fast, the first {self.lead / 1e9:.1f} s away, '
            f'allowed {GREATEST_STRETCH:.0f} times and {LONGEST_LEAD / 1e9:.0f} s'
        )

    def soften(self, found: Extrema, limits: JointLimits, ending: Ending) -> bool:
        """Soften both knots of every new segment that leaves a position limit; the tail has been drawn inside."""
        left = outside(found, limits).max(axis=0)[self.seam : -1] > ROUNDING
        before = self.soft.sum()
        self.soft[1:] |= left
        self.soft[1:-1] |= left[1:]
        return bool(self.soft.sum() > before)

    def slow_down(self, found: Extrema, limits: JointLimits, ending: Ending) -> bool:
        """Stretch the steps, join them later, or, where none is left to join, reach the last one later than due."""
        faster = overspeed(found, limits)[self.seam :]
        if not 1.0 < faster.max() < np.inf:
            return False
        if not self.stretched:
            self.stretch_for(limits, ending)
            if self.stretch > 1.0:
                self.join(self.left() >= self.lead)
                return True
        # A splice disturbs the segments at both sides of the first step the most.
        if faster[2:].max(initial=0.0) >= faster[:2].max():
            self.stretch *= 1.005 * float(faster[2:].max())
        elif self.first < len(self.steps) - 1:
            self.join_within_reach(limits, after=self.first)
        else:
            # Acceleration falls with 1 / T^2 from rest and with 1 / T in motion: this converges for both.
            self.lead = round(1.01 * int(self.times()[0] - self.start) * float(faster.max()) ** 1.5)
        return True
