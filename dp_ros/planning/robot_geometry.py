"""A robot's collision geometry, as Pinocchio reads it from a URDF: its shapes, what it holds, and what moves each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dp_ros.errors import ConfigError, listed
from dp_ros.planning.allowed_pairs import adjacent, allowed_pairs, pairs_apart
from dp_ros.planning.scene import Attached, MovingObstacle, Obstacle, Scene
from dp_ros.planning.shapes import check_mesh, coal_shape, libraries, make_convex
from dp_ros.robot.model import MOVING, RobotModel
from dp_ros.robot.urdf import parse_xml

MOST_SHAPES = 500
"""Collision shapes of a robot."""
NUMBERS = {'box': ('size',), 'sphere': ('radius',), 'cylinder': ('radius', 'length'), 'capsule': ('radius', 'length')}


@dataclass(frozen=True, kw_only=True, eq=False)
class RobotGeometry:
    """Collision shapes of a robot, and how the policy's joints move them.

    Attributes
    ----------
    model, shapes
        Pinocchio's model, and its geometry model without pairs.
    links
        The link of each shape.
    pairs
        Pairs of shapes that must not touch, (P, 2).
    levers
        How far a point of each shape can move with each of the policy's joints, (G, A) [m per rad or m].
    relative_levers
        The same of the shapes of each pair against each other (P, A).

    """

    robot: RobotModel
    joints: tuple[str, ...]
    model: Any
    shapes: Any
    links: tuple[str, ...]
    pairs: np.ndarray
    levers: np.ndarray
    relative_levers: np.ndarray
    _fixed: np.ndarray
    _moves: tuple[tuple[int, int, int, float, float], ...]  # column, index of q, its size, multiplier, offset

    def configuration(self, positions: np.ndarray) -> np.ndarray:
        """Return Pinocchio's configuration for the policy's joint positions (A,)."""
        q = self._fixed.copy()
        for column, index, size, multiplier, offset in self._moves:
            value = multiplier * positions[column] + offset
            if size == 1:
                q[index] = value
            else:  # a joint that turns without end
                q[index], q[index + 1] = np.cos(value), np.sin(value)
        return q

    def placements(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rotations (M, G, 3, 3) and places (M, G, 3) [m] of the shapes at joint positions (M, A).

        As Pinocchio's `updateGeometryPlacements` does one by one.
        """
        count = len(positions)
        rotations, places = [np.broadcast_to(np.eye(3), (count, 3, 3))], [np.zeros((count, 3))]
        for joint in self._tree:
            rotation, place = rotations[joint.parent], places[joint.parent]
            place = place + rotation @ joint.place
            if joint.turned:
                rotation = rotation @ joint.rotation
            values = np.full(count, joint.offset)
            if joint.column >= 0:
                values = values + joint.multiplier * positions[:, joint.column]
            if joint.sliding:
                place = place + (rotation @ joint.axis) * values[:, None]
            else:
                sine, cosine = np.sin(values)[:, None, None], np.cos(values)[:, None, None]
                rotation = rotation @ (joint.turns[0] + cosine * joint.turns[1] + sine * joint.turns[2])
            rotations.append(rotation)
            places.append(place)
        frames = [(rotations[parent], places[parent]) for parent in self._parents]
        turned = np.stack([rotation for rotation, _ in frames], axis=1) @ self._own[0]
        moved = [place + rotation @ own for (rotation, place), own in zip(frames, self._own[1], strict=True)]
        return turned, np.stack(moved, axis=1)

    @cached_property
    def _parents(self) -> list[int]:
        return [shape.parentJoint for shape in self.shapes.geometryObjects]

    @cached_property
    def _own(self) -> tuple[np.ndarray, list[np.ndarray]]:
        placements = [shape.placement for shape in self.shapes.geometryObjects]
        return np.stack([p.rotation for p in placements]), [p.translation.copy() for p in placements]

    @cached_property
    def _tree(self) -> list[_Joint]:
        """Return the joints of the model as arrays, parents first."""
        moves = {index: (column, multiplier, offset) for column, index, _, multiplier, offset in self._moves}
        found = []
        for number, name in enumerate(list(self.model.names)[1:], 1):
            joint, described = self.model.joints[number], self.robot.joints[name]
            fixed = self._fixed[joint.idx_q : joint.idx_q + joint.nq]
            still = float(fixed[0]) if joint.nq == 1 else float(np.arctan2(fixed[1], fixed[0]))
            column, multiplier, offset = moves.get(joint.idx_q, (-1, 0.0, still))
            x, y, z = axis = described.axis
            along, across = np.outer(axis, axis), np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
            found.append(
                _Joint(
                    parent=self.model.parents[number],
                    rotation=self.model.jointPlacements[number].rotation.copy(),
                    place=self.model.jointPlacements[number].translation.copy(),
                    axis=axis,
                    turns=(along, np.eye(3) - along, across),
                    sliding=described.kind == 'prismatic',
                    column=column,
                    multiplier=multiplier,
                    offset=offset,
                )
            )
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class _Joint:
    """A moving joint: its parent among them, its frame there, what of it turns, what moves it; column -1: nothing."""

    parent: int
    rotation: np.ndarray
    place: np.ndarray
    axis: np.ndarray
    turns: tuple[np.ndarray, np.ndarray, np.ndarray]
    sliding: bool
    column: int
    multiplier: float
    offset: float

    @cached_property
    def turned(self) -> bool:
        """Whether its frame is turned in that of its parent."""
        return not np.array_equal(self.rotation, np.eye(3))


