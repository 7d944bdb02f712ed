"""Recordings to episodes: observations and actions at every control tick, by the alignment rule of the live nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.config import Stream, TaskSpec
from dp_ros.errors import ConfigError, DataError
from dp_ros.messages import JOINT_TRAJECTORY, decode, stamp_of, type_of
from dp_ros.policy.alignment import Aligner, Missing, tick_at_or_after
from dp_ros.training.bags import BagReader, Stamped, find_bags
from dp_ros.training.commands import CommandTrack


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One demonstration, at consecutive control ticks.

    Attributes
    ----------
    name
        Of the recording it is from, with a number behind it if a gap splits that in several.
    stamps
        Ticks [ns], (N,) int64, whole multiples of ``control_dt``.
    streams
        By stream name: (N, C) float64, or (N, H, W, 3) uint8.
    actions
        The set point commanded at each tick [rad or m], (N, A) float64.

    """

    name: str
    stamps: np.ndarray
    streams: dict[str, np.ndarray]
    actions: np.ndarray


@dataclass
class _Run:
    """Consecutive ticks that have everything."""

    stamps: list[int] = field(default_factory=list)
    streams: list[dict[str, np.ndarray]] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)

    def drop_last(self) -> None:
        for values in (self.stamps, self.streams, self.actions):
            values.pop()

    def episode(self, name: str) -> Episode:
        return Episode(
            name=name,
            stamps=np.array(self.stamps, dtype=np.int64),
            streams={key: np.stack([values[key] for values in self.streams]) for key in self.streams[0]},
            actions=np.stack(self.actions),
        )


class _Collector:
    """Feeds messages to the aligner, and asks it at each tick as soon as no later message can count there."""

    def __init__(self, task: TaskSpec) -> None:
        self._aligner = Aligner(task)
        self._commands = CommandTrack(task.action)
        self._tick: int | None = None
        self._newest = 0
        self.runs: list[_Run] = []
        self.missing: Missing | None = None

    def observation(self, stream: Stream, received: int, msg: Any) -> None:
        """Add a message of a stream."""
        self._advance(received)
        stamp = stamp_of(msg) or received
        self._aligner.push(stream.name, stamp, received, decode(stream, msg))
        self._newest = max(self._newest, stamp)

    def command(self, received: int, msg: Any) -> None:
        """Add a command."""
        self._advance(received)
        self._commands.push(received, msg)

    def finish(self) -> None:
        """Ask for the ticks up to the last message of the streams."""
        self._advance(self._newest + self._aligner.wait + 1)
        # Commands may have gone on after the streams ended; what was held over there was not observed.
        while self.runs and self.runs[-1].stamps[-1] > self._newest:
            self.runs[-1].drop_last()
            if not self.runs[-1].stamps:
                self.runs.pop()

    def _advance(self, now: int) -> None:
        dt, wait = self._aligner.control_dt, self._aligner.wait
        if self._tick is None:
            # An earlier tick has no command: none was received before the first message.
            self._tick = tick_at_or_after(now, dt)
        while self._tick + wait < now:
            if not self._observe(self._tick) and self._tick > self._covered():
                # Nothing can be found before the next message: a gap of days costs no more than one of a second.
                self._tick = max(self._tick + dt, tick_at_or_after(now - wait, dt))
            else:
                self._tick += dt

    def _covered(self) -> int:
        """Return the last time at which the messages so far may still count [ns]."""
        return min((b.newest or 0) + b.max_age for b in self._aligner.buffers.values())

    def _observe(self, tick: int) -> bool:
        found = self._aligner.observe(tick)
        if isinstance(found, Missing):
            self.missing = found
            return False
        action = self._commands.at(tick)
        if action is None:
            self.missing = Missing(stamp=tick, reasons={'action': self._no_action()})
            return False
        if not self.runs or self.runs[-1].stamps[-1] != tick - self._aligner.control_dt:
            self.runs.append(_Run())
        run = self.runs[-1]
        run.stamps.append(tick)
        run.streams.append(dict(found.streams))
        run.actions.append(action)
        return True

    def _no_action(self) -> str:
        rejected = self._commands.rejected
        return 'no command yet' + (f' ({rejected} ended before they were received)' if rejected else '')


def episodes_from_messages(name: str, messages: Iterable[Stamped], task: TaskSpec) -> list[Episode]:
    """Return the episodes in ``messages``, which come in order of receive time; a gap splits them.

    Raises
    ------
    DataError
        If a message does not hold what its stream needs, or no tick has every stream and a command.

    """
    streams: dict[str, list[Stream]] = {}
    for stream in task.streams:
        streams.setdefault(stream.topic, []).append(stream)
    collector = _Collector(task)
    for topic, received, msg in messages:
        try:
            for stream in streams.get(topic, ()):
                collector.observation(stream, received, msg)
            if topic == task.action.topic:
                collector.command(received, msg)
        except DataError as error:
            raise DataError(f'{name}, topic {topic}, received at {received} ns: {error}') from error
    collector.finish()
    if not collector.runs:
        why = collector.missing or 'no messages'
        raise DataError(f'{name}: no control tick has every stream and a command ({why}); allowed one or more')
    many = len(collector.runs) > 1
    return [run.episode(f'{name}.{i}' if many else name) for i, run in enumerate(collector.runs)]


def wanted_topics(task: TaskSpec) -> dict[str, set[str]]:
    """Return the topics that training needs, each with the ROS type it must have."""
    wanted: dict[str, set[str]] = {}
    for stream in task.streams:
        wanted.setdefault(stream.topic, set()).add(type_of(stream))
    wanted.setdefault(task.action.topic, set()).add(JOINT_TRAJECTORY)
    for topic, types in wanted.items():
        if len(types) > 1:
            raise ConfigError(f'topic {topic}: the task wants it as {" and ".join(sorted(types))}, allowed one type')
    return wanted


def read_episode(path: Path | str, task: TaskSpec) -> list[Episode]:
    """Return the episodes of one bag: one, or several if a gap splits it. Named after the bag's folder or file."""
    with BagReader(path) as bag:
        messages = bag.messages(wanted_topics(task))
        try:
            return episodes_from_messages(bag.path.stem, messages, task)
        except DataError as error:
            where = f'bag {bag.path}'
            raise error if where in str(error) else DataError(f'{where}: {error}') from error


def read_episodes(path: Path | str, task: TaskSpec) -> Iterator[Episode]:
    """Yield the episodes of every bag at or under ``path``, in order of name."""
    for bag in find_bags(path):
        yield from read_episode(bag, task)
