"""Describe a robot in a MuJoCo model: the YAML file of a world, and its `WorldSpec`. No physics are needed for that."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from dp_ros.bounded_files import reading
from dp_ros.errors import ConfigError, listed
from dp_ros.motion.outputs import Output
from dp_ros.options import REQUIRED, check_options, option
from dp_ros.simulation.world import CONTROLLER, World, WorldSpec, controller, flat_pose
from dp_ros.task.streams import check_names, check_topic
from dp_ros.task.units import Unit
from dp_ros.task.yaml_reader import read_yaml

WITHOUT_PARAMETERS = Path('config/mjcf.yaml')
LARGEST_PICTURE = 1024
"""Rows or columns of a camera's pictures."""
MOST_NOISE = 64.0
"""Of a level of a picture."""
FARTHEST = 1e3
"""Largest number of a start, a spread or a box [m] or [rad]."""


# fmt: off
@dataclass(frozen=True, kw_only=True)
class DrivenJoint:
    """A joint of the model that a controller moves."""

    name: str
    unit: Unit = option('rad', '`rad` for a hinge, `m` for a slide.')
    actuator: str = option('', 'The position actuator that moves it; empty: the only one on this joint.')
    start: float | None = option(
        None, 'Where episodes begin; without it, where the model or its keyframe has it.', low=-FARTHEST, high=FARTHEST
    )
    spread: float = option(0.0, 'By how much starts differ, to each side.', low=0.0, high=FARTHEST)
    velocity: float | None = option(
        None, "Its limit in the robot's description [rad/s or m/s]; without it, the description has none.",
        low=1e-6, high=FARTHEST,
    )

    def __post_init__(self) -> None:
        check_options(self, f'joint {self.name}: ')


@dataclass(frozen=True, kw_only=True)
class FileController:
    """A joint_trajectory_controller: its name, its joints in order, its topic (empty: ``NAME/joint_trajectory``)."""

    name: str
    joints: tuple[str, ...]
    topic: str = ''

    @property
    def output(self) -> Output:
        """The controller as a world's spec has it."""
        made = controller(self.name, self.joints)
        return replace(made, topic=self.topic.removeprefix('/')) if self.topic else made


@dataclass(frozen=True, kw_only=True)
class FileCamera:
    """A camera of the model."""

    name: str
    topic: str = option('', 'Empty: `NAME/color/image_raw`.')
    height: int = option(96, 'Of its pictures.', unit='pixels', low=8, high=LARGEST_PICTURE)
    width: int = option(96, 'Of its pictures.', unit='pixels', low=8, high=LARGEST_PICTURE)
    noise: float = option(
        1.0, 'Standard deviation of what a level, 0 to 255, is off. Without any, a picture of what stands still is '
        'taken for one of a camera that hangs.', low=0.0, high=MOST_NOISE,
    )

    def __post_init__(self) -> None:
        check_options(self, f'camera {self.name}: ')


@dataclass(frozen=True, kw_only=True)
class TrackedBody:
    """A body whose pose is published."""

    body: str
    topic: str = option('', 'Empty: `BODY_pose`.')
    spread: tuple[float, ...] = option(
        (0.0, 0.0, 0.0), 'By how much its start differs to each side: x, y [m], turn about z [rad]; for a body with a '
        'free joint alone.', low=0.0, high=FARTHEST,
    )

    def __post_init__(self) -> None:
        check_options(self, f'tracked {self.body}: ')
        if len(self.spread) != 3:
            raise ConfigError(
                f'tracked {self.body}: spread: got {listed(self.spread)}, allowed three numbers from 0 up: x, y, yaw'
            )


@dataclass(frozen=True, kw_only=True)
class SuccessBox:
    """Success is a body whose origin is inside of a box in the world; corners are x, y, z."""

    body: str
    lower: tuple[float, ...] = option(REQUIRED, 'Its lower corner.', unit='m', low=-FARTHEST, high=FARTHEST)
    upper: tuple[float, ...] = option(REQUIRED, 'Its upper corner.', unit='m', low=-FARTHEST, high=FARTHEST)

    def __post_init__(self) -> None:
        check_options(self, 'success: ')
        for what, corner in (('lower', self.lower), ('upper', self.upper)):
            if len(corner) != 3:
                raise ConfigError(f'success: {what}: got {listed(corner)}, allowed three numbers: x, y, z')
        if not all(low < high for low, high in zip(self.lower, self.upper, strict=True)):
            raise ConfigError(
                f'success: got lower {listed(self.lower)} and upper {listed(self.upper)}, allowed lower below upper'
            )


