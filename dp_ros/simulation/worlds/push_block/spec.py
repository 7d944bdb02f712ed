"""What is known of the world push_block without its physics: robot, places on the table, topics and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dp_ros.simulation.arm import JOINTS as JOINTS
from dp_ros.simulation.world import Expert, World, WorldSpec, flat_pose
from dp_ros.task.spec import Unit

RAD: Unit = 'rad'
BLOCK = 'block'  # its name
BLOCK_HALF = 0.0275  # half of its edge
START = (0.42, 0.0)  # of the block, in the middle of all starts
POST = (0.575, 0.0)
GOAL = (0.73, 0.0)
HOME = (0.320, 0.0)  # of the tool, in the middle of all starts


def _make_world(*, disturbance: float) -> World:
    from dp_ros.simulation.worlds.push_block.world import PushBlockWorld

    return PushBlockWorld(disturbance=disturbance)


def _make_expert(rng: np.random.Generator, *, control_dt: float) -> Expert:
    from dp_ros.simulation.worlds.push_block.expert import PushBlockExpert

    return PushBlockExpert(rng, control_dt=control_dt)


def _faults() -> dict[str, Callable[[], World]]:
    from dp_ros.simulation.mujoco_world import wrong_worlds
    from dp_ros.simulation.worlds.push_block.world import FAULTS, PushBlockWorld, model

    return wrong_worlds(PushBlockWorld, model, FAULTS)


PUSH_BLOCK = WorldSpec(
    name='push_block',
    make_world=_make_world,
    make_expert=_make_expert,
    joints=JOINTS,
    units=(RAD,) * len(JOINTS),
    goal_pose=flat_pose(*GOAL, 0.0),  # its turn does not count
    pose_topics={BLOCK: 'block_pose'},
    camera_topics={'camera': 'camera/color/image_raw', 'wrist_camera': 'wrist_camera/color/image_raw'},
    parameter_file=Path('config/push_block.yaml'),
    training_file=Path('config/train/push_block_state.yaml'),
    bundle='models/push_block_state',
    seconds_after_success=2.0,  # in which it goes on to the middle of the goal, and backs off
    environment='dp_ros/PushBlock-v0',
    faults=_faults,
)
