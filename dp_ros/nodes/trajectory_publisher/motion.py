"""Move the robot: join the planner, the safety states that stop it, and the inputs of both.

Every callback of the trajectory_publisher that matters ends here, in one thread. `look` comes first, so that nothing is
decided on what was true half a control step ago.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dp_ros.data import Chunk, Refusal
from dp_ros.motion.alternatives import ClearChunk
from dp_ros.motion.obstacles import Contact
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.motion.safety.approach import Approach
from dp_ros.motion.safety.clock_watch import ClockWatch, Jump
from dp_ros.motion.safety.safety_states import Act, Cause, Reason, SafetyInputs, SafetyState, SafetyStateMachine
from dp_ros.nodes.trajectory_publisher.command_sender import FAREWELL, FAREWELL_COPIES, CommandSender
from dp_ros.nodes.trajectory_publisher.controllers.command_topics import CommandTopics, GraphState
from dp_ros.nodes.trajectory_publisher.controllers.endpoints import SingleSource
from dp_ros.nodes.trajectory_publisher.controllers.state import ControllerStates
from dp_ros.nodes.trajectory_publisher.heartbeat import Permission
from dp_ros.nodes.trajectory_publisher.joint_states import JointStates
from dp_ros.nodes.trajectory_publisher.motion_start import Beginning
from dp_ros.nodes.trajectory_publisher.motion_stop import Stops
from dp_ros.planning.detour import Detour

UNEVEN = 2_000_000  # [ns] between two looks at the steady clock, more than which one at the other is not compared
TRYING = 20_000_000  # [ns] in which alternatives of a chunk may be begun: the next look must not come late (REACTION)
LONGEST_FAREWELL = 2 * FAREWELL  # [ns]: of clocks that jump again and again, only one is dealt with


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What motion is made of.

    ``sources`` have one publisher each, ``controllers`` say what they do where that is installed, ``approach`` leads to
    where demonstrations began, ``say`` logs errors, ``note`` what is as it should be; ``detour`` plans ways around, or
    nobody does.
    """

    planner: Planner
    safety: SafetyStateMachine
    joint_states: JointStates
    command: CommandTopics
    permission: Permission
    watch: ClockWatch
    sender: CommandSender
    sources: Sequence[SingleSource]
    approach: Approach
    controllers: ControllerStates | None = None
    detour: Detour | None = None
    say: Callable[[str], None]
    note: Callable[[str], None]


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
        How long after a jump of the clock to wait for joint states [ns].

    """

    def __init__(self, parts: Parts, *, home: np.ndarray | None, home_duration: float, patience: int) -> None:
        self.parts = parts
        self.planner, self.safety, self.joint_states = parts.planner, parts.safety, parts.joint_states
        self.approach = parts.approach
        self._home, self._home_duration, self._patience = home, home_duration, patience
        self._jump: tuple[int, int] | None = None
        self._moved = False  # whether the arm may have been on its way when the clock jumped
        self._newcomer = ''
        self._listening: tuple[int, ...] | None = None  # topics to which a stop may go; None: all
        self.stops = Stops(self.planner, parts.sender, parts.say)
        self._ended = self._copies = 0  # when `end` was called [ns, steady], and how many copies were out then
        self.blocked: Contact | None = None  # what is in the way of the motion
        self.beginning = Beginning(self.planner, parts.sender, self._reference, parts.say, parts.note)
        self.planner.reset()
        self.safety.clear()
        self.time()  # from which on a jump is noticed

    @property
    def rests_at(self) -> int | None:
        """When the arm comes to rest if nothing else is sent [ns]; None without a plan."""
        if self.planner.plan is None:
            return None
        return self.parts.sender.rests_at if self.planner.lost else self.planner.plan.end

    @property
    def unsettled(self) -> bool:
        """Whether the clock jumped, and a joint state is waited for."""
        return self._jump is not None

    def look(self) -> int:
        """Collect all inputs, and do what the safety state asks for; return robot time [ns]."""
        now = self.time()
        inputs = self._inputs(now, self._look_at_graph(now))
        self._watch(now)
        self._do(self.safety.step(inputs), now)
        if (fault := self.safety.forbidden) is not None and self._moving(now) and not self.unsettled:
            self.latch(fault)  # the arm finishes a plan that was given up
        self._avoid(now)
        self._go_around(now)
        if self._listening is not None:
            self.beginning.cancel()
            # A controller that comes back knows nothing of the plan: nothing along it is sent there again.
            self.parts.sender.silence(but=self._listening)
            self.stops.forget()
            if self.rests_at is not None and self.rests_at <= now:
                self.planner.forget_plan()  # whoever listens next knows nothing of the plan
        self.beginning.progress(now)
        self.stops.again(self.rests_at, now)
        return now

    def _look_at_graph(self, now: int) -> tuple[Reason, ...]:
        graph = self.parts.command.look()
        gone = any(fault.cause is Cause.CONTROLLER for fault in graph.faults)
        self._newcomer, self._listening = graph.newcomer, graph.listening if gone else None
        self._on_restart(graph, now)
        return graph.faults + graph.grippers

    def _watch(self, now: int) -> None:
        """Compare the robot with the plan and with what it can do."""
        if self.joint_states.untrue:
            if not self._moving(now):
                adopted = self.joint_states.adopt()
                if adopted is not None:
                    self.planner.moved_by_others(adopted.positions)
                    self.beginning.cancel()
                    self.parts.say(f'{self.joint_states.topic}: the robot is elsewhere now, and nothing moved it')
            else:
                self.latch(Reason(cause=Cause.JOINT_STATE, text=self.joint_states.untrue))
        if self._jump is not None or self.planner.plan is None or self.planner.states.blind(now):
            return
        reference = self._reference(now)
        astray = self._inactive() or (self.planner.off_plan(*reference) if reference else '') or self.planner.astray()
        if astray and self.safety.executed is not None and not self.planner.lost:
            stopped = self.safety.safety_state >= SafetyState.DECELERATE  # what goes home will be latched
            self.planner.lose(astray)
            self.parts.sender.silence()
            self.stops.forget()
            self.safety.void(Reason(cause=Cause.ROBOT, text=astray))
            self.parts.say(f'{astray}: nothing is planned until it stands')
            if stopped and not self.planner.standing:  # every copy of the stop was lost, or it goes home
                self.stops.hold(self.planner.hold(now), 'no hold where the stop or the way home was not taken')

    def _reference(self, now: int) -> tuple[int, np.ndarray] | None:
        """Return when and where the controllers say that they command the joints to be, if they say it."""
        return None if self.parts.controllers is None else self.parts.controllers.reference(now)

    def _inactive(self) -> str:
        return '' if self.parts.controllers is None else self.parts.controllers.inactive()

    def _moving(self, now: int) -> bool:
        return self.rests_at is not None and self.rests_at > now

    def take(self, chunk: Chunk, now: int) -> Planned | Refusal:
        """Follow a chunk, or say why not. `look` was called just before."""
        self.safety.offered(chunk.stamp)
        objection = self.safety.objection(chunk.stamp, now)
        if objection is not None:
            return Refusal(reason=str(objection), passing=objection.passing)
        if self.unsettled:
            return Refusal(reason='the clock jumped, and no joint state came since')
        if self._newcomer:
            return Refusal(reason=f'{self._newcomer}, maybe a controller that was restarted', passing=True)
        unknown = self.joint_states.fault or self._inactive() or self.planner.clear.fault(now)
        if unknown:
            return Refusal(reason=unknown)
        if self.parts.detour is not None and self.parts.detour.follows(now):
            self.safety.accepted(chunk.stamp)  # the policy is there, and goes on behind it
            return Refusal(reason='a way around an obstacle is followed first', passing=True)
        if self.safety.was_blind and not self._moving(now):
            self.planner.forget_plan()  # nobody knows what happened to the robot meanwhile
            self.safety.was_blind = False
        if (unusable := self.planner.unusable(chunk, now)) is not None:
            return unusable
        early = self.beginning.request(now)
        leap = '' if early else self.planner.leap(now) or self.parts.sender.objection()
        if early is not None:
            verdict: Planned | Refusal = early
        elif leap:
            verdict = Refusal(reason=leap)
        else:
            verdict = self._approached(chunk, now) or self._planned(chunk)
        if isinstance(verdict, Planned):
            self.approach.began()
            self.safety.accepted(chunk.stamp)
            self.stops.forget()
            self.blocked = verdict.blocked
            if self.parts.detour is not None:
                self.parts.detour.taken(chunk.choice(verdict.alternative), verdict, now)
        elif verdict.stop:
            self.latch(Reason(cause=Cause.CHUNK, text=verdict.reason))
        elif verdict.passing and self.parts.detour is not None and self.parts.detour.asks:
            self.safety.accepted(chunk.stamp)  # the policy is there, and waits for the way around
        return verdict

    def _approached(self, chunk: Chunk, now: int) -> Refusal | None:
        """Go to where demonstrations began, if that is asked; return why the chunk must wait, or None.

        On the way the safety states count as if chunks were followed: what stops those stops this.
        """
        objection = self.approach.objection(chunk.stamp, now)
        if objection is None and self.approach.needed:
            why = self.approach.away()
            way = self.parts.sender.send_before_deadline(self.approach.plan, must=False)
            if isinstance(way, Refusal):
                return Refusal(reason=f'no way to where demonstrations began ({why}): {way.reason}')
            self.parts.note(f'{why}: the robot goes there first, in {(way.end - now) / 1e9:.1f} s')
            self.stops.forget()
            objection = self.approach.objection(chunk.stamp, now)
        if objection is not None:
            self.safety.accepted(chunk.stamp)
        return objection

    def _avoid(self, now: int) -> None:
        """Come to rest along the path where an obstacle is in the way of it, or may come into it."""
        if self.stops.under_way or self._jump is not None or self.beginning.under_way or self.planner.lost:
            return
        if (contact := self.planner.endangered(now)) is None:
            return
        self.blocked = contact
        if self.safety.safety_state is SafetyState.HOME:
            self.latch(Reason(cause=Cause.OBSTACLE, text=f'on the way home, {contact}'))
        else:
            self.brake(now)

    def _go_around(self, now: int) -> None:
        """Follow a way around, once one has been found."""
        detour = self.parts.detour
        if detour is None or self.safety.safety_state is not SafetyState.RUN or self._newcomer or self.planner.lost:
            return
        if (way := detour.step(now)) is None:
            return
        whole = partial(self.planner.accept, way, whole=True)
        verdict = self.parts.sender.send_before_deadline(whole, must=False)
        detour.followed(verdict, now)
        if isinstance(verdict, Planned):
            self.blocked = None
            self.stops.forget()

    def _planned(self, chunk: Chunk) -> Planned | Refusal:
        before, steady = self.planner.checkpoint(), self.parts.sender.steady
        until = steady() + TRYING
        resting = self.parts.detour is not None and self.parts.detour.asks
        clear = ClearChunk(self.planner, chunk, lambda: steady() < until, resting=resting)
        try:
            return self.parts.sender.send_before_deadline(clear.accept, must=False)
        except Exception as error:  # whatever it is, the arm comes to rest
            self.planner.rollback(before)
            return Refusal(reason=f'chunk cannot be planned with: {error!r}', stop=True)

    def again(self) -> bool:
        """Send again what was sent last, unless the robot may not follow it; return whether to call this again."""
        now = self.time()
        self.joint_states.read(now)
        going = self.parts.sender.again(skip=not self.planner.lost and bool(self.planner.leap(now)))
        if going or not self.parts.sender.hold_may_be_lost or self.planner.standing:
            return going
        return self.stops.hold(self.planner.hold(now), 'no hold after a stall in which the last one may have been lost')

    def latch(self, reason: Reason) -> None:
        """Come to rest along the path, and stay there until `reset`."""
        now = self.time()  # first: after a jump the plan's stamps mean nothing, and there is nothing to stop along
        before = self.safety.safety_state
        act = self.safety.latch(reason)
        holding = self.beginning.under_way  # the robot stands, and was sent a point to hold
        self.beginning.cancel()
        self._do(act, now)
        if act is Act.NONE and before is SafetyState.WAIT and not (holding or self.unsettled):
            if self._moving(now):  # what was given up is still under way
                self.brake(now)
            else:
                self.stops.hold_forgotten(now)

    def reset(self) -> str:
        """Let chunks move the arm again; return why not, while what stopped it persists."""
        now = self.time()
        faults = self._look_at_graph(now)
        self._watch(now)
        latched = self.safety.latched
        objection = self.safety.reset(self._inputs(now, faults))
        if latched and not objection:
            self.planner.forget_plan()
            self.stops.forget()
            self.joint_states.forget_sources()
            if self.parts.detour is not None:
                self.parts.detour.forget()
        return objection

    def end(self) -> None:
        """Come to rest if the robot is on its way; `farewell` must follow until it returns False.

        A robot that rests is sent nothing: the end of the plan would make it jump if it was moved by other means. One
        that moves without a plan is held while a plan of before may be what it is on.
        """
        now = self.time()
        holding = self.beginning.under_way
        self.beginning.cancel()
        self._ended = self.parts.sender.steady()
        if self.unsettled:
            self._settle(now, patient=False)
        elif self._moving(now) and not holding:
            self._inputs(now, ())
            if not self.stops.under_way:
                self.brake(now)
        elif not self.stops.hold_forgotten(now):
            self.parts.sender.silence()
            return
        self.parts.sender.insist()
        self._copies = self.parts.sender.copies

    def farewell(self) -> bool:
        """Send the last message of all again where the robot may follow it; forget the plan when that is enough.

        Returns whether to call this again, in `FAREWELL_AGAIN`; joint states that arrive meanwhile must be handed on.
        """
        going = self.again() and self.parts.sender.copies < self._copies + FAREWELL_COPIES
        if self.unsettled:  # the clock jumped, and what was sent means nothing
            self._settle(self.parts.sender.now(), patient=False)
            self.parts.sender.insist()
            going, self._copies = True, self.parts.sender.copies
        if going and self.parts.sender.steady() < self._ended + LONGEST_FAREWELL:
            return True
        self.parts.sender.silence()
        self.planner.reset()
        self.stops.forget()
        return False

    def brake(self, now: int) -> None:
        """Come to rest along the plan's path; where the robot does not follow it, where it is measured."""
        if self.parts.detour is not None:
            self.parts.detour.stopped()
        if self.planner.plan is not None:
            self.beginning.cancel()
            self.stops.brake(now, self._listening)

    def time(self) -> int:
        """Return robot time [ns], having dealt with a jump of it."""
        before = self.parts.sender.steady()
        now = self.parts.sender.now()
        after = self.parts.sender.steady()
        if after - before < UNEVEN and (jump := self.parts.watch.look(now, after)) is not None:
            self._on_jump(jump, now)
        self._settle(now)
        return now

    def _on_jump(self, jump: Jump, now: int) -> None:
        """Forget what has a stamp. The controller's clock jumped as well: it must get a hold that needs no clock."""
        self.safety.void(Reason(cause=Cause.CLOCK, text=f'the clock jumped by {jump.by / 1e9:.3f} s'))
        self.parts.say(f'the clock jumped by {jump.by / 1e9:.3f} s: the plan starts anew')
        self.parts.sender.silence()
        self.parts.sender.held_at += now - jump.unjumped
        if self.parts.detour is not None:
            self.parts.detour.forget()
        if self.beginning.under_way:
            self.parts.sender.rests_at = jump.earliest  # it stands where it was to hold
        self.beginning.cancel()
        self.stops.forget()
        self.joint_states.forget()
        self.planner.forget_states()
        # This process may have been stalled since, and the arm on its way when the clock jumped.
        self._moved = self._moved or self.parts.sender.rests_at > jump.earliest
        if self.planner.plan is None and not self._moved:
            self.planner.reset()
        elif self._jump is None:
            self._jump = (jump.unjumped, now)
        else:
            # A second jump before the first was dealt with: the plan still counts by the time before the first.
            unjumped, since = self._jump
            self._jump = (unjumped + jump.unjumped - since, now)

    def _settle(self, now: int, *, patient: bool = True) -> None:
        """After a jump, hold where the robot is measured, or, if that stays unknown, where the plan would be.

        A robot that was at rest by the plan is sent nothing.
        """
        if self._jump is None:
            return
        unjumped, since = self._jump
        planned = unjumped + now - since
        if self.joint_states.trusted(now) and self.planner.states.tells_speed:
            self.planner.forget_plan()  # its stamps mean nothing
            held = self.planner.hold(now)
        elif not patient or not 0 <= now - since < self._patience:
            held = self.planner.hold_planned(planned)
        else:
            return
        self._jump = None
        if self._moved:
            self.stops.hold(held, 'no hold after the jump of the clock')
        self._moved = False
        self.planner.forget_plan()

    def _inputs(self, now: int, faults: tuple[Reason, ...]) -> SafetyInputs:
        others = [self.parts.permission.fault(), *(source.fault() for source in self.parts.sources)]
        found = [*faults, *filter(None, others)]
        if self.joint_states.several_sources:
            found.append(Reason(cause=Cause.PUBLISHER, text=self.joint_states.several_sources))
        state = self.joint_states.read(now)
        unknown = self.planner.clear.fault(now)
        return SafetyInputs(
            now=now,
            joint_state=None if state is None else state.stamp,
            rests_at=self.rests_at,
            faults=tuple(found),
            scene=Reason(cause=Cause.OBSTACLE, text=unknown) if unknown else None,
        )

    def _do(self, act: Act, now: int) -> None:
        if act is Act.STOP:
            self.brake(now)
        elif act is Act.HOME:
            assert self._home is not None
            if self._newcomer:
                self.latch(Reason(cause=Cause.PLAN, text=f'no way home: {self._newcomer}'))
                return
            home = partial(self.planner.home, positions=self._home, duration=self._home_duration)
            self.stops.forget()
            way = self.parts.sender.send_before_deadline(home, must=False)
            if isinstance(way, Refusal):
                self.latch(Reason(cause=Cause.PLAN, text=f'no way home: {way.reason}'))

    def _on_restart(self, graph: GraphState, now: int) -> None:
        """Begin anew after a controller did; the others, which are on their way, come to rest along the plan."""
        if not graph.restarted:
            return
        text = f'{graph.restarted} was restarted, and knows nothing of the plan'
        self.safety.void(Reason(cause=Cause.CONTROLLER, text=text))
        self.parts.say(f'{text}: the plan starts anew from the measured state')
        self.parts.sender.silence()
        self.beginning.cancel()
        if self._moving(now) and graph.untouched:
            self.stops.stop_others(graph.untouched, now)
        self.planner.forget_plan(now, restarted=not graph.untouched)
        self.stops.forget()
