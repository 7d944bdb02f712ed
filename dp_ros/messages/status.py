"""Encode and decode what nodes report to programs: typed values, each with fixed keys in a message.

Each value goes as a `diagnostic_msgs/DiagnosticStatus` whose keys are the names of its fields: `encode` writes them and
`decode` reads them, and refuses a key that is missing, unknown, repeated or not of its type. Nothing here imports ROS.
`/diagnostics` is for people, and may change; doc/reference/status.md lists topics and keys.

Stamps and times are robot time [ns], durations are in [s]. None is written as ''.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from math import isfinite
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from dp_ros.errors import DataError, listed

State = Literal['inactive', 'waiting', 'running', 'finishing', 'slowing', 'holding', 'homing', 'latched']
OnFailure = Literal['report', 'hold', 'replan', 'fallback']
T = TypeVar('T')
_NUMBERS = re.compile(r'-?\d+(\.\d+)?(e-?\d+)?')
_BOOLS = {'True': True, 'False': False}


@dataclass(frozen=True, kw_only=True)
class Status:
    """The safety state of a trajectory_publisher: `~/status`, once a second and at each change, the last one kept.

    Attributes
    ----------
    state
        ``inactive``: the node is not active. ``waiting``: active, and nothing is executed yet. ``running``: chunks are
        followed. ``finishing``: the committed plan is finished. ``slowing``: the robot slows down along its path.
        ``holding``: it is held, and a fresh chunk makes it go on. ``homing``: it goes home. ``latched``: it is held
        until ~/reset is called.
    reason
        Why, for people; '' in ``running``.
    cause
        What the reason is about, as ``observation`` or ``operator``; '' without a reason.
    latched
        Chunks are refused until ~/reset is called: in ``latched`` and ``homing``.
    stamp
        When it was published [ns].
    observation
        Stamp of the observation behind the executed chunk [ns].
    joint_state
        Stamp of the newest good joint state [ns].
    rests_at
        When the robot is at rest if nothing else is sent [ns].
    chunks, published, refused, late
        How many chunks came since activation, were sent on, were refused, and were sent after their deadline.
    latency
        From the observation to the trajectory of the newest chunk that was sent [s].

    """

    state: State
    reason: str = ''
    cause: str = ''
    latched: bool = False
    stamp: int
    observation: int | None = None
    joint_state: int | None = None
    rests_at: int | None = None
    chunks: int = 0
    published: int = 0
    refused: int = 0
    late: int = 0
    latency: float | None = None


@dataclass(frozen=True, kw_only=True)
class ChunkReport:
    """Report the outcome of one chunk: `~/ledger` of a trajectory_publisher, once for each.

    Attributes
    ----------
    observation
        Stamp of the newest observation that it was made from [ns].
    policy
        The bundle that made it; '' if the policy_executor has not reported it.
    inference_start, inference_end
        When inference began and ended [ns], if that is known.
    received
        When the chunk came [ns].
    published
        When its trajectory was sent [ns]; None if it was refused.
    refused
        Why it was refused, or ''.
    passing
        What refused it passes by itself: a plan begins, or a controller is being checked.
    late
        Its trajectory was sent after the deadline.
    latency
        From ``observation`` to ``published`` [s].
    cost
        Processor time that the node took for it [s].
    alternative
        Which of the chunk's alternatives was sent, from 1, because the chunk was not clear of obstacles; 0: the chunk.

    """

    observation: int
    policy: str = ''
    inference_start: int | None = None
    inference_end: int | None = None
    received: int
    published: int | None = None
    refused: str = ''
    passing: bool = False
    late: bool = False
    latency: float | None = None
    cost: float | None = None
    alternative: int | None = None

    @property
    def kind_of_refusal(self) -> str:
        """Why it was refused, with N for numbers, so that those of a kind can be counted."""
        return _NUMBERS.sub('N', self.refused)


@dataclass(frozen=True, kw_only=True)
class InferenceReport:
    """How one chunk was made: `~/ledger` of a policy_executor, once for each.

    Attributes
    ----------
    observation
        Stamp of the newest observation [ns].
    inference_start, inference_end, published
        When inference began and ended, and when the chunk was published [ns].
    inference_ms
        What inference took [ms], as its thread measured it.
    network_calls
        Calls of the denoiser.
    policy
        The bundle's name.
    number
        The chunk's, from 0 since activation.
    sampling_steps, dropped_sampling_steps
        With `anytime`: the steps taken, and those left out to be in time.

    """

    observation: int
    inference_start: int
    inference_end: int
    inference_ms: float
    network_calls: int
    policy: str
    number: int
    published: int
    sampling_steps: int | None = None
    dropped_sampling_steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class MonitorReport:
    """What the failure monitor says of one window: `~/monitor` of a policy_executor, the last one kept.

    Attributes
    ----------
    observation
        Stamp of the window's newest observation [ns].
    level
        The smaller of novelty and entropy as a share of its threshold, or with the rule ``either`` the larger: a
        failure is foretold from 1 on. None where there is no monitor, or the window does not count: `reason` says why.
    failing
        Whether a failure is foretold.
    reason
        What is out of the ordinary, or why there is no level, for people; '' if nothing is.
    action
        What the node does about a failure: its parameter `on_failure`.
    policy
        The bundle's name.
    novelty, entropy, consistency
        The scores; `consistency` is there to be compared with.
    novelty_threshold, entropy_threshold, consistency_threshold
        Their thresholds, as the bundle has them.
    samples
        Chunks that were drawn for the entropy.
    cost
        What looking at the window took [s].

    """

    observation: int
    level: float | None = None
    failing: bool = False
    reason: str = ''
    action: OnFailure = 'report'
    policy: str = ''
    novelty: float | None = None
    entropy: float | None = None
    consistency: float | None = None
    novelty_threshold: float | None = None
    entropy_threshold: float | None = None
    consistency_threshold: float | None = None
    samples: int | None = None
    cost: float | None = None


@dataclass(frozen=True, kw_only=True)
class Episode:
    """How the episode of a simulated_robot goes: its `~/episode`, many times a second.

    Attributes
    ----------
    seed
        Decides the episode's start.
    elapsed
        Robot time since its start [s].
    score
        0 to 1.
    success
        The task is done.
    rejected
        Trajectories that the controller has rejected since activation.
    details
        What else a world reports, by key.

    """

    seed: int
    elapsed: float
    score: float
    success: bool
    rejected: int
    details: Mapping[str, str] = field(default_factory=dict)


def encode(value: Any) -> dict[str, str]:
    """Return the keys and values of a message for `Status`, `ChunkReport` or another of these."""
    found = {f.name: _text(getattr(value, f.name)) for f in fields(value) if f.name != 'details'}
    return found | dict(getattr(value, 'details', {}))


def decode(kind: type[T], pairs: Iterable[Any]) -> T:
    """Return a value of ``kind`` from a message's ``values``, each with ``key`` and ``value``.

    Raises
    ------
    DataError
        If a key is missing, unknown, repeated or not of its type. The last two fields of an `InferenceReport` may be
        missing, and an `Episode` keeps further keys as its details.

    """
    what, types = kind.__name__, _TYPES[kind]
    given: dict[str, str] = {}
    for pair in pairs:
        if pair.key in given:
            raise DataError(f'{what}: got key {pair.key!r} twice, allowed once')
        given[pair.key] = pair.value
    details = {key: given.pop(key) for key in list(given) if 'details' in types and key not in types}
    names = [name for name in types if name != 'details']
    missing = [name for name in names if name not in given and not (kind is InferenceReport and name in _OPTIONAL)]
    if missing or not given.keys() <= set(names):
        raise DataError(f'{what}: got keys {listed(sorted(given))}, allowed {listed(sorted(names))}')
    values: dict[str, Any] = {key: _value(f'{what} {key}', types[key], text) for key, text in given.items()}
    return kind(**values, **({'details': details} if 'details' in types else {}))


_TYPES: dict[Any, dict[str, Any]] = {
    kind: get_type_hints(kind) for kind in (Status, ChunkReport, InferenceReport, MonitorReport, Episode)
}
_OPTIONAL = tuple(f.name for f in fields(InferenceReport) if f.default is not MISSING)


def _text(value: Any) -> str:
    return '' if value is None else str(value)


def _value(what: str, hint: Any, text: str) -> Any:
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise DataError(f'{what}: got {text!r}, allowed {listed(get_args(hint))}')
        return text
    if type(None) in get_args(hint):
        if not text:
            return None
        hint = get_args(hint)[0]
    if hint is bool:
        if text not in _BOOLS:
            raise DataError(f'{what}: got {text!r}, allowed True or False')
        return _BOOLS[text]
    try:
        value = hint(text)
    except ValueError as error:
        raise DataError(f'{what}: got {text!r}, allowed {"a number" if hint is float else "a whole number"}') from error
    if hint is float and not isfinite(value):
        raise DataError(f'{what}: got {text!r}, allowed a finite number')
    return value
