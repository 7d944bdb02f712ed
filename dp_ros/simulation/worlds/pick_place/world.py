"""A seven-joint arm with a parallel gripper that puts an object into a tray; the physics are MuJoCo's.

The axes are the table's: x away from the arm, y to the left, z up, the origin under the arm. A red box and a blue
cylinder lie on the table, the tray is to the left.

Success: the object that is asked for lies in the tray at rest, the gripper is open and away from it. That is the red
box, unless an instruction asks for the other. Friction alone holds what is grasped: an object may slip, tip over, or be
dropped, which is counted. The score is how far that object is on its way: a quarter for the hand at it, a half lifted,
then with its way to the tray.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from dp_ros.errors import ConfigError, listed
from dp_ros.simulation.arm.kinematics import BENT, ToolPose
from dp_ros.simulation.arm.urdf import robot_description
from dp_ros.simulation.arm.world import ArmWorld
from dp_ros.simulation.world import Pose, Progress, Scene
from dp_ros.simulation.worlds.pick_place.expert import CARRY, SPREAD
from dp_ros.simulation.worlds.pick_place.model import model
from dp_ros.simulation.worlds.pick_place.spec import (
    BOX,
    FINGER,
    HALF_HEIGHT,
    JOINTS,
    MEANINGS,
    OBJECTS,
    OPEN,
    TRAY,
    TRAY_FLOOR,
    TRAY_HALF,
    UNITS,
    USUAL,
)
from dp_ros.simulation.worlds.pick_place.starts import Start, draw_start, draw_wide_start

LIFTED = 0.015  # an object whose middle is higher than at rest by so much is held [m]
RELEASED = 0.030  # of the finger joint, at least, where the gripper is open [m]
AWAY = 0.06  # of the tool from the object, at least [m]
AT_REST = 0.03  # of the object, at most [m/s]
TIPPED = 0.8  # cosine of an object's lean from which on it has tipped over
WIDE_SHARE = 0.4  # of disturbed episodes
FAR = 0.3  # of the tool from the object, where the score begins [m]
GOAL = 0x60A1  # of random numbers: the same seed draws the start


class PickPlaceWorld(ArmWorld):
    """The physics, one step of 10 ms at a time. Positions in [m], angles in [rad].

    The finger's effort is a force [N]: twice what a pad presses with.

    Attributes
    ----------
    wanted
        The object that is asked for in this episode.

    """

    units: tuple[str, ...] = UNITS
    view = 'view'

    def __init__(self, *, disturbance: float = 0.0, physics: mujoco.MjModel | None = None) -> None:
        super().__init__(model() if physics is None else physics, JOINTS, OBJECTS, disturbance=disturbance)
        self._mimic = int(self._model.joint('mimic_joint').qposadr[0])
        self.robot_description = robot_description(self._model, 'pick_place_arm', (FINGER, 'mimic_joint'))
        self._object_columns = {name: int(self._model.joint(name).dofadr[0]) for name in OBJECTS}
        self._finger = int(self._model.joint(FINGER).dofadr[0])
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin an episode at the start that belongs to ``seed``."""
        draw = np.random.default_rng(seed)
        wide = self._disturbance > 0.0 and draw.random() < WIDE_SHARE
        self._begin(draw_wide_start(draw) if wide else draw_start(draw))
        while wide and self._hand_touches():
            self._begin(draw_wide_start(draw))
        self._disturb(draw, self._disturbance)
        self.wanted, self._meaning = USUAL.wanted, ''
        self._seed, self._at_first = seed, self.poses

    def _begin(self, start: Start) -> None:
        """Put arm, gripper and objects where ``start`` has them."""
        arm = self._arm.solve(start.tool, BENT, start.height)
        poses = {
            name: _upright(*place, HALF_HEIGHT, yaw)
            for name, place, yaw in zip(OBJECTS, start.objects, start.yaws, strict=True)
        }
        self._put(np.array([*arm, start.finger]), poses)

    def _hand_touches(self) -> bool:
        """Tell whether the arm or the gripper touches anything but itself."""
        roots = self._model.body_rootid[self._model.geom_bodyid[self._data.contact.geom]]
        arm = roots == self._model.body_rootid[self._model.site('tool').bodyid]
        return bool((arm[:, 0] != arm[:, 1]).any())

    def set_instruction(self, meaning: str) -> None:
        """Let this episode ask for what an instruction means; its grip is measured, and no part of success."""
        if meaning not in MEANINGS:
            raise ConfigError(f'instruction: got one that means {meaning!r}, allowed {listed(MEANINGS)}')
        self.wanted, self._meaning = MEANINGS[meaning].wanted, meaning

    def goal_picture(self, camera: str) -> np.ndarray:
        """Return what a camera would see with the object that is asked for in the tray, (H, W, 3) uint8 RGB.

        Where in the tray that lies, and how the open hand above it is turned, belongs to the episode's seed; the other
        object is where the episode began.
        """
        draw = np.random.default_rng([GOAL, self._seed])
        x, y = (np.array(TRAY) + draw.uniform(-SPREAD, SPREAD, 2)).tolist()
        lying, turned = draw.uniform(-np.pi / 4, np.pi / 4), draw.uniform(-np.pi / 4, 3 * np.pi / 4)
        there = _upright(x, y, TRAY_FLOOR + HALF_HEIGHT, lying)
        arm = self._arm.solve(ToolPose(x=x, y=y, yaw=turned), BENT, CARRY)
        done = PickPlaceWorld(physics=self._model)
        done.set_scene(Scene(joints=(*arm.tolist(), OPEN), poses={**self._at_first, self.wanted: there}))
        return done.render(camera)

    def set_scene(self, scene: Scene) -> None:
        """Put arm, gripper and objects where they are asked for, at rest."""
        self._put(self._joints_of(scene), scene.poses)

    def _put(self, joints: np.ndarray, poses: Mapping[str, Pose]) -> None:
        self._set_state(joints, poses)
        self._data.qpos[self._mimic] = joints[-1]
        mujoco.mj_forward(self._model, self._data)
        self._held = False
        self._drops = 0
        self._grasp = self._lifted = ''
        self._forces, self._force_steps = 0.0, 0

    def step(self, set_point: np.ndarray) -> None:
        """Advance by one step of 10 ms with the joints driven towards ``set_point`` (8,) [rad], [m]."""
        super().step(set_point)
        self._watch()

    def _watch(self) -> None:
        """Count what was lifted, and dropped outside of the tray; add up the force that holds it in the air."""
        position = self._position(self.wanted)
        pressed = self._pressed(self.wanted)
        if not self._held and pressed and position[2] > HALF_HEIGHT + LIFTED:
            self._held = True
            self._grasp = self._direction()
        elif self._held and not pressed:
            self._held = False
            self._drops += not self._over_tray(position)
        if self._held and position[2] > HALF_HEIGHT + LIFTED:
            self._forces += abs(float(self._data.qfrc_actuator[self._finger])) / 2.0
            self._force_steps += 1
        for name in () if self._lifted else OBJECTS:
            if self._position(name)[2] > HALF_HEIGHT + LIFTED and self._pressed(name):
                self._lifted = name

    def _pressed(self, name: str) -> bool:
        """Whether a pad touches an object."""
        geom = self._model.geom(name).id
        pads = {self._model.geom('left_pad').id, self._model.geom('right_pad').id}
        return any(geom in pair and pads & set(pair.tolist()) for pair in self._data.contact.geom)

    def _direction(self) -> str:
        """Return which of the two ways the object is grasped: ``along`` its own x axis, or ``across``."""
        turn = self._data.body(self.wanted).xmat.reshape(3, 3)
        tool = self._data.site('tool').xmat.reshape(3, 3)
        if self.wanted != BOX:  # a cylinder has no axes of its own: the table's count
            turn = np.eye(3)
        return 'along' if abs(turn[:, 0] @ tool[:, 0]) > np.sqrt(0.5) else 'across'

    def _in_tray(self, name: str) -> bool:
        position = self._position(name)
        return self._over_tray(position) and bool(position[2] < 2.0 * HALF_HEIGHT)

    @staticmethod
    def _over_tray(position: np.ndarray) -> bool:
        return bool(np.abs(position[:2] - TRAY).max() < TRAY_HALF)

    @property
    def progress(self) -> Progress:
        """How far the object that is asked for is on its way, how it was grasped, and how often it was dropped.

        Besides, whether that was lifted first, whether another was or lies in the tray, and the mean force [N] that a
        pad pressed with while the right one was in the air.
        """
        position = self._position(self.wanted)
        tool = np.array(self._data.site('tool').xpos)
        finger = float(self._data.qpos[self._rows[-1]])
        apart = float(np.linalg.norm(tool - position))
        left = float(np.hypot(*(position[:2] - TRAY)))
        column = self._object_columns[self.wanted]
        still = float(np.abs(self._data.qvel[column : column + 3]).max()) < AT_REST
        inside = self._in_tray(self.wanted)
        success = bool(inside and still and finger > RELEASED and apart > AWAY)
        score = 0.25 * max(0.0, 1.0 - apart / FAR)
        if self._held or inside:
            score = 0.5 + 0.4 * max(0.0, 1.0 - left / 0.5)
        others = [name for name in OBJECTS if name != self.wanted]
        upright = self._data.body(self.wanted).xmat[8]
        details: dict[str, float | str] = {
            'distance': left,
            'side': self._grasp,
            'drops': float(self._drops),
            'tipped': str(bool(abs(upright) < TIPPED)),
            'right_object': str(self._lifted == self.wanted),
            'wrong_object': str(self._lifted in others or any(self._in_tray(name) for name in others)),
        }
        if self._meaning:
            details['meaning'] = self._meaning
        if self._force_steps:
            details['grip_force'] = self._forces / self._force_steps
        return Progress(score=1.0 if success else min(0.99, score), success=success, details=details)


def _upright(x: float, y: float, z: float, yaw: float) -> Pose:
    """Return the pose of an object that stands: its middle [m] and yaw [rad]."""
    return Pose(position=(x, y, z), orientation=(0.0, 0.0, float(np.sin(yaw / 2)), float(np.cos(yaw / 2))))
