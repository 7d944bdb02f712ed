"""The worlds as Gymnasium environments, which importing this module registers.

    import dp_ros.simulation.gymnasium_env
    env = gymnasium.make('dp_ros/PushBlock-v0')  # or dp_ros/PushT-v0, or that of another package's world

Gymnasium 1 has no entry points; in one line, it is ``make('dp_ros.simulation.gymnasium_env:dp_ros/PushT-v0')``.

An action is where the joints should be one control step later. As from the policy, it goes through the model of
joint_trajectory_controller: a line from the last set point to the next, which the world's drives follow.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, DataError, check_finite, check_shape
from dp_ros.motion.trajectory import Trajectory
from dp_ros.simulation.controller.controller import Accepted
from dp_ros.simulation.registry import make_world, world_names, world_spec
from dp_ros.simulation.robot import SimulatedRobot, controllers_of
from dp_ros.simulation.world import Progress

MAX_STEPS = 300  # of an episode, before it is truncated: 30 s at 10 Hz
HEIGHT = 480  # of rendered pictures [pixels]
ROUNDING = 1e-6  # by which an action in float32 may miss the range [rad or m]

Observation = dict[str, np.ndarray]


class WorldEnv(gymnasium.Env[Any, np.ndarray]):
    """A world behind the controller's model, one control step at a time.

    Observations have ``joint_positions`` (A,) [rad or m]; for each body that the world tracks ``<name>_pose`` (7,),
    x, y, z [m] and the quaternion x, y, z, w; with ``cameras`` each camera's picture (H, W, 3) uint8 RGB by its name.
    Actions are set points (A,) [rad or m] within the joints' ranges. The reward is the world's score, 0 to 1, and an
    episode terminates at success. ``info`` has the seed of the start, and score and findings of the world.

    Parameters
    ----------
    world
        Its name, as `dp_ros.simulation.registry.world_names` lists it.
    control_dt
        Time that a step takes [s], a whole multiple of that of the physics.
    cameras
        Whether observations have pictures.
    disturbance
        As for `dp_ros.simulation.registry.make_world`.
    render_mode
        ``rgb_array``: `render` returns a picture for people; None: it returns None.

    Attributes
    ----------
    world
        The physics.

    Raises
    ------
    ConfigError
        If there is no such world, or a setting is not one of these.

    """

    metadata: dict[str, Any] = {'render_modes': ['rgb_array'], 'render_fps': 10}  # noqa: RUF012, as Gymnasium has it

    def __init__(
        self,
        world: str,
        *,
        control_dt: float = 0.1,
        cameras: bool = False,
        disturbance: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, 'rgb_array'):
            raise ConfigError(f'render_mode: got {render_mode!r}, allowed rgb_array or None')
        self.world = make_world(world, disturbance=disturbance)
        step_duration = self.world.step_duration
        self._control_dt = to_nanoseconds(control_dt)
        if self._control_dt <= 0 or self._control_dt % step_duration:
            raise ConfigError(
                f'control_dt: got {control_dt} s, allowed whole multiples of {step_duration / 1e9:g} s, of the physics'
            )
        self._cameras = self.world.cameras if cameras else ()
        controllers = controllers_of(world_spec(world), self.world)
        self._robot = SimulatedRobot(self.world, start=0, camera=False, controllers=controllers)
        self._seed = 0
        self.render_mode = render_mode
        self.metadata = {**self.metadata, 'render_fps': max(1, round(1.0 / control_dt))}
        self.action_space = Box(np.array(self.world.lower), np.array(self.world.upper), dtype=np.float64)
        self.observation_space = Dict({
            name: Box(0, 255, values.shape, np.uint8)
            if values.dtype == np.uint8
            else Box(-np.inf, np.inf, values.shape, np.float64)
            for name, values in self._observe().items()
        })  # fmt: skip

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode at the world's start for ``seed``; without one, for a seed drawn from `np_random`."""
        super().reset(seed=seed)
        if options:
            raise ConfigError(f'reset options: got {options}, allowed none')
        self._seed = int(self.np_random.integers(2**31)) if seed is None else seed
        self._robot.now = 0
        self._robot.reset(self._seed)
        return self._observe(), self._info(self.world.progress)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move to the set points ``action`` (A,) in one control step; DataError outside of the joints' ranges."""
        robot = self._robot
        points = np.stack([robot.set_point, self._checked(action)])
        times = np.array([0, self._control_dt])
        verdict = robot.command(Trajectory(stamp=0, joints=self.world.joints, times=times, positions=points))
        if not isinstance(verdict, Accepted):
            raise DataError(f'action: got one that the controller did not accept: {verdict}')
        until = robot.now + self._control_dt
        while robot.now < until:
            robot.step()
        progress = self.world.progress
        success = progress.success or robot.episode.success
        return self._observe(), progress.score, success, False, self._info(progress)

    def render(self) -> np.ndarray | None:
        """Return a picture for people (H, W, 3) uint8 RGB, or None without a render mode."""
        return self.world.render_large(HEIGHT) if self.render_mode == 'rgb_array' else None

    def _checked(self, action: Any) -> np.ndarray:
        values = np.asarray(action, dtype=np.float64)
        check_shape('action', values, (len(self.world.joints),))
        check_finite('action', values)
        for joint, value, low, high in zip(self.world.joints, values, self.world.lower, self.world.upper, strict=True):
            if not low - ROUNDING <= value <= high + ROUNDING:
                raise DataError(f'action {joint}: got {value:g}, allowed {low:g} to {high:g}')
        return np.clip(values, self.world.lower, self.world.upper)

    def _observe(self) -> Observation:
        poses = self.world.poses
        return {
            'joint_positions': np.array(self.world.joint_positions, dtype=np.float64),
            **{f'{name}_pose': np.array([*pose.position, *pose.orientation]) for name, pose in poses.items()},
            **{camera: self.world.render(camera) for camera in self._cameras},
        }

    def _info(self, progress: Progress) -> dict[str, Any]:
        return {**progress.details, 'seed': self._seed, 'score': progress.score, 'success': progress.success}


def register_environments() -> None:
    """Register the worlds that have an id, once."""
    for spec in map(world_spec, world_names()):
        if spec.environment and spec.environment not in gymnasium.registry:
            gymnasium.register(
                id=spec.environment,
                entry_point=f'{__name__}:{WorldEnv.__name__}',
                kwargs={'world': spec.name},
                max_episode_steps=MAX_STEPS,
            )


register_environments()
