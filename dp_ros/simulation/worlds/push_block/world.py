"""A seven-joint arm that pushes a block around a post to the goal behind it, left or right; the physics are MuJoCo's.

The axes are the table's: x from the arm to the goal, y to the left, z up, the origin under the arm.

Success: the block's middle is within 30 mm of the goal's, the block lies flat on the table, and the arm has not run
into the post in this episode (a force of more than 5 N); after that the episode cannot succeed any more. The block may
touch the post. The score is how much of the way from the start to the goal around the post the block has made.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from dp_ros.errors import check_finite, check_range, check_shape
from dp_ros.simulation.arm.camera import Cameras
from dp_ros.simulation.arm.disturbance import Disturbance
from dp_ros.simulation.arm.kinematics import BENT, Arm
from dp_ros.simulation.arm.urdf import robot_description
from dp_ros.simulation.world import Pose, Progress, Scene
from dp_ros.simulation.worlds.push_block.model import model
from dp_ros.simulation.worlds.push_block.spec import BLOCK, BLOCK_HALF, GOAL, JOINTS, POST
from dp_ros.simulation.worlds.push_block.starts import draw_start, draw_wide_start
from dp_ros.simulation.worlds.push_block.way import way_left

STEP_DURATION = 10_000_000  # [ns]
TOLERANCE = 0.030  # of success [m]
CAMERAS = {'camera': (96, 96), 'wrist_camera': (96, 96)}  # name: height and width [pixels]
VIEW = 'camera'  # of pictures for people
HARD = 5.0  # [N]
WIDE_SHARE = 0.35  # of disturbed episodes


class PushBlockWorld:
    """The physics, one step of 10 ms at a time. Positions in [m], angles in [rad].

    ``physics`` are a changed copy of `dp_ros.simulation.worlds.push_block.model.model`, of the same arm.
    """

    joints: tuple[str, ...] = JOINTS
    units: tuple[str, ...] = ('rad',) * len(JOINTS)
    step_duration = STEP_DURATION
    cameras: tuple[str, ...] = tuple(CAMERAS)
    tracked: tuple[str, ...] = (BLOCK,)

    def __init__(self, *, disturbance: float = 0.0, physics: mujoco.MjModel | None = None) -> None:
        check_range('disturbance', disturbance, 0.0, 2.0)
        self._disturbance = disturbance
        self._model = model() if physics is None else physics
        self._data = mujoco.MjData(self._model)
        self._arm = Arm(self._model)
        self._cameras: Cameras | None = None
        self._rows = np.array([self._model.joint(name).qposadr[0] for name in JOINTS])
        self._columns = self._arm.columns
        ranges = self._model.jnt_range[[self._model.joint(name).id for name in JOINTS]]
        self.lower, self.upper = tuple(ranges[:, 0].tolist()), tuple(ranges[:, 1].tolist())
        self.robot_description = robot_description(self._model, 'push_block_arm')
        self._block = int(self._model.joint(BLOCK).qposadr[0])
        self._post = self._model.geom('post').id
        self._block_geom = self._model.geom(BLOCK).id
        self._substeps = round(STEP_DURATION / 1e9 / self._model.opt.timestep)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin an episode at the start that belongs to ``seed``: block and tool are near the middle, not on it."""
        draw = np.random.default_rng(seed)
        start = draw_start(draw)
        if self._disturbance and draw.random() < WIDE_SHARE:
            start = draw_wide_start(draw)
        yaw = start.yaw
        self._put(
            self._arm.solve(start.tool, BENT),
            np.array([*start.block, BLOCK_HALF]),
            (0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)),
        )
        self._push = Disturbance(draw, self._disturbance, STEP_DURATION / 1e9)

    def set_scene(self, scene: Scene) -> None:
        """Put arm and block where they are asked for, at rest."""
        check_shape('joints', np.asarray(scene.joints), (len(JOINTS),))
        check_finite('joints', np.asarray(scene.joints))
        pose = scene.poses[BLOCK]
        self._put(np.asarray(scene.joints), np.array(pose.position), pose.orientation)

    def _put(self, joints: np.ndarray, position: np.ndarray, orientation: Any) -> None:
        x, y, z, w = orientation
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[self._rows] = joints
        self._data.qpos[self._block : self._block + 7] = [*position, w, x, y, z]
        self._data.ctrl[:] = joints
        mujoco.mj_forward(self._model, self._data)
        self._collided = False
        self._side = ''
        self._push = Disturbance(np.random.default_rng(0), 0.0, STEP_DURATION / 1e9)
        self._last_x = float(position[0])
        self._whole = max(way_left(position[:2]) - TOLERANCE, 1e-6)

    def step(self, set_point: np.ndarray) -> None:
        """Advance by one step of 10 ms with the joints driven towards ``set_point`` (7,) [rad]."""
        self._data.ctrl[:] = set_point
        if self._disturbance:
            self._data.ctrl[:] += self._arm.joint_offset(self.joint_positions, self._push.next())
        mujoco.mj_step(self._model, self._data, self._substeps)
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
    def joint_positions(self) -> np.ndarray:
        """Positions of the joints [rad]."""
        return np.array(self._data.qpos[self._rows])

    @property
    def joint_velocities(self) -> np.ndarray:
        """Velocities of the joints [rad/s]."""
        return np.array(self._data.qvel[self._columns])

    @property
    def joint_efforts(self) -> np.ndarray:
        """Torques of the drives in the last step [Nm]."""
        return np.array(self._data.qfrc_actuator[self._columns])

    @property
    def poses(self) -> dict[str, Pose]:
        """The block's pose; of the two quaternions for it, that with w not negative."""
        values = self._data.qpos[self._block : self._block + 7].tolist()
        w, x, y, z = values[3:] if values[3] >= 0.0 else [-v for v in values[3:]]
        return {BLOCK: Pose(position=tuple(values[:3]), orientation=(x, y, z, w))}

    @property
    def progress(self) -> Progress:
        """How much of its way the block has made, and on which side of the post it went by."""
        block = np.array(self._data.qpos[self._block : self._block + 3])
        off = float(np.hypot(*(block[:2] - GOAL)))
        flat = abs(block[2] - BLOCK_HALF) < 0.01
        left = max(0.0, way_left(block[:2]) - TOLERANCE)
        success = bool(off <= TOLERANCE and flat and not self._collided)
        score = 1.0 if success else min(0.99, max(0.0, 1.0 - left / self._whole)) if flat else 0.0
        details: dict[str, float | str] = {'distance': off, 'side': self._side, 'collided': str(self._collided)}
        return Progress(score=score, success=success, details=details)

    def render(self, camera: str) -> np.ndarray:
        """Return what a camera sees, uint8 RGB."""
        return self._rendered().picture(self._data, camera)

    def render_large(self, height: int) -> np.ndarray:
        """Return a picture for people, ``height`` pixels high, uint8 RGB."""
        return self._rendered().picture(self._data, VIEW, height)

    def tool_pixels(self, joints: np.ndarray, height: int) -> np.ndarray:
        """Return where the tool of joint positions (N, 7) [rad] is in such a picture: column, row (N, 2) [pixels]."""
        points = np.stack([self._arm.tool(row)[0] for row in joints])
        return self._rendered().project(self._data, VIEW, points, height)

    def _rendered(self) -> Cameras:
        if self._cameras is None:
            self._cameras = Cameras(self._model, CAMERAS)
        return self._cameras
