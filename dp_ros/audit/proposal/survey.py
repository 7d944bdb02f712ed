"""Measure recordings topic by topic: rates, joints and how they move, pictures, frames of poses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dp_ros.audit.topics import NUMBERS, PICTURES, UNNAMED, TopicAudit, numbers_of
from dp_ros.data import NANOSECONDS
from dp_ros.errors import DataError, listed
from dp_ros.messages.encoding import IMAGE, JOINT_STATE, POSE
from dp_ros.messages.images import decode_compressed
from dp_ros.messages.raw_images import decode_image
from dp_ros.recordings.rosbag.reader import BagReader
from dp_ros.recordings.rosbag.types import deserialize
from dp_ros.task.streams import Content

DESCRIPTION, STRING = 'robot_description', 'std_msgs/msg/String'
STEP = NANOSECONDS // 10
"""Over which speeds and accelerations are measured [ns]."""
TURN = 2.0 * np.pi
TURNS = (TURN, 360.0)
"""List by how much positions that wrap jump: a whole turn, [rad] or [deg]."""
_GAP = 5 * STEP
_BATCH = 2048
_MOST_DEVICES = 20
_FIELDS = ('position', 'velocity', 'effort')


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How one joint moves, or one number: range and beginning [its unit], largest speed [/s], acceleration [/s^2].

    One that ``wraps`` jumps by a whole turn at times, which is no speed.
    """

    low: float
    high: float
    start: float
    speed: float = 0.0
    acceleration: float = 0.0
    wraps: bool = False

    def scaled(self, factor: float) -> Motion:
        """Return the motion in another unit; ``factor`` is more than 0."""
        return replace(self, **{name: factor * value for name, value in vars(self).items() if name != 'wraps'})

    @property
    def moves(self) -> bool:
        """Tell whether the joint moves at all."""
        return self.high > self.low


@dataclass(frozen=True, kw_only=True)
class TopicSurvey:
    """Keep what was measured of one topic, or of one device of several that publish joint states on it.

    Attributes
    ----------
    name
        The topic, or with further devices on it the topic and their joints.
    rate
        Messages a second; 0 of fewer than two.
    interval, delay
        What 99 % of the times between messages, and from stamp to receive time, do not exceed [s].
    joints
        In the order of the messages; of a Float64MultiArray ``data[0]`` and so on.
    motions
        Of the joints, or of a pose's position and quaternion.
    whole
        Whether every message names all of them.
    named
        Whether the names are the recording's own: a dataset may have none.
    fields
        What joint states hold of each joint.
    distances
        Of a Float64MultiArray: by joint, the mean square of number minus position, for each number.
    size, encodings
        Of pictures: width and height of the last, and what they are encoded as.
    content, depths
        What the pictures hold; of depth the nearest and the farthest in the first [m], if any.
    frozen
        Longest time that one and the same picture came again [s].
    unusable
        Why the messages cannot be decoded, or ''.

    """

    name: str
    topic: str
    type: str
    count: int
    rate: float = 0.0
    interval: float = 0.0
    delay: float = 0.0
    joints: tuple[str, ...] = ()
    whole: bool = True
    named: bool = True
    motions: Mapping[str, Motion] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    distances: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    encodings: tuple[str, ...] = ()
    content: Content = 'rgb'
    depths: tuple[float, ...] = ()
    frozen: float = 0.0
    frames: tuple[str, ...] = ()
    unusable: str = ''


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Keep what one recording holds, or several that are alike.

    Attributes
    ----------
    topics
        Those with messages of a type that can be observed, or that command; by name.
    others
        Types of the other topics with messages, by name.
    description
        The robot's URDF, where it was recorded; else empty.
    columns
        Of a dataset, which has no topics of its own: the column of each topic. Of recordings none.

    """

    names: tuple[str, ...]
    seconds: float
    topics: Mapping[str, TopicSurvey]
    others: Mapping[str, str]
    description: str = ''
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def part(self) -> str:
        """Name what it is of: a recording, or an episode of a dataset."""
        return 'episode' if self.columns else 'recording'

    def of(self, *kinds: str) -> list[TopicSurvey]:
        """Return the topics of some ROS types."""
        return [topic for topic in self.topics.values() if topic.type in kinds]


def survey_bag(reader: BagReader, *, seconds: float = float('inf'), seen: Callable[[], object] = int) -> Survey:
    """Measure a recording, or its first ``seconds``; ``seen`` is called for each message."""
    present = {name: topic for name, topic in reader.topics.items() if topic.count}
    read = {name: t for name, t in present.items() if t.type in (*NUMBERS, *PICTURES) and t.encoding == 'cdr'}
    measures = {name: _Topic(name, topic.type) for name, topic in read.items()}
    described = [n for n, t in present.items() if t.type == STRING and n.rsplit('/', 1)[-1] == DESCRIPTION]
    positions: dict[str, float] = {}
    description, first, last = '', None, 0
    for topic, received, kind, data in reader.raw([*read, *described]):
        first, last = received if first is None else first, received
        if received - first > seconds * NANOSECONDS:
            break
        seen()
        if topic in measures:
            measures[topic].add(received, data, positions)
        else:
            description = _text(data, kind) or description
    return Survey(
        names=(str(reader.path),),
        seconds=0.0 if first is None else (last - first) / NANOSECONDS,
        topics={found.name: found for measure in measures.values() for found in measure.finish()},
        others={name: topic.type for name, topic in present.items() if name not in read and name not in described},
        description=description,
    )


def _text(data: Any, kind: str) -> str:
    try:
        return str(deserialize(data, kind).data)
    except Exception:  # Whatever the generated decoder meets in damaged bytes; without limits it goes on.
        return ''


class Numbers:
    """The numbers of messages that name the same joints: extrema of all, and a row every `STEP`."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.low, self.high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
        self._rows: list[Any] = []
        self._now = -STEP
        self._coarse: list[tuple[int, np.ndarray]] = []

    def add(self, received: int, row: Any) -> None:
        """Add a message's numbers."""
        self._rows.append(row)
        if received - self._now >= STEP:
            self._now = received
            self._coarse.append((received, np.array(row, dtype=np.float64)))
        if len(self._rows) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        rows = np.array(self._rows, dtype=np.float64).reshape(-1, len(self.names))
        self._rows.clear()
        rows = rows[np.isfinite(rows).all(axis=1)]
        if len(rows):
            self.low, self.high = np.minimum(self.low, rows.min(axis=0)), np.maximum(self.high, rows.max(axis=0))

    def motions(self) -> dict[str, Motion]:
        """Return how each joint moves."""
        self._flush()
        kept = [(t, row) for t, row in self._coarse if np.isfinite(row).all()]
        if not kept:
            return {}
        times, rows = np.array([t for t, _ in kept]), np.stack([row for _, row in kept])
        steps = np.diff(times)
        near = steps < _GAP
        moves = np.diff(rows, axis=0)[near]
        turns = np.array([_turn(moves[:, i], self.high[i] - self.low[i]) for i in range(len(self.names))])
        moves -= np.where(turns, turns, 1.0) * np.round(moves / np.where(turns, turns, np.inf))
        speeds = moves / (steps[near, None] / NANOSECONDS)
        changes = np.abs(np.diff(speeds, axis=0)) * (NANOSECONDS / STEP)
        columns = zip(self.names, self.low, self.high, rows[0], _largest(speeds), _largest(changes), turns, strict=True)
        return {
            name: Motion(
                low=float(low), high=float(high), start=float(start), speed=speed, acceleration=change, wraps=bool(turn)
            )
            for name, low, high, start, speed, change, turn in columns
        }


