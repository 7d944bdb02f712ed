"""Alignment of streams in time: one rule for live topics and for bags.

The rule, for a tick `t` and an `arrival_wait` `w`: of each stream's messages that arrived by `t + w`, the newest one
stamped at or before `t` counts, if it is no older than the stream's `max_age`; :class:`AlignmentLimits` may ask more.
The outcome depends on messages, their stamps and arrival times alone, never on when it is asked for, so a bag replayed
with its receive times gives the same windows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dp_ros.data import Observation, Window, to_nanoseconds
from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.policy.stream_buffer import Entry, StreamBuffer
from dp_ros.task.spec import ImageStream, TaskSpec


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Why there is no observation at a tick: one reason for each stream that lacks one."""

    stamp: int
    reasons: Mapping[str, str]

    def __str__(self) -> str:
        return '; '.join(f'{name}: {reason}' for name, reason in self.reasons.items())


@dataclass(frozen=True, kw_only=True)
class AlignmentLimits:
    """What an observation must fulfil beyond the task's own rule. Times in [ns]; 0 asks for nothing.

    Attributes
    ----------
    max_age
        By stream: in place of the stream's own where that is longer. The policy learnt with the stream's own, so a
        longer one is refused.
    max_skew
        Largest difference between the stamps of an observation's streams.
    max_frozen
        How long a camera may go on sending one picture under new stamps. Only cameras: a robot at rest may well
        repeat its joint states. A rendered camera repeats its picture too, since it has no noise.

    """

    max_age: Mapping[str, int] = field(default_factory=dict)
    max_skew: int = 0
    max_frozen: int = 0

    def __post_init__(self) -> None:
        for name, value in (*self.max_age.items(), ('max_skew', self.max_skew), ('max_frozen', self.max_frozen)):
            if value < 0:
                raise ConfigError(f'{name}: got {value} ns, allowed 0 or more')


AS_LEARNT = AlignmentLimits()


def tick_at_or_after(t: int, control_dt: int) -> int:
    """Return the first control tick at or after ``t`` [ns]. Ticks are the whole multiples of ``control_dt``."""
    return -(-t // control_dt) * control_dt


class Aligner:
    """All streams of a task, aligned at control ticks.

    Raises
    ------
    ConfigError
        If ``alignment_limits`` names a stream that the task lacks, or allows a longer age than the task does.

    """

    def __init__(self, task: TaskSpec, alignment_limits: AlignmentLimits = AS_LEARNT) -> None:
        self.control_dt = to_nanoseconds(task.control_dt)
        self.wait = to_nanoseconds(task.arrival_wait)
        self.max_skew = alignment_limits.max_skew
        ages = {s.name: to_nanoseconds(s.max_age) for s in task.streams}
        for name, age in alignment_limits.max_age.items():
            if name not in ages:
                raise ConfigError(f'max_age.{name}: got a stream that the task lacks, allowed {listed(ages)}')
            if age > ages[name]:
                raise ConfigError(
                    f'max_age.{name}: got {age / 1e9} s, allowed up to {ages[name] / 1e9} s, as the policy learnt'
                )
            ages[name] = age or ages[name]
        keep = max(ages.values()) + self.wait + 10 * self.control_dt
        self.buffers = {
            s.name: StreamBuffer(
                s.name, ages[s.name], keep, alignment_limits.max_frozen if isinstance(s, ImageStream) else 0
            )
            for s in task.streams
        }

    def push(self, name: str, stamp: int, arrival: int, value: np.ndarray) -> bool:
        """Add a decoded message of the stream ``name``; return whether it was taken."""
        if name not in self.buffers:
            raise ConfigError(f'stream: got {name!r}, allowed {listed(self.buffers)}')
        return self.buffers[name].push(stamp, arrival, value)

    def clear(self) -> None:
        """Forget everything, as when the clock jumped."""
        for buffer in self.buffers.values():
            buffer.clear()

    def settled(self, tick: int, now: int) -> bool:
        """Whether no message that may still arrive can change the observation at ``tick``."""
        if now >= tick + self.wait:
            return True
        return all(b.newest is not None and b.newest >= tick for b in self.buffers.values())

    def observe(self, tick: int) -> Observation | Missing:
        """Return the observation at ``tick`` [ns], or why there is none."""
        found = {name: buffer.find(tick, self.wait) for name, buffer in self.buffers.items()}
        reasons = {name: entry for name, entry in found.items() if isinstance(entry, str)}
        if reasons:
            return Missing(stamp=tick, reasons=reasons)
        entries = {name: entry for name, entry in found.items() if isinstance(entry, Entry)}
        oldest, newest = (choose(entries, key=lambda n: entries[n].stamp) for choose in (min, max))
        skew = entries[newest].stamp - entries[oldest].stamp
        if skew > self.max_skew > 0:
            reason = f'stamped {skew / 1e9:.3f} s before {newest}, allowed {self.max_skew / 1e9:.3f} s'
            return Missing(stamp=tick, reasons={oldest: reason})
        return Observation(
            stamp=tick,
            streams={name: entry.value for name, entry in entries.items()},
            ages={name: tick - entry.stamp for name, entry in entries.items()},
        )


class WindowBuffer:
    """The newest ``obs_horizon`` observations at consecutive ticks; a gap starts it anew."""

    def __init__(self, obs_horizon: int, control_dt: int) -> None:
        self._control_dt = control_dt
        self._observations: deque[Observation] = deque(maxlen=obs_horizon)

    def clear(self) -> None:
        """Forget everything."""
        self._observations.clear()

    def push(self, observation: Observation) -> Window | None:
        """Add an observation; return the window it completes, or None while there are too few."""
        if self._observations:
            step = observation.stamp - self._observations[-1].stamp
            if step <= 0:
                raise DataError(f'window: got an observation {-step} ns before the last, allowed later ones only')
            if step != self._control_dt:
                self._observations.clear()
        self._observations.append(observation)
        if len(self._observations) < (self._observations.maxlen or 0):
            return None
        return stack(self._observations)


def stack(observations: Sequence[Observation] | deque[Observation]) -> Window:
    """Stack observations, oldest first, into a window."""
    names = observations[0].streams
    return Window(
        stamps=np.array([o.stamp for o in observations], dtype=np.int64),
        streams={name: np.stack([o.streams[name] for o in observations]) for name in names},
    )
