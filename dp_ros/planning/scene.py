"""What stands, moves and is held around a robot: read strictly from a YAML file, and kept up to date by messages.

Everything is given in the frame of the URDF's root link. An obstacle that moves has a bound of its speed, and an age
beyond which nothing is known of it: that is a fault, by which the robot stops, and not an obstacle that is gone.
Lengths in [m], speeds in [m/s], stamps and ages in [ns] of robot time, quaternions x, y, z, w.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np

from dp_ros.bounded_files import inside
from dp_ros.data import NANOSECONDS
from dp_ros.errors import ConfigError, DataError, check_range, listed
from dp_ros.options import REQUIRED, check_options, option
from dp_ros.planning.forecast import LEAST_BASE, MOST_BASE, Forecast
from dp_ros.task.streams import check_topic
from dp_ros.task.yaml_reader import read_yaml

MOST = 1000
"""Obstacles of a scene."""
SMALLEST, LARGEST = 1e-4, 100.0
"""Of a shape [m]."""
FARTHEST = 1000.0
"""From the origin [m]."""
TOO_MANY = ''
"""The name of what stands for all that a source brought beyond `MOST`."""
JITTER = 0.01
"""By which poses of an obstacle may differ from where it is [m]: more than its speed explains is a fault."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box with edges ``size`` (x, y, z) [m] around its middle."""

    kind: ClassVar[str] = 'box'
    size: tuple[float, float, float]

    def __post_init__(self) -> None:
        _check_lengths('box size', self.size, 3)


@dataclass(frozen=True, kw_only=True)
class Sphere:
    """A sphere of ``radius`` [m]."""

    kind: ClassVar[str] = 'sphere'
    radius: float

    def __post_init__(self) -> None:
        _check_lengths('sphere radius', (self.radius,), 1)


@dataclass(frozen=True, kw_only=True)
class Cylinder:
    """A cylinder of ``radius`` and ``length`` [m] around its middle, along z."""

    kind: ClassVar[str] = 'cylinder'
    radius: float
    length: float

    def __post_init__(self) -> None:
        _check_lengths('cylinder radius and length', (self.radius, self.length), 2)


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A triangle mesh in a file beside the scene's, STL, OBJ or DAE; ``hull`` takes its convex hull."""

    kind: ClassVar[str] = 'mesh'
    file: Path
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    hull: bool = False

    def __post_init__(self) -> None:
        _check_lengths('mesh scale', self.scale, 3)


Shape = Box | Sphere | Cylinder | Mesh


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """A shape that stands still."""

    name: str
    shape: Shape
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    orientation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        check_pose(f'obstacle {self.name!r}', self.position, self.orientation)


@dataclass(frozen=True, kw_only=True)
class MovingObstacle:
    """A shape whose pose comes as messages."""

    name: str
    shape: Shape
    topic: str = option(REQUIRED, '`geometry_msgs/PoseStamped` of it, in the frame of the scene.')
    speed: float = option(REQUIRED, 'What no point of it exceeds.', unit='m/s', low=0.0, high=10.0)
    max_age: float = option(
        0.3, 'Age of the newest pose beyond which the robot stops.', unit='s', low=0.01, high=10.0
    )
    acceleration: float | None = option(
        None, 'What the acceleration of no point of it exceeds; then it is kept clear of by where its velocity leads.',
        unit='m/s^2', low=0.0, high=100.0,
    )
    pose_error: float = option(
        0.005, 'What a pose may be wrong by, where `acceleration` is given.', unit='m', low=0.0, high=0.1
    )

    def __post_init__(self) -> None:
        check_options(self, f'obstacle {self.name!r} ')
        check_topic(f'obstacle {self.name!r} topic', self.topic)
        if self.acceleration is not None and isinstance(self.shape, Mesh):
            raise ConfigError(f'obstacle {self.name!r} acceleration: got one of a mesh, allowed of other shapes')


