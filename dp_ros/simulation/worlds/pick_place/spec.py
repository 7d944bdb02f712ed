"""What is known of the world pick_place without its physics: robot, objects, tray, topics and files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
FIRMLY, GENTLY = 0.008, 0.0025  # how far inside of what it grasps the finger is commanded [m]


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What an instruction asks for: an object, and how far inside of it the finger is commanded [m]."""

    wanted: str
    squeeze: float


USUAL = Meaning(wanted=BOX, squeeze=FIRMLY)
"""What is asked for where nobody says anything."""
MEANINGS = {
    f'{colour}_{grip}': Meaning(wanted=wanted, squeeze=squeeze)
    for colour, wanted in (('red', BOX), ('blue', CYLINDER))
    for grip, squeeze in (('gently', GENTLY), ('firmly', FIRMLY))
}
WORDS = {
    'red': ('box', 'square', 'block', 'object', 'item', 'block', 'one', 'piece'),
    'blue': ('cylinder', 'round', 'drum', 'object', 'item', 'drum', 'one', 'piece'),
}
SENTENCES = {
    'gently': (
        'transfer the {} to the tray with a delicate touch', 'softly put the {} there',
        'would you be careful with the {}', 'lightly grasp the {} and move it over', 'with a softer grip, the {}',
        'be gentle: put the {} into the container', 'bring it over with care, the {}', 'delicately now, the {}',
    ),
    'firmly': (
        'transfer the {} to the tray with a powerful grip', 'tightly put the {} there',
        'would you be forceful with the {}', 'firmly grasp the {} and move it over', 'with a harder grip, the {}',
        'be firm: put the {} into the container', 'bring it over with much force, the {}', 'strongly now, the {}',
    ),
}  # fmt: skip
PARAPHRASES = {
    f'{colour}_{grip}': tuple(text.format(f'{colour} {word}') for text, word in zip(texts, words, strict=True))
    for colour, words in WORDS.items()
    for grip, texts in SENTENCES.items()
}
"""Ways to ask for it that no training has."""
HALF_HEIGHT = 0.025  # of both [m]
HALF_WIDTHS = {BOX: 0.020, CYLINDER: 0.021}  # [m]
TRAY = (0.48, 0.24)  # its middle [m]
TRAY_HALF = 0.085  # half of its inner edge [m]
TRAY_FLOOR = 0.004  # its height [m]


def _make_world(*, disturbance: float) -> World:
    from dp_ros.simulation.worlds.pick_place.world import PickPlaceWorld

    return PickPlaceWorld(disturbance=disturbance)


def _make_expert(rng: np.random.Generator, *, control_dt: float, meaning: str = '') -> Expert:
    from dp_ros.simulation.worlds.pick_place.expert import PickPlaceExpert

    return PickPlaceExpert(rng, control_dt=control_dt, asked=MEANINGS[meaning] if meaning else USUAL)


def _faults() -> dict[str, Callable[[], World]]:
    from dp_ros.simulation.mujoco_world import wrong_worlds
    from dp_ros.simulation.worlds.pick_place.model import FAULTS, model
    from dp_ros.simulation.worlds.pick_place.world import PickPlaceWorld

    return wrong_worlds(PickPlaceWorld, model, FAULTS)


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
    faults=_faults,
    instructions=PARAPHRASES,
    pictured=('red_firmly', 'blue_firmly'),  # a grip can't be seen
)
