"""A URDF, read as far as planning needs it.

With the standard library. ROS's own parser (urdfdom_py, on PyPI urdf-parser-py) refuses whole descriptions for parts
that do not matter here (a transmission without type), needs lxml, and drops limits of acceleration and jerk.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from dp_ros.bounded_files import from_xml, read_text, reading, shown
from dp_ros.errors import ConfigError, listed
from dp_ros.robot.joint_limits import MAGNITUDES
from dp_ros.robot.model import KINDS, MOVING, RobotModel, UrdfJoint

MOST_TEXT = 2**23
"""Characters of a URDF; meshes and textures are files of their own."""
MOST_JOINTS = 1000
FARTHEST = 1e6
"""Largest number in an origin or an axis: [m], or [rad]."""


def read_urdf(path: Path | str) -> RobotModel:
    """Read a URDF file."""
    with reading(f'URDF {path}', 'a URDF file'):
        text = read_text(path, MOST_TEXT)
    return parse_urdf(text, f'URDF {path}')


def parse_urdf(text: str, source: str = 'URDF') -> RobotModel:
    """Build a robot from a URDF's text; ``source`` says in errors where it came from."""
    root = parse_xml(text, source)
    found = root.findall('joint')
    if len(found) > MOST_JOINTS:
        raise ConfigError(f'{source}: got {len(found)} joints, allowed up to {MOST_JOINTS}')
    joints = [_joint(element, source) for element in found]
    names, children = [joint.name for joint in joints], [joint.child for joint in joints]
    for what, given in (('joint', names), ('child link', children)):
        twice = sorted(name for name, count in Counter(given).items() if count > 1)
        if twice:
            raise ConfigError(f'{source}: got {what} {listed(twice)} more than once, allowed once')
    robot = RobotModel(source=source, joints={joint.name: joint for joint in joints}, text=text)
    _check_tree(robot)
    return robot


def parse_xml(text: str, source: str) -> ElementTree.Element:
    """Return the root of a URDF's or an SRDF's text, which is a robot and defines no entities."""
    if len(text) > MOST_TEXT:
        raise ConfigError(f'{source}: got {len(text)} characters, allowed up to {MOST_TEXT}')
    with reading(source):
        root = from_xml(text)
    if root.tag != 'robot':
        raise ConfigError(f'{source}: got <{root.tag[:80]}>, allowed <robot> (is it xacro? run xacro on it first)')
    return root


def _check_tree(robot: RobotModel) -> None:
    parent = {joint.child: joint.parent for joint in robot.joints.values()}
    rooted: set[str] = set()
    for start in parent:
        way: dict[str, None] = {}
        at = start
        while at in parent and at not in rooted:
            if at in way:
                raise ConfigError(f'{robot.source}: got link {at!r} below itself, allowed a tree')
            way[at] = None
            at = parent[at]
        rooted |= way.keys()
    for joint in robot.joints.values():
        if joint.mimic is None:
            continue
        master = robot.joints.get(joint.mimic[0])
        if master is None or master.mimic is not None:
            raise ConfigError(
                f'{robot.source}: joint {joint.name!r} mimics {joint.mimic[0]!r}, allowed a joint that mimics none'
            )


def _joint(element: ElementTree.Element, source: str) -> UrdfJoint:
    name, kind = element.get('name', ''), element.get('type', '')
    where = f'{source}: joint {name!r}'
    if not name or kind not in KINDS:
        raise ConfigError(f'{where}: got type {kind!r}, allowed a name, and one of {listed(KINDS)}')
    links = {}
    for end in ('parent', 'child'):
        found = element.find(end)
        links[end] = '' if found is None else found.get('link', '')
        if not links[end]:
            raise ConfigError(f'{where}: got no {end} link, allowed one')
    origin, axis = element.find('origin'), element.find('axis')
    direction = _numbers(axis, 'xyz', where, (1.0, 0.0, 0.0))
    length = float(np.linalg.norm(direction))
    if kind in MOVING and not length > 0.0:
        raise ConfigError(f'{where}: got axis 0 0 0, allowed a direction')
    return UrdfJoint(
        name=name,
        kind=kind,
        rotation=_rotation(_numbers(origin, 'rpy', where, (0.0, 0.0, 0.0))),
        place=_numbers(origin, 'xyz', where, (0.0, 0.0, 0.0)),
        axis=direction / (length or 1.0),
        limit=_limit(element, where),
        mimic=_mimic(element, where),
        **links,
    )


def _limit(element: ElementTree.Element, where: str) -> dict[str, float]:
    limit = element.find('limit')
    names = ('lower', 'upper', *MAGNITUDES)
    found = {} if limit is None else {name: _number(limit, name, where) for name in names if name in limit.attrib}
    soft = element.find('safety_controller')
    for name, pick in (('lower', max), ('upper', min)):
        key = f'soft_{name}_limit'
        if soft is not None and key in soft.attrib:
            found[name] = pick(_number(soft, key, where), found.get(name, _number(soft, key, where)))
    return found


def _mimic(element: ElementTree.Element, where: str) -> tuple[str, float, float] | None:
    mimic = element.find('mimic')
    if mimic is None:
        return None
    return mimic.get('joint', ''), _number(mimic, 'multiplier', where, '1'), _number(mimic, 'offset', where, '0')


def _number(element: ElementTree.Element, key: str, where: str, default: str = '') -> float:
    text = element.get(key, default)
    try:
        value = float(text)
    except ValueError:
        value = float('nan')
    if not np.isfinite(value):
        raise ConfigError(f'{where} {element.tag} {key}: got {shown(text)}, allowed a finite number')
    return value


def _numbers(element: ElementTree.Element | None, key: str, where: str, default: tuple[float, ...]) -> np.ndarray:
    text = None if element is None else element.get(key)
    if element is None or text is None:
        return np.array(default)
    try:
        values = np.array([float(part) for part in text.split()])
    except ValueError:
        values = np.array([])
    if len(values) != 3 or not np.isfinite(values).all():
        raise ConfigError(f'{where} {element.tag} {key}: got {shown(text)}, allowed three finite numbers')
    if np.abs(values).max() > FARTHEST:
        raise ConfigError(f'{where} {element.tag} {key}: got {shown(text)}, allowed up to {FARTHEST:g}')
    return values


def _rotation(rpy: np.ndarray) -> np.ndarray:
    """Return R = Rz(yaw) Ry(pitch) Rx(roll), as URDF has it."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy), np.cos(rpy)
    return np.array([
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ])  # fmt: skip
