"""What is measured of one topic, over all bags, message by message: times, clocks, pictures and numbers."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dp_ros.audit.statistics import Channels, LogHistogram, Longest
from dp_ros.data import NANOSECONDS
from dp_ros.errors import listed
from dp_ros.messages.decoding import header_stamp
from dp_ros.messages.encoding import COMPRESSED_IMAGE, IMAGE, JOINT_STATE, JOINT_TRAJECTORY, POSE
from dp_ros.messages.images import compressed_size
from dp_ros.recordings.rosbag.types import GRIPPER_COMMAND, typestore

FLOATS = 'std_msgs/msg/Float64MultiArray'
UNNAMED = (FLOATS, GRIPPER_COMMAND)
"""Commands whose numbers have no names of joints."""
NUMBERS = (JOINT_STATE, POSE, JOINT_TRAJECTORY, *UNNAMED)
PICTURES = (IMAGE, COMPRESSED_IMAGE)
COLUMN, POSE_COLUMN, PICTURE_COLUMN = 'numbers', 'pose', 'pictures'
"""Measure a column of a dataset, which has rows in place of messages."""
_COLUMNS = (COLUMN, POSE_COLUMN, PICTURE_COLUMN)
EPOCH = 3600 * NANOSECONDS
"""A stamp farther than this from the receive time is of another clock, not of a slow one [ns]."""
JUMP = NANOSECONDS
"""The least change of (receive time - stamp) between two messages that counts as a jump of a clock [ns]."""
FUTURE = NANOSECONDS // 100
_BATCH = 2048
_MOST_SIZES = 20
_FEATURES = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')


def has_header(kind: str) -> bool:
    """Whether messages of this ROS type begin with a std_msgs/Header."""
    if kind not in typestore().fielddefs:
        return False
    fields = typestore().fielddefs[kind][1]
    return bool(fields) and fields[0][1][1] == 'std_msgs/msg/Header'


def picture_head(kind: str, data: bytes | memoryview) -> tuple[tuple[int, int] | None, str]:
    """Return width and height of a serialized picture where it says them, and in words what it looks like."""
    number = struct.Struct('<I' if int.from_bytes(data[1:2], 'big') & 1 else '>I')

    def text(at: int) -> tuple[str, int]:
        (length,) = number.unpack_from(data, at)
        return bytes(data[at + 4 : at + 4 + length]).rstrip(b'\0').decode(errors='replace'), at + 4 + length

    try:
        at = _aligned(text(12)[1])
        if kind == IMAGE:
            size = (number.unpack_from(data, at + 4)[0], number.unpack_from(data, at)[0])
            return size, f'{size[0]} x {size[1]} {text(at + 8)[0]}'
        form, at = text(at)
        found = compressed_size(memoryview(data)[_aligned(at) + 4 :])
    except struct.error:
        return None, 'cut short'
    return found, f'{found[0]} x {found[1]} {form}' if found else form


def _aligned(at: int) -> int:
    return at + -at % 4


@dataclass
class Clock:
    """How the header stamps of a topic relate to its receive times: counts of messages."""

    zero: int = 0
    other_epoch: int = 0
    future: int = 0
    backwards: int = 0
    repeated: int = 0
    jumps: int = 0
    latency: LogHistogram = field(default_factory=LogHistogram)  # [s], of stamps of the same epoch

    def add(self, received: np.ndarray, stamps: np.ndarray, last: tuple[int, int] | None) -> None:
        """Add messages in order of receive time; ``last`` is the receive time and the stamp before them [ns]."""
        late = received - stamps
        set_ = stamps != 0
        other = set_ & (np.abs(late) > EPOCH)
        self.zero += int((~set_).sum())
        self.other_epoch += int(other.sum())
        self.future += int((set_ & ~other & (late < -FUTURE)).sum())
        self.latency.add(np.maximum(late[set_ & ~other], 0) / NANOSECONDS)
        if last is not None:
            received, stamps = np.concatenate([[last[0]], received]), np.concatenate([[last[1]], stamps])
        steps = np.diff(stamps)
        both = (stamps[1:] != 0) & (stamps[:-1] != 0)
        self.backwards += int((both & (steps < 0)).sum())
        self.repeated += int((both & (steps == 0)).sum())
        self.jumps += int((both & (np.abs(np.diff(received) - steps) > JUMP)).sum())


class TopicAudit:
    """One topic: how often its messages come, by which clock, and what they hold.

    Where several devices publish joint states on one topic, this is one of them: messages belong together that have a
    joint in common.

    Attributes
    ----------
    topic
        The ROS topic. `name` says which of its devices too, where it is not the first.
    joints
        Of joint states: the names of the device's first message, or of the stream that reads it.
    nameless
        Joint states that name no joint.
    intervals
        Between receive times [s], within a bag.
    gaps
        The longest of them.
    rates
        By bag, messages a second.
    forms
        What the messages look like (joint names, picture sizes), with how many do.
    refused
        Why messages could not be decoded, with how many.

    """

    def __init__(self, topic: str, kind: str, joints: frozenset[str] = frozenset(), *, named: bool = False) -> None:
        self.topic, self.type, self.joints = topic, kind, joints
        self.name = f'{topic} ({listed(sorted(joints))})' if named else topic
        self.nameless = 0
        self.known = kind in _COLUMNS or kind in typestore().fielddefs
        self.headed = has_header(kind)
        self.count = 0
        self.announced = 0
        self.intervals = LogHistogram()
        self.gaps = Longest()
        self.clock = Clock()
        self.rates: dict[str, float] = {}
        self.channels: Channels | None = None
        self.forms: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.size: tuple[int, int] | None = None  # width and height of the last picture
        self.sizes: set[tuple[int, int]] = set()
        self.longest_picture = (0.0, '')  # [s], and in which bag
        self._bag = ''
        self._times: list[tuple[int, int]] = []
        self._rows: list[Any] = []
        self._row_times: list[int] = []
        self._last: tuple[int, int] | None = None
        self._first = self._bag_count = 0
        self._crc: int | None = None
        self._crc_since = 0

    def start(self, bag: str, announced: int) -> None:
        """Begin with a bag."""
        self._bag, self._last, self._bag_count, self._crc = bag, None, 0, None
        self.announced += announced
        if self.channels:
            self.channels.start(bag)

    def finish(self) -> None:
        """End the bag."""
        self._flush()
        if self._last and self._bag_count > 1 and self._last[0] > self._first:
            self.rates[self._bag] = (self._bag_count - 1) * NANOSECONDS / (self._last[0] - self._first)
        if self.channels:
            self.channels.finish()

    def add(self, received: int, data: bytes | memoryview) -> int:
        """Add a serialized message; return its stamp [ns], 0 where it has none."""
        stamp = header_stamp(data) if self.headed and len(data) >= 12 else 0
        if not self._bag_count:
            self._first = received
        self.count += 1
        self._bag_count += 1
        self._times.append((received, stamp))
        if self.type in PICTURES:
            self._picture(received, data)
        if len(self._times) >= _BATCH:
            self._flush()
        return stamp

    def numbers(self, received: int, names: tuple[str, ...], row: Any) -> None:
        """Add the numbers in a message."""
        if self.channels is None:
            self.channels = Channels(names)
            self.channels.start(self._bag)
        known = self.channels.names
        if len(row) != len(names) or not set(known) <= set(names):
            return
        self._rows.append(row if names == known else [row[names.index(name)] for name in known])
        self._row_times.append(received)

    def rows(self, times: np.ndarray, names: tuple[str, ...] = (), values: np.ndarray | None = None) -> None:
        """Add a column's rows, due at ``times`` (N,) [ns]: numbers (N, C) by name, or pictures."""
        self.count += len(times)
        self.intervals.add(np.diff(times) / NANOSECONDS)
        if values is not None and (self.channels is None or self.channels.names == names):
            self.channels = self.channels or Channels(names)
            self.channels.start(self._bag)
            self.channels.add(values, times)

    def picture(self, height: int, width: int) -> None:
        """Note the size of a picture of a column."""
        self.sizes.add((width, height))
        self.form(f'{width} x {height}')

    def form(self, text: str) -> None:
        """Note what a message looks like; beyond 20 kinds they count as one."""
        key = text if text in self.forms or len(self.forms) < 20 else 'others'
        self.forms[key] = self.forms.get(key, 0) + 1

    def refuse(self, reason: str) -> None:
        """Note why a message could not be decoded; beyond 20 reasons they count as one."""
        key = reason if reason in self.refused or len(self.refused) < 20 else 'other reasons'
        self.refused[key] = self.refused.get(key, 0) + 1

    def _picture(self, received: int, data: bytes | memoryview) -> None:
        self.size, text = picture_head(self.type, data)
        if self.size and len(self.sizes) < _MOST_SIZES:
            self.sizes.add(self.size)
        self.form(text)
        crc = zlib.crc32(data[12:])
        if crc == self._crc:
            self.longest_picture = max(self.longest_picture, ((received - self._crc_since) / NANOSECONDS, self._bag))
        else:
            self._crc, self._crc_since = crc, received

    def _flush(self) -> None:
        if self._times:
            times = np.array(self._times, dtype=np.int64)
            received = times[:, 0] if self._last is None else np.concatenate([[self._last[0]], times[:, 0]])
            steps = np.diff(received) / NANOSECONDS
            self.intervals.add(steps)
            self.gaps.add(steps, received[:-1], self._bag)
            if self.headed:
                self.clock.add(times[:, 0], times[:, 1], self._last)
            self._last = self._times[-1]
            self._times.clear()
        if self._rows and self.channels:
            self.channels.add(np.array(self._rows, dtype=np.float64), np.array(self._row_times, dtype=np.int64))
            self._rows.clear()
            self._row_times.clear()


def numbers_of(kind: str, msg: Any) -> tuple[tuple[str, ...], Any]:
    """Return names and values of the numbers in a message of one of the types `NUMBERS`: of a trajectory, its end."""
    if kind == JOINT_STATE:
        return tuple(msg.name), msg.position
    if kind == POSE:
        p, q = msg.pose.position, msg.pose.orientation
        return _FEATURES, (p.x, p.y, p.z, q.x, q.y, q.z, q.w)
    if kind == GRIPPER_COMMAND:
        return ('position',), [msg.position]
    if kind == FLOATS:
        return tuple(f'data[{i}]' for i in range(len(msg.data))), msg.data
    return tuple(msg.joint_names), msg.points[-1].positions if msg.points else ()