@dataclass(frozen=True, kw_only=True)
class Attached:
    """A shape that a link holds, at a pose in the link's frame; it may touch that link and ``touch_links``."""

    name: str
    link: str
    shape: Shape
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    orientation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)
    touch_links: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_pose(f'attached {self.name!r}', self.position, self.orientation)


Part = TypeVar('Part', Obstacle, MovingObstacle, Attached)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is around a robot.

    Attributes
    ----------
    frame
        In which everything is given: the URDF's root link.
    obstacles, moving, attached
        What stands, what moves, and what is held.
    joints
        Positions of joints of the URDF that the policy does not move [rad or m], by name.
    allowed
        Pairs of links that may touch each other, besides those of the SRDF or of what touches at rest.

    """

    frame: str
    obstacles: tuple[Obstacle, ...] = ()
    moving: tuple[MovingObstacle, ...] = ()
    attached: tuple[Attached, ...] = ()
    joints: Mapping[str, float] = field(default_factory=dict)
    allowed: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        parts: list[Obstacle | MovingObstacle | Attached] = [*self.obstacles, *self.moving, *self.attached]
        if len(parts) > MOST:
            raise ConfigError(f'scene: got {len(parts)} obstacles, allowed up to {MOST}')
        names = [part.name for part in parts]
        twice = sorted({name for name in names if names.count(name) > 1 or not name})
        if twice:
            raise ConfigError(
                f'scene: got obstacles named {listed(map(repr, twice))}, allowed a different name for each'
            )
        for pair in self.allowed:
            if len(pair) != 2:
                raise ConfigError(f'scene allowed: got {listed(pair)}, allowed two links')


def read_scene(path: Path) -> Scene:
    """Read a scene from a YAML file; its meshes must lie in the same folder or below it."""
    scene = read_yaml(path, Scene)
    folder = path.parent

    def located(part: Part) -> Part:
        if not isinstance(part.shape, Mesh):
            return part
        try:
            file = inside(folder, str(part.shape.file))
        except DataError as error:
            raise ConfigError(f'scene {path}: {part.name!r}: {error}') from error
        if not file.is_file():
            raise ConfigError(f'scene {path}: {part.name!r}: got no mesh {file}, allowed a file')
        return replace(part, shape=replace(part.shape, file=file))

    return replace(
        scene,
        obstacles=tuple(map(located, scene.obstacles)),
        moving=tuple(map(located, scene.moving)),
        attached=tuple(map(located, scene.attached)),
    )


@dataclass(frozen=True, kw_only=True)
class Item:
    """Hold what a source says of one thing that stands: its shapes, and what of it cannot be used, or ''.

    A thing that cannot be used keeps the shapes that were known of it: one that is left out is run into. ``place`` and
    ``turn`` are the pose that its shapes move with, where the source has one.
    """

    parts: tuple[Obstacle, ...] = ()
    fault: str = ''
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """Where a moving obstacle was at ``stamp``."""

    stamp: int
    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float]


class LiveScene:
    """A scene with what messages have brought since.

    Attributes
    ----------
    frame
        The scene's frame.
    standing
        Everything that stands, by name.
    version
        Grows whenever something that stands has changed.

    """

    def __init__(self, scene: Scene) -> None:
        self.scene, self.frame = scene, scene.frame
        self.moving = {part.name: part for part in scene.moving}
        self._items: dict[str, dict[str, Item]] = {'': {part.name: Item(parts=(part,)) for part in scene.obstacles}}
        self._faults: dict[str, str] = {}
        self._seen: dict[str, tuple[Sighting, ...]] = {}
        self._fast: dict[str, tuple[int, str]] = {}
        self.version = 0
        self.standing: dict[str, Obstacle] = {part.name: part for part in scene.obstacles}

    def forget(self) -> None:
        """Forget all sightings, as where the clock was set."""
        self._seen.clear()
        self._fast.clear()

    def sighting(self, name: str) -> Sighting | None:
        """Return the newest sighting of a moving obstacle."""
        seen = self._seen.get(name)
        return seen[-1] if seen else None

    def sightings(self, name: str) -> tuple[Sighting, ...]:
        """Return the newest sightings of a moving obstacle, in order of time."""
        return self._seen.get(name, ())

    def forecast(self, name: str) -> Forecast | None:
        """Return where a moving obstacle goes from its newest sighting on; None where its velocity is not known."""
        seen = self.sightings(name)
        return self._forecast(self.moving[name], seen[:-1], seen[-1]) if seen else None

    def _forecast(self, part: MovingObstacle, seen: tuple[Sighting, ...], last: Sighting) -> Forecast | None:
        """Return the forecast from ``last`` on, of its velocity since what was ``seen`` before that."""
        before = _earlier(seen, last.stamp)
        if part.acceleration is None or before is None:
            return None
        base = (last.stamp - before.stamp) / NANOSECONDS
        first, newest = (np.vstack([[one.position], _places(part.shape, one, rim=True)]) for one in (before, last))
        return Forecast.seen(first, newest, base, acceleration=part.acceleration, error=part.pose_error)

    def see(self, name: str, frame: str, sighting: Sighting) -> None:
        """Take the pose of a moving obstacle; one in another frame, or that is none, is a fault until a good one."""
        try:
            self.check_frame(frame)
            check_pose('pose', sighting.position, sighting.orientation)
        except ConfigError as error:
            self._faults[name] = f'obstacle {name!r}: {error}'
            return
        self._faults.pop(name, None)
        before, part = self.sightings(name), self.moving[name]
        if not before or sighting.stamp > before[-1].stamp:
            if before and (wrong := self._wrong_motion(part, before, sighting)):
                self._fast[name] = sighting.stamp, wrong
            kept = (*before, sighting) if part.acceleration is not None else (sighting,)
            self._seen[name] = tuple(one for one in kept if one.stamp >= sighting.stamp - 2 * MOST_BASE)

    def _wrong_motion(self, part: MovingObstacle, seen: tuple[Sighting, ...], sighting: Sighting) -> str:
        """Return which bound a sighting passes, after what was ``seen``, or ''."""
        seconds = (sighting.stamp - seen[-1].stamp) / NANOSECONDS
        ways = _places(part.shape, sighting) - _places(part.shape, seen[-1])
        if float(np.linalg.norm(ways, axis=1).max()) > part.speed * seconds + JITTER:
            return f'faster than its speed, {part.speed:g} m/s'
        middle = _earlier(seen, sighting.stamp)
        forecast = None if middle is None else self._forecast(part, seen, middle)
        if middle is not None and forecast is not None:
            seconds = (sighting.stamp - middle.stamp) / NANOSECONDS
            ways = _places(part.shape, sighting) - _places(part.shape, middle) - forecast.velocity * seconds
            if float(np.linalg.norm(ways, axis=1).max()) > forecast.spread(seconds) + part.pose_error:
                return f'beyond its acceleration, {part.acceleration:g} m/s^2'
        return ''

    def items(self, source: str) -> Mapping[str, Item]:
        """Return what a source has brought, by the names that the source has for it."""
        return self._items.get(source, {})

    def bring(self, source: str, items: Mapping[str, Item]) -> None:
        """Take what a source says of everything that it has brought, now; what it leaves out is gone.

        Names of a source are its own: no source removes what another has brought. Too much of it is not taken, and a
        fault until the source begins anew.
        """
        self._faults.pop(source, None)
        before, count = self.items(source), sum(len(item.parts) for item in items.values())
        others = sum(len(item.parts) for key, given in self._items.items() if key != source for item in given.values())
        if count + others > MOST or len(items) > MOST:
            too_many = Item(fault=f'got {max(count + others, len(items))} obstacles, allowed up to {MOST}')
            items = {**before, TOO_MANY: too_many}
        self._items[source] = dict(items)
        if [item.parts for item in items.values()] != [item.parts for item in before.values()]:
            self.standing = {
                called: replace(part, name=called)
                for key, given in self._items.items()
                for item in given.values()
                for part in item.parts
                for called in [f'{key}/{part.name}' if key else part.name]
            }
            self.version += 1

    def wrong(self, source: str, reason: str) -> None:
        """Note that what a source sent cannot be used; it is a fault until it sends something good."""
        self._faults[source] = f'{source}: {reason}'

    def fault(self, now: int) -> str:
        """Return why the scene cannot be relied on at ``now``, or ''."""
        for reason in self._faults.values():
            return reason
        for source, items in self._items.items():
            for item in items.values():
                if item.fault:
                    return f'{source}: {item.fault}'
        for name, part in self.moving.items():
            seen, allowed = self.sighting(name), part.max_age
            if seen is None:
                return f'obstacle {name!r}: got no pose on {part.topic}, allowed one every {allowed:.2f} s'
            age = (now - seen.stamp) / NANOSECONDS
            if not abs(age) <= allowed:
                return f'obstacle {name!r}: got a pose {age:.2f} s old on {part.topic}, allowed {allowed:.2f} s'
            stamp, wrong = self._fast.get(name, (-(2**62), ''))
            if now - stamp <= allowed * NANOSECONDS:
                return f'obstacle {name!r}: got poses on {part.topic} that are {wrong}'
        return ''

    def check_frame(self, frame: str) -> None:
        """Raise :class:`ConfigError` unless a message is in the scene's frame."""
        if frame.lstrip('/') != self.frame:
            raise ConfigError(f"got frame {frame!r}, allowed {self.frame!r}, the URDF's root")


