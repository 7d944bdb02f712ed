"""Before a motion begins, whoever is to make it is asked whether he hears: with a hold, which moves nothing."""

from __future__ import annotations

import numpy as np

from dp_ros.nodes.command_topics import CommandTopics
from dp_ros.nodes.joint_states import JointStates
from dp_ros.policy.outcome import Refused
from dp_ros.policy.planner import Planner
from dp_ros.policy.trajectory import Trajectory


def from_measured(planner: Planner, joint_states: JointStates) -> None:
    """Forget the plan, so that the next one begins where the robot is measured."""
    planner.reset()
    state = joint_states.state
    if state is not None:
        planner.measured(state.stamp, state.positions, state.velocities)


class Handshake:
    """Asks those of whom it is not known; see `dp_ros.nodes.hearing`."""

    def __init__(self, planner: Planner, command: CommandTopics, joint_states: JointStates) -> None:
        self._planner, self._command, self._joint_states = planner, command, joint_states
        self._asked: tuple[dict[int, frozenset[bytes]], Trajectory] | None = None

    def objection(self, now: int, *, fresh: bool) -> str:
        """Return why a motion that begins now (``fresh``: with no plan that is followed) could be missed, or ''."""
        deaf = self._command.deaf(fresh=fresh)
        if deaf:
            from_measured(self._planner, self._joint_states)  # whoever is new knows nothing of a plan
            held = self._question(deaf, now)
            if isinstance(held, Refused):
                return held.reason
            self._command.ask(held, deaf)
            deaf = self._command.deaf(fresh=fresh)
        if deaf:
            return 'the controller may not hear yet: it is new, and has acknowledged nothing'
        self._asked = None
        return ''

    def _question(self, deaf: dict[int, frozenset[bytes]], now: int) -> Trajectory | Refused:
        """Return the hold that was asked with before, or a new one if others are asked or the arm is elsewhere.

        A hold where the arm is measured gives way to gravity a little each time it is made anew.
        """
        state = self._joint_states.state
        if self._asked is not None and state is not None:
            whom, held = self._asked
            if whom == deaf and float(np.abs(held.positions[-1] - state.positions).max()) < self._planner.options.far:
                return held
        before = self._planner.checkpoint()
        new = self._planner.hold(now)
        self._planner.rollback(before)
        self._asked = None if isinstance(new, Refused) else (deaf, new)
        return new
