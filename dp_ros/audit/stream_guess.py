"""What a recording's topics suggest that training would read, where nobody says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from dp_ros.audit.topics import PICTURES
from dp_ros.messages.encoding import COMPRESSED_IMAGE, JOINT_STATE, JOINT_TRAJECTORY, POSE
from dp_ros.recordings.rosbag.reader import BagReader
from dp_ros.recordings.rosbag.types import deserialize
from dp_ros.task.spec import ActionSpec, ImageStream, JointStream, PoseStream, Stream, TaskSpec, Unit

_LOOKED_AT = 200
"""So many joint states of a topic are looked at: devices that share it come in turn."""


def guess_task(reader: BagReader) -> TaskSpec | None:
    """Return a task of the topics in a bag: commanded joints, whatever observes them, poses and cameras."""
    commanded = dict(_named(reader, JOINT_TRAJECTORY, 'joint_names', 1))
    measured = list(_named(reader, JOINT_STATE, 'name', _LOOKED_AT))
    for command in sorted(commanded, key=lambda t: -reader.topics[t].count):
        joints = commanded[command]
        states = [t for t, names in measured if set(joints) <= set(names)]
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


def _named(reader: BagReader, wanted: str, field: str, most: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield topics of a type with the joints that one of their first ``most`` messages names."""
    for name, topic in reader.topics.items():
        if topic.type == wanted and topic.count:
            for _, _, kind, data in islice(reader.raw([name]), most):
                try:
                    joints = tuple(getattr(deserialize(data, kind), field))
                except Exception:  # The audit itself will say so.
                    continue
                if joints:
                    yield name, joints
