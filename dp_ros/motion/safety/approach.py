"""Where a policy begins: is the robot where demonstrations began, and if not, one slow way there, where that is asked.

The way is a plan as every other: it begins where the robot stands, ends at rest, and is checked against limits and
workspace. Chunks are not followed meanwhile, but they must come, for the safety states go by the age of what they were
made from: an arm on the way there stops for all that stops one that follows chunks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dp_ros.data import Refusal
from dp_ros.motion.planner import Planner
from dp_ros.motion.trajectory import Trajectory
from dp_ros.task.starts import DemonstratedStarts
from dp_ros.task.units import Unit

PEAK = 1.875
"""Largest speed of a way of least jerk, by its mean one."""
LEAST = 1.0
"""Shortest such way [s]."""


class Approach:
    """Tells how far the robot is from where demonstrations began, and leads it there.

    Parameters
    ----------
    planner
        Whose plan the way becomes.
    starts
        Of the bundle; None where it does not say.
    units
        Of the joints.
    speed
        Of the fastest joint on the way [rad/s or m/s]; None: it is not gone there.

    """

    def __init__(
        self, planner: Planner, starts: DemonstratedStarts | None, units: Sequence[Unit], speed: float | None
    ) -> None:
        self._planner, self._starts, self._units, self._speed = planner, starts, tuple(units), speed
        self._way: Trajectory | None = None
        self._began: str | None = None  # how the policy began: '' where demonstrations did

    @property
    def under_way(self) -> bool:
        """Whether the plan leads to where demonstrations began."""
        return self._way is not None and self._planner.plan is self._way

    def away(self) -> str:
        """Return which joint is farthest from where demonstrations began; '' where none is, or nothing is known."""
        newest = self._planner.states.newest
        if self._starts is None or newest is None:
            return ''
        excess = self._starts.excess(newest.positions, self._units, self._planner.continuous)
        if not excess.any():
            return ''
        worst = int(np.argmax(excess))
        return (
            f'{self._planner.joints[worst]} is {excess[worst]:.3g} {self._units[worst]} from where demonstrations '
            f'began ({self._starts.lower[worst]:.3g} to {self._starts.upper[worst]:.3g})'
        )

    def began(self) -> None:
        """Take note that the policy begins, wherever the robot is now; from then on nothing is approached."""
        if self._began is None:
            self._began = self.away()

    def objection(self, stamp: int, now: int) -> Refusal | None:
        """Return why a chunk from the observation at ``stamp`` must wait; None if the policy may begin or has begun.

        The planner has a plan that its robot follows. Where the plan leads to where demonstrations began and has ended
        there, it begins anew.
        """
        if self.under_way:
            assert self._way is not None
            if now < self._way.end or stamp < self._way.end or not self._planner.standing:
                left = max(0.0, (self._way.end - now) / 1e9)
                return Refusal(reason=f'on the way to where demonstrations began: there in {left:.1f} s', passing=True)
            self._planner.rest_at(self._way.positions[-1], now)
            self._way = None
        return None

    @property
    def needed(self) -> bool:
        """Whether the robot must go there before the policy begins."""
        return self._speed is not None and self._began is None and not self.under_way and bool(self.away())

    def plan(self, now: int) -> Trajectory | Refusal:
        """Make the way there the plan."""
        assert self._starts is not None and self._speed is not None and self._planner.plan is not None
        goal = np.array(self._starts.mean)
        begin = self._planner.plan.positions_at(np.array([now - self._planner.plan.stamp]))[0]
        longest = float(np.abs(self._planner.beside_turns(goal, begin)).max())
        way = self._planner.home(now, goal, duration=max(LEAST, PEAK * longest / self._speed))
        if isinstance(way, Refusal):
            return way
        self._way = way
        return way

    def report(self, now: int) -> tuple[bool, str]:
        """Return whether all is well, and what to say of where the policy begins or began."""
        if self._starts is None:
            return True, 'the bundle does not say where demonstrations began'
        if self.under_way:
            assert self._way is not None
            return True, f'going to where demonstrations began: there in {max(0.0, (self._way.end - now) / 1e9):.1f} s'
        away = self.away() if self._began is None else self._began
        where = 'the robot is' if self._began is None else 'the policy began'
        return not away, f'{where} away: {away}' if away else f'{where} where demonstrations began'
