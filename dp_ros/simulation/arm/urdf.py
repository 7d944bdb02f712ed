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
    joint = ElementTree.SubElement(robot, 'joint', name=name, type=kind)
    ElementTree.SubElement(joint, 'parent', link=links[0])
    ElementTree.SubElement(joint, 'child', link=links[1])
    body = model.body(links[1]).id
    joint.append(_origin(model.body_pos[body], model.body_quat[body]))
    return joint


def _add_axis(joint: ElementTree.Element, model: mujoco.MjModel, name: str, velocity: float) -> None:
    number = model.joint(name).id
    ElementTree.SubElement(joint, 'axis', xyz=_text(model.jnt_axis[number]))
    lower, upper = model.jnt_range[number]
    ElementTree.SubElement(
        joint,
        'limit',
        lower=_text([lower]),
        upper=_text([upper]),
        effort=_text([model.jnt_actfrcrange[number][1]]),
        velocity=_text([velocity]),
    )


def _add_link(robot: ElementTree.Element, model: mujoco.MjModel, name: str) -> None:
    """Add a link that looks like the body; URDF has no capsules, so they become cylinders."""
    link = ElementTree.SubElement(robot, 'link', name=name)
    body = model.body(name)
    first = int(body.geomadr[0])
    for number in range(first, first + int(body.geomnum[0])):
        visual = ElementTree.SubElement(link, 'visual')
        visual.append(_origin(model.geom_pos[number], model.geom_quat[number]))
        shape = ElementTree.SubElement(visual, 'geometry')
        size = model.geom_size[number]
        if model.geom_type[number] == mujoco.mjtGeom.mjGEOM_BOX:
            ElementTree.SubElement(shape, 'box', size=_text(2.0 * size))
        else:
            ElementTree.SubElement(shape, 'cylinder', radius=_text(size[:1]), length=_text(2.0 * size[1:2]))
        colour = model.mat_rgba[model.geom_matid[number]]
        material = ElementTree.SubElement(visual, 'material', name=model.material(model.geom_matid[number]).name)
        ElementTree.SubElement(material, 'color', rgba=_text(colour))


def _origin(position: np.ndarray, quaternion: np.ndarray) -> ElementTree.Element:
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, quaternion)
    r = turn.reshape(3, 3)
    # URDF turns about the fixed axes x, y, z in this order: R = Rz(yaw) Ry(pitch) Rx(roll).
    pitch = np.arctan2(-r[2, 0], np.hypot(r[0, 0], r[1, 0]))
    if np.hypot(r[0, 0], r[1, 0]) > 1e-9:
        roll, yaw = np.arctan2(r[2, 1], r[2, 2]), np.arctan2(r[1, 0], r[0, 0])
    else:
        roll, yaw = np.arctan2(-r[1, 2], r[1, 1]), 0.0
    return ElementTree.Element('origin', xyz=_text(position), rpy=_text([roll, pitch, yaw]))


def _text(values: np.ndarray | list[float]) -> str:
    return ' '.join(f'{round(float(value), 6) + 0.0:.9g}' for value in values)
