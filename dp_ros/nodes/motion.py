"""What moves the robot: the planner, the ladder that stops it, and all that the two have to see.

Every callback of the trajectory_publisher that matters ends here, in one thread. `look` comes first, so that nothing is
decided on what was true half a control step ago.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from dp_ros.data import Chunk
from dp_ros.errors import DpRosError
from dp_ros.nodes.command_topics import Around, CommandTopics
from dp_ros.nodes.handshake import Handshake, from_measured
from dp_ros.nodes.heartbeat import Permission
from dp_ros.nodes.joint_states import JointStates
from dp_ros.nodes.sender import Sender
from dp_ros.policy.clock_watch import ClockWatch, Jump
from dp_ros.policy.ladder import Ladder
from dp_ros.policy.outcome import Planned, Refused
from dp_ros.policy.planner import Planner
from dp_ros.policy.rungs import Act, Cause, Reason, Seen
from dp_ros.policy.seeding import MeasuredState
from dp_ros.policy.trajectory import Trajectory

UNEVEN = 2_000_000  # [ns] between two looks at the steady clock, more than which one at the other is not compared


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What motion is made of; ``say`` logs an error."""

    planner: Planner
    ladder: Ladder
    joint_states: JointStates
    command: CommandTopics
    permission: Permission
    watch: ClockWatch
    sender: Sender
    say: Callable[[str], None]


