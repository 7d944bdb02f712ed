"""Recordings of a six-joint arm with a gripper and two cameras, as a teleoperated one would leave them.

python -m test.training.arm_bags FOLDER MORE      # what the page on your own recordings works with
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dp_ros.messages import encoding
from dp_ros.motion.trajectory import Trajectory
from dp_ros.recordings.rosbag.reader import BagWriter, Stamped
from dp_ros.recordings.rosbag.types import rosbags_types
from test.training.bag_maker import MS, T0, plain

ARM = (
    'shoulder_pan_joint', 'shoulder_lift_joint', 'elbow_joint', 'wrist_1_joint', 'wrist_2_joint', 'wrist_3_joint',
)  # fmt: skip
FINGER = 'finger_joint'
TYPES = rosbags_types()
STATES, COMMANDS, GRIPPER = '/joint_states', '/arm_controller/joint_trajectory', '/gripper_controller/joint_trajectory'
CAMERA, WRIST = '/camera/color/image_raw', '/wrist_camera/color/image_raw/compressed'


@dataclass(frozen=True, kw_only=True)
class ArmBag:
    """One demonstration: where the block lies, and how it was recorded."""

    block: float = 0.0  # -1 to 1, across the table
    seconds: float = 8.0
    rest: float = 1.0  # at the beginning, and at the end
    start: int = T0
    state_hz: float = 125.0
    camera_hz: float = 15.0
    command_hz: float = 20.0
    lag: float = 0.1
    scale: float = 1.0  # of joint states and commands, for degrees
    size: tuple[int, int] = (160, 120)
    encoding: str = 'rgb8'
    without: tuple[str, ...] = ()
    more: tuple[Stamped, ...] = field(default=())

    def arm(self, t: float) -> np.ndarray:
        """Where the six joints are commanded to be [rad]: down to the block, and back with it."""
        reach = 0.5 - 0.5 * np.cos(2.0 * np.pi * self._part(t))
        high = np.array([0.0, -1.57, 1.6, -1.6, -1.57, 0.0])
        low = np.array([0.8 * self.block, -0.7, 2.1, -2.9, -1.57 + 0.02 * self.block, 0.4 * self.block])
        return high + reach * (low - high)

    def finger(self, t: float) -> float:
        """How far the gripper is open [m]: it closes at the block."""
        return float(0.04 * (1.0 - np.clip(2.0 * self._part(t) - 0.8, 0.0, 0.2) / 0.2))

    def _part(self, t: float) -> float:
        """Return how much of the motion is over."""
        return float(np.clip((t - self.rest) / (self.seconds - 2.0 * self.rest), 0.0, 1.0))

    def messages(self) -> Iterator[Stamped]:
        """Yield what is recorded, topic by topic."""
        for received, t in self._times(self.state_hz):
            yield self._state(received, t)
        for received, t in self._times(self.command_hz):
            yield self._command(COMMANDS, received, ARM, self.scale * self.arm(t))
            yield self._command(GRIPPER, received, (FINGER,), np.array([self.finger(t)]))
        for received, t in self._times(self.camera_hz):
            pixels = self._picture(t)
            yield CAMERA, received, self._image(received, pixels)
            yield (
                WRIST,
                received,
                encoding.to_compressed_image(
                    stamp=received, pixels=pixels, frame_id='wrist', encoding='jpeg', types=TYPES
                ),
            )
        yield from self.more

    def _times(self, hz: float) -> Iterator[tuple[int, float]]:
        for i in range(int(hz * self.seconds)):
            yield self.start + round(i / hz * 1e9), i / hz

    def _state(self, received: int, t: float) -> Stamped:
        places = dict(zip(ARM, self.scale * self.arm(t - self.lag), strict=True)) | {FINGER: self.finger(t - self.lag)}
        names = sorted(places)
        position = [places[name] for name in names]
        return STATES, received, encoding.to_joint_state(
            stamp=received, name=names, position=position, velocity=np.zeros(len(names)), types=TYPES
        )  # fmt: skip

    @staticmethod
    def _command(topic: str, received: int, joints: tuple[str, ...], position: np.ndarray) -> Stamped:
        plan = Trajectory(stamp=0, joints=joints, times=np.zeros(1, np.int64), positions=position[None])
        return topic, received, encoding.to_joint_trajectory(plan, types=TYPES)

    def _picture(self, t: float) -> np.ndarray:
        """Return the table from above: the block, the gripper over it, and a camera's noise."""
        width, height = self.size
        rng = np.random.default_rng([round(1e3 * t), round(100 * (self.block + 1.0))])
        pixels = rng.integers(60, 68, (height, width, 3), dtype=np.uint8)
        pan = float(self.arm(t - self.lag)[0])
        for x, y, colour in ((self.block, 0.7, (200, 40, 40)), (pan / 0.8, 0.3, (40, 200, 40))):
            column, row = int((0.5 + 0.4 * x) * width), int(y * height)
            rows = slice(row - height // 16, row + height // 16)
            pixels[rows, max(0, column - width // 20) : column + width // 20] = colour
        return pixels

    def _image(self, received: int, pixels: np.ndarray) -> Any:
        message = encoding.to_image(stamp=received, pixels=pixels, frame_id='camera', types=TYPES)
        message.encoding = self.encoding
        return message

    def save(self, path: Path, storage: str = 'mcap') -> Path:
        """Write the recording, but for the topics that it is ``without``."""
        with BagWriter(path, storage) as bag:
            for topic, received, message in sorted(self.messages(), key=lambda m: m[1]):
                if topic not in self.without:
                    bag.write(topic, received, message)
        return path


def description(limit: str = 'lower="-6.2" upper="6.2" velocity="2.0"') -> Stamped:
    """Give a message with a URDF of the arm."""
    links = ['base', *(f'link_{i}' for i in range(6))]
    joints = [
        f'<joint name="{name}" type="revolute"><parent link="{links[i]}"/><child link="{links[i + 1]}"/>'
        f'<axis xyz="0 0 1"/><limit {limit} effort="10"/></joint>'
        for i, name in enumerate(ARM)
    ]
    made = ''.join([*(f'<link name="{link}"/>' for link in links), *joints])
    return plain('String', '/robot_description', T0, f'<robot name="arm">{made}</robot>')


def write_arm_bags(folder: Path, blocks: Sequence[float]) -> None:
    """Write demonstrations with the block in these places."""
    for i, block in enumerate(blocks):
        ArmBag(block=block, start=T0 + i * 60_000 * MS).save(folder / f'{i + 1:02d}')


def parameters(text: str, node: str) -> dict[str, Any]:
    """Return a node's parameters in a parameter file by their names."""
    found: dict[str, Any] = {}

    def flatten(values: dict[str, Any], prefix: str) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                flatten(value, f'{prefix}{key}.')
            else:
                found[prefix + key] = value

    flatten(yaml.safe_load(text)[f'/**/{node}']['ros__parameters'], '')
    return found


if __name__ == '__main__':
    for name, blocks in zip(sys.argv[1:], ((-0.8, -0.3, 0.3, 0.8), (-0.5, 0.5)), strict=True):
        write_arm_bags(Path(name), blocks)
