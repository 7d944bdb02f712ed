"""The arm: where its tool is, and which joints put it there."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from dp_ros.errors import DataError
from dp_ros.simulation.arm import JOINTS

HEIGHT = 0.010  # of the tool's lower edge above the table, where nothing else is asked for [m]
BENT = np.array([0.0, 0.4, 0.0, 2.0, 0.0, 0.7, 0.0])  # near the joints of every pose that is asked for [rad]
ELBOW = -2.5  # how far joint_3 turns for a way to the side [rad/m]: the elbow goes out of the tool's way
ITERATIONS = 60
CLOSE = 1e-9  # [m], [rad]
STEP_MAX = 0.3  # of a joint in one iteration [rad]
DAMPING = 1e-4


@dataclass(frozen=True, kw_only=True)
class ToolPose:
    """Where the tool is: position on the table [m], and where it heads [rad], 0 along x."""

    x: float
    y: float
    yaw: float


class Arm:
    """Kinematics, both ways, of the arm in a compiled world."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._data = mujoco.MjData(self._model)
        self._site = self._model.site('tool').id
        self.columns = np.array([self._model.joint(name).dofadr[0] for name in JOINTS])
        self._rows = np.array([self._model.joint(name).qposadr[0] for name in JOINTS])
        self._jacobian = np.zeros((6, self._model.nv))

    def tool(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return position [m] and rotation matrix (3, 3) of the tool's frame for joint positions (7,) [rad]."""
        self._data.qpos[self._rows] = joints
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.site_xpos[self._site].copy(), self._data.site_xmat[self._site].reshape(3, 3).copy()

    def pose(self, joints: np.ndarray) -> ToolPose:
        """Return where the tool is on the table, whatever its height."""
        position, turn = self.tool(joints)
        return ToolPose(x=float(position[0]), y=float(position[1]), yaw=float(np.arctan2(turn[1, 0], turn[0, 0])))

    def solve(self, pose: ToolPose, near: np.ndarray = BENT, height: float = HEIGHT) -> np.ndarray:
        """Return the joints (7,) [rad] that put the tool upright at a pose: damped Newton steps from ``near``.

        Of all that do, those with joint_3 in proportion to y: so the joints are a smooth function of the pose.
        """
        joints = np.array(near, dtype=np.float64)
        c, s = np.cos(pose.yaw), np.sin(pose.yaw)
        wanted = np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])
        for _ in range(ITERATIONS):
            position, turn = self.tool(joints)
            around = np.cross(turn, wanted, axis=0).sum(axis=1) / 2.0
            error = np.concatenate([
                np.array([pose.x, pose.y, height]) - position, around, [ELBOW * pose.y - joints[2]]
            ])  # fmt: skip
            if np.abs(error).max() < CLOSE:
                return joints
            step = self._step(error)
            joints += step * min(1.0, STEP_MAX / max(float(np.abs(step).max()), 1e-12))
        raise DataError(f'arm: no joints found for the tool at {pose}, height {height} m; allowed poses within reach')

    def joint_offset(self, joints: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Return by how much the joints (7,) [rad] must change for a small shift of the tool: x, y [m], yaw [rad]."""
        self.tool(joints)
        return self._step(np.array([shift[0], shift[1], 0.0, 0.0, 0.0, shift[2], 0.0]))

    def _step(self, error: np.ndarray) -> np.ndarray:
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site)
        rows = np.vstack([self._jacobian[:, self.columns], np.eye(len(JOINTS))[2]])
        step: np.ndarray = np.linalg.solve(rows.T @ rows + DAMPING**2 * np.eye(len(JOINTS)), rows.T @ error)
        return step
