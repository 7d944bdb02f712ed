"""The streams that a policy observes: what is taken from which topic, as values."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

from dp_ros.errors import ConfigError, listed
from dp_ros.options import REQUIRED, check_options, like, option
from dp_ros.task.units import UNITS, Channel, Unit, converted, joint_channels, pose_channels

JointField = Literal['position', 'velocity', 'effort']
PoseFeature = Literal['x', 'y', 'z', 'qx', 'qy', 'qz', 'qw', 'sin_yaw', 'cos_yaw']

NAME = 'What it is called.'
TOPIC = 'Where messages come from.'
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
Content = Literal['rgb', 'mono', 'depth']
Fit = Literal['stretch', 'letterbox']


def check_names(what: str, names: tuple[str, ...]) -> None:
    """Raise ConfigError unless there is a name, and none twice."""
    if not names:
        raise ConfigError(f'{what}: got none, allowed one or more')
    if len(set(names)) != len(names):
        raise ConfigError(f'{what}: got {listed(names)}, allowed no name twice')


def check_topic(what: str, topic: str) -> None:
    """Raise ConfigError unless this is a name that ROS takes for a topic, absolute, relative or private."""
    if not re.fullmatch(r'(~?/)?[^\W\d]\w*(/[^\W\d]\w*)*', topic, re.ASCII):
        raise ConfigError(
            f'{what}: got {topic!r}, allowed letters, digits and underscores between single slashes, no digit first'
        )


# fmt: off
@dataclass(frozen=True, kw_only=True)
class JointStream:
    """Chosen joints of a ``sensor_msgs/JointState`` topic: for each field, the joints in order."""

    kind: ClassVar[str] = 'joint_state'
    name: str = option(REQUIRED, NAME)
    topic: str = option(REQUIRED, TOPIC)
    joints: tuple[str, ...] = option(REQUIRED, 'Names of the joints, in order.')
    units: tuple[Unit, ...] = option(REQUIRED, UNITS)
    fields: tuple[JointField, ...] = option(('position',), 'What is observed of each joint.')
    max_age: float = option(0.1, 'An older message is no observation.', unit='s', low=1e-9, high=60.0)
    scale: tuple[float, ...] = option(
        (), "What the source's positions and velocities are multiplied by, live and recorded, to be in m or rad: one "
        'for each joint, for percent for example; empty: nothing.',
    )

    def __post_init__(self) -> None:
        check_names(f'stream {self.name!r} joints', self.joints)
        check_names(f'stream {self.name!r} fields', self.fields)
        units, scale = converted(f'stream {self.name!r}', self.joints, self.units, self.scale)
        object.__setattr__(self, 'units', units)
        object.__setattr__(self, 'scale', scale)
        check_options(self, f'stream {self.name!r} ')

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one decoded message."""
        return (len(self.joints) * len(self.fields),)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Name and unit of each number."""
        return joint_channels(self.joints, self.units, self.fields)

    def factors(self, field: JointField) -> tuple[float, ...] | float:
        """Return what a source's numbers of a field are multiplied by; efforts are taken as they are."""
        return self.scale if self.scale and field != 'effort' else 1.0


@dataclass(frozen=True, kw_only=True)
class PoseStream:
    """Chosen features of a ``geometry_msgs/PoseStamped`` topic, in order. Lengths in [m]."""

    kind: ClassVar[str] = 'pose'
    name: str = option(REQUIRED, NAME)
    topic: str = option(REQUIRED, TOPIC)
    features: tuple[PoseFeature, ...] = option(REQUIRED, 'What is observed of the pose.')
    max_age: float = like(JointStream, 'max_age', 0.1)
    frame: str = option('', 'The `frame_id` that poses must have, in recordings and on the robot; empty: any.')
    near: tuple[float, ...] = option(
        UPRIGHT, 'The orientation (x, y, z, w) that poses mostly have: of the two quaternions of an orientation the '
        'one nearer to it counts, so that `qx` to `qw` do not change their sign. `[1, 0, 0, 0]` for a tool that points '
        'down.',
    )

    def __post_init__(self) -> None:
        check_names(f'stream {self.name!r} features', self.features)
        if len(self.near) != 4 or not any(self.near):
            raise ConfigError(f'stream {self.name!r} near: got {listed(self.near)}, allowed a quaternion x, y, z, w')
        check_options(self, f'stream {self.name!r} ')

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one decoded message."""
        return (len(self.features),)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Name and unit of each number."""
        return pose_channels(self.features)


@dataclass(frozen=True, kw_only=True)
class ImageStream:
    """A camera: ``sensor_msgs/Image`` or ``CompressedImage``, decoded to RGB and resized to ``height`` x ``width``."""

    kind: ClassVar[str] = 'image'
    name: str = option(REQUIRED, NAME)
    topic: str = option(REQUIRED, TOPIC)
    height: int = option(REQUIRED, 'Rows of the picture after resizing.', unit='pixels', low=8, high=4096)
    width: int = option(REQUIRED, 'Columns of the picture after resizing.', unit='pixels', low=8, high=4096)
    compressed: bool = option(False, 'Whether the topic has `CompressedImage`.')
    max_age: float = like(JointStream, 'max_age', 0.2)
    content: Content = option(
        'rgb', 'What its pictures are: colours (`rgb`), grey (`mono`), or distances (`depth`: 16UC1 in mm, 32FC1 in m)'
        '. Others are refused. Grey and depth become three equal channels.',
    )
    depth_range: tuple[float, ...] = option(
        (), 'Of depth, the nearest and the farthest distance: shades 1 to 255, 0 where nothing was measured.',
        unit='m', low=0.0, high=100.0,
    )
    fit: Fit = option(
        'stretch', 'How pictures of another shape come to this size: `stretch`, all of one size, that of the '
        'recordings; `letterbox`, whole with black beside them, whatever their size.',
    )

    def __post_init__(self) -> None:
        self._check_depth()
        check_options(self, f'stream {self.name!r} ')

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one decoded message."""
        return (self.height, self.width, 3)

    def _check_depth(self) -> None:
        if self.content != 'depth':
            if self.depth_range:
                raise ConfigError(f'stream {self.name!r} depth_range: got one, allowed with content: depth only')
            return
        if self.compressed:
            raise ConfigError(f'stream {self.name!r} content: got depth of compressed pictures, allowed raw ones')
        if len(self.depth_range) != 2 or not self.depth_range[0] < self.depth_range[1]:
            raise ConfigError(
                f'stream {self.name!r} depth_range: got {listed(self.depth_range)}, allowed the nearest and the '
                'farthest distance, 0 to 100 m'
            )
# fmt: on


Stream = JointStream | PoseStream | ImageStream

_PICTURES = {'sensor_msgs/msg/CompressedImage': 'set', 'sensor_msgs/msg/Image': 'remove'}


def picture_advice(got: str, allowed: Collection[str]) -> str:
    """Return what to do where a topic has pictures of the other of their two ROS types; '' where it has none."""
    if got not in _PICTURES or got in allowed or not set(allowed) & set(_PICTURES):
        return ''
    return f'{_PICTURES[got]} compressed: true on its stream in the training configuration'