def _earlier(seen: tuple[Sighting, ...], stamp: int) -> Sighting | None:
    """Return the newest sighting that is long enough before ``stamp`` to tell a velocity, and not too long."""
    found = next((one for one in reversed(seen) if stamp - one.stamp >= LEAST_BASE), None)
    return None if found is None or stamp - found.stamp > MOST_BASE else found


def _places(shape: Shape, seen: Sighting, *, rim: bool = False) -> np.ndarray:
    """Return where points of a shape are (N, 3) [m] that go farthest when it turns: of a mesh its origin alone.

    With ``rim``, those on the axis of a cylinder are as far out as its rim, which goes no farther when the axis turns.
    """
    points = np.zeros((1, 3))
    if isinstance(shape, Box):
        points = np.array([*product((-0.5, 0.5), repeat=3)]) * shape.size
    elif isinstance(shape, Cylinder):
        end = np.hypot(shape.length / 2, shape.radius) if rim else shape.length / 2
        points = np.array([[0.0, 0.0, -end], [0.0, 0.0, end]])
    x, y, z, w = seen.orientation
    across = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(seen.position + points + 2.0 * points @ (w * across + across @ across).T)


def check_pose(what: str, position: tuple[float, ...], orientation: tuple[float, ...]) -> None:
    """Raise :class:`ConfigError` unless this is a position [m] and a unit quaternion."""
    if len(position) != 3 or not np.isfinite(position).all() or max(map(abs, position)) > FARTHEST:
        raise ConfigError(f'{what} position: got {listed(position)}, allowed three numbers up to {FARTHEST:g} m')
    if len(orientation) != 4 or not abs(np.linalg.norm(orientation) - 1.0) <= 1e-3:
        raise ConfigError(f'{what} orientation: got {listed(orientation)}, allowed a unit quaternion x, y, z, w')


def _check_lengths(what: str, lengths: tuple[float, ...], count: int) -> None:
    if len(lengths) != count:
        raise ConfigError(f'{what}: got {listed(lengths)}, allowed {count} numbers')
    for length in lengths:
        check_range(what, length, SMALLEST, LARGEST, unit='m')
