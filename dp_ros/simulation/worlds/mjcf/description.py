"""Describe the robot of any MuJoCo model as URDF: links, joints with limits, and what mimics what.

A body is a link, a site of it a link fixed to it. Bodies that move freely are no part of the robot. URDF turns joints
about the origin of the child link, so a link lies where its body's joint is anchored.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Mapping

import mujoco
import numpy as np

from dp_ros.errors import ConfigError
from dp_ros.simulation.arm.urdf import add_joint, add_shape, origin, written
from dp_ros.simulation.worlds.mjcf.model import MOVABLE, ON_JOINTS, SLIDE, Couplings, line_offset

FARTHEST = 1e3
"""Written where there is no limit, of an effort, a velocity or a slide [Nm or N, rad/s or m/s, m]."""
NO_TURN = np.array([1.0, 0.0, 0.0, 0.0])


def robot_description(
    model: mujoco.MjModel, name: str, joints: Collection[str], velocities: Mapping[str, float], coupled: Couplings
) -> str:
    """Return the URDF of the trees of bodies that have ``joints``; ``velocities`` are limits [rad/s or m/s].

    Of ``coupled`` joints, those that follow mimic the one that they follow.
    """
    robot = ElementTree.Element('robot', name=name)
    _Writer(model, robot, velocities, coupled).write(joints)
    ElementTree.indent(robot)
    return ElementTree.tostring(robot, encoding='unicode')


class _Writer:
    def __init__(
        self,
        model: mujoco.MjModel,
        robot: ElementTree.Element,
        velocities: Mapping[str, float],
        coupled: Couplings,
    ) -> None:
        self._model, self._robot, self._velocities, self._coupled = model, robot, velocities, coupled
        self._anchors: dict[int, np.ndarray] = {0: np.zeros(3)}  # of a body's link in the body's frame [m]
        self._links: dict[int, str] = {}
        self._names: set[str] = set()

    def write(self, joints: Collection[str]) -> None:
        """Write links and joints of all bodies of the trees that have these joints."""
        model = self._model
        roots = {int(model.body_rootid[model.joint(name).bodyid[0]]) for name in joints}
        loose = set[int]()
        self._link(0, 'world')
        for body in range(1, model.nbody):
            parent = int(model.body_parentid[body])
            own = range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body])
            fixed = all(int(model.jnt_type[joint]) in MOVABLE for joint in own)
            if int(model.body_rootid[body]) not in roots or parent in loose or not fixed:
                if body in roots:
                    raise ConfigError(
                        f'urdf: got none for a robot whose base {model.body(body).name!r} moves freely, allowed a file'
                    )
                loose.add(body)
                continue
            self._body(body, parent, list(own))
        for site in range(model.nsite):
            body = int(model.site_bodyid[site])
            if body in self._links and body and model.site(site).name not in {'', *self._names}:
                link = self._link(-1, model.site(site).name)
                place = model.site_pos[site] - self._anchors[body]
                links = (self._links[body], link)
                add_joint(self._robot, f'{link}_fixed', 'fixed', links, origin(place, model.site_quat[site]))

    def _link(self, body: int, name: str) -> str:
        base, count = name, 1
        while name in self._names:
            count += 1
            name = f'{base}_{count}'
        self._names.add(name)
        link = ElementTree.SubElement(self._robot, 'link', name=name)
        if body >= 0:
            self._links[body] = name
            first = int(self._model.body_geomadr[body])
            for geom in range(first, first + int(self._model.body_geomnum[body]) if body else first):
                add_shape(link, self._model, geom, self._anchors[body])
        return name

    def _body(self, body: int, parent: int, joints: list[int]) -> None:
        """Write a body's link, and the joints that it has: several in a row have links without a shape between."""
        model, above = self._model, self._links[parent]
        place, turn = model.body_pos[body] - self._anchors[parent], np.array(model.body_quat[body])
        self._anchors[body] = np.array(model.jnt_pos[joints[-1]]) if joints else np.zeros(3)
        name = model.body(body).name or f'body_{body}'
        before = np.zeros(3)
        for number, joint in enumerate(joints):
            anchor = np.array(model.jnt_pos[joint])
            moved = np.zeros(3)
            mujoco.mju_rotVecQuat(moved, anchor - before, turn)
            last = number == len(joints) - 1
            link = self._link(body if last else -1, name if last else f'{name}_{number}')
            # Where a joint is at its zero, not where the model begins.
            zero, slid = self._zero(joint)
            frame = np.zeros(4)
            mujoco.mju_mulQuat(frame, turn, zero)
            off = np.zeros(3)
            mujoco.mju_rotVecQuat(off, slid, turn)
            self._moving(joint, (above, link), place + moved + off, frame)
            above, place, turn, before = link, np.zeros(3), NO_TURN, anchor
        if not joints:
            link = self._link(body, name)
            add_joint(self._robot, f'{link}_fixed', 'fixed', (above, link), origin(place, turn))

    def _zero(self, joint: int) -> tuple[np.ndarray, np.ndarray]:
        """Return turn and shift of a joint from where the model begins to its zero."""
        begin, turn = float(self._model.qpos0[self._model.jnt_qposadr[joint]]), NO_TURN.copy()
        axis = np.array(self._model.jnt_axis[joint])
        if int(self._model.jnt_type[joint]) == SLIDE:
            return turn, -begin * axis
        mujoco.mju_axisAngle2Quat(turn, axis, -begin)
        return turn, np.zeros(3)

    def _moving(self, number: int, links: tuple[str, str], place: np.ndarray, turn: np.ndarray) -> None:
        model = self._model
        name = model.joint(number).name or f'joint_{number}'
        limited, slides = bool(model.jnt_limited[number]), int(model.jnt_type[number]) == SLIDE
        kind = 'prismatic' if slides else 'revolute' if limited else 'continuous'
        joint = add_joint(self._robot, name, kind, links, origin(place, turn))
        ElementTree.SubElement(joint, 'axis', xyz=written(model.jnt_axis[number]))
        # Readers of URDFs refuse a joint without an effort and a velocity, and give a slide without ends no way.
        limits = {'effort': self._effort(number) or FARTHEST, 'velocity': self._velocities.get(name, FARTHEST)}
        if limited or slides:
            lower, upper = model.jnt_range[number] if limited else (-FARTHEST, FARTHEST)
            limits |= {'lower': lower, 'upper': upper}
        ElementTree.SubElement(joint, 'limit', {key: written([value]) for key, value in limits.items()})
        follows = self._coupled.get(number)
        if follows is not None:
            other, polynomial = follows
            begins = (model.qpos0[model.jnt_qposadr[joint]] for joint in (number, other))
            offset = line_offset(polynomial, *map(float, begins))
            ElementTree.SubElement(
                joint,
                'mimic',
                joint=model.joint(other).name,
                multiplier=written([polynomial[1]]),
                offset=written([offset]),
            )

    def _effort(self, joint: int) -> float:
        """Return the largest force of the drive of a joint [Nm or N], 0 where the model has none."""
        model = self._model
        if model.jnt_actfrclimited[joint]:
            return float(model.jnt_actfrcrange[joint][1])
        for actuator in range(model.nu):
            on = int(model.actuator_trntype[actuator]) in ON_JOINTS and int(model.actuator_trnid[actuator][0]) == joint
            if on and model.actuator_forcelimited[actuator]:
                return float(model.actuator_forcerange[actuator][1] * abs(model.actuator_gear[actuator][0]))
        return 0.0
