"""The process under attack, and messages as they are on the wire."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState as JointStateMessage
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from .curves import SECOND, Message
from .signals import Chunk, JointState

NODE = 'trajectory_publisher'


class Publisher:
    """The process of the node under attack."""

    def __init__(self, parameters: Path, folder: Path) -> None:
        self._parameters, self._folder = parameters, folder
        self.log = folder / 'log'
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; what it writes goes to the log."""
        command = [sys.executable, '-m', f'dp_ros.nodes.{NODE}', '--ros-args', '--params-file', str(self._parameters)]
        environment = {**os.environ, 'ROS_HOME': str(self._folder), 'ROS_LOG_DIR': str(self._folder / 'ros_log')}
        with self.log.open('ab') as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    @property
    def ended(self) -> int | None:
        """The code that it ended with; None while it runs."""
        return None if self._process is None else self._process.poll()

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def last_words(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors='replace')[-1500:] if self.log.exists() else ''

    def close(self) -> None:
        """End it for good."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()


def joint_state_message(state: JointState) -> JointStateMessage:
    """Return a joint state as a message."""
    message = JointStateMessage(
        name=list(state.names),
        position=[float(value) for value in state.positions],
        velocity=[float(value) for value in state.velocities],
    )
    set_time(message.header.stamp, state.stamp)
    return message


def chunk_message(chunk: Chunk) -> JointTrajectory:
    """Return a chunk as a message."""
    message = JointTrajectory(joint_names=list(chunk.joints))
    set_time(message.header.stamp, chunk.stamp)
    for at, action in zip(chunk.times.tolist(), chunk.actions.tolist(), strict=True):
        point = JointTrajectoryPoint(positions=action)
        set_time(point.time_from_start, at)
        message.points.append(point)
    return message


def set_time(field: Any, time: int) -> None:
    """Write a time [ns] into a message."""
    field.sec, field.nanosec = divmod(time, SECOND)


def _time(field: Any) -> int:
    return int(field.sec) * SECOND + int(field.nanosec)


def read_trajectory(message: JointTrajectory) -> Message:
    """Return what a trajectory says."""

    def column(name: str) -> np.ndarray | None:
        rows = [list(getattr(point, name)) for point in message.points]
        return np.array(rows, dtype=float) if rows and all(rows) else None

    count = len(message.joint_names)
    positions = column('positions')
    return Message(
        stamp=_time(message.header.stamp),
        joints=tuple(message.joint_names),
        times=np.array([_time(point.time_from_start) for point in message.points], dtype=np.int64),
        positions=np.zeros((0, count)) if positions is None else positions,
        velocities=column('velocities'),
        accelerations=column('accelerations'),
    )
