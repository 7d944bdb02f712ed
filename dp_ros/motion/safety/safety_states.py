"""Decide how long a robot may go on without a fresh observation, and what stops it for good.

    wait -> run -> tail -> decelerate -> hold (or home) -> latched

Nothing here sends anything or reads a clock: the owner says what it sees, is told what to do, and does it. Rungs are
climbed by age, of the observation behind the executed chunk and of the newest joint state, or at once by a fault.
Only a chunk that is taken leads down again, and from `latched` only `reset`. All times are robot time [ns].
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Literal

from dp_ros.errors import ConfigError

Fallback = Literal['hold', 'home', 'policy']


class SafetyStateMachine:
    """Keep the rung and the reason for it.

    Parameters
    ----------
    thresholds
        When each rung is reached.
    fallback
        What follows `decelerate` where observations stay away: ``home`` moves to the home position, all others hold.

    """

    def __init__(self, thresholds: Thresholds, *, fallback: Fallback = 'hold') -> None:
        self.thresholds = thresholds
        self._fallback = fallback
        self.clear()

    def clear(self) -> None:
        """Begin anew: nothing is known and nothing is executed."""
        self.safety_state = SafetyState.WAIT
        self.reason: Reason | None = None
        self._faults: tuple[Reason, ...] = ()
        self.executed: int | None = None  # stamp of the observation behind the motion
        self._offered: int | None = None
        self._stopped = False
        self._voided: Reason | None = None
        self.was_blind = False  # whether joint states were missing for long since the last chunk was taken

    @property
    def latched(self) -> bool:
        """Whether only `reset` lets chunks move the arm again."""
        return self.safety_state is SafetyState.LATCHED

    @property
    def forbidden(self) -> Reason | None:
        """Return what latches an arm that is on its way although nothing is executed; None where nothing does."""
        latching = (fault for fault in self._faults if fault.cause is not Cause.CONTROLLER)
        return next(latching, None) if self.safety_state is SafetyState.WAIT else None

    # Chunks.

    def objection(self, stamp: int, now: int) -> Reason | None:
        """Return why a chunk made from the observation at ``stamp`` may not be taken; None if it may."""
        if self.safety_state in (SafetyState.HOME, SafetyState.LATCHED):
            return Reason(cause=self._because().cause, text=f'stopped until ~/reset is called: {self._because()}')
        if self._faults:
            return self._faults[0]
        age = now - stamp
        if age > self.thresholds.decelerate:
            allowed = self.thresholds.decelerate / 1e9
            text = f'chunk: got one made from an observation {age / 1e9:.3f} s old, allowed {allowed:.3f} s'
            return Reason(cause=Cause.OBSERVATION, text=text)
        return None

    def offered(self, stamp: int) -> None:
        """Note that a readable chunk came, taken or not: `reset` asks whether they still come."""
        self._offered = stamp

    def accepted(self, stamp: int) -> None:
        """Go down to `run`: the chunk from the observation at ``stamp`` is executed from now on."""
        self.executed = stamp
        self._stopped = self.was_blind = False
        self._voided = None
        self.safety_state, self.reason = SafetyState.RUN, None

    # What happens.

    def step(self, inputs: SafetyInputs) -> Act:
        """Climb as far as what is seen demands; return what is to be done. Called twice a control period or more."""
        self._faults = inputs.faults
        if self.safety_state is SafetyState.LATCHED:
            return Act.NONE
        if self.safety_state is SafetyState.WAIT:
            self.reason = inputs.faults[0] if inputs.faults else self._voided
            return Act.NONE
        if inputs.faults:
            return self._at_fault(inputs.faults[0])
        if self.safety_state is SafetyState.HOME:
            return self._on_the_way_home(inputs)
        ages = self._by_observation(inputs), self._by_joint_state(inputs), self._by_scene(inputs)
        self.was_blind |= ages[1][0] >= SafetyState.DECELERATE
        return self._climb(*max(ages, key=lambda found: found[0]), inputs)

    def latch(self, reason: Reason) -> Act:
        """Stop for good, until `reset`; return what is to be done. A reason that is latched already stays."""
        if self.safety_state is SafetyState.LATCHED:
            return Act.NONE
        moved = self.safety_state is not SafetyState.WAIT and not self._stopped
        self.safety_state, self.reason, self._stopped = SafetyState.LATCHED, reason, True
        return Act.STOP if moved else Act.NONE

    def void(self, reason: Reason) -> None:
        """Give up what was executed, because it means nothing any more; a latch stays."""
        self.executed, self._stopped = None, True
        if reason.cause is Cause.CLOCK:
            self._offered = None
        if self.safety_state is SafetyState.HOME:
            self.safety_state = SafetyState.LATCHED
        if self.safety_state is not SafetyState.LATCHED:
            self.safety_state, self.reason, self._voided = SafetyState.WAIT, reason, reason

    def reset(self, inputs: SafetyInputs) -> str:
        """Go from `latched` to `wait`; return why not, as long as what latched it persists."""
        if self.safety_state is SafetyState.HOME:
            return f'on the way home: {self._because()}'
        if self.safety_state is not SafetyState.LATCHED:
            return ''
        objection = self._persisting(inputs)
        if not objection:
            offered = self._offered
            self.clear()
            self._offered = offered
        return objection

    # Rungs.

    def _at_fault(self, fault: Reason) -> Act:
        if fault.cause is not Cause.CONTROLLER:
            return self.latch(fault)
        # A controller that comes back rests, and knows nothing of the plan.
        moved = not self._stopped
        self.void(fault)
        self._voided = None  # what is said once it is back is up to the owner
        return Act.STOP if moved else Act.NONE

    def _on_the_way_home(self, inputs: SafetyInputs) -> Act:
        safety_state, reason = max(self._by_joint_state(inputs), self._by_scene(inputs), key=lambda found: found[0])
        if safety_state >= SafetyState.DECELERATE and reason is not None:
            return self.latch(reason)
        if inputs.rests_at is None or inputs.rests_at <= inputs.now:
            self.safety_state, self._stopped = SafetyState.LATCHED, True
            self.reason = Reason(cause=self._because().cause, text=f'at home: {self._because()}')
        return Act.NONE

    def _by_observation(self, inputs: SafetyInputs) -> tuple[SafetyState, Reason | None]:
        assert self.executed is not None
        age = inputs.now - self.executed
        text = f'no chunk for an observation newer than {age / 1e9:.3f} s'
        return self.thresholds.observation(age), Reason(cause=Cause.OBSERVATION, text=text)

    def _by_joint_state(self, inputs: SafetyInputs) -> tuple[SafetyState, Reason | None]:
        if inputs.joint_state is None:
            return SafetyState.DECELERATE, Reason(cause=Cause.JOINT_STATE, text='no joint state yet')
        age = inputs.now - inputs.joint_state
        text = f'the newest good joint state is {age / 1e9:.3f} s old'
        return self.thresholds.joint_state(age), Reason(cause=Cause.JOINT_STATE, text=text)

    def _by_scene(self, inputs: SafetyInputs) -> tuple[SafetyState, Reason | None]:
        return (SafetyState.RUN if inputs.scene is None else SafetyState.DECELERATE), inputs.scene

    def _climb(self, safety_state: SafetyState, reason: Reason | None, inputs: SafetyInputs) -> Act:
        before = self.safety_state
        if self._stopped and safety_state < before:
            return Act.NONE  # nothing is executed any more: only a chunk leads down
        self.safety_state, self.reason = safety_state, reason if safety_state > SafetyState.RUN else None
        if safety_state < SafetyState.DECELERATE or safety_state == before:
            return Act.NONE
        if safety_state is SafetyState.HOLD and self._goes_home(inputs):
            self.safety_state, self._stopped = SafetyState.HOME, False  # it moves again
            return Act.HOME
        moved, self._stopped = not self._stopped, True
        return Act.STOP if moved else Act.NONE

    def _goes_home(self, inputs: SafetyInputs) -> bool:
        blind = self._by_joint_state(inputs)[0] >= SafetyState.TAIL
        return self._fallback == 'home' and self._because().cause is Cause.OBSERVATION and not blind

    def _because(self) -> Reason:
        assert self.reason is not None, 'every rung above run has its reason'
        return self.reason

    def _persisting(self, inputs: SafetyInputs) -> str:
        """Return what still forbids motion."""
        if inputs.faults:
            return str(inputs.faults[0])
        if inputs.scene is not None:
            return str(inputs.scene)
        if inputs.rests_at is not None and inputs.rests_at > inputs.now:
            return f'the arm comes to rest in {(inputs.rests_at - inputs.now) / 1e9:.1f} s'
        cause = self._because().cause
        if cause is Cause.JOINT_STATE:
            safety_state, reason = self._by_joint_state(inputs)
            return str(reason) if safety_state > SafetyState.RUN else ''
        if cause is not Cause.OBSERVATION:
            return ''
        allowed = self.thresholds.tail
        if self._offered is not None and abs(inputs.now - self._offered) <= allowed:
            return ''
        got = 'no chunk' if self._offered is None else f'one {(inputs.now - self._offered) / 1e9:.1f} s old'
        return f'observation behind the newest chunk: got {got}, allowed up to {allowed / 1e9:.1f} s'


class SafetyState(IntEnum):
    """Name the safety states in order; each is a larger step away from following chunks than the one before."""

    WAIT = 0
    """Nothing is executed: the next chunk is led in from the measured state."""
    RUN = 1
    TAIL = 2
    """The committed plan is finished as it was sent; it ends at rest."""
    DECELERATE = 3
    """The arm slows down along its path."""
    HOLD = 4
    """The arm has been stopped and is held; a fresh chunk still makes it go on."""
    HOME = 5
    """The arm goes to its home position, and is latched there."""
    LATCHED = 6
    """The arm is stopped and held until it is reset."""


class Cause(Enum):
    """Name the subject of a reason."""

    OBSERVATION = 'observation'
    JOINT_STATE = 'joint_state'
    CHUNK = 'chunk'
    OPERATOR = 'operator'
    PUBLISHER = 'publisher'
    CONTROLLER = 'controller'
    ENABLE = 'enable'
    CLOCK = 'clock'
    PLAN = 'plan'
    ROBOT = 'robot'
    OBSTACLE = 'obstacle'


class Act(Enum):
    """Name the action that a state asks of the arm."""

    NONE = 'none'
    STOP = 'stop'
    """Come to rest along the committed path."""
    HOME = 'home'
    """Move to the home position; `latch` if that can't be done."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Give the reason of a safety state, for people, and its subject; ``passing`` as of `dp_ros.data.Refusal`."""

    cause: Cause
    text: str
    passing: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Ages at which a rung is reached [ns].

    Attributes
    ----------
    tail, decelerate, hold, latch
        Of the observation that the executed chunk was made from; the last two of the joint state as well.
    joint_tail, joint_decelerate
        Of the newest joint state.

    """

    tail: int
    decelerate: int
    hold: int
    latch: int
    joint_tail: int
    joint_decelerate: int

    def __post_init__(self) -> None:
        for names in (('tail', 'decelerate', 'hold', 'latch'), ('joint_tail', 'joint_decelerate', 'hold')):
            values = [getattr(self, name) for name in names]
            if values[0] <= 0 or sorted(values) != values:
                got = ', '.join(f'{name}_after {value / 1e9:.3f} s' for name, value in zip(names, values, strict=True))
                raise ConfigError(f'ladder: got {got}, allowed each no less than the one before, all more than 0')

    def observation(self, age: int) -> SafetyState:
        """Return the rung for an observation of this age."""
        return _climbed(age, (self.tail, self.decelerate, self.hold, self.latch))

    def joint_state(self, age: int) -> SafetyState:
        """Return the rung for a joint state of this age."""
        return _climbed(age, (self.joint_tail, self.joint_decelerate, self.hold, self.latch))


def _climbed(age: int, thresholds: tuple[int, int, int, int]) -> SafetyState:
    states = (SafetyState.TAIL, SafetyState.DECELERATE, SafetyState.HOLD, SafetyState.LATCHED)
    passed = (state for state, after in zip(states, thresholds, strict=True) if age > after)
    return max(passed, default=SafetyState.RUN)


@dataclass(frozen=True, kw_only=True)
class SafetyInputs:
    """Hold what the safety states depend on at one moment.

    Attributes
    ----------
    now
        Robot time [ns].
    joint_state
        Stamp of the newest good joint state [ns], or None.
    rests_at
        When the plan ends and the arm rests [ns]; None without a plan.
    faults
        What forbids motion now: another publisher, nobody who listens, no permission.
    scene
        Why the obstacles are not known: the arm slows down along its path, and takes no chunk; None: they are.

    """

    now: int
    joint_state: int | None
    rests_at: int | None
    faults: tuple[Reason, ...] = ()
    scene: Reason | None = None
