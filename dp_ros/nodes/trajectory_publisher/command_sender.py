"""Planning and sending in time, and again: a controller subscribes best effort, so a message may be lost.

What is spliced into a moment that has passed would make the robot jump. So each plan is made for a little later than
now, and sent again until its splice has passed: whenever the controller takes it within that time, nothing jumps, and
taking it twice changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from dp_ros.data import Refusal
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import LEAD, Planner
from dp_ros.motion.safety.following import LEAP
from dp_ros.motion.safety.hold_points import HELD
from dp_ros.motion.trajectory import Trajectory

Verdict = TypeVar('Verdict', Planned | Refusal, Trajectory | Refusal)
ATTEMPTS = 3
LEAST_AHEAD = 5_000_000  # [ns] that are left for planning, or more, up to the planner's LEAD
AGAIN = 5_000_000  # [ns] from one sending to the next
AFTER = 20_000_000  # [ns] after its splice that a plan is still sent again: until then it is hardly another one
LEAST_COPIES = 3  # of a plan: fewer mean that this process was stalled, and they may all have been lost
FAREWELL = 80_000_000  # [ns] for which the last message of all is sent again at most
FAREWELL_COPIES = 10  # of it, one right after the other: a controller that is off and on again gets none
FAREWELL_AGAIN = 2_000_000  # [ns] from one of them to the next


class CommandSender:
    """Plans for a little later than now, by what planning took lately, and sends nothing after that.

    The splice is `splice_margin` behind the time that is planned for: so the whole margin is left to the message.

    Parameters
    ----------
    planner
        What plans; a plan that is not sent is taken back.
    prepare, send
        Make the messages of a trajectory, for the controllers of some topics by number or, with None, for all, and send
        them; `prepare` is an attribute too.
    now, steady
        Read robot time, and a clock that nobody sets [ns]; attributes too.
    repeat
        Sends them again.
    wake
        Makes someone call `again` every `AGAIN`, as long as it returns True.

    """

    def __init__(
        self,
        planner: Planner,
        prepare: Callable[[Trajectory, Sequence[int] | None], Any],
        send: Callable[[Any], None],
        now: Callable[[], int],
        *,
        steady: Callable[[], int] = time.monotonic_ns,
        repeat: Callable[[Any], None] = lambda _: None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._planner, self.prepare = planner, prepare
        self._send, self._repeat, self._wake = send, repeat, wake
        self.now, self.steady = now, steady
        self._ahead = LEAST_AHEAD
        self._sent: Any = None
        self.sent = 0  # how many messages, copies aside
        self.rests_at = 0  # when what was sent last ends [ns]
        self.held_at = 0  # when a controller that was sent a point to hold is there at the latest [ns]
        self._until = self._began = 0
        self._point: Trajectory | None = None  # what was sent last, if that counts from its arrival
        self._at = 0  # when it was sent [ns]
        self._copies = self._over = 0  # of what was sent last: how many were due, and when the last is [ns, steady]
        self._before: Trajectory | None = None  # the plan before that
        self._topics: Sequence[int] | None = None  # that it went to; None: all

    def send(self, trajectory: Trajectory) -> None:
        """Send a point to hold, which counts from its arrival; its copies leave the time that is left."""
        self._at = self.now()
        self._out(self.prepare(trajectory, None), self._at + HELD)
        self._point, self._before = trajectory, None
        self.rests_at = self._at + int(trajectory.times[-1])
        self.held_at = self.rests_at + self._planner.options.splice_margin

    def send_before_deadline(
        self, plan: Callable[[int], Verdict], *, must: bool, topics: Sequence[int] | None = None
    ) -> Verdict | Refusal:
        """Plan for a time [ns] and send it, or plan again if that time has passed; ``must`` sends the last in any case.

        With ``topics`` it goes to their controllers alone. Returns the plan, or why none was sent.
        """
        for left in reversed(range(ATTEMPTS)):
            before, began, steady = self._planner.checkpoint(), self.now(), self.steady()
            verdict = plan(began + self._ahead)
            if isinstance(verdict, Refusal):
                return verdict
            trajectory = verdict.trajectory if isinstance(verdict, Planned) else verdict
            message = self.prepare(trajectory, topics)
            # A simulated clock stands still while this thread plans.
            took, allowed = max(self.now() - began, self.steady() - steady), self._ahead
            self._ahead = min(max(2 * took, 9 * self._ahead // 10, LEAST_AHEAD), LEAD)
            if took <= allowed or (must and not left):
                if leap := self._planner.leap(self.now()):  # while this planned, the plan before went on
                    self._planner.rollback(before)
                    return Refusal(reason=leap)
                until = began + allowed + self._planner.options.splice_margin + AFTER
                self._out(message, min(until, trajectory.end))  # a controller refuses what has ended
                self._before, self._topics = before.plan, topics
                self.rests_at = trajectory.end
                return verdict
            self._planner.rollback(before)
        return Refusal(reason=f'planning: took {took / 1e6:.1f} ms, allowed {allowed / 1e6:.1f} ms: too busy a machine')

    def again(self, *, skip: bool = False) -> bool:
        """Send what was sent last once more, unless it is too late for that; return whether to call this again.

        ``skip`` leaves it out this time.
        """
        if self._sent is None:
            return False
        longest = LEAD + HELD + self._planner.options.splice_margin
        left, passed = self._until - self.now(), self.steady() - self._began
        # Robot time may have jumped, or stand still.
        if not (0 <= left <= longest and passed <= longest):
            return False
        if not skip:
            self._copies += 1
            if self._point is None:
                self._repeat(self._sent)
            elif self._copies % 2:  # a controller may step twice at each copy
                self._repeat_point(self._point)
        return True

    def _repeat_point(self, point: Trajectory) -> None:
        """Send a point to hold again with the time that is left; the next time, if making the message took too long."""
        began = self.steady()
        message = self.prepare(replace(point, times=point.times - max(self.now() - self._at, 0)), None)
        if self.steady() - began > LEAST_AHEAD:
            self._copies -= 1
        else:
            self._repeat(message)

    def objection(self) -> str:
        """Return why nothing that goes on from the last plan may be sent yet; '' if it may."""
        planner, plan, before = self._planner, self._planner.plan, self._before
        if plan is None or before is None or self._copies >= LEAST_COPIES or self.steady() <= self._over:
            return ''

        def apart(at: int) -> bool:
            places = [each.positions_at(np.array([at - each.stamp]))[0] for each in (plan, before)]
            return bool((np.abs(places[0] - places[1]) > LEAP * planner.follow_tolerance).any())

        if not apart(self.now() + planner.options.splice_margin):
            return ''  # whichever it follows
        newest = planner.states.newest
        if newest is not None and apart(newest.stamp - planner.options.max_lag) and not planner.astray():
            self._before = None  # it is seen on the new one
            return ''
        return f'this process was stalled, and sent the last plan {self._copies} times only: it may have been lost'

    @property
    def copies(self) -> int:
        """Tell how often what was sent last went out."""
        return self._copies if self._point is None else (1 + self._copies) // 2

    @property
    def hold_may_be_lost(self) -> bool:
        """Tell whether so few copies of a point to hold went out before their time was over that all may be lost."""
        few = self._point is not None and self.copies < LEAST_COPIES
        return few and self._sent is not None and self.now() > self._until

    def resend(self) -> None:
        """Send what was sent last once more, whenever that was."""
        if self._sent is not None:
            self._repeat(self._sent)

    def silence(self, *, but: Sequence[int] = ()) -> None:
        """Send nothing again of what was sent so far, unless it went to none but the topics ``but``."""
        if self._topics is None or not set(self._topics) <= set(but):
            self._sent = None

    def insist(self) -> None:
        """Let `again` send for a while more, because this node ends; of a point to hold no longer than it would anyway.

        Its copies leave ever less time.
        """
        until = self.now() + FAREWELL
        self._until, self._began = until if self._point is None else min(until, self._until), self.steady()

    def _out(self, message: Any, until: int) -> None:
        self._send(message)
        self.sent += 1
        self._sent, self._until, self._began, self._point = message, until, self.steady(), None
        self._topics = None
        self._copies, self._over = 1, self._began + until - self.now()  # not by robot time, which may run faster
        self._wake()
