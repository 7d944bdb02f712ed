"""PushT as a robot: gym-pusht's physics and pictures behind a gantry with two prismatic joints.

One pixel of the benchmark is one millimetre. The axes are the picture's: x to the right, y down, yaw from x to y.
The pusher follows its set point by the benchmark's own PD law, in the benchmark's own steps of 10 ms.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

os.environ.setdefault('PYGAME_HIDE_SUPPORT_PROMPT', '1')  # pygame greets on standard output when it is imported

import gymnasium
import numpy as np
from gym_pusht.envs.pusht import PushTEnv

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, check_finite, check_shape, listed
from dp_ros.simulation.world import Pose, Progress, Scene
from dp_ros.simulation.worlds.pusht.spec import JOINTS

PIXELS_PER_METRE = 1000.0
WIDTH = 0.512  # [m]
SUCCESS_COVERAGE = 0.95
MASS = 1.0  # [kg], for efforts; the benchmark's pusher has none
FRICTION, HEAVIER = 0.5, 2.0  # of what it was, where it is wrong


class PushTWorld:
    """The physics, one step at a time, in gym-pusht's environment `env`. Positions in [m], angles in [rad]."""

    joints: tuple[str, ...] = JOINTS
    units: tuple[str, ...] = ('m', 'm')
    cameras: tuple[str, ...] = ('camera',)
    tracked: tuple[str, ...] = ('block',)
    robot_description = ''  # no arm
    lower: tuple[float, ...] = (0.0, 0.0)
    upper: tuple[float, ...] = (WIDTH, WIDTH)

    def __init__(self) -> None:
        self.env = PushTEnv(obs_type='pixels', render_mode='rgb_array')
        self.step_duration = to_nanoseconds(self.env.dt)
        self._force = np.zeros(2)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin an episode at the state that gym-pusht draws for ``seed``."""
        gym = self.env
        gymnasium.Env.reset(gym, seed=seed)  # seeds its random numbers
        gym._setup()
        draw = gym.np_random
        pusher = [draw.integers(50, 450), draw.integers(50, 450)]
        block = [draw.integers(100, 400), draw.integers(100, 400)]
        # gym-pusht's own order of assignments, whose result is the benchmark's distribution of starts.
        gym._set_state(np.array([*pusher, *block, draw.uniform(-np.pi, np.pi)]))
        self._force = np.zeros(2)

    def set_state(
        self, *, pusher: Sequence[float] | np.ndarray, block: Sequence[float] | np.ndarray, yaw: float
    ) -> None:
        """Put pusher (2,) and block (2,) [m] where they are asked for, at rest."""
        for what, value in (('pusher', pusher), ('block', block)):
            check_shape(what, np.asarray(value), (2,))
            check_finite(what, np.asarray(value))
        gym = self.env
        gym.agent.velocity = (0, 0)
        gym.agent.position = tuple(np.asarray(pusher, dtype=float) * PIXELS_PER_METRE)
        gym.block.velocity, gym.block.angular_velocity = (0, 0), 0.0
        # The centre of gravity is off the origin, and setting the angle turns about it: the position must come after.
        gym.block.angle = float(yaw)
        gym.block.position = tuple(np.asarray(block, dtype=float) * PIXELS_PER_METRE)
        gym.space.reindex_shapes_for_body(gym.block)
        gym.space.reindex_shapes_for_body(gym.agent)

    def set_scene(self, scene: Scene) -> None:
        """Put pusher and block where they are asked for, at rest."""
        block = scene.poses['block']
        self.set_state(pusher=scene.joints, block=block.position[:2], yaw=block.yaw)

    def step(self, set_point: np.ndarray) -> None:
        """Advance by one step of 10 ms with the pusher driven towards ``set_point`` (2,) [m]."""
        gym = self.env
        target = np.asarray(set_point, dtype=float) * PIXELS_PER_METRE
        position, velocity = np.array(gym.agent.position), np.array(gym.agent.velocity)
        acceleration = gym.k_p * (target - position) - gym.k_v * velocity
        gym.agent.velocity = tuple(velocity + acceleration * gym.dt)
        gym.space.step(gym.dt)
        self._force = MASS * acceleration / PIXELS_PER_METRE

    @property
    def joint_positions(self) -> np.ndarray:
        """Positions of the joints [m]."""
        return np.array(self.env.agent.position) / PIXELS_PER_METRE

    @property
    def joint_velocities(self) -> np.ndarray:
        """Velocities of the joints [m/s]."""
        return np.array(self.env.agent.velocity) / PIXELS_PER_METRE

    @property
    def joint_efforts(self) -> np.ndarray:
        """Forces of the drives in the last step [N]."""
        return self._force.copy()

    @property
    def poses(self) -> dict[str, Pose]:
        """The block's pose."""
        x, y = self.env.block.position
        half = self.env.block.angle % (2 * np.pi) / 2
        turn = (0.0, 0.0, float(np.sin(half)), float(np.cos(half)))
        return {'block': Pose(position=(x / PIXELS_PER_METRE, y / PIXELS_PER_METRE, 0.0), orientation=turn)}

    @property
    def coverage(self) -> float:
        """Share of the goal that the block covers, 0 to 1."""
        return float(self.env._get_coverage())

    @property
    def progress(self) -> Progress:
        """The benchmark's: coverage, as a share of what counts as success."""
        coverage = self.coverage
        return Progress(
            score=min(1.0, coverage / SUCCESS_COVERAGE),
            success=coverage > SUCCESS_COVERAGE,
            details={'coverage': coverage},
        )

    def render(self, camera: str = 'camera') -> np.ndarray:
        """Return the benchmark's observation, (96, 96, 3) uint8 RGB."""
        if camera not in self.cameras:
            raise ConfigError(f'camera: got {camera!r}, allowed {listed(self.cameras)}')
        return self.render_large(96)

    def tool_pixels(self, joints: np.ndarray, height: int) -> np.ndarray:
        """Return where the pusher at ``joints`` (N, 2) [m] is in such a picture: column, row (N, 2) [pixels]."""
        return np.asarray(joints) * (height / WIDTH)

    def render_large(self, height: int) -> np.ndarray:
        """Return a picture of ``height`` x ``height`` pixels, uint8 RGB."""
        picture: np.ndarray = self.env._get_img(self.env._draw(), width=height, height=height)
        return picture


class WrongPushTWorld(PushTWorld):
    """The same with its physics changed after each reset, which makes them anew."""

    def __init__(self, change: Callable[[PushTEnv], None]) -> None:
        self._change = change
        super().__init__()

    def reset(self, seed: int) -> None:
        """Begin an episode."""
        super().reset(seed)
        self._change(self.env)


def _smooth(env: PushTEnv) -> None:
    for shape in (*env.block.shapes, *env.agent.shapes):
        shape.friction *= FRICTION


def _heavy(env: PushTEnv) -> None:
    """Put another T on the table, which turns more slowly than the one that was shown."""
    env.block.moment *= HEAVIER
    env.block.mass *= HEAVIER


FAULTS: Mapping[str, Callable[[PushTEnv], None]] = {'friction_halved': _smooth, 'object_heavier': _heavy}
