"""What worlds have in common whose physics are MuJoCo's: joints that are driven, poses, and pictures of the state."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import mujoco
import numpy as np

from dp_ros.errors import check_finite, check_shape
from dp_ros.simulation.arm.camera import Cameras
from dp_ros.simulation.world import Pose, Scene, World

STEP_DURATION = 10_000_000  # [ns]


class MujocoWorld(ABC):
    """A model and its state, one step of 10 ms at a time. Positions in [m], angles in [rad].

    What derives from it begins and advances episodes, scores them, and names the rest of a
    `dp_ros.simulation.world.World`.

    Parameters
    ----------
    model
        The compiled model, which may be shared: nothing here changes it.
    joints
        Its hinges and slides that are driven, in the order of a set point.

    """

    step_duration = STEP_DURATION

    def __init__(self, model: mujoco.MjModel, joints: Sequence[str]) -> None:
        self.joints: tuple[str, ...] = tuple(joints)
        self._model = model
        self._data = mujoco.MjData(model)
        numbers = [model.joint(name).id for name in joints]
        # Where the joints are in `qpos`, and in `qvel`; of NumPy's own kind of index, which it need not convert.
        self._rows = model.jnt_qposadr[numbers].astype(np.intp)
        self._columns = model.jnt_dofadr[numbers].astype(np.intp)
        limited, ranges = model.jnt_limited[numbers] != 0, model.jnt_range[numbers]
        self.lower: tuple[float, ...] = tuple(np.where(limited, ranges[:, 0], -np.inf).tolist())
        self.upper: tuple[float, ...] = tuple(np.where(limited, ranges[:, 1], np.inf).tolist())
        self._substeps = round(STEP_DURATION / 1e9 / model.opt.timestep)
        self._cameras: Cameras | None = None

    @abstractmethod
    def _make_cameras(self) -> Cameras:
        """Return what draws the model; called once, for the first picture."""

    @abstractmethod
    def _view(self) -> str:
        """Return the name of the camera of pictures for people."""

    @abstractmethod
    def _tool_places(self, joints: np.ndarray) -> np.ndarray:
        """Return where the tool is (N, 3) [m] for joint positions (N, A) [rad] or [m]."""

    @property
    def joint_positions(self) -> np.ndarray:
        """Positions of the joints (A,) [rad] or [m]."""
        return np.array(self._data.qpos[self._rows])

    @property
    def joint_velocities(self) -> np.ndarray:
        """Velocities of the joints (A,) [rad/s] or [m/s]."""
        return np.array(self._data.qvel[self._columns])

    @property
    def joint_efforts(self) -> np.ndarray:
        """Torques [Nm] or forces [N] of the drives in the last step (A,)."""
        return np.array(self._data.qfrc_actuator[self._columns])

    def render(self, camera: str) -> np.ndarray:
        """Return what a camera sees, (H, W, 3) uint8 RGB; ConfigError if there is none of that name."""
        return self._rendered().picture(self._data, camera)

    def render_large(self, height: int) -> np.ndarray:
        """Return a picture for people, ``height`` pixels high, (H, W, 3) uint8 RGB."""
        return self._rendered().picture(self._data, self._view(), height)

    def tool_pixels(self, joints: np.ndarray, height: int) -> np.ndarray:
        """Return where in such a picture the tool is for joint positions (N, A): column, row (N, 2) [pixels]."""
        places = self._tool_places(joints)
        return self._rendered().project(self._data, self._view(), places, height)

    def _rendered(self) -> Cameras:
        if self._cameras is None:
            self._cameras = self._make_cameras()
        return self._cameras

    def _joints_of(self, scene: Scene) -> np.ndarray:
        """Return the joint positions (A,) [rad] or [m] of a scene; DataError if they are others, or not finite."""
        joints = np.asarray(scene.joints, dtype=np.float64)
        check_shape('joints', joints, (len(self.joints),))
        check_finite('joints', joints)
        return joints

    @staticmethod
    def _pose(values: list[float]) -> Pose:
        """Return the pose of x, y, z [m] and a quaternion w, x, y, z; of the two for it, that with w not negative."""
        w, x, y, z = values[3:] if values[3] >= 0.0 else [-v for v in values[3:]]
        return Pose(position=(values[0], values[1], values[2]), orientation=(x, y, z, w))


FRICTION = 0.5  # of what it was, where it is halved


def wrong_worlds(
    make: Callable[..., World],
    model: Callable[[], mujoco.MjModel],
    faults: Mapping[str, Callable[[mujoco.MjModel], None]],
) -> dict[str, Callable[[], World]]:
    """Return what makes worlds whose ``physics`` are a changed copy of ``model``, by the name of the fault."""

    def made(change: Callable[[mujoco.MjModel], None]) -> World:
        changed = copy.deepcopy(model())
        change(changed)
        return make(physics=changed)

    return {fault: partial(made, change) for fault, change in faults.items()}


def halve_friction(model: mujoco.MjModel) -> None:
    """Let everything slide more easily."""
    model.geom_friction[:, 0] *= FRICTION


def make_round(model: mujoco.MjModel, box: str) -> None:
    """Turn a box into a cylinder that is as wide and as high."""
    geom = model.geom(box).id
    model.geom_type[geom] = mujoco.mjtGeom.mjGEOM_CYLINDER
    model.geom_size[geom, 1] = model.geom_size[geom, 2]  # radius and half of its height
