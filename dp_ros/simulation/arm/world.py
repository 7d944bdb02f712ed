"""What worlds with the arm have in common: the tool may be disturbed, and bodies lie about that have free joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np

from dp_ros.errors import check_range
from dp_ros.simulation.arm import JOINTS
from dp_ros.simulation.arm.camera import Cameras
from dp_ros.simulation.arm.kinematics import Arm
from dp_ros.simulation.mujoco_world import STEP_DURATION, MujocoWorld
from dp_ros.simulation.world import Pose

CAMERA_SIZE = (96, 96)  # height and width [pixels]
ARM = slice(len(JOINTS))  # in joint positions
CORRELATION = 0.5  # of a disturbance [s]
SHIFT = np.array([0.006, 0.006, 0.06])  # standard deviation of a disturbance: x, y [m], yaw [rad]


class ArmWorld(MujocoWorld):
    """A world whose first joints are the arm's, and whose drives take set points.

    Parameters
    ----------
    model
        See `MujocoWorld`.
    joints
        The arm's, and those behind its flange.
    bodies
        The names of what is tracked: of the joints, too, by which it is free.
    disturbance
        0 to 2: how much the tool is shifted in episodes, as multiples of `SHIFT`.

    Attributes
    ----------
    view
        The camera of pictures for people.

    """

    cameras: tuple[str, ...] = ('camera', 'wrist_camera')
    view = 'camera'

    def __init__(
        self, model: mujoco.MjModel, joints: Sequence[str], bodies: Sequence[str], *, disturbance: float
    ) -> None:
        check_range('disturbance', disturbance, 0.0, 2.0)
        super().__init__(model, joints)
        self.tracked: tuple[str, ...] = tuple(bodies)
        self._disturbance = disturbance
        self._arm = Arm(model)
        self._body_rows = {name: int(model.joint(name).qposadr[0]) for name in bodies}  # of poses in `qpos`

    def _set_state(self, joints: np.ndarray, poses: Mapping[str, Pose]) -> None:
        """Put joints (A,) [rad] or [m] and bodies where they are asked for, at rest and undisturbed.

        What follows from that is not computed: whoever calls it calls `mj_forward`.
        """
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[self._rows] = joints
        for name, pose in poses.items():
            row, (x, y, z, w) = self._body_rows[name], pose.orientation
            self._data.qpos[row : row + 7] = [*pose.position, w, x, y, z]
        self._data.ctrl[:] = joints
        self._disturb(np.random.default_rng(0), 0.0)

    def _disturb(self, draw: np.random.Generator, strength: float) -> None:
        """Begin to shift the tool at random, with ``strength`` as the class has it."""
        self._push = Disturbance(draw, strength, STEP_DURATION / 1e9)

    def step(self, set_point: np.ndarray) -> None:
        """Advance by one step of 10 ms with the joints driven towards ``set_point`` (A,) [rad] or [m]."""
        self._data.ctrl[:] = set_point
        if self._disturbance:
            self._data.ctrl[ARM] += self._arm.joint_offset(self.joint_positions[ARM], self._push.next())
        mujoco.mj_step(self._model, self._data, self._substeps)

    @property
    def poses(self) -> dict[str, Pose]:
        """The bodies' poses; of the two quaternions for each, that with w not negative."""
        qpos = self._data.qpos
        return {name: self._pose(qpos[row : row + 7].tolist()) for name, row in self._body_rows.items()}

    def _position(self, body: str) -> np.ndarray:
        """Return where a body is (3,) [m]."""
        row = self._body_rows[body]
        return np.array(self._data.qpos[row : row + 3])

    def _view(self) -> str:
        return self.view

    def _make_cameras(self) -> Cameras:
        return Cameras(self._model, dict.fromkeys((*self.cameras, self.view), CAMERA_SIZE))

    def _tool_places(self, joints: np.ndarray) -> np.ndarray:
        return np.stack([self._arm.tool(row[ARM])[0] for row in joints])


class Disturbance:
    """A random shift of where the drives take the tool: noise through two first-order filters, so it is smooth."""

    def __init__(self, draw: np.random.Generator, strength: float, dt: float) -> None:
        self._draw = draw
        self._keep = float(np.exp(-dt / CORRELATION))
        # The second filter's output then has the standard deviation SHIFT: sum of (n + 1)^2 q^n = (1 + q) / (1 - q)^3.
        square = self._keep**2
        self._scale = strength * SHIFT * np.sqrt((1.0 - square) ** 3 / (1.0 + square))
        self._first: np.ndarray = np.zeros(3)
        self._second: np.ndarray = np.zeros(3)

    def next(self) -> np.ndarray:
        """Return the shift (3,) of the next step: x, y [m], yaw [rad]."""
        self._first = self._keep * self._first + self._scale * self._draw.standard_normal(3)
        self._second = self._keep * self._second + self._first
        return self._second
