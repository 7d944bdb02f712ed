"""A world from a MuJoCo model that somebody else made: its joints, cameras, bodies and success as a file names them.

An episode begins where model, keyframe and file have the joints and bodies, spread as the file says. The score is how
much of its way to the box of success the body has made; without a box it stays 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import mujoco
import numpy as np

from dp_ros.bounded_files import read_text, reading
from dp_ros.errors import ConfigError, DataError
from dp_ros.robot.urdf import MOST_TEXT, parse_urdf
from dp_ros.simulation.arm.camera import LIGHT, Cameras
from dp_ros.simulation.mujoco_world import MujocoWorld
from dp_ros.simulation.world import Pose, Progress, Scene
from dp_ros.simulation.worlds.mjcf.description import robot_description
from dp_ros.simulation.worlds.mjcf.model import (
    FREE,
    Drive,
    couplings,
    find_drives,
    follow,
    joint_number,
    load_model,
    number_of,
)
from dp_ros.simulation.worlds.mjcf.world_file import FileCamera, WorldFile

SEEN = (0, 1, 2)  # groups of geoms; the rest is collision shapes, by MuJoCo's custom


def _grain(camera: FileCamera) -> np.ndarray:
    """Return noise for a picture (H * W * 3,); one picture is told from the next by where in it that begins."""
    size = 3 * camera.height * camera.width
    return np.round(np.random.default_rng(0).normal(0.0, camera.noise, size)).astype(np.int16)


class ModelWorld(MujocoWorld):
    """The physics, one step of 10 ms at a time. Positions in [m], angles in [rad].

    Parameters
    ----------
    path
        Of the world's file, for its folder and for what is said of it.
    file
        What it has.

    """

    def __init__(self, path: Path, file: WorldFile) -> None:
        self._file = file
        model = load_model(path, file)
        try:
            drives = find_drives(model, file)  # before the rest: it names the joints that are missing
            super().__init__(model, file.names)
            self._find(drives)
            self.robot_description = self._description(path)
        except ConfigError as error:
            raise ConfigError(f'{path}: {error}') from error
        self.reset(0)

    def _find(self, drives: Sequence[Drive]) -> None:
        model, file = self._model, self._file
        self.units: tuple[str, ...] = tuple(joint.unit for joint in file.joints)
        self.cameras: tuple[str, ...] = tuple(camera.name for camera in file.cameras)
        self.tracked: tuple[str, ...] = tuple(tracked.body for tracked in file.tracked)
        self.state_joints = file.states
        self._coupled = couplings(model, file.names)
        self._actuators = np.array([drive.actuator for drive in drives])
        self._gains = np.array([drive.gain for drive in drives])
        self._offsets = np.array([drive.offset for drive in drives])
        states = [joint_number(model, name, 'joint_states') for name in file.states]
        self._state_rows, self._state_columns = model.jnt_qposadr[states], model.jnt_dofadr[states]
        self._grains = {camera.name: _grain(camera) for camera in file.cameras}
        self._bodies = {name: number_of(model, 'body', name, 'tracked') for name in self.tracked}
        for camera in self.cameras:
            number_of(model, 'camera', camera, 'camera')
        for tracked in file.tracked:
            if any(tracked.spread) and self._free_row(tracked.body) is None:
                raise ConfigError(f'tracked {tracked.body}: spread: got one, allowed for a body with a free joint')
        self._goal = None if file.success is None else number_of(model, 'body', file.success.body, 'success')
        self._keyframe = number_of(model, 'key', file.keyframe, 'keyframe') if file.keyframe else None
        self._find_tool()

    def _find_tool(self) -> None:
        model, name = self._model, self._file.tool
        last = self._file.controllers[0].joints[-1] if self._file.controllers else self.joints[-1]
        self._site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, name) if name else -1
        if name and self._site < 0:
            sites = (model.site(i).name for i in range(model.nsite))
            self._tool_body = number_of(model, 'body', name, 'tool', sites)
        elif not name:
            self._tool_body = int(model.joint(last).bodyid[0])

    def _description(self, path: Path) -> str:
        if not self._file.urdf:
            velocities = {j.name: j.velocity for j in self._file.joints if j.velocity is not None}
            return robot_description(self._model, path.stem, self.joints, velocities, self._coupled)
        with reading(f'urdf {self._file.urdf}', 'a URDF file'):
            text = read_text(path.parent / self._file.urdf, MOST_TEXT)
        parse_urdf(text, f'urdf {self._file.urdf}')
        return text

    def _free_row(self, body: str) -> int | None:
        """Return where in ``qpos`` the pose of a body with a free joint is; None where it has none."""
        number = self._bodies[body]
        first = int(self._model.body_jntadr[number])
        if first < 0 or int(self._model.jnt_type[first]) != FREE:
            return None
        return int(self._model.jnt_qposadr[first])

    def reset(self, seed: int) -> None:
        """Begin an episode at the start that belongs to ``seed``, which the pictures' noise belongs to as well."""
        rng = np.random.default_rng(seed)
        self._shifts = np.random.default_rng([seed, 1])
        self._begin()
        spread = np.array([joint.spread for joint in self._file.joints])
        joints = self._data.qpos[self._rows] + rng.uniform(-spread, spread)
        poses = {}
        for tracked in self._file.tracked:
            row = self._free_row(tracked.body)
            if row is not None and any(tracked.spread):
                x, y, yaw = rng.uniform(-np.array(tracked.spread), tracked.spread)
                moved = self._data.qpos[row : row + 7].copy()
                moved[:2] += x, y
                turned = np.zeros(4)
                mujoco.mju_mulQuat(turned, np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]), moved[3:])
                moved[3:] = turned
                poses[row] = moved
        self._put(joints, poses)

    def _begin(self) -> None:
        if self._keyframe is None:
            mujoco.mj_resetData(self._model, self._data)
        else:
            mujoco.mj_resetDataKeyframe(self._model, self._data, self._keyframe)
        for row, joint in zip(self._rows, self._file.joints, strict=True):
            if joint.start is not None:
                self._data.qpos[row] = joint.start

    def set_scene(self, scene: Scene) -> None:
        """Put joints and bodies with free joints where they are asked for, at rest."""
        joints = self._joints_of(scene)
        self._begin()
        rows = {name: self._free_row(name) for name in scene.poses if name in self._bodies}
        poses = {}
        for name, row in rows.items():
            x, y, z, w = scene.poses[name].orientation
            if row is not None:
                poses[row] = np.array([*scene.poses[name].position, w, x, y, z])
        self._put(joints, poses)

    def _put(self, joints: np.ndarray, poses: Mapping[int, np.ndarray]) -> None:
        data = self._data
        data.qpos[self._rows] = np.clip(joints, self.lower, self.upper)
        for row, pose in poses.items():
            data.qpos[row : row + 7] = pose
        follow(self._model, self._coupled, data.qpos)
        data.qvel[:] = 0.0
        data.ctrl[self._actuators] = data.qpos[self._rows] * self._gains + self._offsets
        mujoco.mj_forward(self._model, data)
        self._whole = max(self._distance(), 1e-6)

    def step(self, set_point: np.ndarray) -> None:
        """Advance by one step of 10 ms with the joints driven towards ``set_point`` (A,) [rad or m].

        Raises :class:`DataError` where the model's physics diverge.
        """
        data = self._data
        data.ctrl[self._actuators] = np.asarray(set_point) * self._gains + self._offsets
        mujoco.mj_step(self._model, data, self._substeps)
        bad = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)
        if any(data.warning[int(kind)].number for kind in bad):
            raise DataError(
                f'model {self._file.model}: got physics that diverge {data.time:.2f} s after the start, allowed a '
                'model that is stable: a shorter option timestep, or drives less stiff, may help'
            )
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_camlight(self._model, data)

    @property
    def joint_states(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions, velocities and efforts of `state_joints`."""
        data, rows, columns = self._data, self._state_rows, self._state_columns
        return np.array(data.qpos[rows]), np.array(data.qvel[columns]), np.array(data.qfrc_actuator[columns])

    @property
    def poses(self) -> dict[str, Pose]:
        """Poses of the tracked bodies; of the two quaternions for each, that with w not negative."""
        places, turns = self._data.xpos, self._data.xquat
        return {name: self._pose([*places[n].tolist(), *turns[n].tolist()]) for name, n in self._bodies.items()}

    def _distance(self) -> float:
        """Return how far the body is from the box of success [m]; 0 in it, and without one."""
        if self._file.success is None or self._goal is None:
            return 0.0
        place = self._data.xpos[self._goal]
        return float(np.linalg.norm(place - np.clip(place, self._file.success.lower, self._file.success.upper)))

    @property
    def progress(self) -> Progress:
        """How much nearer to the box the body is than it was."""
        if self._goal is None:
            return Progress(score=0.0, success=False)
        off = self._distance()
        success = off == 0.0
        score = 1.0 if success else min(0.99, max(0.0, 1.0 - off / self._whole))
        return Progress(score=score, success=success, details={'distance': off})

    def render(self, camera: str) -> np.ndarray:
        """Return what a camera sees with its noise, (H, W, 3) uint8 RGB; ConfigError if there is none of that name."""
        picture, grain = super().render(camera), self._grains[camera]
        if not grain.any():
            return picture
        shifted = np.roll(grain, self._shifts.integers(grain.size)).reshape(picture.shape)
        return np.clip(picture + shifted, 0, 255).astype(np.uint8)

    def _tool_places(self, joints: np.ndarray) -> np.ndarray:
        data = mujoco.MjData(self._model)
        places = []
        for row in joints:
            data.qpos[self._rows] = row
            follow(self._model, self._coupled, data.qpos)
            mujoco.mj_kinematics(self._model, data)
            places.append(np.array(data.site_xpos[self._site] if self._site >= 0 else data.xpos[self._tool_body]))
        return np.array(places).reshape(-1, 3)

    def _view(self) -> str:
        if not self.cameras:
            raise ConfigError('camera: got none in the file of this world, allowed one for pictures')
        return self._file.view or self.cameras[0]

    def _make_cameras(self) -> Cameras:
        sizes = {camera.name: (camera.height, camera.width) for camera in self._file.cameras}
        light = np.array(self._model.light_pos[0]) if self._model.nlight else LIGHT
        return Cameras(self._model, sizes, light=light, groups=SEEN)