def robot_geometry(
    robot: RobotModel,
    joints: tuple[str, ...],
    scene: Scene,
    *,
    srdf: Path | None = None,
    home: np.ndarray | None = None,
) -> RobotGeometry:
    """Return a robot's collision geometry.

    Parameters
    ----------
    robot
        With the text of its URDF.
    joints
        Those that the policy moves, in order.
    scene
        Whose frame, held objects, positions of other joints and allowed pairs count.
    srdf
        A file with the pairs that may touch; None: those that are joined, and those that touch at ``home``.
    home
        Where the robot is free (A,) [rad or m]; None: the middle of each range, or 0.

    Raises
    ------
    ConfigError
        If the URDF has no collision geometry, a mesh is missing, a link or joint does not exist, the scene is in
        another frame than the URDF's root, or Pinocchio or Coal is not installed.

    """
    pinocchio, coal = libraries()
    if scene.frame != robot.root:
        raise ConfigError(f'scene frame: got {scene.frame!r}, allowed {robot.root!r}, the root of {robot.source}')
    folders, described = _check_geometry(robot)
    try:
        model = pinocchio.buildModelFromXML(robot.text)
        shapes = pinocchio.buildGeomFromUrdfString(
            model, robot.text, pinocchio.GeometryType.COLLISION, None, [str(folder) for folder in folders]
        )
    except Exception as error:  # whatever the parsers of URDF and meshes raise
        raise ConfigError(f'{robot.source}: got what Pinocchio cannot read ({error}), allowed a URDF') from error
    built = Counter(str(model.frames[shape.parentFrame].name) for shape in shapes.geometryObjects)
    lost = [link for link, count in described.items() if built[link] != count]
    if lost:  # the reader leaves out what it does not understand, and says so on the console alone
        raise ConfigError(
            f'{robot.source}: got collision geometry of links {listed(lost)} that the reader of URDFs leaves out, '
            'allowed boxes, spheres, cylinders and meshes whose origin and scale are three finite numbers'
        )
    make_convex(shapes, robot.source)
    _check_names(robot, scene, shapes)
    held = {part.name: part for part in scene.attached}
    for part in scene.attached:
        _attach(pinocchio, coal, model, shapes, part)
    links = tuple(_link(model, shape, held) for shape in shapes.geometryObjects)
    moves, fixed = _moves(robot, joints, scene, pinocchio, model)
    movers = _movers(model, shapes)
    levers = _levers(robot, joints, model, shapes, movers)
    made = RobotGeometry(
        robot=robot,
        joints=joints,
        model=model,
        shapes=shapes,
        links=links,
        pairs=np.zeros((0, 2), dtype=np.int64),
        levers=np.array([sum(each.values(), np.zeros(len(joints))) for each in levers]),
        relative_levers=np.zeros((0, len(joints))),
        _fixed=fixed,
        _moves=moves,
    )
    rest = _middle(robot, joints) if home is None else home
    allowed = allowed_pairs(robot, scene, srdf, held)
    pairs = pairs_apart(links, movers, allowed)
    if srdf is None:
        pairs = _apart_at(made, pairs, movers, rest)
    between = [_between(levers[i], levers[j], len(joints)) for i, j in pairs]
    return replace(made, pairs=pairs, relative_levers=np.array(between).reshape(-1, len(joints)))


