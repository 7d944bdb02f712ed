"""How a motion stops: along its plan, or where the robot is measured; sent again while the arm is on its way.

Nothing that goes wrong here ends the node, or leaves the arm with less than the plan's own end, which is at rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dp_ros.data import Refusal
from dp_ros.motion.planner import Planner
from dp_ros.motion.trajectory import Trajectory
from dp_ros.nodes.trajectory_publisher.command_sender import CommandSender

ENDING = 50_000_000  # [ns] before its end at which a stop is sent no more: a controller refuses what lies in the past


class Stops:
    """Plans and sends stops.

    Parameters
    ----------
    planner
        Whose plan is stopped.
    sender
        Sends what stops it.
    say
        Logs what went wrong.

    Attributes
    ----------
    under_way
        Whether the plan is a stop, which is sent again.

    """

    def __init__(self, planner: Planner, sender: CommandSender, say: Callable[[str], None]) -> None:
        self._planner, self._sender, self._say = planner, sender, say
        self._owed: int | None = None  # what had been sent when a stop was asked for that could not be made
        self.forget()

    def forget(self) -> None:
        """Stop nothing any more: something else is sent, or whoever listens knows nothing of the plan."""
        self.under_way, self._owed = False, None

    def brake(self, now: int, topics: Sequence[int] | None = None) -> None:
        """Come to rest along the plan's path; where the robot does not follow it, where it is measured.

        With ``topics``, other controllers than theirs are gone, and whoever listens in their place knows nothing of
        the plan: a stop along it goes to these topics alone.
        """
        try:
            if self.on_plan(now):
                if topics is not None:
                    self.stop_only(topics)
                    return
                stopped = self._sender.send_before_deadline(self._planner.stop, must=True)
                if isinstance(stopped, Trajectory):
                    self.under_way = True
                    return
            self.hold(self._planner.hold(self._sender.now()), 'no way to stop but the end of the plan')
        except Exception as error:
            self._owed = self._sender.sent
            self._say(f'no way to stop but the end of the plan: {error!r}')

    def again(self, rests_at: int | None, now: int) -> None:
        """Send a stop again while the arm is on its way, for it may have been lost; make one that could not be made."""
        if self._owed == self._sender.sent and rests_at is not None and now < rests_at:
            try:
                held = self._planner.hold(now)
                if isinstance(held, Trajectory):
                    self.hold(held, '')
            except Exception as error:
                self._owed = None
                self._say(f'no way to stop but the end of the plan: {error!r}')
        if not self.under_way:
            return
        if rests_at is None or now > rests_at - ENDING:
            self.under_way = False
        elif self.on_plan(now):
            self._sender.resend()

    def on_plan(self, now: int) -> bool:
        """Return whether what is sent may go on from the plan: its robot follows it, or did when last seen."""
        if self._planner.lost:
            return False
        return self._planner.states.newest is None or not (self._planner.astray() or self._planner.leap(now))

    def hold(self, held: Trajectory | Refusal, otherwise: str) -> bool:
        """Send a point to hold, and give the plan up; log ``otherwise`` where there is none, and return False."""
        if isinstance(held, Trajectory):
            self._planner.lose(held=held.positions[-1])
            self._sender.send(held)
            return True
        self._owed = self._sender.sent
        self._say(f'{otherwise}: {held.reason}')
        return False

    def hold_forgotten(self, now: int) -> bool:
        """Hold an arm that moves while it may be on a plan that was forgotten; return whether that may be."""
        planner = self._planner
        if now >= planner.forgotten_until or planner.states.blind(now) or planner.standing:
            return False
        self.hold(planner.hold(now), 'no hold of an arm that is on a plan of before')
        return True

    def stop_others(self, topics: Sequence[int], now: int) -> None:
        """Stop the controllers of ``topics`` along the plan; where the robot does not follow it, hold it by all."""
        if self.on_plan(now):
            self.stop_only(topics)
        elif not self._planner.standing:
            self.hold(self._planner.hold(now), 'no stop for the other controllers')

    def stop_only(self, topics: Sequence[int]) -> None:
        """Bring the controllers of some topics to rest along the plan."""
        try:
            stopped = self._sender.send_before_deadline(self._planner.stop, must=True, topics=topics)
            if isinstance(stopped, Refusal):
                self._say(f'no stop for the other controllers: {stopped.reason}')
        except Exception as error:  # the plan that they have ends at rest
            self._say(f'no stop for the other controllers: {error!r}')
