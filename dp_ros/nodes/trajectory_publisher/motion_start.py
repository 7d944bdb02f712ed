"""How a motion begins: the controller is asked to hold where the robot stands, and a plan starts from there.

Nobody knows what a controller holds that was switched off and on, restarted, or served by others. A point to hold,
stamped 0, is safe whatever it holds, and acknowledgements prove nothing. So the point is sent, the time that the
controller needs for its own way there passes, and the robot must stand there then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dp_ros.data import Refusal
from dp_ros.motion.planner import Planner
from dp_ros.motion.trajectory import Trajectory
from dp_ros.nodes.trajectory_publisher.command_sender import CommandSender


@dataclass(frozen=True, kw_only=True)
class _Hold:
    """A point that was sent at ``since``, as message ``number``, and when its controller has come there [ns]."""

    point: Trajectory
    number: int
    since: int
    ready: int


class Beginning:
    """Brings controller and plan together where the robot stands.

    Parameters
    ----------
    planner
        Whose plan begins.
    sender
        Sends points to hold, again and again for a while.
    reference
        Returns when and where the controllers say that they command the joints to be, or None.
    say, note
        Log what happens: what went wrong, or how every start goes.

    """

    def __init__(
        self,
        planner: Planner,
        sender: CommandSender,
        reference: Callable[[int], tuple[int, np.ndarray] | None],
        say: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        self._planner, self._sender, self._reference = planner, sender, reference
        self._say, self._note = say, note
        self._first = True  # whether no plan has begun yet
        self._hold: _Hold | None = None

    @property
    def under_way(self) -> bool:
        """Tell whether a point was sent whose time has not passed yet."""
        return self._hold is not None

    def cancel(self) -> None:
        """Begin nothing."""
        self._hold = None

    def request(self, now: int) -> Refusal | None:
        """Begin, unless that is under way; return why a chunk cannot be followed yet, or None if it can."""
        self.progress(now)
        if self._hold is None and self._planner.astray():
            why = self._planner.astray()
            left = (self._sender.held_at - now) / 1e9
            if left > 0:  # where it is on its way there is unknown while joint states may be false
                reason = f'the controller comes to rest first: a plan may begin in {left:.2f} s'
                return Refusal(reason=reason, passing=True)
            point = self._planner.begin(now)
            if isinstance(point, Refusal):
                return point
            self._sender.send(point)
            self._planner.forget_plan()  # its controller leaves it for the point, whatever becomes of the beginning
            self._hold = _Hold(point=point, number=self._sender.sent, since=now, ready=self._sender.held_at)
            text = f'the plan begins where the robot stands ({why})'
            if self._first:  # two lines: rclpy refuses another severity from the same one
                self._note(text)
            else:
                self._say(text)
            self._first = False
        if self._hold is None:
            return None
        left = max(self._hold.ready - now, 0) / 1e9
        return Refusal(
            reason=f'the controller holds where the robot stands: a plan begins there in {left:.2f} s', passing=True
        )

    def progress(self, now: int) -> None:
        """Let the plan begin if the time has come and the robot stands, or give up if it is elsewhere then."""
        hold = self._hold
        if hold is None:
            return
        newest = self._planner.states.newest
        if newest is None or now < hold.since or hold.number != self._sender.sent:
            self._hold = None
            return
        if now < hold.ready:  # what joint states show meanwhile may be false; where the controller comes to, it rests
            return
        allowed = self._planner.follow_tolerance
        if self._planner.states.blind(now) or (self._away(newest.positions, hold) > allowed).any():
            self._hold = None
            return
        if not self._planner.standing:
            return
        self._hold = None
        reference = self._reference(now)
        if reference is not None and (self._away(reference[1], hold) > allowed).any():
            self._say('the controller did not take the point to hold: it is asked again')
            return
        self._planner.rest_at(hold.point.positions[0], now)

    def _away(self, positions: np.ndarray, hold: _Hold) -> np.ndarray:
        return np.abs(self._planner.beside_turns(positions, hold.point.positions[0]))
