"""What a recording's topics suggest that training would read, where nobody says."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from dp_ros.audit.topics import PICTURES
from dp_ros.messages.encoding import COMPRESSED_IMAGE, JOINT_STATE, JOINT_TRAJECTORY, POSE
from dp_ros.recordings.rosbag.reader import BagReader
from dp_ros.recordings.rosbag.types import deserialize
from dp_ros.task.spec import ActionSpec, ImageStream, JointStream, PoseStream, Stream, TaskSpec, Unit


def guess_task(reader: BagReader) -> TaskSpec | None:
    """Return a task of the topics in a bag: commanded joints, whatever observes them, poses and cameras."""
    first = dict(_first_messages(reader, (JOINT_STATE, JOINT_TRAJECTORY)))
    commands = [t for t in first if reader.topics[t].type == JOINT_TRAJECTORY and first[t].joint_names]
    for command in sorted(commands, key=lambda t: -reader.topics[t].count):
        joints = tuple(first[command].joint_names)
        states = [t for t in first if reader.topics[t].type == JOINT_STATE and set(joints) <= set(first[t].name)]
        if states and len(set(joints)) == len(joints):
            units: tuple[Unit, ...] = tuple('rad' for _ in joints)
            streams: list[Stream] = [
                JointStream(name=states[0], topic=states[0], joints=joints, units=units, max_age=1.0)
            ]
            streams += _others(reader)
            return TaskSpec(
                streams=tuple(streams),
                action=ActionSpec(topic=command, joints=joints, units=units),
            )
    return None


def _others(reader: BagReader) -> Iterator[Stream]:
    for name, topic in reader.topics.items():
        if topic.count and topic.type == POSE:
            yield PoseStream(name=name, topic=name, features=('x', 'y', 'z'), max_age=1.0)
        elif topic.count and topic.type in PICTURES:
            compressed = topic.type == COMPRESSED_IMAGE
            yield ImageStream(name=name, topic=name, height=96, width=96, compressed=compressed, max_age=1.0)


def _first_messages(reader: BagReader, kinds: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, topic in reader.topics.items():
        if topic.type in kinds and topic.count:
            for _, _, kind, data in reader.raw([name]):
                try:
                    yield name, deserialize(data, kind)
                except Exception:  # The audit itself will say so.
                    yield name, SimpleNamespace(name=(), joint_names=())
                break