class Motion:
    """Follows chunks as long as it may; see the module's text.

    Parameters
    ----------
    parts
        What it works with.
    home
        Where to go when observations stay away (A,) [rad or m]; None to hold.
    home_duration
        Least time of the way there [s].
    patience
        How long after a jump of the clock to wait for a joint state [ns].

    """

    def __init__(self, parts: Parts, *, home: np.ndarray | None, home_duration: float, patience: int) -> None:
        self.parts = parts
        self.planner, self.ladder, self.joint_states = parts.planner, parts.ladder, parts.joint_states
        self._home, self._home_duration = home, home_duration
        self._patience = patience
        self._jump: tuple[int, int] | None = None
        self._newcomer = ''
        # When the graph was looked at, if nothing was wrong, and how many there were then [ns, steady].
        self._quiet: tuple[int, tuple[int, ...]] | None = None
        self._handshake = Handshake(self.planner, parts.command, self.joint_states)
        self.planner.reset()
        self.ladder.clear()

    @property
    def rests_at(self) -> int | None:
        """When the arm comes to rest if nothing else is sent [ns]; None without a plan."""
        return None if self.planner.plan is None else self.planner.plan.end

    @property
    def unsettled(self) -> bool:
        """Whether the clock jumped, and a joint state is waited for."""
        return self._jump is not None

    # What happens.

    def look(self, *, graph_age: int = 0) -> int:
        """See what there is to see, and do what the ladder says; return robot time [ns].

        A graph without fault or newcomer up to ``graph_age`` [ns] ago will do while there are as many in it.
        """
        now = self.time()
        around = self._around(graph_age)
        self._newcomer = around.newcomer
        self._on_restart(around, now)
        self._do(self.ladder.step(self._seen(now, around.faults)), now)
        if not any(fault.cause is Cause.CONTROLLER for fault in around.faults):
            return now
        if self.rests_at is not None and self.rests_at <= now:
            self.planner.reset()  # whoever listens next knows nothing of the plan
        return now

    def take(self, chunk: Chunk, now: int) -> Planned | Refused:
        """Follow a chunk, or say why not. `look` was called just before."""
        self.ladder.offered(chunk.stamp)
        objection = self.ladder.objection(chunk.stamp, now)
        if objection is not None:
            return Refused(reason=str(objection))
        if self.unsettled:
            return Refused(reason='the clock jumped, and no joint state came since')
        if self._newcomer:
            return Refused(reason=f'{self._newcomer}, maybe a controller that was restarted')
        if self.joint_states.fault:
            return Refused(reason=self.joint_states.fault)
        if self.ladder.was_blind and (self.rests_at or 0) <= now:
            from_measured(self.planner, self.joint_states)  # nobody knows what happened to the robot meanwhile
        fresh = self.planner.plan is None or self.ladder.executed is None
        unusable = self.planner.unusable(chunk, now) or self._handshake.objection(now, fresh=fresh)
        if unusable:
            return Refused(reason=unusable)
        before = self.planner.checkpoint()
        try:
            verdict = self.parts.sender.in_time(partial(self.planner.accept, chunk), must=False)
        except DpRosError as error:
            self.planner.rollback(before)
            verdict = Refused(reason=f'chunk cannot be planned with: {error}', stop=True)
        if isinstance(verdict, Planned):
            self.ladder.accepted(chunk.stamp)
        elif isinstance(verdict, Refused) and verdict.stop:
            self.latch(Reason(cause=Cause.CHUNK, text=verdict.reason))
        return verdict

    def latch(self, reason: Reason) -> None:
        """Come to rest along the path, and stay there until `reset`."""
        now = self.time()  # first: after a jump the plan's stamps mean nothing, and there is nothing to stop along
        self._do(self.ladder.latch(reason), now)

    def reset(self) -> str:
        """Let chunks move the arm again; return why not, while what stopped it persists."""
        now = self.time()
        around = self._around(0)
        self._newcomer = around.newcomer
        self._on_restart(around, now)
        latched = self.ladder.latched
        objection = self.ladder.reset(self._seen(now, around.faults))
        if latched and not objection:
            self.planner.reset()
        return objection

    def end(self) -> None:
        """Come to rest if the robot is on its way, and forget the plan.

        Who rests is sent nothing: others may have moved the arm since, and the end of the plan would make it leap.
        """
        now = self.time()
        if self.unsettled:
            self._settle(now, patient=False)
        elif self.rests_at is not None and self.rests_at > now:
            if self._measured(now) is not None and not self.planner.on_plan():
                self._hold(self.planner.hold(now), 'no hold where the robot is')
            else:
                self.brake(now)
        self.planner.reset()

    def brake(self, now: int) -> None:
        """Come to rest along the plan's path; hold where that is not possible.

        A controller that was restarted may not have a name yet, and its robot be elsewhere: on the old path it would
        leap. So while someone new listens, the arm is stopped from where it is measured.
        """
        if self.planner.plan is None:
            return
        if self._newcomer:
            from_measured(self.planner, self.joint_states)
            self._hold(self.planner.hold(now), 'no hold for a controller that may be new')
            return
        stopped = self.parts.sender.in_time(self.planner.stop, must=True)
        if isinstance(stopped, Refused):
            self._hold(self.planner.hold(now), 'no way to stop but the end of the plan')

    def _hold(self, held: Trajectory | Refused, otherwise: str) -> None:
        if isinstance(held, Trajectory):
            self.parts.sender.send(held)
        else:
            self.parts.say(f'{otherwise}: {held.reason}')

    # Time.

    def time(self) -> int:
        """Return robot time [ns], having dealt with a jump of it."""
        before = time.monotonic_ns()
        now = self.parts.sender.now()
        after = time.monotonic_ns()
        if after - before < UNEVEN:
            jump = self.parts.watch.look(now, after)
            if jump is not None:
                self._on_jump(jump, now)
        self._settle(now)
        return now

    def _on_jump(self, jump: Jump, now: int) -> None:
        """Forget what has a stamp. The controller's clock jumped as well: it must get a hold that needs no clock."""
        self.ladder.void(Reason(cause=Cause.CLOCK, text=f'the clock jumped by {jump.by / 1e9:.3f} s'))
        self.parts.say(f'the clock jumped by {jump.by / 1e9:.3f} s: the plan starts anew')
        self.joint_states.forget()
        if self.planner.plan is None:
            self.planner.reset()
        elif self._jump is None:
            self._jump = (jump.unjumped, now)
        else:
            # A second jump before the first was dealt with: the plan still counts by the time before the first.
            unjumped, since = self._jump
            self._jump = (unjumped + jump.unjumped - since, now)

    def _settle(self, now: int, *, patient: bool = True) -> None:
        """After a jump, hold where the robot is measured, or, if that stays unknown, where the plan would be."""
        if self._jump is None:
            return
        unjumped, since = self._jump
        state = self.joint_states.read(now)
        if state is not None and not self.joint_states.fault:
            self.planner.reset()
            self.planner.measured(state.stamp, state.positions, state.velocities)
            held = self.planner.hold(now)
        elif not patient or now - since >= self._patience:
            held = self.planner.hold(unjumped + now - since)
            self.planner.reset()
        else:
            return
        self._jump = None
        self._hold(held, 'no hold after the jump of the clock')

    # What the ladder sees and wants.

    def _around(self, age: int) -> Around:
        steady, counts = time.monotonic_ns(), self.parts.command.counts()
        if self._quiet is not None and steady - self._quiet[0] <= age and counts == self._quiet[1]:
            return Around()
        around = self.parts.command.look()
        self._quiet = None if around.faults or around.restarted or around.newcomer else (steady, counts)
        return around

    def _seen(self, now: int, faults: tuple[Reason, ...]) -> Seen:
        permission = self.parts.permission.fault()
        state = self._measured(now)
        return Seen(
            now=now,
            joint_state=None if state is None else state.stamp,
            rests_at=self.rests_at,
            faults=faults if permission is None else (*faults, permission),
        )

    def _measured(self, now: int) -> MeasuredState | None:
        state = self.joint_states.read(now)
        if state is not None:
            self.planner.measured(state.stamp, state.positions, state.velocities)
        return state

    def _do(self, act: Act, now: int) -> None:
        if act is Act.STOP:
            self.brake(now)
        elif act is Act.HOME:
            assert self._home is not None
            if self._newcomer or self.parts.command.deaf(fresh=True):
                self.latch(Reason(cause=Cause.PLAN, text='no way home: the controller may be new, and not hear yet'))
                return
            home = partial(self.planner.home, positions=self._home, duration=self._home_duration)
            way = self.parts.sender.in_time(home, must=False)
            if isinstance(way, Refused):
                self.latch(Reason(cause=Cause.PLAN, text=f'no way home: {way.reason}'))

    def _on_restart(self, around: Around, now: int) -> None:
        """Begin anew after a controller did; those of the others that are on their way are held where they are."""
        if not around.restarted:
            return
        text = f'{around.restarted} was restarted, and knows nothing of the plan'
        self.ladder.void(Reason(cause=Cause.CONTROLLER, text=text))
        self.parts.say(f'{text}: the plan starts anew from the measured state')
        moving = self.planner.plan is not None and self.planner.plan.end > now
        from_measured(self.planner, self.joint_states)
        if moving and around.untouched:
            held = self.planner.hold(now)
            if isinstance(held, Trajectory):
                self.parts.command.send_only(held, around.untouched)
            else:
                self.parts.say(f'no hold for the other controllers: {held.reason}')
        self.planner.reset()
