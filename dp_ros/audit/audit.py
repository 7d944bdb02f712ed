"""Recordings measured before training, in one pass and little memory: topics one by one, and all at control ticks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from dp_ros.audit.proposal.propose import propose
from dp_ros.audit.proposal.survey import survey_bag
from dp_ros.audit.ticks import TickAudit
from dp_ros.audit.topics import NUMBERS, PICTURES, TopicAudit, numbers_of
from dp_ros.data import NANOSECONDS
from dp_ros.errors import DataError, listed
from dp_ros.messages.encoding import IMAGE, JOINT_STATE, decode
from dp_ros.messages.images import decode_compressed
from dp_ros.messages.raw_images import decode_image
from dp_ros.recordings.episodes.actions import action_sources, source_types
from dp_ros.recordings.episodes.builder import Collector, PictureError, boxed
from dp_ros.recordings.episodes.episode import wanted_topics
from dp_ros.recordings.episodes.segmentation import BY_FILE, CutSettings, Cutter, cut_topics, cut_types
from dp_ros.recordings.rosbag.reader import BagReader, find_bags
from dp_ros.recordings.rosbag.types import deserialize
from dp_ros.task.spec import ImageStream, JointStream, Stream, TaskSpec

Level = Literal['ok', 'warning', 'error']


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing found out about recordings."""

    level: Level
    where: str
    what: str
    got: str
    allowed: str = ''
    advice: str = ''


def some(names: Iterable[str], most: int = 3) -> str:
    """List a few names and how many more there are."""
    names = list(names)
    return ', '.join(names[:most]) + (f' and {len(names) - most} more' if len(names) > most else '')


BAR = '{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total_fmt} bags [{elapsed}<{remaining}]'
_MOST_DEVICES = 20
"""So many devices of a topic are measured apart; there are no more on a robot."""
ANOTHER_TYPE = 'got type '
_EVERY = 100
"""Of so many pictures one is decoded."""


@dataclass
class Audit:
    """What was measured.

    Attributes
    ----------
    task
        What training would read: given, or guessed from the topics; None if neither.
    broken
        By bag, why it could not be read, in full or in part.
    unannounced
        By bag, what its files hold more than its metadata.yaml tells of.
    part
        What its recordings are: ``bag``, or ``episode`` of a dataset.
    lacking
        By topic that the task needs, what is wrong with it and in which bags.

    """

    path: Path
    task: TaskSpec | None
    cut: CutSettings = BY_FILE
    guessed: bool = False
    part: str = 'bag'
    bags: int = 0
    seconds: float = 0.0
    broken: dict[str, str] = field(default_factory=dict)
    unannounced: dict[str, str] = field(default_factory=dict)
    topics: dict[str, TopicAudit] = field(default_factory=dict)
    bags_with: Counter[str] = field(default_factory=Counter)
    lacking: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    ticks: TickAudit | None = None

    def device(self, topic: str, names: tuple[str, ...]) -> TopicAudit:
        """Return who sends joint states of these names on a topic: found by a joint, or new."""
        known = [t for t in self.topics.values() if t.topic == topic]
        first = known[0]
        first.joints = first.joints or frozenset(next(iter(self.joints_on(topic)), names))
        for found in known:
            if not found.joints.isdisjoint(names):
                return found
        if len(known) > _MOST_DEVICES:
            return known[-1]
        new = TopicAudit(topic, JOINT_STATE, frozenset(names), named=True)
        return self.topics.setdefault(new.name, new)

    def joints_on(self, topic: str) -> list[tuple[str, ...]]:
        """Return the joints that the task reads of joint states on a topic, stream by stream."""
        if self.task is None:
            return []
        read = [s.joints for s in self.task.streams if isinstance(s, JointStream) and s.topic == topic]
        return [*read, *self.commanded_on(topic)]

    def commanded_on(self, topic: str) -> list[tuple[str, ...]]:
        """Return the joints that the task's commands on a topic are for, as their messages call them."""
        sources = action_sources(self.task) if self.task else ()
        return [source.source_joints or source.joints for source in sources if source.topic == topic]

    def leaves(self, topic: TopicAudit) -> bool:
        """Return whether a topic's joint states are of a device that the task does not read."""
        return bool(
            topic.joints
            and self.task
            and not self.guessed
            and topic.joints.isdisjoint(j for joints in self.joints_on(topic.topic) for j in joints)
        )

    @property
    def wanted(self) -> dict[str, set[str]]:
        """Topics that the task reads, with their types."""
        return wanted_topics(self.task) if self.task else {}


