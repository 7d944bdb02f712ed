"""When a way around is planned, where to, and until when it is followed; then the policy goes on.

    blocked, at rest -> planned -> followed as a chunk of its own -> the policy's chunks again

    at rest, something comes -> retreat planned -> followed in the same manner

The way is a chunk to the planner of motions: blended, limited, checked and stopped like every other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from dp_ros.data import Chunk, Refusal
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.planning.path_planner import EFFORT, Way, timed
from dp_ros.planning.retreat import HURRY

RESTING = 0.002
"""Way that is left of a plan that rests [rad or m]."""
JOINED_BEFORE = 200_000_000
"""Before its end, when the policy's chunks count again [ns]."""
AGAIN = 500_000_000
"""From a way around that was not found or not taken to the next try [ns]."""
SOONER = 150_000_000
"""From a retreat that was not found or not taken to the next try [ns]."""
ABOUT_TO_REST = 300_000_000
"""Before the end of a plan, when it is looked whether something comes to where that is [ns]."""
FURTHER = 16
"""Steps by which a chunk is prolonged where none of its own is clear."""
MEAN = 4
"""Of how many last steps the mean motion prolongs it."""


class WayPlanner(Protocol):
    """Plans ways, here or elsewhere."""

    def request(self, start: np.ndarray, goals: Sequence[np.ndarray]) -> None:
        """Begin to plan from ``start`` (A,) to one of ``goals``, the first that is clear."""

    def answer(self) -> Way | Refusal | None:
        """Return what was found, once; None while it is not known."""


class Retreats(Protocol):
    """Plans ways to get out of the way, answered like others."""

    def retreat(self, start: np.ndarray, now: int) -> None:
        """Begin to plan from ``start`` (A,) to wherever it stays clear."""


Threat = Callable[[np.ndarray, int], bool]
"""Tells whether something is about to reach joint positions (A,) after a time [ns]."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Since when the way has been blocked [ns], and the steps (n, A) of the last chunk beyond that."""

    since: int
    beyond: np.ndarray


