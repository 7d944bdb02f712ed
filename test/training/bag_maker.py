"""Small recordings of a two-joint arm, right in every way, to be spoiled by tests in one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dp_ros.messages import encoding
from dp_ros.motion.trajectory import Trajectory
from dp_ros.recordings.rosbag.reader import BagWriter, Stamped
from dp_ros.recordings.rosbag.types import rosbags_types, typestore
from dp_ros.task.spec import ActionSpec, JointStream, PoseStream, TaskSpec

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
JOINTS = ('a', 'b')
TASK = TaskSpec(
    streams=(
        JointStream(name='arm', topic='/joint_states', joints=JOINTS, units=('rad', 'rad')),
        PoseStream(name='block', topic='/block_pose', features=('x', 'y')),
    ),
    action=ActionSpec(topic='/command', joints=JOINTS, units=('rad', 'rad')),
)
TYPES = rosbags_types()


def state(received: int, position: Any, *, stamp: int | None = None, topic: str = '/joint_states', name: Any = JOINTS
          ) -> Stamped:  # fmt: skip
    msg = encoding.to_joint_state(stamp=received if stamp is None else stamp, name=name, position=position, types=TYPES)
    return topic, received, msg


def pose(received: int, x: float, y: float, *, stamp: int | None = None) -> Stamped:
    stamp = received if stamp is None else stamp
    msg = encoding.to_pose(stamp=stamp, position=(x, y, 0), orientation=(0, 0, 0, 1), frame_id='w', types=TYPES)
    return '/block_pose', received, msg


def command(received: int, position: Any) -> Stamped:
    plan = Trajectory(stamp=0, joints=JOINTS, times=np.zeros(1, np.int64), positions=np.array([position], dtype=float))
    return '/command', received, encoding.to_joint_trajectory(plan, types=TYPES)


def plain(kind: str, topic: str, received: int, data: Any) -> Stamped:
    """Give a message of a type with the one field data, or a Float64MultiArray."""
    types = typestore().types
    if kind == 'Float64MultiArray':
        layout = types['std_msgs/msg/MultiArrayLayout'](dim=[], data_offset=0)
        return topic, received, types[f'std_msgs/msg/{kind}'](layout=layout, data=np.array(data, dtype=np.float64))
    return topic, received, types[f'std_msgs/msg/{kind}'](data=data)


def path_at(t: float, lag: float = 0.2) -> np.ndarray:
    """Where the arm is at ``t`` [s], ``lag`` [s] behind its commands."""
    return np.array([np.sin(1.3 * (t - lag)), 0.5 * np.cos(0.9 * (t - lag))])


def arm(seconds: float = 8.0, start: int = T0, lag: float = 0.2) -> list[Stamped]:
    """Record the arm on a smooth path: states at 50 Hz, poses at 20 Hz, commands at 10 Hz."""
    made = [state(start + i * 20 * MS, path_at(i * 0.02, lag)) for i in range(int(50 * seconds))]
    made += [pose(start + i * 50 * MS, 0.1 * np.sin(0.02 * i), 0.01 * i) for i in range(int(20 * seconds))]
    made += [command(start + i * 100 * MS, path_at(i * 0.1, 0.0)) for i in range(int(10 * seconds))]
    return made


def save(path: Path, made: Iterable[Stamped], storage: str = 'mcap') -> Path:
    """Write messages in order of receive time."""
    with BagWriter(path, storage) as bag:
        for topic, received, msg in sorted(made, key=lambda m: m[1]):
            bag.write(topic, received, msg)
    return path


def changed(made: Iterable[Stamped], topic: str, change: Callable[[int, Stamped], Stamped | None]) -> list[Stamped]:
    """Give messages with those of a topic changed, by their number in it, or left out."""
    result, number = [], 0
    for message in made:
        if message[0] != topic:
            result.append(message)
            continue
        new = change(number, message)
        number += 1
        if new is not None:
            result.append(new)
    return result


def record(path: Path, made: Iterable[Stamped], storage: str = 'mcap') -> Path:
    """Write messages in the order given."""
    with BagWriter(path, storage) as bag:
        for topic, received, msg in made:
            bag.write(topic, received, msg)
    return path


def file_of(bag: Path) -> Path:
    """Give the one storage file of a bag."""
    (file,) = (p for p in bag.iterdir() if p.suffix in ('.mcap', '.db3'))
    return file


def in_pieces(bag: Path, parts: Iterable[Iterable[Stamped]], storage: str = 'mcap', names: Iterable[str] = ()) -> Path:
    """Write a bag of several files, NAME_0 and so on or ``names``, with metadata.yaml."""
    bag.mkdir(parents=True)
    given, info, counts = list(names), dict[str, Any](), dict[str, Any]()
    for number, part in enumerate(parts):
        made = record(bag / 'part', part, storage)
        found = yaml.safe_load((made / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
        info = info or {**found, 'relative_file_paths': []}
        name = f'{given[number] if given else f"{bag.name}_{number}"}{file_of(made).suffix}'
        info['relative_file_paths'].append(name)
        for entry in found['topics_with_message_count']:
            topic = entry['topic_metadata']['name']
            before = counts[topic]['message_count'] if topic in counts else 0
            counts[topic] = {**entry, 'message_count': entry['message_count'] + before}
        file_of(made).rename(bag / name)
        shutil.rmtree(made)
    info['topics_with_message_count'] = list(counts.values())
    change_metadata(bag, **info)
    return bag


def change_metadata(bag: Path, **changes: Any) -> None:
    """Change entries of a bag's metadata.yaml."""
    path = bag / 'metadata.yaml'
    info = yaml.safe_load(path.read_text())['rosbag2_bagfile_information'] if path.exists() else {}
    path.write_text(yaml.safe_dump({'rosbag2_bagfile_information': {**info, **changes}}))