def audit_bags(path: Path | str, task: TaskSpec | None = None, cut: CutSettings = BY_FILE) -> Audit:
    """Measure every bag at or under ``path``; without a task, what the topics suggest."""
    bags = find_bags(path)
    audit = Audit(path=Path(path), task=task, cut=cut)
    with tqdm(total=len(bags), desc='check-bag', bar_format=BAR) as bar:
        for bag in bags:
            name = bag.relative_to(path).as_posix() if bag != Path(path) else bag.name
            done = bar.n
            try:
                with BagReader(bag) as reader:
                    _one(audit, reader, name, bar)
            except DataError as error:
                audit.broken[name] = str(error)
            audit.bags += 1
            bar.update(done + 1 - bar.n)
    return audit


def _one(audit: Audit, reader: BagReader, name: str, bar: Any) -> None:
    reader.check({})
    if more := reader.unannounced():
        audit.unannounced[name] = more
    if audit.task is None and not audit.guessed:
        audit.task, audit.guessed = guess_task(reader), True
    if audit.task is not None and audit.ticks is None:
        audit.ticks = TickAudit(audit.task, audit.cut.idle_speed)
    feed = _Feed(audit, reader, name)
    chosen = [t for t in reader.topics if audit.guessed or t in feed.needed]
    for topic in reader.topics:
        if topic in chosen and reader.topics[topic].count:
            audit.bags_with[topic] += 1
    total = max(1, sum(reader.topics[t].count for t in chosen))
    first = last = None
    try:
        for count, (topic, received, kind, data) in enumerate(reader.raw(chosen)):
            first = received if first is None else first
            last = received
            feed.message(topic, received, kind, data)
            if count % 1024 == 1023:
                bar.update(1024 / total)
    finally:
        # What came before the damage was measured all the same.
        audit.seconds += (last - first) / NANOSECONDS if first is not None and last is not None else 0.0
        feed.finish()
    announced, read = sum(reader.topics[t].count for t in chosen), feed.count
    if read < announced:
        raise DataError(f'bag {reader.path}: got {read} messages of {announced} that it announces; allowed a whole bag')


class _Feed:
    """One bag's messages to what measures them."""

    def __init__(self, audit: Audit, reader: BagReader, name: str) -> None:
        self.name, self.count = name, 0
        self._audit = audit
        markers = {t: set(cut_types(audit.cut, t, _type(reader, t))) for t in cut_topics(audit.cut)}
        self.needed = {**audit.wanted, **markers}
        self.topics: dict[str, TopicAudit] = {}
        self._devices: dict[tuple[str, tuple[str, ...]], TopicAudit] = {}
        for topic, found in reader.topics.items():
            known = audit.topics.setdefault(topic, TopicAudit(topic, found.type))
            known.start(name, found.count)
            self.topics[topic] = known
            if known.type != found.type:
                _lack(audit, topic, f'got type {found.type} here and {known.type} before', name)
        lacking = [t for t, types in self.needed.items() if not _has(reader, t, types)]
        for topic in lacking:
            _lack(audit, topic, _why_not(reader, topic, self.needed[topic]), name)
        self._streams: dict[str, list[Stream]] = {}
        self._collector = None
        if audit.task and audit.ticks and not lacking:
            cut_by = {t: _type(reader, t) for t in markers}
            self._marks, self._commands = set(cut_by), source_types(audit.task)
            for stream in audit.task.streams:
                self._streams.setdefault(stream.topic, []).append(stream)
            # Whether there are goals is found with the topics, and a tick counts without one here.
            task = replace(audit.task, goals=(), guidance='')
            self._collector = Collector(
                task, cut=audit.cut, cutter=Cutter(audit.cut, cut_by), seen=audit.ticks.observation
            )

    def message(self, topic: str, received: int, kind: str, data: Any) -> None:
        """Measure a message."""
        self.count += 1
        measured, message, whole = self.topics[topic], None, True
        try:
            if kind in NUMBERS or (topic in self.needed and kind not in PICTURES and not kind.endswith('_Event')):
                message = deserialize(data, kind)
                if kind == JOINT_STATE:
                    measured = self._device(topic, tuple(message.name))
                if kind in NUMBERS:
                    _numbers(measured, received, kind, message)
            elif kind in PICTURES and measured.count % _EVERY == 0:
                self._decode(topic, kind, deserialize(data, kind))
        except DataError as error:
            measured.refuse(str(error))
        except Exception as error:  # Whatever the generated decoder meets in damaged bytes.
            measured.refuse(f'{len(data)} bytes are no {kind} ({type(error).__name__})')
            whole = False
        if message is not None and kind == JOINT_STATE and not message.name:
            measured.nameless += 1
            stamp = 0
        else:
            stamp = measured.add(received, data)
        if self._collector and whole:
            self._collect(self._collector, topic, received, stamp, data if message is None else message)

    def _device(self, topic: str, names: tuple[str, ...]) -> TopicAudit:
        if (topic, names) not in self._devices:
            found = self._audit.device(topic, names) if names else self.topics[topic]
            if found.name not in self.topics:
                found.start(self.name, 0)
                self.topics[found.name] = found
                self._audit.bags_with[found.name] += 1
            self._devices[topic, names] = found
        return self._devices[topic, names]

    def _decode(self, topic: str, kind: str, message: Any) -> None:
        """See whether a picture can be decoded, as its streams want it."""
        known = [] if self._audit.guessed else [s for s in self._streams.get(topic, []) if isinstance(s, ImageStream)]
        for stream in known:
            decode(stream, message)
        if not known:
            (decode_image if kind == IMAGE else decode_compressed)('picture', message)

    def _collect(self, collector: Collector, topic: str, received: int, stamp: int, message: Any) -> None:
        try:
            for stream in self._streams.get(topic, ()):
                if isinstance(stream, ImageStream):
                    collector.value(stream.name, received, stamp, _sized(self.topics[topic].size))
                else:
                    collector.observation(stream, received, message)
            if topic in self._commands:
                collector.command(topic, received, message)
            if topic in self._marks:
                collector.mark(topic, received, message)
        except PictureError as error:
            self._fail(str(error))
        except DataError as error:
            self._fail(f'topic {topic}, received at {received} ns: {error}')

    def _fail(self, reason: str) -> None:
        assert self._audit.ticks
        self._audit.ticks.failed[self.name] = reason
        self._collector = None

    def finish(self) -> None:
        """End the bag."""
        for topic in self.topics.values():
            topic.finish()
        if self._collector and self._audit.ticks:
            try:
                runs = self._collector.finish()
                if runs:
                    self._audit.ticks.bag(self.name, runs, self._collector.oddities())
            except DataError as error:
                self._fail(str(error))
                return
            if not runs:
                self._fail(f'no control tick has every stream and a command ({self._collector.missing})')