def _check_geometry(robot: RobotModel) -> tuple[list[Path], Counter[str]]:
    """Check the numbers and files of the collision elements; return folders of packages, and their count by link."""
    if not robot.text:
        raise ConfigError(f'{robot.source}: got no text of it, allowed a URDF with collision geometry')
    root = parse_xml(robot.text, robot.source)
    elements = [(link.get('name', ''), c) for link in root.iter('link') for c in link.findall('collision')]
    if not elements:
        raise ConfigError(f'{robot.source}: got no <collision> in any link, allowed collision geometry with a scene')
    if len(elements) > MOST_SHAPES:
        raise ConfigError(f'{robot.source}: got {len(elements)} collision shapes, allowed up to {MOST_SHAPES}')
    prefixes = [Path(p) / 'share' for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    folders = prefixes + [Path(p) for p in os.environ.get('ROS_PACKAGE_PATH', '').split(os.pathsep) if p]
    for link, element in elements:
        where = f'{robot.source}: collision geometry of link {link!r}'
        geometry = element.find('geometry')
        shape = None if geometry is None or not len(geometry) else geometry[0]
        if shape is None or shape.tag not in (*NUMBERS, 'mesh'):
            raise ConfigError(f'{where}: got no shape, allowed {listed((*NUMBERS, "mesh"))}')
        for key in NUMBERS.get(shape.tag, ()):
            _check_numbers(shape.get(key, ''), 3 if key == 'size' else 1, f'{where} {key}')
        if shape.tag == 'mesh':
            check_mesh(_mesh_file(shape.get('filename', ''), folders, where), where)
    return folders, Counter(link for link, _ in elements)


def _check_names(robot: RobotModel, scene: Scene, shapes: Any) -> None:
    """Check that no obstacle has the name of a link or of a shape of one: contacts are known by their names."""
    own = {*robot.links, *(shape.name for shape in shapes.geometryObjects)}
    parts: list[Obstacle | MovingObstacle | Attached] = [*scene.obstacles, *scene.moving, *scene.attached]
    names = [part.name for part in parts if part.name in own]
    if names:
        raise ConfigError(f'scene: got obstacles named {listed(names)}, allowed other names than those of the links')


def _check_numbers(text: str, count: int, where: str) -> None:
    try:
        values = [float(part) for part in text.split()]
    except ValueError:
        values = []
    if len(values) != count or not all(0.0 < value < 1e3 for value in values):
        raise ConfigError(f'{where}: got {text[:80]!r}, allowed {count} number{"s" * (count > 1)} more than 0 [m]')


def _mesh_file(name: str, folders: Sequence[Path], where: str) -> Path:
    if name.startswith('package://'):
        inner = name.removeprefix('package://')
        found = [folder / inner for folder in folders if (folder / inner).is_file()]
        if not found or '..' in Path(inner).parts:
            raise ConfigError(f'{where}: got no mesh {name!r}, allowed one below {listed(folders)}')
        return found[0]
    path = Path(name.removeprefix('file://'))
    if not path.is_absolute():
        raise ConfigError(f'{where}: got the mesh {name!r}, allowed package://PACKAGE/... or an absolute path')
    return path


def _attach(pinocchio: ModuleType, coal: ModuleType, model: Any, shapes: Any, part: Attached) -> None:
    if not model.existBodyName(part.link):
        raise ConfigError(f'scene attached {part.name!r}: got no link {part.link!r}, allowed one of the URDF')
    frame = model.frames[model.getBodyId(part.link)]
    turn = np.array(part.orientation) / np.linalg.norm(part.orientation)
    pose = pinocchio.XYZQUATToSE3(np.array([*part.position, *turn]))
    made = pinocchio.GeometryObject(
        part.name, frame.parentJoint, model.getBodyId(part.link), frame.placement * pose, coal_shape(part.shape)
    )
    shapes.addGeometryObject(made)


def _link(model: Any, shape: Any, held: Mapping[str, Attached]) -> str:
    return shape.name if shape.name in held else str(model.frames[shape.parentFrame].name)


def _moves(
    robot: RobotModel, joints: tuple[str, ...], scene: Scene, pinocchio: ModuleType, model: Any
) -> tuple[tuple[tuple[int, int, int, float, float], ...], np.ndarray]:
    """Return what moves with the policy's joints, and the configuration of all others."""
    fixed, moves = pinocchio.neutral(model), []
    needed = []
    free = {n for n, j in robot.joints.items() if j.kind in MOVING and j.mimic is None and n not in joints}
    unknown = [name for name in scene.joints if name not in free]
    if unknown:
        raise ConfigError(
            f'scene joints: got {listed(unknown)}, allowed joints of {robot.source} that move, mimic none, and that '
            f'the policy does not move: {listed(sorted(free))}'
        )
    for name in list(model.names)[1:]:
        joint = model.joints[model.getJointId(name)]
        described = robot.joints[name]
        master, multiplier, offset = described.mimic or (name, 1.0, 0.0)
        if described.kind not in MOVING:
            raise ConfigError(f'{robot.source}: joint {name!r}: got type {described.kind}, allowed {listed(MOVING)}')
        if master in joints:
            moves.append((joints.index(master), joint.idx_q, joint.nq, multiplier, offset))
        elif master in scene.joints:
            value = multiplier * scene.joints[master] + offset
            fixed[joint.idx_q : joint.idx_q + joint.nq] = [value] if joint.nq == 1 else [np.cos(value), np.sin(value)]
        else:
            needed.append(master)
    if needed:
        raise ConfigError(
            f'scene joints: got no position of {listed(sorted(set(needed)))}, allowed one for each joint of '
            f'{robot.source} that the policy does not move'
        )
    return tuple(moves), fixed


def _movers(model: Any, shapes: Any) -> list[list[str]]:
    """Return the moving joints between the root and each shape."""
    found = []
    for shape in shapes.geometryObjects:
        at, names = shape.parentJoint, []
        while at:
            names.append(model.names[at])
            at = model.parents[at]
        found.append(names)
    return found


def _levers(
    robot: RobotModel, joints: tuple[str, ...], model: Any, shapes: Any, movers: list[list[str]]
) -> list[dict[str, np.ndarray]]:
    """Return how far a point of each shape can move with each of the policy's joints (A,), by the joint that moves."""
    found = []
    for shape, names in zip(shapes.geometryObjects, movers, strict=True):
        shape.geometry.computeLocalAABB()
        middle = shape.placement.act(np.asarray(shape.geometry.aabb_center).ravel())
        reach, levers = float(np.linalg.norm(middle)) + float(shape.geometry.aabb_radius), {}
        for name in names:  # from the shape to the root
            described = robot.joints[name]
            master, multiplier, offset = described.mimic or (name, 1.0, 0.0)
            sliding = described.kind == 'prismatic'
            lever = np.zeros(len(joints))
            if master in joints:
                lever[joints.index(master)] = abs(multiplier) * (1.0 if sliding else reach)
            levers[name] = lever
            if sliding:
                limit = robot.limits([master])
                ends = np.array([*limit.lower, *limit.upper]) * multiplier + offset
                reach += float(np.abs(ends).max())
            reach += float(np.linalg.norm(model.jointPlacements[model.getJointId(name)].translation))
        found.append(levers)
    return found


def _between(one: dict[str, np.ndarray], other: dict[str, np.ndarray], count: int) -> np.ndarray:
    """Return the levers (A,) of two shapes against each other: a joint below both moves them as one."""
    apart = [lever for name, lever in (*one.items(), *other.items()) if not (name in one and name in other)]
    return sum(apart, np.zeros(count))


def _middle(robot: RobotModel, joints: tuple[str, ...]) -> np.ndarray:
    limits = robot.limits(joints)
    ends = np.stack([limits.lowest, limits.highest])
    return np.where(np.isfinite(ends).all(axis=0), np.where(np.isfinite(ends), ends, 0.0).mean(axis=0), 0.0)


def _apart_at(made: RobotGeometry, pairs: np.ndarray, movers: list[list[str]], rest: np.ndarray) -> np.ndarray:
    """Return those of ``pairs`` that no single joint connects, and that do not touch at rest (A,)."""
    pinocchio, _ = libraries()
    candidates = [(int(i), int(j)) for i, j in pairs if not adjacent(movers[i], movers[j])]
    data, shapes = made.model.createData(), made.shapes.copy()
    for pair in candidates:
        shapes.addCollisionPair(pinocchio.CollisionPair(*pair))
    placed = shapes.createData()
    pinocchio.updateGeometryPlacements(made.model, data, shapes, placed, made.configuration(rest))
    pinocchio.computeDistances(shapes, placed)
    apart = [c for c, r in zip(candidates, placed.distanceResults, strict=True) if r.min_distance > 0.0]
    return np.array(apart, dtype=np.int64).reshape(-1, 2)
