"""The words of the ladder (`dp_ros.motion.safety.safety_states`): rungs, reasons, thresholds, and what is seen and done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from dp_ros.errors import ConfigError


class Rung(IntEnum):
    """Where the ladder stands; each is a larger step away from following chunks than the one before."""

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
    """What a reason is about."""

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
    """What is to be done now."""

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
