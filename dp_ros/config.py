"""Configuration as frozen dataclasses, and a strict reader: an unknown key is an error that names the known ones."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from dp_ros.errors import ConfigError, listed

T = TypeVar('T')

JointField = Literal['position', 'velocity', 'effort']
PoseFeature = Literal['x', 'y', 'z', 'qx', 'qy', 'qz', 'qw', 'sin_yaw', 'cos_yaw']
Unit = Literal['m', 'rad']
ActionSource = Literal['joint_trajectory', 'joint_state', 'float64_multi_array', 'next_state']


def _check_names(what: str, names: tuple[str, ...]) -> None:
    if not names:
        raise ConfigError(f'{what}: got none, allowed one or more')
    if len(set(names)) != len(names):
        raise ConfigError(f'{what}: got {listed(names)}, allowed no name twice')


@dataclass(frozen=True, kw_only=True)
class JointStream:
    """Chosen joints of a ``sensor_msgs/JointState`` topic: for each field, the joints in order."""

    kind: ClassVar[str] = 'joint_state'
    name: str
    topic: str
    joints: tuple[str, ...]
    units: tuple[Unit, ...]
    fields: tuple[JointField, ...] = ('position',)
    max_age: float = 0.1

    def __post_init__(self) -> None:
        _check_names(f'stream {self.name!r} joints', self.joints)
        _check_names(f'stream {self.name!r} fields', self.fields)
        if len(self.units) != len(self.joints):
            raise ConfigError(
                f'stream {self.name!r} units: got {len(self.units)} for {len(self.joints)} joints, '
                'allowed one (m or rad) for each joint'
            )
        _check_max_age(self.name, self.max_age)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one decoded message."""
        return (len(self.joints) * len(self.fields),)


@dataclass(frozen=True, kw_only=True)
class PoseStream:
    """Chosen features of a ``geometry_msgs/PoseStamped`` topic, in order. Lengths in [m]."""

    kind: ClassVar[str] = 'pose'
    name: str
    topic: str
    features: tuple[PoseFeature, ...]
    max_age: float = 0.1

    def __post_init__(self) -> None:
        _check_names(f'stream {self.name!r} features', self.features)
        _check_max_age(self.name, self.max_age)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one decoded message."""
        return (len(self.features),)


@dataclass(frozen=True, kw_only=True)
class ImageStream:
    """A camera: ``sensor_msgs/Image`` or ``CompressedImage``, decoded to RGB and resized to ``height`` x ``width``."""

    kind: ClassVar[str] = 'image'
    name: str
    topic: str
    height: int
    width: int
    compressed: bool = False
    max_age: float = 0.2

    def __post_init__(self) -> None:
        for what, value in (('height', self.height), ('width', self.width)):
            if not 8 <= value <= 4096:
                raise ConfigError(f'stream {self.name!r} {what}: got {value}, allowed 8 to 4096 pixels')
        _check_max_age(self.name, self.max_age)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one decoded message."""
        return (self.height, self.width, 3)


def _check_max_age(name: str, max_age: float) -> None:
    if not 0.0 < max_age <= 60.0:
        raise ConfigError(f'stream {name!r} max_age: got {max_age}, allowed more than 0, up to 60 s')