def _turn(moves: np.ndarray, spread: float) -> float:
    """Return the whole turn by which numbers of this ``spread`` jump, in rad or degrees; 0 if they don't."""
    jumps = (turn for turn in TURNS if spread < 1.01 * turn and (np.abs(np.abs(moves) - turn) < turn / 6).any())
    return next(jumps, 0.0)


def _largest(rows: np.ndarray) -> list[float]:
    found: list[float] = np.abs(rows).max(axis=0).tolist() if len(rows) else [0.0] * rows.shape[1]
    return found


class _Topic:
    """One topic: of joint states, device by device; those that name a joint in common are of one."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.type = name, kind
        self._devices = [_Measure(name, kind)]
        self._unusable = ''

    def add(self, received: int, data: Any, positions: dict[str, float]) -> None:
        """Add a message; ``positions`` are the newest of all joints, and take those of a joint state."""
        device = self._devices[0]
        message: Any = None
        try:
            if self.type not in PICTURES or not device.audit.count:
                message = deserialize(data, self.type)
            if self.type == JOINT_STATE:
                found = self._device(message.name)
                if found is None:
                    return
                device = found
            device.add(received, data, message, positions)
        except DataError as error:
            self._unusable = self._unusable or str(error)
        except Exception as error:  # Whatever the generated decoder meets in damaged bytes.
            self._unusable = self._unusable or f'{len(data)} bytes are no {self.type} ({type(error).__name__})'

    def _device(self, names: list[str]) -> _Measure | None:
        """Return whose joint states name these joints; None if they name none."""
        if not names:
            return None
        for device in self._devices:
            if not device.joints or not device.joints.isdisjoint(names):
                device.joints |= set(names)
                return device
        if len(self._devices) < _MOST_DEVICES:
            self._devices.append(_Measure(self.name, self.type))
        self._devices[-1].joints |= set(names)
        return self._devices[-1]

    def finish(self) -> Iterator[TopicSurvey]:
        """Yield what was measured, the device with most joints first."""
        found = sorted((d.finish(self._unusable) for d in self._devices), key=lambda t: (-len(t.joints), t.joints))
        for number, one in enumerate(found):
            yield replace(one, name=f'{self.name} ({listed(one.joints)})') if number else one


class _Measure:
    """The messages of one topic, or of one device on it."""

    def __init__(self, name: str, kind: str) -> None:
        self.audit = TopicAudit(name, kind)
        self.audit.start(name, 0)
        self.joints: set[str] = set()
        self._numbers: dict[tuple[str, ...], Numbers] = {}
        self._fields: set[str] = set()
        self._frames: dict[str, None] = {}
        self._content: Content = 'rgb'
        self._depths: tuple[float, ...] = ()
        self._squares: dict[str, np.ndarray] = {}
        self._compared: dict[str, int] = {}

    def add(self, received: int, data: Any, message: Any, positions: dict[str, float]) -> None:
        """Add a message, decoded or, of pictures but the first, None."""
        kind = self.audit.type
        self.audit.add(received, data)
        if message is None:
            return
        if kind not in PICTURES:
            self._add(received, message, positions)
            return
        pixels = (decode_image if kind == IMAGE else decode_compressed)('picture', message)
        self._content = 'rgb' if pixels.ndim == 3 else 'mono' if pixels.dtype == np.uint8 else 'depth'
        if self._content == 'depth':
            known = pixels[np.isfinite(pixels) & (pixels > 0.0)]
            self._depths = (float(known.min()), float(known.max())) if len(known) else ()

    def _add(self, received: int, message: Any, positions: dict[str, float]) -> None:
        kind = self.audit.type
        if kind == POSE:
            self._frames.setdefault(message.header.frame_id)
        names, row = numbers_of(kind, message)
        if not names or len(names) != len(row) or len(set(names)) < len(names):
            raise DataError(f'got {len(row)} positions for {len(names)} names, allowed one for each of different names')
        self._numbers.setdefault(names, Numbers(names)).add(received, row)
        if kind == JOINT_STATE:
            self._fields |= {name for name in _FIELDS if len(getattr(message, name)) == len(names)}
            positions.update(zip(names, row, strict=True))
        elif kind in UNNAMED and len(self._numbers) == 1:
            for joint, position in positions.items():
                difference = np.asarray(row, dtype=np.float64) - position
                self._squares[joint] = self._squares.get(joint, 0.0) + difference**2
                self._compared[joint] = self._compared.get(joint, 0) + 1

    def finish(self, unusable: str) -> TopicSurvey:
        """Return what was measured; ``unusable`` is why messages of the topic cannot be decoded."""
        audit = self.audit
        audit.finish()
        mean = audit.intervals.mean if audit.intervals.count else 0.0
        named = () if audit.type == POSE else tuple(self._numbers)
        joints = tuple(dict.fromkeys(name for names in named for name in names))
        motions: dict[str, Motion] = {}
        for numbers in self._numbers.values():
            motions = joined(motions, numbers.motions())
        return TopicSurvey(
            name=audit.name,
            topic=audit.name,
            type=audit.type,
            count=audit.count,
            rate=1.0 / mean if mean > 0.0 else 0.0,
            interval=audit.intervals.quantile(0.99) if audit.intervals.count else 0.0,
            delay=audit.clock.latency.quantile(0.99) if audit.clock.latency.count else 0.0,
            joints=joints,
            whole=all(set(names) == set(joints) for names in named),
            motions=motions,
            fields=tuple(name for name in _FIELDS if name in self._fields),
            distances={j: tuple((s / self._compared[j]).tolist()) for j, s in self._squares.items()},
            size=audit.size,
            encodings=tuple(dict.fromkeys(_encoding(form) for form in audit.forms)),
            content=self._content,
            depths=self._depths,
            frozen=audit.longest_picture[0],
            frames=tuple(self._frames),
            unusable=unusable,
        )


def _encoding(form: str) -> str:
    """Return what a picture is encoded as, from what `picture_head` says of it."""
    width, cross, rest = form.partition(' x ')
    return rest.partition(' ')[2] if cross and width.isdigit() else form


def joined(one: Mapping[str, Motion], other: Mapping[str, Motion]) -> dict[str, Motion]:
    """Return the motions of two recordings as those of one; it begins where the first does."""
    both = dict(one)
    for name, motion in other.items():
        before = one.get(name, motion)
        both[name] = Motion(
            low=min(before.low, motion.low),
            high=max(before.high, motion.high),
            start=before.start,
            speed=max(before.speed, motion.speed),
            acceleration=max(before.acceleration, motion.acceleration),
            wraps=before.wraps or motion.wraps,
        )
    return both
