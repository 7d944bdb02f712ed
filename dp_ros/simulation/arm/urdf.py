"""The arm as URDF, made of the compiled model, so that the two can't say different things."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import mujoco
import numpy as np

from dp_ros.simulation.arm import JOINTS

ROOT, LINKS, TOOL = 'link_0', tuple(f'link_{i}' for i in range(1, 8)), 'tool'
VELOCITY = {'joint_7': 3.0}  # [rad/s]
VELOCITY_OF_THE_REST = 2.0


FINGER_VELOCITY = 0.3  # [m/s]


def robot_description(model: mujoco.MjModel, name: str, fingers: tuple[str, ...] = ()) -> str:
    """Return the URDF: seven revolute joints with their limits, and the link `tool` fixed to the last one.

    ``fingers`` are sliding joints of the tool; the second and further ones mimic the first.
    """
    robot = ElementTree.Element('robot', name=name)
    for name in (ROOT, *LINKS, TOOL):
        _add_link(robot, model, name)
    for name, parent, child in zip(JOINTS, (ROOT, *LINKS[:-1]), LINKS, strict=True):
        joint = _add_joint(robot, model, name, 'revolute', (parent, child))
        _add_axis(joint, model, name, VELOCITY.get(name, VELOCITY_OF_THE_REST))
    _add_joint(robot, model, 'tool_joint', 'fixed', (LINKS[-1], TOOL))
    for name in fingers:
        body = model.body(int(model.joint(name).bodyid[0])).name
        _add_link(robot, model, body)
        joint = _add_joint(robot, model, name, 'prismatic', (TOOL, body))
        _add_axis(joint, model, name, FINGER_VELOCITY)
        if name != fingers[0]:
            ElementTree.SubElement(joint, 'mimic', joint=fingers[0])
    ElementTree.indent(robot)
    return ElementTree.tostring(robot, encoding='unicode')


def _add_joint(
    robot: ElementTree.Element, model: mujoco.MjModel, name: str, kind: str, links: tuple[str, str]
) -> ElementTree.Element:
    body = model.body(links[1]).id
    return add_joint(robot, name, kind, links, origin(model.body_pos[body], model.body_quat[body]))


def add_joint(
    robot: ElementTree.Element, name: str, kind: str, links: tuple[str, str], place: ElementTree.Element
) -> ElementTree.Element:
    """Add a joint between two links, of which the second is at ``place`` in the first's frame."""
    joint = ElementTree.SubElement(robot, 'joint', name=name, type=kind)
    ElementTree.SubElement(joint, 'parent', link=links[0])
    ElementTree.SubElement(joint, 'child', link=links[1])
    joint.append(place)
    return joint


def _add_axis(joint: ElementTree.Element, model: mujoco.MjModel, name: str, velocity: float) -> None:
    number = model.joint(name).id
    ElementTree.SubElement(joint, 'axis', xyz=written(model.jnt_axis[number]))
    lower, upper = model.jnt_range[number]
    ElementTree.SubElement(
        joint,
        'limit',
        lower=written([lower]),
        upper=written([upper]),
        effort=written([model.jnt_actfrcrange[number][1]]),
        velocity=written([velocity]),
    )


def _add_link(robot: ElementTree.Element, model: mujoco.MjModel, name: str) -> None:
    """Add a link that looks like the body, and touches what that touches."""
    link = ElementTree.SubElement(robot, 'link', name=name)
    body = model.body(name)
    first = int(body.geomadr[0])
    for number in range(first, first + int(body.geomnum[0])):
        add_shape(link, model, number)


def add_shape(link: ElementTree.Element, model: mujoco.MjModel, number: int, anchor: np.ndarray | None = None) -> None:
    """Add the shape of a geom to a link, which lies at ``anchor`` (3,) in the body's frame [m], or at its origin.

    URDF has no capsules, so they become cylinders, which are as long as they are where they collide. Meshes and
    ellipsoids become the boxes around them, of planes nothing is added. Geoms that touch nothing are not added to what
    collides.
    """
    size, kind, shapes = model.geom_size[number], mujoco.mjtGeom(int(model.geom_type[number])), mujoco.mjtGeom
    if kind == shapes.mjGEOM_PLANE:
        return
    place = model.geom_pos[number] if anchor is None else model.geom_pos[number] - anchor
    if kind not in (shapes.mjGEOM_BOX, shapes.mjGEOM_SPHERE, shapes.mjGEOM_CAPSULE, shapes.mjGEOM_CYLINDER):
        middle, size, kind = np.zeros(3), model.geom_aabb[number][3:], shapes.mjGEOM_BOX
        mujoco.mju_rotVecQuat(middle, model.geom_aabb[number][:3], model.geom_quat[number])
        place = place + middle
    touches = bool(model.geom_contype[number] or model.geom_conaffinity[number])
    for tag in ('visual', 'collision')[: 1 + touches]:
        element = ElementTree.SubElement(link, tag)
        element.append(origin(place, model.geom_quat[number]))
        shape = ElementTree.SubElement(element, 'geometry')
        if kind == shapes.mjGEOM_BOX:
            ElementTree.SubElement(shape, 'box', size=written(2.0 * size))
        elif kind == shapes.mjGEOM_SPHERE:
            ElementTree.SubElement(shape, 'sphere', radius=written(size[:1]))
        else:
            ends = 2.0 * size[:1] if kind == shapes.mjGEOM_CAPSULE and tag == 'collision' else 0.0
            length = 2.0 * size[1:2] + ends
            ElementTree.SubElement(shape, 'cylinder', radius=written(size[:1]), length=written(length))
    visual = link.findall('visual')[-1]
    number_of, own = int(model.geom_matid[number]), model.geom_rgba[number]
    name = model.material(number_of).name if number_of >= 0 else f'geom_{number}'
    material = ElementTree.SubElement(visual, 'material', name=name)
    ElementTree.SubElement(material, 'color', rgba=written(model.mat_rgba[number_of] if number_of >= 0 else own))


def origin(position: np.ndarray, quaternion: np.ndarray) -> ElementTree.Element:
    """Return the element of a position (3,) [m] and a quaternion w, x, y, z."""
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, quaternion)
    r = turn.reshape(3, 3)
    # URDF turns about the fixed axes x, y, z in this order: R = Rz(yaw) Ry(pitch) Rx(roll).
    pitch = np.arctan2(-r[2, 0], np.hypot(r[0, 0], r[1, 0]))
    if np.hypot(r[0, 0], r[1, 0]) > 1e-9:
        roll, yaw = np.arctan2(r[2, 1], r[2, 2]), np.arctan2(r[1, 0], r[0, 0])
    else:
        roll, yaw = np.arctan2(-r[1, 2], r[1, 1]), 0.0
    return ElementTree.Element('origin', xyz=written(position), rpy=written([roll, pitch, yaw]))


def written(values: np.ndarray | list[float]) -> str:
    """Return numbers as URDF has them."""
    return ' '.join(f'{round(float(value), 6) + 0.0:.9g}' for value in values)