Stream = JointStream | PoseStream | ImageStream


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """What the policy commands: position set points of joints, on a ``trajectory_msgs/JointTrajectory`` topic.

    Attributes
    ----------
    topic
        Where the robot takes commands.
    source
        Where recordings have the set points from: ``joint_trajectory``, commands to a trajectory controller;
        ``joint_state``, a leader arm's joint states; ``float64_multi_array``, commands to a group of forwarded joints,
        in the order of `joints`; ``next_state``, where the robot itself was a control step later.
    source_topic
        Of that source in the recordings. Empty: `topic`, or for ``next_state`` the stream that observes the joints.
    source_joints
        What the source calls the joints, in the order of `joints`. Empty: the same.

    """

    topic: str
    joints: tuple[str, ...]
    units: tuple[Unit, ...]
    source: ActionSource = 'joint_trajectory'
    source_topic: str = ''
    source_joints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_names('action joints', self.joints)
        if len(self.units) != len(self.joints):
            raise ConfigError(
                f'action units: got {len(self.units)} for {len(self.joints)} joints, '
                'allowed one (m or rad) for each joint'
            )
        if self.source == 'joint_state' and not self.source_topic:
            raise ConfigError("action source_topic: got none, allowed the leader's JointState topic")
        if self.source_joints:
            self._check_source_joints()

    def _check_source_joints(self) -> None:
        _check_names('action source_joints', self.source_joints)
        if self.source == 'float64_multi_array':
            raise ConfigError(
                f'action source_joints: got {listed(self.source_joints)}, allowed none with float64_multi_array, '
                'whose numbers have no names and are taken in the order of joints'
            )
        if len(self.source_joints) != len(self.joints):
            raise ConfigError(
                f'action source_joints: got {len(self.source_joints)} for {len(self.joints)} joints, '
                'allowed one for each joint, or none'
            )


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """Everything that training and running must agree on. It travels inside the bundle.

    Attributes
    ----------
    control_dt
        Time between actions, and between observations [s].
    arrival_wait
        How long after a tick a message stamped before it may still arrive and count [s].

    """

    streams: tuple[Stream, ...]
    action: ActionSpec
    control_dt: float = 0.1
    arrival_wait: float = 0.02
    obs_horizon: int = 2
    pred_horizon: int = 16
    exec_horizon: int = 8

    def __post_init__(self) -> None:
        _check_names('streams', tuple(s.name for s in self.streams))
        if not 0.001 <= self.control_dt <= 10.0:
            raise ConfigError(f'control_dt: got {self.control_dt}, allowed 0.001 to 10 s')
        if not 0.0 <= self.arrival_wait < self.control_dt:
            raise ConfigError(
                f'arrival_wait: got {self.arrival_wait}, allowed 0 up to control_dt ({self.control_dt} s)'
            )
        if self.obs_horizon < 1:
            raise ConfigError(f'obs_horizon: got {self.obs_horizon}, allowed 1 or more')
        if not 1 <= self.exec_horizon <= self.pred_horizon:
            raise ConfigError(
                f'exec_horizon: got {self.exec_horizon}, allowed 1 to pred_horizon ({self.pred_horizon})'
            )

    def stream(self, name: str) -> Stream:
        """Return the stream called ``name``."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise ConfigError(f'stream: got {name!r}, allowed {listed(s.name for s in self.streams)}')


def read_yaml(path: Path | str, cls: type[T]) -> T:
    """Read a YAML file into the dataclass ``cls``; anything unknown, missing or of a wrong type is a ConfigError."""
    path = Path(path)
    try:
        text = path.read_text(encoding='utf-8')
    except OSError as error:
        raise ConfigError(f'configuration {path}: cannot be read ({error.strerror}); allowed a YAML file') from error
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f'configuration {path}: not valid YAML: {error}') from error
    return parse(cls, raw, str(path))


def parse(cls: type[T], raw: object, where: str = '') -> T:
    """Build the dataclass ``cls`` from plain mappings and lists, strictly."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f'{where}: got {type(raw).__name__}, allowed a mapping of {listed(_known(cls))}')
    raw = dict(raw)
    if hasattr(cls, 'kind'):
        raw.pop('kind', None)
    hints = get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    unknown = [key for key in raw if key not in known]
    if unknown:
        raise ConfigError(f'{where}: got unknown key {listed(map(repr, unknown))}, allowed {listed(known)}')
    missing = [
        name for name, f in known.items() if name not in raw and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f'{where}: missing key {listed(map(repr, missing))}')
    values = {key: _value(hints[key], value, f'{where}.{key}' if where else str(key)) for key, value in raw.items()}
    return cls(**values)


def to_plain(value: Any) -> Any:
    """Turn a configuration dataclass into mappings and lists that YAML and JSON can hold; `parse` reads it back."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {'kind': value.kind, **plain} if hasattr(value, 'kind') else plain
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _known(cls: type) -> list[str]:
    return [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def _value(hint: Any, raw: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin is Literal:
        if raw not in get_args(hint):
            raise ConfigError(f'{where}: got {raw!r}, allowed {listed(get_args(hint))}')
        return raw
    if origin in (types.UnionType, typing.Union):
        return _union(get_args(hint), raw, where)
    if origin is tuple:
        if not isinstance(raw, list | tuple):
            raise ConfigError(f'{where}: got {raw!r}, allowed a list')
        item = get_args(hint)[0]
        return tuple(_value(item, entry, f'{where}[{i}]') for i, entry in enumerate(raw))
    if origin in (dict, Mapping):
        if not isinstance(raw, Mapping):
            raise ConfigError(f'{where}: got {raw!r}, allowed a mapping')
        item = get_args(hint)[1]
        return {str(key): _value(item, entry, f'{where}.{key}') for key, entry in raw.items()}
    if dataclasses.is_dataclass(hint):
        return parse(hint, raw, where)  # type: ignore[arg-type]
    return _scalar(hint, raw, where)


def _union(options: tuple[Any, ...], raw: Any, where: str) -> Any:
    if raw is None and type(None) in options:
        return None
    kinds = {option.kind: option for option in options if hasattr(option, 'kind')}
    if kinds:
        kind = raw.get('kind') if isinstance(raw, Mapping) else None
        if kind not in kinds:
            raise ConfigError(f'{where}.kind: got {kind!r}, allowed {listed(kinds)}')
        return parse(kinds[kind], raw, where)
    rest = [option for option in options if option is not type(None)]
    return _value(rest[0], raw, where)


def _scalar(hint: Any, raw: Any, where: str) -> Any:
    if hint is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if hint is Path and isinstance(raw, str):
        return Path(raw)
    if not isinstance(raw, hint) or (isinstance(raw, bool) and hint is not bool):
        raise ConfigError(f'{where}: got {raw!r} ({type(raw).__name__}), allowed {hint.__name__}')
    return raw
