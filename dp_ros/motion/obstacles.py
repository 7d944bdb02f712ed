"""Keep the plan clear of obstacles: it is followed as far as it is free, and rests along its path before what is not.

After PACS (Kim, Kundu and others 2025, arXiv 2511.06385): no sideways correction, which would lead the policy where it
has never been. What stands still is checked along the whole plan to its rest, so that the arm is safe even if nothing
is ever sent again. What moves is checked along the plan up to the next look and the stop from there, against all
places that it can reach meanwhile: whatever it does within its speed, the arm rests before it comes.

The check itself is handed in (`ObstacleCheck`); here is what is done about it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from dp_ros.data import Refusal
from dp_ros.motion.trajectory import Trajectory

_logger = logging.getLogger(__name__)
SLACK = 0.002
"""By which a plan is farther from obstacles than asked for [m]: what a stop along it may cut corners by."""
REACTION = 150_000_000
"""From one look to the moment at which a stop decided on at the next one has begun [ns], and some more."""
EARLIER = (0.6, 1.0, 1.6)
"""How long before a contact a stop is tried, in times that braking takes."""


@dataclass(frozen=True, kw_only=True)
class Contact:
    """Where a link would come too close to an obstacle.

    Attributes
    ----------
    link, obstacle
        Their names; the obstacle may be another link.
    distance, allowed
        Between them, and the least there may be [m]; where the obstacle moves, for all it can do until then.
    at
        When that is [ns].

    """

    link: str
    obstacle: str
    distance: float
    allowed: float
    at: int

    def __str__(self) -> str:
        return f'{self.link} comes within {self.distance:.3f} m of {self.obstacle}, allowed {self.allowed:.3f} m'


class ObstacleCheck(Protocol):
    """What knows obstacles and where links are.

    Attributes
    ----------
    version
        Changes when obstacles that stand still have changed.
    moves
        Whether any obstacle moves.

    """

    @property
    def version(self) -> int:
        """See above."""

    @property
    def moves(self) -> bool:
        """See above."""

    def fault(self, now: int) -> str:
        """Return why the obstacles are not known at ``now`` [ns], or ''."""

    def start_contact(self, trajectory: Trajectory, at: int) -> Contact | None:
        """Return what a trajectory is in contact with where it is at ``at`` [ns]."""

    def still_contact(self, trajectory: Trajectory, begin: int, slack: float = 0.0) -> Contact | None:
        """Return the first contact with what stands still, the robot itself included, from ``begin`` [ns] on."""

    def moving_contact(self, trajectory: Trajectory, begin: int, resting: int = 0) -> Contact | None:
        """Return the first contact with anywhere that moving obstacles can be, from ``begin`` [ns] to its rest.

        And for so long after that, ``resting`` [ns].
        """


Judged = tuple[tuple[int, Trajectory] | None, tuple[Trajectory, Trajectory, int] | None]
"""The version of what stands, and a plan clear of it; and of a plan, a stop that is in time, from [ns]."""
Brake = Callable[[Trajectory, int], Trajectory]
"""Follow a trajectory until a time [ns], and brake along its path from there; its own end, if that is sooner."""


class ClearPlans:
    """Judges plans by what an `ObstacleCheck` finds; without one, every plan is clear.

    Parameters
    ----------
    check
        What knows the obstacles, or None.
    brake
        Makes stops.

    Attributes
    ----------
    leaving
        For how long after a stop nothing may reach the robot, so that it can leave [ns]. What is followed as a whole,
        as a retreat is, must only be clear until it rests.

    """

    def __init__(self, check: ObstacleCheck | None, brake: Brake) -> None:
        self.check, self._brake = check, brake
        self.leaving = 0
        self.judged = None, None
        self._way: Trajectory | None = None

    @property
    def judged(self) -> Judged:
        """Return what was found of the newest plans; it may be set, as where they are taken back."""
        return self._cleared, self._ready

    @judged.setter
    def judged(self, judged: Judged) -> None:
        self._cleared, self._ready = judged

    def fault(self, now: int) -> str:
        """Return why the obstacles are not known at ``now`` [ns], or ''."""
        return '' if self.check is None else self.check.fault(now)

    def start(self, plan: Trajectory | None, at: int) -> Refusal | None:
        """Refuse to begin a motion in contact, where a plan is at ``at`` [ns]."""
        contact = None if self.check is None or plan is None else self.check.start_contact(plan, at)
        return None if contact is None else Refusal(reason=f'start: {contact}; move the robot away by other means')

    def refusal(self, way: Trajectory, begin: int) -> Refusal | None:
        """Refuse a way that is not clear of what stands from ``begin`` [ns] on: one that is followed whole or not."""
        contact = None if self.check is None else self.check.still_contact(way, begin)
        return None if contact is None else Refusal(reason=str(contact))

    def part(
        self, plan: Trajectory, *, now: int, splice: int, whole: bool = False
    ) -> tuple[Trajectory | None, Contact | None]:
        """Return as much of a new plan as is clear, braked to rest before the rest of it; None if not even that is.

        Also returns what is in its way. Nothing before ``splice`` [ns] can be changed. With ``whole``, no part will do.
        """
        check = self.check
        if check is None:
            return plan, None
        contact = check.still_contact(plan, now, SLACK)
        instants: Iterable[int] = (splice,)
        if contact is None:
            self._way = plan if whole else self._way
            contact = self._in_reach(plan, now)
            if contact is None:
                self._cleared = check.version, plan
                return plan, None
        else:
            instants = self._instants(plan, contact.at, splice)
        for at in () if whole else instants:
            part = self._brake(plan, at)
            if check.still_contact(part, now, SLACK) is None and self._in_reach(part, now) is None:
                self._cleared = check.version, part
                return part, contact
        return None, contact

    def endangered(self, plan: Trajectory, now: int) -> Contact | None:
        """Return what is in the way of the plan, or what may reach it before the stop after the next look; or None."""
        check = self.check
        if check is None:
            return None
        if self._cleared != (check.version, plan):
            contact = check.still_contact(plan, now)
            if contact is not None:
                return contact
            self._cleared = check.version, plan
        return self._in_reach(plan, now)

    def safest(self, stop: Trajectory, plan: Trajectory, *, now: int, splice: int) -> Trajectory:
        """Return a stop on a plan: the soonest, unless that touches what a later one, or the plan's own end, does not.

        So it may be where the corners that a stop cuts matter, and where an obstacle moves: stopping sooner is also
        being longer on the way.
        """
        try:
            return self._safest(stop, plan, now=now, splice=splice)
        except Exception as error:  # whatever the check raises, the arm comes to rest
            _logger.error('obstacles: got %r, and the soonest stop is taken', error)
            return stop

    def _safest(self, stop: Trajectory, plan: Trajectory, *, now: int, splice: int) -> Trajectory:
        check = self.check
        if check is None:
            return stop
        if check.still_contact(stop, now) is not None and check.still_contact(plan, now) is None:
            return plan
        if self._ready is not None and self._ready[0] is plan and self._ready[2] >= splice and check.moves:
            later = self._ready[1]
            if check.moving_contact(stop, now) is not None and check.moving_contact(later, now) is None:
                return later
        return stop

    def _in_reach(self, plan: Trajectory, now: int) -> Contact | None:
        """Return what may reach the plan before the stop after the next look; a stop that is in time is kept."""
        if self.check is None or not self.check.moves:
            return None
        stop = self._brake(plan, now + REACTION)
        contact = self.check.moving_contact(stop, now, 0 if plan is self._way else self.leaving)
        if contact is None:
            self._ready = plan, stop, now + REACTION
        return contact

    def _instants(self, plan: Trajectory, contact: int, splice: int) -> Iterator[int]:
        """Go through times [ns] to brake at, the latest first, so that the plan rests before a ``contact`` [ns]."""
        begin = max(contact, splice)
        takes = max(0, self._brake(plan, begin).end - begin)
        for times in EARLIER:
            at = contact - int(times * takes)
            if at <= splice:
                break
            yield at
        yield splice
