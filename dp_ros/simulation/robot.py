"""A world behind a controller, with sensors: what a robot's driver is to the rest of the graph. It reads no clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.errors import ConfigError
from dp_ros.simulation.controller import Accepted, JointTrajectoryController, Rejected
from dp_ros.simulation.pusht import SUCCESS_COVERAGE, PushTWorld

SCORE_PERIOD = NANOSECONDS // 10  # the benchmark looks at coverage ten times a second


@dataclass(frozen=True, kw_only=True, eq=False)
class JointReading:
    """A joint state; attributes as in ``sensor_msgs/JointState``. Units [m], [m/s], [N]."""

    stamp: int
    name: tuple[str, ...]
    position: np.ndarray
    velocity: np.ndarray
    effort: np.ndarray


@dataclass(frozen=True, kw_only=True)
class PoseReading:
    """The block's pose: position [m] and quaternion x, y, z, w."""

    stamp: int
    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageReading:
    """A camera's picture, (H, W, 3) uint8 RGB."""

    stamp: int
    pixels: np.ndarray


Reading = JointReading | PoseReading | ImageReading


@dataclass(frozen=True, kw_only=True)
class EpisodeStatus:
    """How the episode goes: the score is the best so far, and success stays."""

    seed: int
    elapsed: float
    score: float
    success: bool
    coverage: float


class SimulatedRobot:
    """A PushT world behind a joint_trajectory_controller.

    Parameters
    ----------
    world
        The physics.
    start
        Robot time at the beginning [ns].
    camera
        Whether to render.
    joint_rate, pose_rate, camera_rate
        Readings a second [Hz]; each falls on whole multiples of its period.
    controller
        Instead of one with the default settings at the rate of the physics.

    """

    def __init__(
        self,
        world: PushTWorld,
        *,
        start: int,
        camera: bool = True,
        joint_rate: float = 100.0,
        pose_rate: float = 100.0,
        camera_rate: float = 10.0,
        controller: JointTrajectoryController | None = None,
    ) -> None:
        self.world = world
        self.step_duration = world.step_duration
        if start % self.step_duration:
            raise ConfigError(f'start: got {start} ns, allowed whole multiples of {self.step_duration}')
        self.now = start
        rates = {'joints': joint_rate, 'pose': pose_rate, 'camera': camera_rate if camera else 0.0}
        self._periods = {name: self._period(name, rate) for name, rate in rates.items() if rate}
        rate = NANOSECONDS / self.step_duration
        self.controller = controller or JointTrajectoryController(world.joints, rate=rate)
        if self.controller.period != self.step_duration:
            raise ConfigError(
                f'controller period: got {self.controller.period} ns, allowed the physics step {self.step_duration}'
            )
        self.reset(0)

    def _period(self, name: str, rate: float) -> int:
        period = round(NANOSECONDS / rate)
        if period <= 0 or period % self.step_duration:
            raise ConfigError(
                f'{name} rate: got {rate} Hz, allowed those whose period is a whole number of physics steps '
                f'({self.step_duration} ns)'
            )
        return period

    def reset(self, seed: int) -> None:
        """Begin an episode: the robot rests where it is put, and forgets what it was commanded. Time goes on."""
        self.world.reset(seed)
        self.controller.reset(self.world.joint_positions)
        self._began = self.now
        self._seed = seed
        self._coverage = self.world.coverage
        self._best = self._coverage

    def command(self, trajectory: Any) -> Accepted | Rejected:
        """Hand a trajectory to the controller; it is followed from the next step if it is accepted."""
        return self.controller.command(trajectory, self.now)

    def step(self) -> list[Reading]:
        """Advance by one physics step; return what the sensors read at the new time."""
        world = self.world
        world.step(self.controller.update(self.now, world.joint_positions, world.joint_velocities))
        self.now += self.step_duration
        if self.now % SCORE_PERIOD == 0:
            self._coverage = world.coverage
            self._best = max(self._best, self._coverage)
        return list(self._readings())

    @property
    def episode(self) -> EpisodeStatus:
        """How the episode goes."""
        return EpisodeStatus(
            seed=self._seed,
            elapsed=(self.now - self._began) / NANOSECONDS,
            score=min(1.0, self._best / SUCCESS_COVERAGE),
            success=self._best > SUCCESS_COVERAGE,
            coverage=self._coverage,
        )

    def _readings(self) -> Iterator[Reading]:
        due = {name for name, period in self._periods.items() if self.now % period == 0}
        world = self.world
        if 'joints' in due:
            yield JointReading(
                stamp=self.now,
                name=world.joints,
                position=world.joint_positions,
                velocity=world.joint_velocities,
                effort=world.joint_efforts,
            )
        if 'pose' in due:
            position, orientation = world.block_pose
            yield PoseReading(stamp=self.now, position=position, orientation=orientation)
        if 'camera' in due:
            yield ImageReading(stamp=self.now, pixels=world.render())
