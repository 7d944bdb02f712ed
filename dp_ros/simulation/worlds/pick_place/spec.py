"""What is known of the world pick_place without its physics: robot, objects, tray, topics and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dp_ros.simulation.arm import JOINTS as ARM_JOINTS
from dp_ros.simulation.world import Expert, World, WorldSpec, controller, flat_pose
from dp_ros.task.spec import Unit

FINGER = 'finger_joint'
JOINTS = (*ARM_JOINTS, FINGER)
RAD: Unit = 'rad'
UNITS: tuple[Unit, ...] = (*(RAD for _ in ARM_JOINTS), 'm')
OPEN = 0.040  # of the finger joint: half of the gap between the pads [m]
BOX, CYLINDER = 'red_box', 'blue_cylinder'
OBJECTS = (BOX, CYLINDER)
HALF_HEIGHT = 0.025  # of both [m]
HALF_WIDTHS = {BOX: 0.020, CYLINDER: 0.021}  # [m]
TRAY = (0.48, 0.24)  # its middle [m]
TRAY_HALF = 0.085  # half of its inner edge [m]


def _make_world(*, disturbance: float) -> World:
    from dp_ros.simulation.worlds.pick_place.world import PickPlaceWorld

    return PickPlaceWorld(disturbance=disturbance)


def _make_expert(rng: np.random.Generator, *, control_dt: float) -> Expert:
    from dp_ros.simulation.worlds.pick_place.expert import PickPlaceExpert

    return PickPlaceExpert(rng, control_dt=control_dt)


PICK_PLACE = WorldSpec(
    name='pick_place',
    make_world=_make_world,
    make_expert=_make_expert,
    joints=JOINTS,
    units=UNITS,
    controllers=(controller('arm_controller', ARM_JOINTS), controller('gripper_controller', (FINGER,))),
    goal_pose=flat_pose(*TRAY, 0.0),  # its turn does not count
    pose_topics={name: f'{name}_pose' for name in OBJECTS},
    camera_topics={'camera': 'camera/color/image_raw', 'wrist_camera': 'wrist_camera/color/image_raw'},
    parameter_file=Path('config/pick_place.yaml'),
    training_file=Path('config/train/pick_place_image.yaml'),
    bundle='models/pick_place_image',
    seconds_after_success=1.0,
    environment='dp_ros/PickPlace-v0',
)
