"""What a planner needs of a robot: limits, joints that turn without end, and the chain to a tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dp_ros.errors import ConfigError, listed
from dp_ros.robot.joint_limits import MAGNITUDES, JointLimits
from dp_ros.robot.kinematics import Chain, ChainJoint

MOVING = ('revolute', 'continuous', 'prismatic')
KINDS = (*MOVING, 'fixed', 'floating', 'planar')


@dataclass(frozen=True, kw_only=True, eq=False)
class UrdfJoint:
    """A joint element. ``limit`` holds the numbers given; ``mimic`` is (joint, multiplier, offset)."""

    name: str
    kind: str
    parent: str
    child: str
    rotation: np.ndarray
    place: np.ndarray
    axis: np.ndarray
    limit: dict[str, float]
    mimic: tuple[str, float, float] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class RobotModel:
    """A robot's joints by name, where they came from, and the URDF's text, for whoever reads more of it."""

    source: str
    joints: dict[str, UrdfJoint]
    text: str = ''

    @property
    def links(self) -> tuple[str, ...]:
        """Names of the links that joints connect, sorted."""
        return tuple(sorted({link for joint in self.joints.values() for link in (joint.parent, joint.child)}))

    @property
    def root(self) -> str:
        """The link that no joint moves; '' where there are several."""
        roots = set(self.links) - {joint.child for joint in self.joints.values()}
        return roots.pop() if len(roots) == 1 else ''

    def limits(self, joints: Sequence[str]) -> JointLimits:
        """Return the limits of ``joints``, those of joints that mimic them included."""
        columns: dict[str, list[float]] = {name: [] for name in ('lower', 'upper', *MAGNITUDES)}
        for name in joints:
            joint = self._commanded(name)
            limit = _with_defaults(joint)
            for other in self.joints.values():
                if other.mimic is not None and other.mimic[0] == name:
                    limit = _stricter(limit, _with_defaults(other), other.mimic[1], other.mimic[2])
            for quantity, column in columns.items():
                column.append(limit[quantity])
        try:
            return JointLimits(joints=tuple(joints), **{name: tuple(column) for name, column in columns.items()})
        except ConfigError as error:
            raise ConfigError(f'{self.source}: {error}') from error

    def continuous(self, joints: Sequence[str]) -> tuple[str, ...]:
        """Return those of ``joints`` that turn without end."""
        return tuple(name for name in joints if self._commanded(name).kind == 'continuous')

    def fingers(self, joints: Sequence[str]) -> tuple[str, ...]:
        """Return those of ``joints`` that open and close a gripper, where it has two fingers or more.

        Such a joint moves no other, but for some that mimic it; and another one like it begins at the same body.
        """
        above = {joint.name: self._above(joint.parent) for joint in self.joints.values() if joint.kind in MOVING}
        driver = {name: (self.joints[name].mimic or (name,))[0] for name in above}
        ends = [n for n in above if all(driver[m] == driver[n] for m, others in above.items() if n in others)]
        bodies = [above[name][:1] for name in ends]
        found = {driver[name] for name, body in zip(ends, bodies, strict=True) if bodies.count(body) > 1}
        return tuple(name for name in joints if name in found)

    def _above(self, link: str) -> list[str]:
        """Return the moving joints that move a link, the nearest first."""
        by_child, found = {joint.child: joint for joint in self.joints.values()}, []
        while link in by_child:
            if by_child[link].kind in MOVING:
                found.append(by_child[link].name)
            link = by_child[link].parent
        return found

    def chain(self, joints: Sequence[str], link: str, *, frame: str = '', point: Sequence[float] = (0, 0, 0)) -> Chain:
        """Return the chain from ``frame``, or the root, to a point of ``link`` [m]; only ``joints`` may move it."""
        chain_joints: list[ChainJoint] = []
        at, rotation, place = link, np.eye(3), np.array(point, dtype=np.float64)
        by_child = {joint.child: joint for joint in self.joints.values()}
        known = set(by_child) | {joint.parent for joint in self.joints.values()}
        for name in filter(None, (link, frame)):
            if name not in known:
                raise ConfigError(f'{self.source}: got no link {name!r}, allowed {listed(sorted(known))}')
        end: np.ndarray | None = None
        while at != frame and at in by_child:
            joint = by_child[at]
            at = joint.parent
            if joint.kind == 'fixed':
                rotation, place = joint.rotation @ rotation, joint.rotation @ place + joint.place
                continue
            column, multiplier, offset = self._mover(joint, joints, link)
            # What lies behind this joint up to the next moving one belongs to that one, or to the point.
            end, chain_joints = _attach(end, chain_joints, rotation, place)
            chain_joints.insert(
                0,
                ChainJoint(
                    column=column,
                    sliding=joint.kind == 'prismatic',
                    axis=joint.axis,
                    rotation=np.eye(3),
                    place=np.zeros(3),
                    multiplier=multiplier,
                    offset=offset,
                ),
            )
            rotation, place = joint.rotation, joint.place
        if frame and at != frame:
            raise ConfigError(f'{self.source}: got frame {frame!r}, allowed links between the root and {link!r}')
        end, chain_joints = _attach(end, chain_joints, rotation, place)
        return Chain(joints=tuple(joints), link=link, chain_joints=tuple(chain_joints), point=end)

    def _commanded(self, name: str) -> UrdfJoint:
        if name not in self.joints:
            moving = [joint.name for joint in self.joints.values() if joint.kind in MOVING and joint.mimic is None]
            raise ConfigError(f'{self.source}: got no joint {name!r}, allowed {listed(moving)}')
        joint = self.joints[name]
        if joint.kind not in MOVING:
            raise ConfigError(f'{self.source}: joint {name!r}: got type {joint.kind}, allowed {listed(MOVING)}')
        if joint.mimic is not None:
            raise ConfigError(f'{self.source}: joint {name!r}: got one that mimics {joint.mimic[0]!r}, allowed that')
        return joint

    def _mover(self, joint: UrdfJoint, joints: Sequence[str], link: str) -> tuple[int, float, float]:
        master, multiplier, offset = joint.mimic or (joint.name, 1.0, 0.0)
        if joint.kind not in MOVING or master not in joints:
            raise ConfigError(
                f'{self.source}: link {link!r}: got one moved by {joint.name!r} ({joint.kind}), '
                f'allowed links that only {listed(joints)} move'
            )
        return list(joints).index(master), multiplier, offset


def _attach(
    end: np.ndarray | None, chain_joints: list[ChainJoint], rotation: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, list[ChainJoint]]:
    """Put a fixed transform before the first turn, or, where none is yet, into the point."""
    if end is None:
        return place, chain_joints
    return end, [replace(chain_joints[0], rotation=rotation, place=place), *chain_joints[1:]]


def _with_defaults(joint: UrdfJoint) -> dict[str, float]:
    """Return all limits of a joint. URDF's default for a missing bound is 0, except where a joint has no end."""
    endless = joint.kind == 'continuous'
    found = {'lower': -np.inf if endless else 0.0, 'upper': np.inf if endless else 0.0}
    found |= dict.fromkeys(MAGNITUDES, np.inf)
    found |= {name: value for name, value in joint.limit.items() if not endless or name in MAGNITUDES}
    if 'deceleration' not in joint.limit:
        found['deceleration'] = found['acceleration']
    return found


def _stricter(limit: dict[str, float], other: dict[str, float], multiplier: float, offset: float) -> dict[str, float]:
    """Return the limits of a joint so that one that mimics it keeps its own."""
    if multiplier == 0.0:
        return limit
    ends = sorted((other[name] - offset) / multiplier for name in ('lower', 'upper'))
    merged = {name: min(limit[name], other[name] / abs(multiplier)) for name in MAGNITUDES}
    return merged | {'lower': max(limit['lower'], ends[0]), 'upper': min(limit['upper'], ends[1])}
