"""How fast recordings become episodes: JointState messages a second, decoded and aligned, and the memory it takes."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.messages import encoding
from dp_ros.motion.trajectory import Trajectory
from dp_ros.recordings.episodes.episode import read_episode
from dp_ros.recordings.rosbag.reader import STORAGES, BagWriter
from dp_ros.recordings.rosbag.types import rosbags_types
from dp_ros.task.spec import ActionSpec, JointStream, TaskSpec

JOINTS = tuple(f'joint_{i}' for i in range(7))
RATE = 500  # joint states a second
START = 1_700_000_000 * NANOSECONDS
TASK = TaskSpec(
    streams=(JointStream(name='joints', topic='/joint_states', joints=JOINTS, units=('rad',) * 7),),
    action=ActionSpec(topic='/command', joints=JOINTS, units=('rad',) * 7),
)


def measure_bags(count: int) -> list[dict[str, Any]]:
    """Write and read a bag of ``count`` joint states of seven joints in each storage."""
    rows = []
    with tempfile.TemporaryDirectory(prefix='dp_ros_bench_') as folder:
        for storage in STORAGES:
            path = Path(folder) / storage
            _write(path, storage, count)
            before, began = _peak(), time.perf_counter()
            episodes = read_episode(path, TASK)
            took = time.perf_counter() - began
            rows.append(
                {
                    'storage': storage,
                    'messages': count,
                    'ticks': sum(len(e.stamps) for e in episodes),
                    'size_mb': round(sum(f.stat().st_size for f in path.rglob('*') if f.is_file()) / 1e6, 1),
                    'messages_per_second': round(count / took),
                    'peak_memory_mb_before': before,
                    'peak_memory_mb': _peak(),
                }
            )
    return rows


def _write(path: Path, storage: str, count: int) -> None:
    types = rosbags_types()
    rng = np.random.default_rng(0)
    positions = rng.standard_normal((1000, len(JOINTS)))
    still = np.zeros(len(JOINTS))
    with BagWriter(path, storage) as bag:
        command = Trajectory(
            stamp=0, joints=JOINTS, times=np.zeros(1, np.int64), positions=positions[:1], velocities=None
        )
        bag.write('/command', START, encoding.to_joint_trajectory(command, types=types))
        for i in range(count):
            stamp = START + i * (NANOSECONDS // RATE)
            state = encoding.to_joint_state(
                stamp=stamp, name=JOINTS, position=positions[i % 1000], velocity=still, effort=still, types=types
            )
            bag.write('/joint_states', stamp, state)


def _peak() -> float:
    """Return the process's peak resident memory so far [MB]."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
