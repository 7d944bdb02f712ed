"""The worlds by name, each with its demonstrator. What a world needs installed is imported when it is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from dp_ros.errors import ConfigError, listed
from dp_ros.simulation.world import Expert, Pose, World, flat_pose
from dp_ros.simulation.worlds.push_block.arm import GOAL

WORLDS = ('push_block', 'pusht')
JOINTS = {'push_block': tuple(f'joint_{i}' for i in range(1, 8)), 'pusht': ('pusher_x', 'pusher_y')}
POSE_TOPICS = {'block': 'block_pose'}
CAMERA_TOPICS = {'camera': 'camera/color/image_raw', 'wrist_camera': 'wrist_camera/color/image_raw'}


def _known(name: str) -> None:
    if name not in WORLDS:
        raise ConfigError(f'world: got {name!r}, allowed {listed(WORLDS)}')


def check_world(name: str, joints: tuple[str, ...], what: str) -> None:
    """Raise ConfigError unless the robot of the world ``name`` has these joints, which ``what`` moves."""
    _known(name)
    if joints != JOINTS[name]:
        allowed = listed(JOINTS[name])
        raise ConfigError(f'{what} does not fit the world {name}: joints: got {listed(joints)}, allowed {allowed}')


def world_with(joints: tuple[str, ...]) -> str:
    """Return the world whose robot has these joints."""
    for name, own in JOINTS.items():
        if own == joints:
            return name
    known = '; '.join(f'{name}: {listed(own)}' for name, own in JOINTS.items())
    raise ConfigError(f'world for joints {listed(joints)}: got none, allowed one of {known}')


def goal_pose(name: str) -> Pose:
    """Return where a world's block should come to lie; in push_block its turn does not count."""
    _known(name)
    # gym-pusht's goal, 256, 256 of 512 pixels.
    return flat_pose(*GOAL, 0.0) if name == 'push_block' else flat_pose(0.256, 0.256, np.pi / 4)


def make_world(name: str, *, disturbance: float = 0.0) -> World:
    """Return a new world; ``disturbance`` 1 makes its episodes rougher, for demonstrations of how to recover."""
    _known(name)
    if name == 'push_block':
        from dp_ros.simulation.worlds.push_block.world import PushBlockWorld

        return PushBlockWorld(disturbance=disturbance)
    from dp_ros.simulation.worlds.pusht.world import PushTWorld

    if disturbance:
        raise ConfigError(f'disturbance: got {disturbance}, allowed 0 in the world pusht')
    return PushTWorld()


def make_expert(name: str, rng: np.random.Generator, *, control_dt: float = 0.1) -> Expert:
    """Return a demonstrator of a world's task for one episode."""
    _known(name)
    kind: Any
    if name == 'push_block':
        from dp_ros.simulation.worlds.push_block.expert import PushBlockExpert as kind
    else:
        from dp_ros.simulation.worlds.pusht.expert import PushTExpert as kind
    expert: Expert = kind(rng, control_dt=control_dt)
    return expert
