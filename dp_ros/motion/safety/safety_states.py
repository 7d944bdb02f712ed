"""The ladder: how long a robot may go on without a fresh observation, and what stops it for good.

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


class Ladder:
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
        self.rung = Rung.WAIT
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
        return self.rung is Rung.LATCHED

    # Chunks.

    def objection(self, stamp: int, now: int) -> Reason | None:
        """Return why a chunk made from the observation at ``stamp`` may not be taken; None if it may."""
        if self.rung in (Rung.HOME, Rung.LATCHED):
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
        self.rung, self.reason = Rung.RUN, None

    # What happens.

    def step(self, seen: Seen) -> Act:
        """Climb as far as what is seen demands; return what is to be done. Called twice a control period or more."""
        self._faults = seen.faults
        if self.rung is Rung.LATCHED:
            return Act.NONE
        if self.rung is Rung.WAIT:
            self.reason = seen.faults[0] if seen.faults else self._voided
            return Act.NONE
        if seen.faults:
            return self._at_fault(seen.faults[0])
        if self.rung is Rung.HOME:
            return self._on_the_way_home(seen)
        ages = self._by_observation(seen), self._by_joint_state(seen)
        self.was_blind |= ages[1][0] >= Rung.DECELERATE
        return self._climb(*max(ages, key=lambda found: found[0]), seen)

    def latch(self, reason: Reason) -> Act:
        """Stop for good, until `reset`; return what is to be done. A reason that is latched already stays."""
        if self.rung is Rung.LATCHED:
            return Act.NONE
        moved = self.rung is not Rung.WAIT and not self._stopped
        self.rung, self.reason, self._stopped = Rung.LATCHED, reason, True
        return Act.STOP if moved else Act.NONE

    def void(self, reason: Reason) -> None:
        """Give up what was executed, because it means nothing any more; a latch stays."""
        self.executed, self._stopped = None, True
        if reason.cause is Cause.CLOCK:
            self._offered = None
        if self.rung is Rung.HOME:
            self.rung = Rung.LATCHED
        if self.rung is not Rung.LATCHED:
            self.rung, self.reason, self._voided = Rung.WAIT, reason, reason

    def reset(self, seen: Seen) -> str:
        """Go from `latched` to `wait`; return why not, as long as what latched it persists."""
        if self.rung is Rung.HOME:
            return f'on the way home: {self._because()}'
        if self.rung is not Rung.LATCHED:
            return ''
        objection = self._persisting(seen)
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

    def _on_the_way_home(self, seen: Seen) -> Act:
        rung, reason = self._by_joint_state(seen)
        if rung >= Rung.DECELERATE and reason is not None:
            return self.latch(reason)
        if seen.rests_at is None or seen.rests_at <= seen.now:
            self.rung, self._stopped = Rung.LATCHED, True
            self.reason = Reason(cause=self._because().cause, text=f'at home: {self._because()}')
        return Act.NONE

    def _by_observation(self, seen: Seen) -> tuple[Rung, Reason | None]:
        assert self.executed is not None
        age = seen.now - self.executed
        text = f'no chunk for an observation newer than {age / 1e9:.3f} s'
        return self.thresholds.observation(age), Reason(cause=Cause.OBSERVATION, text=text)

    def _by_joint_state(self, seen: Seen) -> tuple[Rung, Reason | None]:
        if seen.joint_state is None:
            return Rung.DECELERATE, Reason(cause=Cause.JOINT_STATE, text='no joint state yet')
        age = seen.now - seen.joint_state
        text = f'the newest good joint state is {age / 1e9:.3f} s old'
        return self.thresholds.joint_state(age), Reason(cause=Cause.JOINT_STATE, text=text)

    def _climb(self, rung: Rung, reason: Reason | None, seen: Seen) -> Act:
        before = self.rung
        if self._stopped and rung < before:
            return Act.NONE  # nothing is executed any more: only a chunk leads down
        self.rung, self.reason = rung, reason if rung > Rung.RUN else None
        if rung < Rung.DECELERATE or rung == before:
            return Act.NONE
        if rung is Rung.HOLD and self._goes_home(seen):
            self.rung, self._stopped = Rung.HOME, False  # it moves again
            return Act.HOME
        moved, self._stopped = not self._stopped, True
        return Act.STOP if moved else Act.NONE

    def _goes_home(self, seen: Seen) -> bool:
        blind = self._by_joint_state(seen)[0] >= Rung.TAIL
        return self._fallback == 'home' and self._because().cause is Cause.OBSERVATION and not blind

    def _because(self) -> Reason:
        assert self.reason is not None, 'every rung above run has its reason'
        return self.reason

    def _persisting(self, seen: Seen) -> str:
        """Return what still forbids motion."""
        if seen.faults:
            return str(seen.faults[0])
        if seen.rests_at is not None and seen.rests_at > seen.now:
            return f'the arm comes to rest in {(seen.rests_at - seen.now) / 1e9:.1f} s'
        cause = self._because().cause
        if cause is Cause.JOINT_STATE:
            rung, reason = self._by_joint_state(seen)
            return str(reason) if rung > Rung.RUN else ''
        if cause is not Cause.OBSERVATION:
            return ''
        allowed = self.thresholds.tail
        if self._offered is not None and abs(seen.now - self._offered) <= allowed:
            return ''
        got = 'no chunk' if self._offered is None else f'one {(seen.now - self._offered) / 1e9:.1f} s old'
        return f'observation behind the newest chunk: got {got}, allowed up to {allowed / 1e9:.1f} s'


class Rung(IntEnum):
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


class Act(Enum):
    """Name the action that a state asks of the arm."""

    NONE = 'none'
    STOP = 'stop'
    """Come to rest along the committed path."""
    HOME = 'home'
    """Move to the home position; `latch` if that can't be done."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why the ladder is where it is, for people, and what it is about."""

    cause: Cause
    text: str

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

    def observation(self, age: int) -> Rung:
        """Return the rung for an observation of this age."""
        return _climbed(age, (self.tail, self.decelerate, self.hold, self.latch))

    def joint_state(self, age: int) -> Rung:
        """Return the rung for a joint state of this age."""
        return _climbed(age, (self.joint_tail, self.joint_decelerate, self.hold, self.latch))


def _climbed(age: int, thresholds: tuple[int, int, int, int]) -> Rung:
    rungs = (Rung.TAIL, Rung.DECELERATE, Rung.HOLD, Rung.LATCHED)
    return max((rung for rung, after in zip(rungs, thresholds, strict=True) if age > after), default=Rung.RUN)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the owner of the ladder sees at one moment.

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

    """

    now: int
    joint_state: int | None
    rests_at: int | None
    faults: tuple[Reason, ...] = ()