@dataclass(frozen=True, kw_only=True)
class WorldFile:
    """Hold what the file of a world has; paths are relative to it."""

    model: str = option(
        REQUIRED, "MJCF or URDF that MuJoCo takes, in the file's folder or below it, as everything that it names."
    )
    joints: tuple[DrivenJoint, ...] = option(REQUIRED, 'Those that controllers move, in the order of a set point.')
    controllers: tuple[FileController, ...] = option((), 'Empty: one `arm_controller` of all joints.')
    joint_states: tuple[str, ...] = option(
        (), 'Names in the order that joint states have them, joints that nothing moves, as of a mimic finger, among '
        'them. Empty: the joints, in their order.',
    )
    cameras: tuple[FileCamera, ...] = ()
    tracked: tuple[TrackedBody, ...] = ()
    success: SuccessBox | None = None
    keyframe: str = option('', "Of the model, where episodes begin; empty: the model's own beginning.")
    tool: str = option(
        '', 'Site or body that films follow; empty: the body of the last joint of the first controller.'
    )
    view: str = option('', 'Camera of pictures for people; empty: the first of `cameras`.')
    urdf: str = option('', "The robot's description; empty: it is made of the model.")
    parameters: str = option('', "The nodes' parameters for this robot, as `dp_ros init` writes them from recordings.")
    training: str = option('', 'Its training file, likewise.')
    seconds_after_success: float = option(
        0.0, 'For how long recordings go on after success.', unit='s', low=0.0, high=60.0
    )

    def __post_init__(self) -> None:
        check_names('joints', self.names)
        check_options(self)
        for what, names in (
            ('cameras', tuple(camera.name for camera in self.cameras)),
            ('tracked', tuple(tracked.body for tracked in self.tracked)),
            ('joint_states', self.joint_states),
        ):
            if names:
                check_names(what, names)
        missing = [name for name in self.names if self.joint_states and name not in self.joint_states]
        if missing:
            raise ConfigError(f'joint_states: got none for {listed(missing)}, allowed a place for each of the joints')
        if self.view and self.view not in [camera.name for camera in self.cameras]:
            raise ConfigError(f'view: got {self.view!r}, allowed {listed(camera.name for camera in self.cameras)}')
        self._check_topics()

    def _check_topics(self) -> None:
        topics = [*self.pose_topics.values(), *self.camera_topics.values(), 'joint_states']
        topics += [entry.output.topic for entry in self.controllers] or [controller(CONTROLLER, ()).topic]
        for topic in topics:
            check_topic('topic', topic)
        for entry in self.controllers:
            if '/' in entry.name:
                raise ConfigError(f'controller: got {entry.name!r}, allowed a name without a slash')
            check_topic('controller', entry.name)
        twice = sorted({topic for topic in topics if topics.count(topic) > 1})
        if twice:
            raise ConfigError(f'topics: got {listed(twice)} more than once, allowed a different one for each')

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the joints."""
        return tuple(joint.name for joint in self.joints)

    @property
    def states(self) -> tuple[str, ...]:
        """Names in the order of joint states."""
        return self.joint_states or self.names

    @property
    def pose_topics(self) -> dict[str, str]:
        """Topics by the names of tracked bodies."""
        return {t.body: (t.topic or f'{t.body}_pose').removeprefix('/') for t in self.tracked}

    @property
    def camera_topics(self) -> dict[str, str]:
        """Topics by the names of cameras."""
        return {c.name: (c.topic or f'{c.name}/color/image_raw').removeprefix('/') for c in self.cameras}
# fmt: on


def read_world_spec(path: Path | str) -> WorldSpec:
    """Return the spec of the world that a file describes; ConfigError names the file, the field and what is allowed."""
    path = Path(path).expanduser()
    with reading(f'world {path}'):
        changed = path.stat().st_mtime_ns
    return _read(path.absolute(), changed)


@lru_cache(maxsize=16)
def _read(path: Path, _: int) -> WorldSpec:
    try:
        return _spec(path, read_yaml(path, WorldFile))
    except ConfigError as error:
        if str(path) in str(error):
            raise
        raise ConfigError(f'configuration {path}: {error}') from error


def _spec(path: Path, file: WorldFile) -> WorldSpec:
    name = re.sub(r'\W', '_', path.stem)
    box = file.success
    x, y, z = ((a + b) / 2.0 for a, b in zip(box.lower, box.upper, strict=True)) if box else (0.0, 0.0, 0.0)
    return WorldSpec(
        name=name if name.isidentifier() else f'_{name}',
        make_world=partial(_make_world, path, file),
        joints=file.names,
        units=tuple(joint.unit for joint in file.joints),
        controllers=tuple(entry.output for entry in file.controllers),
        goal_pose=flat_pose(x, y, 0.0, z),
        pose_topics=file.pose_topics,
        camera_topics=file.camera_topics,
        parameter_file=path.parent / file.parameters if file.parameters else WITHOUT_PARAMETERS,
        training_file=path.parent / file.training if file.training else None,
        seconds_after_success=file.seconds_after_success,
    )


def _make_world(path: Path, file: WorldFile, *, disturbance: float) -> World:
    if disturbance:
        raise ConfigError(f'disturbance: got {disturbance}, allowed 0 in the world of {path}')
    from dp_ros.simulation.worlds.mjcf.world import ModelWorld

    return ModelWorld(path, file)
