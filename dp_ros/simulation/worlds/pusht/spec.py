"""What is known of the world pusht without its physics: robot, goal, topics and files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from dp_ros.errors import ConfigError
from dp_ros.simulation.world import Expert, World, WorldSpec, flat_pose

JOINTS = ('pusher_x', 'pusher_y')


def _make_world(*, disturbance: float) -> World:
    from dp_ros.simulation.worlds.pusht.world import PushTWorld

    if disturbance:
        raise ConfigError(f'disturbance: got {disturbance}, allowed 0 in the world pusht')
    return PushTWorld()


def _make_expert(rng: np.random.Generator, *, control_dt: float) -> Expert:
    from dp_ros.simulation.worlds.pusht.expert import PushTExpert

    return PushTExpert(rng, control_dt=control_dt)


def _faults() -> dict[str, Callable[[], World]]:
    from dp_ros.simulation.worlds.pusht.world import FAULTS, WrongPushTWorld

    return {name: partial(WrongPushTWorld, change) for name, change in FAULTS.items()}


PUSHT = WorldSpec(
    name='pusht',
    make_world=_make_world,
    make_expert=_make_expert,
    joints=JOINTS,
    units=('m', 'm'),
    goal_pose=flat_pose(0.256, 0.256, np.pi / 4),  # gym-pusht's: 256, 256 of 512 pixels
    pose_topics={'block': 'block_pose'},
    camera_topics={'camera': 'camera/color/image_raw'},
    parameter_file=Path('config/pusht.yaml'),
    training_file=Path('config/train/pusht_state.yaml'),
    bundle='models/pusht_mirror',
    policy_speed=1.4,
    environment='dp_ros/PushT-v0',
    faults=_faults,
)