def _sized(size: tuple[int, int] | None) -> np.ndarray:
    """Return what stands for a picture that is not decoded."""
    width, height = size or (0, 0)
    return boxed(SimpleNamespace(width=width, height=height))


def _type(reader: BagReader, topic: str) -> str:
    return reader.topics[topic].type if topic in reader.topics else ''


def _has(reader: BagReader, topic: str, types: set[str]) -> bool:
    found = reader.topics.get(topic)
    return found is not None and found.type in types and found.encoding == 'cdr' and found.count > 0


def _why_not(reader: BagReader, topic: str, types: set[str]) -> str:
    found = reader.topics.get(topic)
    if found is None:
        return f'not recorded; the bag has {some(sorted(reader.topics), 8)}'
    if found.type not in types:
        return f'{ANOTHER_TYPE}{found.type}'
    return f'got serialization format {found.encoding}' if found.encoding != 'cdr' else 'got 0 messages'


def _lack(audit: Audit, topic: str, reason: str, bag: str) -> None:
    audit.lacking.setdefault(topic, {}).setdefault(reason, []).append(bag)


def _numbers(measured: TopicAudit, received: int, kind: str, message: Any) -> None:
    names, row = numbers_of(kind, message)
    if kind == JOINT_STATE and not names:
        return
    if len(row) != len(names):
        raise DataError(f'got {len(row)} positions for {len(names)} names')
    if measured.channels is None or names != measured.channels.names:
        measured.form(', '.join(names))
    measured.numbers(received, names, row)


_SECONDS = 10.0
"""Of a recording, from its beginning, the guess is made of [s]."""
_AGE = 1.0
"""Least `max_age` of a guessed stream [s]: a shorter one would hide what is wrong with the rates."""


def guess_task(reader: BagReader) -> TaskSpec | None:
    """Return the task that `dp_ros init` would propose for a bag's beginning, with patience; None if it has none."""
    try:
        task = propose(survey_bag(reader, seconds=_SECONDS)).task
    except DataError:
        return None
    return replace(task, streams=tuple(replace(s, max_age=max(_AGE, s.max_age)) for s in task.streams))


def guess_lines(task: TaskSpec) -> Iterator[str]:
    """Yield what was guessed, in lines for people."""
    for stream in task.streams:
        what = stream.kind
        if isinstance(stream, JointStream):
            what = f'{", ".join(stream.fields)} of {listed(stream.joints)}'
        elif isinstance(stream, ImageStream):
            what = f'{"compressed " if stream.compressed else ""}pictures'
        yield f'observes {stream.topic}: {what}'
    action = task.action
    for source in action.sources:
        yield f'actions: on {source.topic}, {listed(source.joints)}'
    if action.sources:
        return
    where = '' if action.source == 'next_state' else f' on {action.source_topic or action.topic}'
    yield f'actions: {action.source}{where}, {listed(action.joints)}'
