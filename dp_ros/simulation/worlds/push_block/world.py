"""A seven-joint arm that pushes a block around a post to the goal behind it, left or right; the physics are MuJoCo's.

The axes are the table's: x from the arm to the goal, y to the left, z up, the origin under the arm.

Success: the block's middle is within 30 mm of the goal's, the block lies flat on the table, and the arm has not run
into the post in this episode (a force of more than 5 N); after that the episode cannot succeed any more. The block may
touch the post. The score is how much of the way from the start to the goal around the post the block has made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path

import mujoco
import numpy as np

from dp_ros.simulation.arm.kinematics import BENT
from dp_ros.simulation.arm.urdf import robot_description
from dp_ros.simulation.arm.world import ArmWorld
from dp_ros.simulation.mujoco_world import halve_friction, make_round
from dp_ros.simulation.world import Pose, Progress, Scene
from dp_ros.simulation.worlds.push_block.spec import BLOCK, BLOCK_HALF, GOAL, JOINTS, POST
from dp_ros.simulation.worlds.push_block.starts import draw_start, draw_wide_start
from dp_ros.simulation.worlds.push_block.way import way_left

TOLERANCE = 0.030  # of success [m]
HARD = 5.0  # [N]
WIDE_SHARE = 0.35  # of disturbed episodes
HEAVIER = 4.0  # with the fault `object_heavier`


@lru_cache(maxsize=1)
def model() -> mujoco.MjModel:
    """Return the compiled world; it is shared, so nobody may change it."""
    return mujoco.MjModel.from_xml_path(str(Path(__file__).with_name('push_block.xml')))


def _heavy(physics: mujoco.MjModel) -> None:
    block = physics.body(BLOCK).id
    physics.body_mass[block] *= HEAVIER
    physics.body_inertia[block] *= HEAVIER


FAULTS: Mapping[str, Callable[[mujoco.MjModel], None]] = {
    'friction_halved': halve_friction,
    'object_heavier': _heavy,
    'object_round': partial(make_round, box=BLOCK),
}


class PushBlockWorld(ArmWorld):
    """The physics, one step of 10 ms at a time. Positions in [m], angles in [rad].

    ``physics`` are a changed copy of `model`, of the same arm.
    """

    units: tuple[str, ...] = ('rad',) * len(JOINTS)

    def __init__(self, *, disturbance: float = 0.0, physics: mujoco.MjModel | None = None) -> None:
        super().__init__(model() if physics is None else physics, JOINTS, (BLOCK,), disturbance=disturbance)
        self.robot_description = robot_description(self._model, 'push_block_arm')
        self._block = self._body_rows[BLOCK]
        self._post = self._model.geom('post').id
        self._block_geom = self._model.geom(BLOCK).id
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin an episode at the start that belongs to ``seed``: block and tool are near the middle, not on it."""
        draw = np.random.default_rng(seed)
        start = draw_start(draw)
        if self._disturbance and draw.random() < WIDE_SHARE:
            start = draw_wide_start(draw)
        orientation = (0.0, 0.0, float(np.sin(start.yaw / 2)), float(np.cos(start.yaw / 2)))
        block = Pose(position=(*start.block, BLOCK_HALF), orientation=orientation)
        self._put(self._arm.solve(start.tool, BENT), block)
        self._disturb(draw, self._disturbance)

    def set_scene(self, scene: Scene) -> None:
        """Put arm and block where they are asked for, at rest."""
        self._put(self._joints_of(scene), scene.poses[BLOCK])

    def _put(self, joints: np.ndarray, block: Pose) -> None:
        self._set_state(joints, {BLOCK: block})
        mujoco.mj_forward(self._model, self._data)
        self._collided = False
        self._side = ''
        self._last_x = float(block.position[0])
        self._whole = max(way_left(np.array(block.position[:2])) - TOLERANCE, 1e-6)

    def step(self, set_point: np.ndarray) -> None:
        """Advance by one step of 10 ms with the joints driven towards ``set_point`` (7,) [rad]."""
        super().step(set_point)
        self._collided = self._collided or self._hits_post()
        x, y = self._data.qpos[self._block : self._block + 2]
        if self._last_x < POST[0] <= x:
            self._side = 'left' if y > 0 else 'right'
        self._last_x = float(x)

    def _hits_post(self) -> bool:
        force = np.zeros(6)
        for i in range(self._data.ncon):
            pair = self._data.contact[i].geom
            if self._post in pair and self._block_geom not in pair:
                mujoco.mj_contactForce(self._model, self._data, i, force)
                if force[0] > HARD:
                    return True
        return False

    @property
    def progress(self) -> Progress:
        """How much of its way the block has made, and on which side of the post it went by."""
        block = self._position(BLOCK)
        off = float(np.hypot(*(block[:2] - GOAL)))
        flat = abs(block[2] - BLOCK_HALF) < 0.01
        left = max(0.0, way_left(block[:2]) - TOLERANCE)
        success = bool(off <= TOLERANCE and flat and not self._collided)
        score = 1.0 if success else min(0.99, max(0.0, 1.0 - left / self._whole)) if flat else 0.0
        details: dict[str, float | str] = {'distance': off, 'side': self._side, 'collided': str(self._collided)}
        return Progress(score=score, success=success, details=details)