class Detour:
    """Decides on ways around for one planner of motions.

    Parameters
    ----------
    planner
        What the ways are for.
    ways
        Plans them.
    blocked_after
        For how long the robot rests before what is in the way [ns].
    others
        Places to go on at besides those of the chunk (A,) [rad or m]: home, say.
    note
        Logs what is done.
    threat, retreats
        Tells when the robot should leave where it rests, and plans how; None: it stays.

    Attributes
    ----------
    ways
        What plans them.
    until
        When the way that is followed ends [ns]; None without one.
    planned, retreated, failed
        Ways around and retreats that were followed, and those that were not found or could not be.

    """

    def __init__(
        self,
        planner: Planner,
        ways: WayPlanner,
        *,
        blocked_after: int,
        others: Sequence[np.ndarray] = (),
        note: Callable[[str], None] = lambda _: None,
        threat: Threat | None = None,
        retreats: Retreats | None = None,
    ) -> None:
        self._planner, self.ways, self._after = planner, ways, blocked_after
        self._others, self._note = tuple(others), note
        self._threat, self._retreats = threat, retreats
        self.planned = self.retreated = self.failed = 0
        self.forget()

    def forget(self) -> None:
        """Follow no way, and wait for none."""
        self.until: int | None = None
        self._waiting: Waiting | None = None
        self._asked: np.ndarray | None = None
        self._leaves = False  # whether what was asked for, or is followed, is a retreat
        self._not_before = self._no_retreat_before = 0

    def follows(self, now: int) -> bool:
        """Return whether a way is followed, so that chunks are not."""
        return self.until is not None and now < self.until - JOINED_BEFORE

    def taken(self, chunk: Chunk, planned: Planned, now: int) -> None:
        """Note what became of a chunk."""
        self.until = None
        if planned.blocked is None:
            self._waiting = None
        else:
            since = now if self._waiting is None else self._waiting.since
            # The robot rests just before what is in the way: only what lies behind that is worth a way.
            beyond = chunk.actions[chunk.due > planned.blocked.at]
            self._waiting = Waiting(since=since, beyond=beyond if len(beyond) else chunk.actions[-1:])

    @property
    def asks(self) -> bool:
        """Tell whether a way is looked for, which begins where the robot rests."""
        return self._asked is not None

    @property
    def waits(self) -> bool:
        """Whether a way is waited for."""
        return self._waiting is not None or self._asked is not None

    def want(self, place: np.ndarray, now: int) -> None:
        """Ask for a way to a place (A,) that no chunk leads to."""
        self._waiting = Waiting(since=now, beyond=place[np.newaxis])

    def stopped(self) -> None:
        """Note that the motion was stopped: a way that was followed is given up, and planned anew if need be."""
        self.until = None

    def step(self, now: int) -> Chunk | None:
        """Return a way to follow now, as a chunk whose first step is due; None for nothing."""
        self._leave(now)
        if self._asked is not None:
            return self._answered(now)
        waiting, plan = self._waiting, self._planner.plan
        if waiting is None or plan is None or self.follows(now) or now < self._not_before:
            return None
        place, end = plan.positions_at(np.array([now - plan.stamp]))[0], plan.positions[-1]
        if np.abs(end - place).max() > RESTING:
            self._waiting = replace(waiting, since=now)
        elif now - waiting.since >= self._after:
            self._asked, self._leaves = end, False
            self.ways.request(end, [*waiting.beyond[::-1], *_prolonged(waiting.beyond), *self._others])
        return None

    def _leave(self, now: int) -> None:
        """Ask for a retreat, if none is asked for yet, where something is about to come to where the robot rests.

        Or will rest in a moment: there is no time to lose.
        """
        plan = self._planner.plan
        if self._threat is None or self._retreats is None or plan is None or now < self._no_retreat_before:
            return
        if plan.end - now > ABOUT_TO_REST or (self._asked is not None and self._leaves):
            return
        place = plan.positions[-1]
        if self._threat(place, now):
            self._asked, self._leaves = place, True
            self._retreats.retreat(place, now)

    def followed(self, verdict: Planned | Refusal, now: int) -> None:
        """Note whether the way that `step` returned was taken."""
        if isinstance(verdict, Planned) and verdict.blocked is None:
            self.until, self._waiting = verdict.trajectory.end, None
            self.retreated += self._leaves
            self.planned += not self._leaves
            self._note(f'{self._what} is followed for {(self.until - now) / 1e9:.1f} s')
        else:
            reason = verdict.reason if isinstance(verdict, Refusal) else str(verdict.blocked)
            self._not(f'{self._what} could not be followed: {reason}', now)

    @property
    def _what(self) -> str:
        return 'a retreat' if self._leaves else 'a way around'

    def _answered(self, now: int) -> Chunk | None:
        answer, asked, plan = self.ways.answer(), self._asked, self._planner.plan
        if answer is None or asked is None:
            return None
        self._asked = None
        if isinstance(answer, Refusal):
            self._not(answer.reason, now)
            return None
        waited = self._leaves or self._waiting is not None
        if plan is None or np.abs(plan.positions[-1] - asked).max() > RESTING or not waited:
            return None  # the robot has gone on meanwhile
        limits = self._planner.limits
        assert limits is not None, 'ways are planned where there are limits'
        dt = self._planner.control_dt
        actions = timed(answer, limits, dt / 1e9, HURRY if self._leaves else EFFORT)
        return Chunk(stamp=now, control_dt=dt, joints=self._planner.joints, actions=actions)

    def _not(self, reason: str, now: int) -> None:
        self.failed += 1
        if self._leaves:
            self._no_retreat_before = now + SOONER
        else:
            self._not_before = now + AGAIN
        self._note(reason)


def _prolonged(steps: np.ndarray) -> list[np.ndarray]:
    """Return where a chunk's last steps (n, A) lead if it goes on like that, the nearest place first."""
    count = min(MEAN, len(steps) - 1)
    if count < 1:
        return []
    motion = (steps[-1] - steps[-1 - count]) / count
    if np.abs(motion).max() <= RESTING:
        return []  # it wants to rest there
    return [steps[-1] + number * motion for number in range(1, FURTHER + 1)]
