"""The five immutable values that dp_ros's parts hand to each other.

Stamps are integer nanoseconds of robot time, so that live and recorded windows can be compared bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from dp_ros.errors import DataError, check_finite, check_shape

NANOSECONDS = 1_000_000_000
MOST_ALTERNATIVES = 7
"""With a chunk: what `samples: 8` draws."""


def to_nanoseconds(seconds: float) -> int:
    """Round seconds to whole nanoseconds."""
    return round(seconds * NANOSECONDS)


def check_alternatives(count: int) -> None:
    """Raise DataError for more alternatives than go with a chunk."""
    if count > MOST_ALTERNATIVES:
        raise DataError(f'chunk alternatives: got {count}, allowed up to {MOST_ALTERNATIVES}')


def _frozen(what: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == 'f':
        check_finite(what, array)
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """One aligned observation: every stream as it was known at a control tick.

    Attributes
    ----------
    stamp
        The tick [ns].
    streams
        By stream name: vectors of shape (C,) float64, images of shape (H, W, 3) uint8 RGB.
    ages
        By stream name, how much older than the tick the message was [ns].

    """

    stamp: int
    streams: Mapping[str, np.ndarray]
    ages: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frozen = {name: _frozen(f'observation stream {name!r}', value) for name, value in self.streams.items()}
        object.__setattr__(self, 'streams', frozen)


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """The newest ``obs_horizon`` observations, oldest first.

    Attributes
    ----------
    stamps
        Ticks [ns], shape (T,) int64.
    streams
        By stream name, the observations stacked: (T, C) float64 or (T, H, W, 3) uint8.

    """

    stamps: np.ndarray
    streams: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        check_shape('window stamps', self.stamps, (None,))
        length = len(self.stamps)
        if length == 0:
            raise DataError('window: got 0 observations, allowed 1 or more')
        frozen = {}
        for name, value in self.streams.items():
            if value.shape[0] != length:
                raise DataError(f'window stream {name!r}: got {value.shape[0]} observations, allowed {length}')
            frozen[name] = _frozen(f'window stream {name!r}', value)
        object.__setattr__(self, 'streams', frozen)
        object.__setattr__(self, 'stamps', _frozen('window stamps', self.stamps))

    @property
    def stamp(self) -> int:
        """The newest observation's tick [ns]."""
        return int(self.stamps[-1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Goal:
    """What the policy is asked to do; empty for a policy whose task is fixed by its training.

    Attributes
    ----------
    streams
        By the goal's name: a pose's features (C,) float64, a picture (H, W, 3) uint8 RGB.
    instruction
        The task in words.

    """

    streams: Mapping[str, np.ndarray] = field(default_factory=dict)
    instruction: str = ''

    def __post_init__(self) -> None:
        frozen = {name: _frozen(f'goal {name!r}', value) for name, value in self.streams.items()}
        object.__setattr__(self, 'streams', frozen)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Give the reason why something is not done, where that is no error: nothing was changed, nothing is to be sent.

    Attributes
    ----------
    reason
        What was got and what is allowed, in words.
    stop
        Whether what was refused was dangerous, not merely useless.
    passing
        Whether that is how every start goes, and is over by itself.
    quantity, joint
        Which limit was exceeded, as `velocity`, and of what; '' where none was.
    at
        When it was, from the trajectory's start [ns]; None where that is not known.

    """

    reason: str
    stop: bool = False
    passing: bool = False
    quantity: str = ''
    joint: str = ''
    at: int | None = None

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """Predicted actions. ``actions[0]`` is due at ``stamp``, the newest observation's tick.

    Attributes
    ----------
    stamp
        When ``actions[0]`` is due [ns].
    control_dt
        Time between actions [ns].
    joints
        Names of the action's columns.
    actions
        Joint positions [rad or m], shape (T, A) float64, all finite.
    velocities
        Joint velocities at the actions [rad/s or m/s], of the same shape, as the network gives them; or None. They are
        told to whoever listens: what is executed has the velocities of the curve through the actions.
    rewards
        What a sequence model predicts to gain at each action, (T,), or None: what the next chunk of the run need not
        gain any more.
    alternatives
        Other samples for the same steps, the best first: one is executed where this chunk is not clear of obstacles.

    """

    stamp: int
    control_dt: int
    joints: tuple[str, ...]
    actions: np.ndarray
    velocities: np.ndarray | None = None
    rewards: np.ndarray | None = None
    alternatives: tuple[Chunk, ...] = ()

    def __post_init__(self) -> None:
        if self.control_dt <= 0:
            raise DataError(f'chunk control_dt: got {self.control_dt} ns, allowed more than 0')
        check_shape('chunk actions', self.actions, (None, len(self.joints)))
        if len(self.actions) == 0:
            raise DataError('chunk actions: got 0, allowed 1 or more')
        object.__setattr__(self, 'actions', _frozen('chunk actions', self.actions))
        if self.velocities is not None:
            check_shape('chunk velocities', self.velocities, self.actions.shape)
            object.__setattr__(self, 'velocities', _frozen('chunk velocities', self.velocities))
        if self.rewards is not None:
            check_shape('chunk rewards', self.rewards, (len(self.actions),))
            object.__setattr__(self, 'rewards', _frozen('chunk rewards', self.rewards))
        self._check_alternatives()

    def _check_alternatives(self) -> None:
        check_alternatives(len(self.alternatives))
        for other in self.alternatives:
            for what in ('stamp', 'control_dt', 'joints'):
                got, allowed = getattr(other, what), getattr(self, what)
                if got != allowed:
                    raise DataError(f"chunk alternative's {what}: got {got}, allowed {allowed} as in the chunk")
            check_shape("chunk alternative's actions", other.actions, self.actions.shape)
            if other.alternatives or (other.velocities is None) != (self.velocities is None):
                raise DataError('chunk alternative: allowed with velocities if the chunk has them, and no alternatives')

    def first(self, count: int) -> Chunk:
        """Return a chunk of the first ``count`` actions, without alternatives."""
        velocities = None if self.velocities is None else self.velocities[:count]
        rewards = None if self.rewards is None else self.rewards[:count]
        return replace(self, actions=self.actions[:count], velocities=velocities, rewards=rewards, alternatives=())

    def choice(self, number: int) -> Chunk:
        """Return alternative ``number``, from 1; for 0 this chunk."""
        return self.alternatives[number - 1] if number else self

    @property
    def due(self) -> np.ndarray:
        """When each action is due [ns], shape (T,) int64."""
        return self.stamp + self.control_dt * np.arange(len(self.actions), dtype=np.int64)
