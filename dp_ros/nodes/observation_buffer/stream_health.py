"""What is said about each stream on `/diagnostics`: does it arrive, how often, how old, and what was dropped."""

from __future__ import annotations

from collections.abc import Mapping

from dp_ros.data import NANOSECONDS
from dp_ros.policy.alignment import Aligner, Missing
from dp_ros.policy.stream_buffer import StreamBuffer
from dp_ros.ros.diagnostics import ERROR, OK, WARN, Diagnostics

SPAN = NANOSECONDS // 2  # the shortest time that a rate is taken over [ns]


class StreamHealth:
    """Counts of one stream. Times are robot time [ns], handed in.

    Parameters
    ----------
    topic
        Where the stream comes from.

    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.unpublished = ''  # that nobody publishes it, while no message has arrived
        self.missing = 0  # ticks without an observation because of this stream
        self._received = 0
        self._undecodable = 0
        self._forget()

    def _forget(self) -> None:
        self.fault = ''  # why the last message could not be decoded
        self.unusual = ''  # what of the last observation is far from the training's
        self._began: int | None = None
        self._last: int | None = None
        self._count = 0
        self._gap = 0
        self._rate = self._longest = 0.0

    def clear(self) -> None:
        """Forget times, which can't be compared after a jump of the clock, but not what was counted."""
        self._forget()

    def arrived(self, now: int) -> None:
        """Count a message."""
        self._received += 1
        self.unpublished = ''
        self._count += 1
        if self._last is not None:
            self._gap = max(self._gap, now - self._last)
        self._last = now

    @property
    def silent(self) -> bool:
        """Whether no message has arrived since activation."""
        return self._received == 0

    def because(self, missing: str) -> str:
        """Return why a tick has no observation, and what is known about that."""
        return f'{missing}: {self.unpublished}' if self.unpublished else missing

    def decoded(self, fault: str) -> None:
        """Note whether the message that arrived last could be decoded: with a reason, or '' if it could."""
        self._undecodable += bool(fault)
        self.fault = fault

    def values(self, now: int, buffer: StreamBuffer) -> dict[str, object]:
        """Return what there is to say. Rate and longest gap are those of the last half a second or more."""
        self._measure(now)
        newest = buffer.newest
        return {
            'topic': self.topic,
            'rate_hz': f'{self._rate:.1f}',
            'gap_ms_max': f'{self._longest:.1f}',
            'age_ms': '' if newest is None else f'{(now - newest) / 1e6:.1f}',
            'max_age_ms': f'{buffer.max_age / 1e6:.1f}',
            'frozen_ms': f'{buffer.frozen / 1e6:.1f}',
            'received': self._received,
            'undecodable': self._undecodable,
            'of_other_joints': buffer.others,
            'out_of_order': buffer.dropped,
            'ahead': buffer.ahead,
            'missing': self.missing,
        }

    def _measure(self, now: int) -> None:
        if self._began is None:
            self._began = now
        elapsed = now - self._began
        if elapsed < SPAN:
            return
        if self._last is not None:
            self._gap = max(self._gap, now - self._last)
        self._rate, self._longest = self._count * NANOSECONDS / elapsed, self._gap / 1e6
        self._began, self._count, self._gap = now, 0, 0


def status_of(stream: str) -> str:
    """Return the name of a stream's status."""
    return f'stream {stream}'


def report_streams(
    diagnostics: Diagnostics, health: Mapping[str, StreamHealth], aligner: Aligner, missing: Missing | None, now: int
) -> None:
    """Say of each stream whether it counted at the newest tick; ``missing`` says why there was no observation."""
    reasons = missing.reasons if missing else {}
    for name, stream in health.items():
        buffer = aligner.buffers[name]
        level, text = (WARN, reasons[name]) if name in reasons else (OK, 'arriving')
        if stream.unusual and name not in reasons:
            level, text = WARN, stream.unusual
        if stream.fault:
            level, text = ERROR, stream.fault
        elif buffer.newest is None and not reasons:
            level, text = WARN, stream.because('no message yet')
        diagnostics.report(status_of(name), level, text, stream.values(now, buffer))
