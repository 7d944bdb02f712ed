"""Alignment of streams in time: one rule for live topics and for bags.

The rule, for a tick `t` and an `arrival_wait` `w`: of each stream's messages that arrived by `t + w`, the newest one
stamped at or before `t` counts, if it is no older than the stream's `max_age`. The outcome depends on stamps and
arrival times alone, never on when it is asked for, so a bag replayed with its receive times gives the same windows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dp_ros.config import TaskSpec
from dp_ros.data import Observation, Window, to_nanoseconds
from dp_ros.errors import ConfigError, DataError, listed


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Why there is no observation at a tick: one reason for each stream that lacks one."""

    stamp: int
    reasons: Mapping[str, str]

    def __str__(self) -> str:
        return '; '.join(f'{name}: {reason}' for name, reason in self.reasons.items())


@dataclass(frozen=True)
class _Entry:
    stamp: int
    arrival: int
    value: np.ndarray


def tick_at_or_after(t: int, control_dt: int) -> int:
    """Return the first control tick at or after ``t`` [ns]. Ticks are the whole multiples of ``control_dt``."""
    return -(-t // control_dt) * control_dt


class StreamBuffer:
    """Recent messages of one stream, in order of arrival.

    A message stamped at or before the newest one is dropped, and counted in `dropped`: time does not run backwards
    within a stream. A stamp of zero means that the source has no clock, and the arrival time stands for it.
    """

    def __init__(self, name: str, max_age: float, keep: int) -> None:
        self.name = name
        self.max_age = to_nanoseconds(max_age)
        self.dropped = 0
        self._keep = keep
        self._entries: deque[_Entry] = deque()

    def push(self, stamp: int, arrival: int, value: np.ndarray) -> bool:
        """Add a message; return whether it was taken. Stamps and arrival in [ns]."""
        stamp = stamp or arrival
        if self._entries and stamp <= self._entries[-1].stamp:
            self.dropped += 1
            return False
        self._entries.append(_Entry(stamp, arrival, value))
        while len(self._entries) > 1 and self._entries[1].stamp < arrival - self._keep:
            self._entries.popleft()
        return True

    @property
    def newest(self) -> int | None:
        """Stamp of the newest message [ns], or None before the first."""
        return self._entries[-1].stamp if self._entries else None

    def find(self, tick: int, wait: int) -> _Entry | str:
        """Return the entry that counts at ``tick``, or why there is none."""
        if not self._entries:
            return 'no message yet'
        for entry in reversed(self._entries):
            if entry.stamp <= tick and entry.arrival <= tick + wait:
                age = tick - entry.stamp
                if age > self.max_age:
                    return f'newest message is {age / 1e9:.3f} s old, allowed {self.max_age / 1e9:.3f} s'
                return entry
        return 'no message stamped at or before the tick arrived in time'


class Aligner:
    """All streams of a task, aligned at control ticks."""

    def __init__(self, task: TaskSpec) -> None:
        self.control_dt = to_nanoseconds(task.control_dt)
        self.wait = to_nanoseconds(task.arrival_wait)
        longest = max(to_nanoseconds(s.max_age) for s in task.streams)
        keep = longest + self.wait + 10 * self.control_dt
        self.buffers = {s.name: StreamBuffer(s.name, s.max_age, keep) for s in task.streams}

    def push(self, name: str, stamp: int, arrival: int, value: np.ndarray) -> bool:
        """Add a decoded message of the stream ``name``; return whether it was taken."""
        if name not in self.buffers:
            raise ConfigError(f'stream: got {name!r}, allowed {listed(self.buffers)}')
        return self.buffers[name].push(stamp, arrival, value)

    def clear(self) -> None:
        """Forget everything, as when the clock jumped."""
        for buffer in self.buffers.values():
            buffer._entries.clear()

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
        entries = {name: entry for name, entry in found.items() if isinstance(entry, _Entry)}
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
