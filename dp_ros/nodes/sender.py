"""Planning and sending in time: what is spliced into a moment that has passed would make the robot jump."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from dp_ros.policy.outcome import Planned, Refused
from dp_ros.policy.planner import Planner
from dp_ros.policy.trajectory import Trajectory

Verdict = TypeVar('Verdict', Planned | Refused, Trajectory | Refused)
ATTEMPTS = 3
LEAST_AHEAD, MOST_AHEAD = 5_000_000, 100_000_000  # [ns] that are left for planning


class Sender:
    """Plans for a little later than now, by what planning took lately, and sends nothing after that.

    The splice is `splice_margin` behind the time that is planned for: so the whole margin is left to the message.

    Parameters
    ----------
    planner
        What plans; a plan that is not sent is taken back.
    prepare, send
        Make the messages of a trajectory, and send them.
    now
        Reads robot time [ns].

    """

    def __init__(
        self,
        planner: Planner,
        prepare: Callable[[Trajectory], Any],
        send: Callable[[Any], None],
        now: Callable[[], int],
    ) -> None:
        self._planner, self._prepare, self._send = planner, prepare, send
        self.now = now
        self._ahead = LEAST_AHEAD

    def send(self, trajectory: Trajectory) -> None:
        """Send what counts from its arrival."""
        self._send(self._prepare(trajectory))

    def in_time(self, plan: Callable[[int], Verdict], *, must: bool) -> Verdict | Refused:
        """Plan for a time [ns] and send it, or plan again if that time has passed; ``must`` sends the last in any case.

        Returns the plan, or why none was sent.
        """
        for left in reversed(range(ATTEMPTS)):
            before, began = self._planner.checkpoint(), self.now()
            verdict = plan(began + self._ahead)
            if isinstance(verdict, Refused):
                return verdict
            message = self._prepare(verdict.trajectory if isinstance(verdict, Planned) else verdict)
            took, allowed = self.now() - began, self._ahead
            self._ahead = min(max(2 * took, 9 * self._ahead // 10, LEAST_AHEAD), MOST_AHEAD)
            if took <= allowed or (must and not left):
                self._send(message)
                return verdict
            self._planner.rollback(before)
        return Refused(reason=f'planning: took {took / 1e6:.1f} ms, allowed {allowed / 1e6:.1f} ms: too busy a machine')
