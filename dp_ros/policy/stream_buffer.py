"""Recent messages of one stream, and which of them counts at a tick; the rule is that of `dp_ros.policy.alignment`."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.errors import listed

AHEAD = NANOSECONDS
"""A stamp this far ahead of its message's arrival [ns] is no offset between clocks that are kept, but a fault."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One message: stamp and arrival [ns], and what was decoded.

    ``since`` is the stamp of the first message in a row with this very picture; the message's own where pictures are
    not compared.
    """

    stamp: int
    arrival: int
    value: np.ndarray
    since: int


class StreamBuffer:
    """Recent messages of one stream, in order of arrival.

    A message stamped at or before the newest one is dropped, and counted in `dropped`: time does not run backwards
    within a stream. So is one stamped far ahead of its arrival, counted in `ahead`: it would hold up the stream until
    its time comes. A stamp of zero means that the source has no clock, and the arrival time stands for it. Messages on
    the stream's topic that are another device's are counted in `others`, and left alone.

    Parameters
    ----------
    name
        The stream's.
    max_age
        Oldest message that may count at a tick [ns].
    keep
        How far back messages are remembered [ns].
    max_frozen
        See :class:`~dp_ros.policy.alignment.AlignmentLimits`; 0 where pictures are not compared.

    """

    def __init__(self, name: str, max_age: int, keep: int, max_frozen: int = 0) -> None:
        self.name = name
        self.max_age = max_age
        self.max_frozen = max_frozen
        self.dropped = 0
        self.ahead = 0
        self.others = 0
        self._other = ''  # what the last of them with names was missing
        self._keep = keep
        self._entries: deque[Entry] = deque()
        self._refusal = ''  # of the last message, if it was not taken

    def clear(self) -> None:
        """Forget all messages, but not how many were dropped."""
        self._entries.clear()
        self._refusal = ''

    def push(self, stamp: int, arrival: int, value: np.ndarray) -> bool:
        """Add a message; return whether it was taken. Stamps and arrival in [ns]."""
        stamp = stamp or arrival
        newest = self._entries[-1] if self._entries else None
        if stamp - arrival > AHEAD:
            self.ahead += 1
            self._refusal = f'stamped {(stamp - arrival) / 1e9:.3f} s ahead of its arrival'
            return False
        if newest is not None and stamp <= newest.stamp:
            self.dropped += 1
            self._refusal = f'stamped {(newest.stamp - stamp) / 1e9:.3f} s before the newest'
            return False
        self._refusal = ''
        same = self.max_frozen and newest is not None and np.array_equal(newest.value, value)
        self._entries.append(Entry(stamp, arrival, value, newest.since if same and newest else stamp))
        while len(self._entries) > 1 and self._entries[1].stamp < arrival - self._keep:
            self._entries.popleft()
        return True

    def leave(self, joints: Sequence[str], names: Sequence[str]) -> None:
        """Count a message of another device: it has ``names``, and none of the stream's ``joints``."""
        self.others += 1
        if names or not self._other:
            self._other = f'names {listed(joints)}; there came {listed(names) if names else "messages without names"}'

    @property
    def last(self) -> Entry | None:
        """The message that was taken last."""
        return self._entries[-1] if self._entries else None

    @property
    def newest(self) -> int | None:
        """Stamp of the newest message [ns], or None before the first."""
        return self._entries[-1].stamp if self._entries else None

    @property
    def frozen(self) -> int:
        """For how long the picture has been the same, by its stamps [ns]; 0 where pictures are not compared."""
        return self._entries[-1].stamp - self._entries[-1].since if self._entries else 0

    @property
    def freezing(self) -> str:
        """For how long the picture has been the same, from half of what is allowed on, or ''."""
        if not self.frozen > self.max_frozen / 2 > 0.0:
            return ''
        return f'frozen: one picture for {self.frozen / 1e9:.3f} s, refused after {self.max_frozen / 1e9:.3f} s'

    def find(self, tick: int, wait: int) -> Entry | str:
        """Return the entry that counts at ``tick``, or why there is none."""
        found = self._find(tick, wait)
        if isinstance(found, str) and self._refusal:
            return f'{found}; the last to come was dropped, {self._refusal}'
        return found

    def _find(self, tick: int, wait: int) -> Entry | str:
        if not self._entries:
            return f'no message yet that {self._other}' if self.others else 'no message yet'
        for entry in reversed(self._entries):
            if entry.stamp <= tick and entry.arrival <= tick + wait:
                # Where a clock is ahead, the arrival is the better witness of age.
                age = tick - min(entry.stamp, entry.arrival)
                if age > self.max_age:
                    return f'newest message is {age / 1e9:.3f} s old, allowed {self.max_age / 1e9:.3f} s'
                frozen = entry.stamp - entry.since
                if frozen > self.max_frozen > 0:
                    return f'frozen: one picture for {frozen / 1e9:.3f} s, allowed {self.max_frozen / 1e9:.3f} s'
                return entry
        return 'no message stamped at or before the tick arrived in time'
