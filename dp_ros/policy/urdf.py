"""A URDF, read as far as planning needs it.

With the standard library. ROS's own parser (urdfdom_py, on PyPI urdf-parser-py) refuses whole descriptions for parts
that do not matter here (a transmission without type), needs lxml, and drops limits of acceleration and jerk.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from dp_ros.errors import ConfigError, listed
from dp_ros.policy.limits import MAGNITUDES
from dp_ros.policy.robot_model import KINDS, MOVING, RobotModel, UrdfJoint


def read_urdf(path: Path | str) -> RobotModel:
    """Read a URDF file."""
    try:
        text = Path(path).read_text(encoding='utf-8')
    except OSError as error:
        raise ConfigError(f'URDF {path}: cannot be read ({error.strerror}); allowed a URDF file') from error
    return parse_urdf(text, f'URDF {path}')


def parse_urdf(text: str, source: str = 'URDF') -> RobotModel:
    """Build a robot from a URDF's text; ``source`` says in errors where it came from."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ConfigError(f'{source}: not valid XML: {error}') from error
    if root.tag != 'robot':
        raise ConfigError(f'{source}: got <{root.tag}>, allowed <robot> (is it xacro? run xacro on it first)')
    joints = [_joint(element, source) for element in root.findall('joint')]
    names, children = [joint.name for joint in joints], [joint.child for joint in joints]
    for what, found in (('joint', names), ('child link', children)):
        twice = sorted({name for name in found if found.count(name) > 1})
        if twice:
            raise ConfigError(f'{source}: got {what} {listed(twice)} more than once, allowed once')
    robot = RobotModel(source=source, joints={joint.name: joint for joint in joints})
    _check_tree(robot)
    return robot


def _check_tree(robot: RobotModel) -> None:
    parent = {joint.child: joint.parent for joint in robot.joints.values()}
    for start in parent:
        at = start
        for _ in parent:
            at = parent.get(at, '')
        if at in parent:
            raise ConfigError(f'{robot.source}: got link {start!r} below itself, allowed a tree')
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
        raise ConfigError(f'{where} {element.tag} {key}: got {text!r}, allowed a finite number')
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
        raise ConfigError(f'{where} {element.tag} {key}: got {text!r}, allowed three finite numbers')
    return values


def _rotation(rpy: np.ndarray) -> np.ndarray:
    """Return R = Rz(yaw) Ry(pitch) Rx(roll), as URDF has it."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy), np.cos(rpy)
    return np.array([
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ])  # fmt: skip
