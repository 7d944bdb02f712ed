"""What the simulated robot says: its sensors' readings, the episode, the time, and what the robot looks like."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64, String

from dp_ros.errors import ConfigError
from dp_ros.messages import encoding
from dp_ros.messages.status import Episode, encode
from dp_ros.options import Option
from dp_ros.ros.diagnostics import OK
from dp_ros.ros.lifecycle import ManagedNode, reliable
from dp_ros.simulation.robot import EpisodeStatus, ImageReading, JointReading, PoseReading, Reading, RewardReading
from dp_ros.simulation.world import World, WorldSpec

WORLD_FILE = Option(
    name='world_file', default='',
    description='With world mjcf: a YAML file that names a MuJoCo model, its joints, controllers, cameras and bodies.',
)  # fmt: skip
PARAMETERS = [
    Option(name='frame_id', default='', description="Coordinate frame of poses; empty: the world's name."),
    Option(name='topics.joint_states', default='joint_states', description='Joint states go out here, 100 Hz.'),
    Option(
        name='topics.pose', default='',
        description="The pose of what the world tracks (the first of several) goes out here, 100 Hz; empty: the "
        "world's own topic.",
    ),
    Option(
        name='topics.image', default='',
        description="Images of the world's first camera go out here; empty: the world's own topic.",
    ),
    Option(
        name='topics.wrist_image', default='',
        description="Images of the world's second camera go out here, if it has one; empty: the world's own topic.",
    ),
    Option(
        name='picture_size', default='',
        description="WIDTHxHEIGHT of the pictures of the world's first camera, for what larger ones cost: each "
        'pixel as often as fits, and beside them those at the edges; empty: as they are drawn.',
    ),
    Option(
        name='topics.reward', default='reward',
        description="The world's score as it is now, 0 to 1, goes out here, 10 Hz: what recordings have as rewards.",
    ),
    Option(
        name='topics.robot_description', default='robot_description',
        description="The arm's URDF goes out here, once and to whoever comes later, if the world has an arm.",
    ),
]  # fmt: skip
JOINTS, EPISODE, CLOCK, DESCRIPTION, REWARD = 'joint states', 'episode', 'clock', 'description', 'reward'


def renamed(topics: Mapping[str, str], others: Sequence[str]) -> dict[str, str]:
    """Return ``topics`` with the first ones replaced by those of ``others`` that are not empty."""
    given = dict(zip(topics, others, strict=False))
    return {name: given.get(name) or topic for name, topic in topics.items()}


def size_of_text(text: str) -> tuple[int, int] | None:
    """Return height and width [pixels] of what is written as WIDTHxHEIGHT; None of what is empty."""
    if not text:
        return None
    found = re.fullmatch(r'(\d{1,4})x(\d{1,4})', text)
    if found is None:
        raise ConfigError(f'picture_size: got {text!r}, allowed WIDTHxHEIGHT, as 640x480')
    return int(found[2]), int(found[1])


def enlarged(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return pixels (H, W, 3) repeated to the height and width, and the rest as at the edges; they are the middle."""
    times = min(length // own for length, own in zip(size, pixels.shape[:2], strict=True))
    if times < 1:
        height, width = pixels.shape[:2]
        raise ConfigError(f'picture_size: got {size[1]}x{size[0]}, allowed {width}x{height}, as it is drawn, or more')
    large = pixels.repeat(times, axis=0).repeat(times, axis=1)
    before = [(length - own) // 2 for length, own in zip(size, large.shape[:2], strict=True)]
    sides = [(first, length - own - first) for length, own, first in zip(size, large.shape, before, strict=False)]
    return np.pad(large, [*sides, (0, 0)], mode='edge')


class RobotOutputs:
    """The publishers of a node for a world."""

    def __init__(self, node: ManagedNode, world: World, spec: WorldSpec, *, camera: bool, clock: bool) -> None:
        self._node = node
        self._frame_id = node.value('frame_id') or spec.name
        self._description = world.robot_description
        self._size, self._first_camera = size_of_text(node.value('picture_size')), next(iter(spec.camera_topics), '')
        poses = renamed(spec.pose_topics, [node.value('topics.pose')])
        cameras = renamed(spec.camera_topics, [node.value('topics.image'), node.value('topics.wrist_image')])
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        kinds: dict[str, tuple[type, str, QoSProfile]] = {
            JOINTS: (JointState, node.value('topics.joint_states'), reliable(10)),
            EPISODE: (DiagnosticStatus, '~/episode', reliable(10)),
            REWARD: (Float64, node.value('topics.reward'), reliable(10)),
            **{name: (PoseStamped, topic, reliable(10)) for name, topic in poses.items()},
        }
        if camera:
            kinds |= {name: (Image, topic, reliable(2)) for name, topic in cameras.items()}
        if clock:
            kinds[CLOCK] = (Clock, '/clock', QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT))
        if self._description:
            kinds[DESCRIPTION] = (String, node.value('topics.robot_description'), latched)
        self._publishers: dict[str, Any] = {
            kind: node.create_lifecycle_publisher(cls, topic, qos) for kind, (cls, topic, qos) in kinds.items()
        }

    def close(self) -> None:
        """Remove the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}

    def describe(self) -> None:
        """Say what the robot looks like."""
        if self._description:
            self._publishers[DESCRIPTION].publish(String(data=self._description))

    def seen(self, camera: str) -> bool:
        """Whether anybody looks at the pictures of a camera."""
        return bool(self._publishers[camera].get_subscription_count())

    def tell_time(self, now: int) -> None:
        """Say what time it is [ns], if this robot makes the time."""
        if CLOCK in self._publishers:
            self._publishers[CLOCK].publish(Clock(clock=Time(nanoseconds=now).to_msg()))

    def tell_reading(self, reading: Reading) -> None:
        """Say what a sensor read."""
        if isinstance(reading, JointReading):
            kind = JOINTS
        elif isinstance(reading, RewardReading):
            kind = REWARD
        else:
            kind = reading.name if isinstance(reading, PoseReading) else reading.camera
        if self._size is not None and isinstance(reading, ImageReading) and reading.camera == self._first_camera:
            reading = replace(reading, pixels=enlarged(reading.pixels, self._size))
        message = encoding.reading_to_message(reading, frame_id=self._frame_id)
        self._publishers[kind].publish(message)

    def tell_episode(self, episode: EpisodeStatus, rejected: int) -> None:
        """Report how the episode goes, and how many trajectories the controller has rejected since activation."""
        self._publishers[EPISODE].publish(_episode_message(episode, rejected))


def _episode_message(episode: EpisodeStatus, rejected: int) -> DiagnosticStatus:
    typed = Episode(
        seed=episode.seed,
        elapsed=episode.elapsed,
        score=episode.score,
        success=episode.success,
        rejected=rejected,
        details={key: str(value) for key, value in episode.details.items()},
    )
    return DiagnosticStatus(
        level=OK,
        name='episode',
        message='success' if episode.success else 'running',
        values=[KeyValue(key=key, value=value) for key, value in encode(typed).items()],
    )
