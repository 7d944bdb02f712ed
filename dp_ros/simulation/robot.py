"""A world behind a controller, with sensors: what a robot's driver is to the rest of the graph. It reads no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS, Refusal
from dp_ros.errors import ConfigError
from dp_ros.simulation.controller.controller import Accepted, Ignored, JointTrajectoryController
from dp_ros.simulation.controller.group import ControllerGroup
from dp_ros.simulation.world import Pose, WithInstructions, WithJointStates, World, WorldSpec

SCORE_PERIOD = NANOSECONDS // 10  # how often it is looked at how far the task is


@dataclass(frozen=True, kw_only=True, eq=False)
class JointReading:
    """A joint state; attributes as in ``sensor_msgs/JointState``. Units [rad] or [m], per second, [Nm] or [N]."""

    stamp: int
    name: tuple[str, ...]
    position: np.ndarray
    velocity: np.ndarray
    effort: np.ndarray


@dataclass(frozen=True, kw_only=True)
class PoseReading:
    """The pose of what is called ``name``."""

    stamp: int
    name: str
    pose: Pose


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageReading:
    """The picture of a camera, (H, W, 3) uint8 RGB."""

    stamp: int
    camera: str
    pixels: np.ndarray


@dataclass(frozen=True, kw_only=True)
class RewardReading:
    """The world's score, 0 to 1, as it is now: the reward of its Gymnasium environment."""

    stamp: int
    reward: float


Reading = JointReading | PoseReading | ImageReading | RewardReading
REWARD_TOPIC = 'reward'


def topic_of(reading: PoseReading | ImageReading | RewardReading, spec: WorldSpec) -> str:
    """Return the topic, without a slash in front, that a world's pose, picture or reward is published on."""
    if isinstance(reading, RewardReading):
        return REWARD_TOPIC
    return spec.pose_topics[reading.name] if isinstance(reading, PoseReading) else spec.camera_topics[reading.camera]


def controllers_of(spec: WorldSpec, world: World) -> list[JointTrajectoryController]:
    """Return a world's controllers as its spec has them, with the default settings at the rate of the physics."""
    rate = NANOSECONDS / world.step_duration
    return [JointTrajectoryController(output.joints, rate=rate) for output in spec.outputs]


@dataclass(frozen=True, kw_only=True)
class EpisodeStatus:
    """How the episode goes: the score is the best so far, and success stays; details are the world's, as of now."""

    seed: int
    elapsed: float
    score: float
    success: bool
    details: Mapping[str, float | str] = field(default_factory=dict)



def begin_episode(world: World, seed: int, meaning: str = '') -> None:
    """Begin an episode of a world; ``meaning`` is as of `SimulatedRobot.reset`, ConfigError if the world takes none."""
    world.reset(seed)
    if meaning:
        if not isinstance(world, WithInstructions):
            raise ConfigError(f'instruction: got one that means {meaning!r}, allowed none: this world takes none')
        world.set_instruction(meaning)


class SimulatedRobot:
    """A world behind one or several joint_trajectory_controllers.

    Parameters
    ----------
    world
        The physics.
    start
        Robot time at the beginning [ns].
    camera
        Whether to render.
    joint_rate, pose_rate, camera_rate
        Readings a second [Hz], at most one each physics step. Each falls on the first step at or after a whole
        multiple of its period.
    controllers
        Instead of one of all joints with the default settings at the rate of the physics.
    draws
        Whether a picture that is due is worth its time, by the camera's name; None: all are.

    Attributes
    ----------
    controllers
        As given; `controller` is the first of them.
    success
        Whether the task was done at some time of this episode.

    """

    def __init__(
        self,
        world: World,
        *,
        start: int,
        camera: bool = True,
        joint_rate: float = 100.0,
        pose_rate: float = 100.0,
        camera_rate: float = 10.0,
        controllers: Sequence[JointTrajectoryController] = (),
        draws: Callable[[str], bool] | None = None,
    ) -> None:
        self.world = world
        self._draws = draws
        self._states: WithJointStates | None = world if isinstance(world, WithJointStates) else None
        self.step_duration = world.step_duration
        if start % self.step_duration:
            raise ConfigError(f'start: got {start} ns, allowed whole multiples of {self.step_duration}')
        self.now = start
        rates = {'joints': joint_rate, 'pose': pose_rate, 'camera': camera_rate if camera else 0.0}
        self._rates = {name: self._checked(name, rate) for name, rate in rates.items() if rate}
        usual = JointTrajectoryController(world.joints, rate=NANOSECONDS / world.step_duration)
        self._group = ControllerGroup(world.joints, controllers or [usual])
        self.controllers = self._group.controllers
        self.reset(0)

    def _checked(self, name: str, rate: float) -> float:
        fastest = NANOSECONDS / self.step_duration
        if not 0.0 < rate <= fastest:
            raise ConfigError(f'{name} rate: got {rate} Hz, allowed up to that of the physics, {fastest:g} Hz')
        return rate

    def reset(self, seed: int, meaning: str = '') -> None:
        """Begin an episode: the robot rests where it is put, and forgets what it was commanded. Time goes on.

        ``meaning`` is what an instruction asks for, of a world that takes some; empty: what the world asks by itself.
        """
        begin_episode(self.world, seed, meaning)
        self._group.reset(self.world.joint_positions)
        self._driven = self._group.set_point
        self._began = self.now
        self._seed = seed
        self._progress = self.world.progress
        self._best, self.success = self._progress.score, self._progress.success

    @property
    def controller(self) -> JointTrajectoryController:
        """The first of the controllers."""
        return self.controllers[0]

    @property
    def set_point(self) -> np.ndarray:
        """What the controllers commanded last, (A,), in the order of the world's joints."""
        return self._group.set_point

    def command(
        self, trajectory: Any, controller: JointTrajectoryController | None = None
    ) -> Accepted | Refusal | Ignored:
        """Hand a trajectory to one of the controllers, or to each its part of it; accepted, it begins with a step."""
        return (controller or self._group).command(trajectory, self.now)

    def set_controller_active(self, active: bool) -> None:
        """Activate the controllers where the robot is now, or deactivate them: the drives hold their last commands."""
        if active:
            self._group.activate(self.world.joint_positions)
        else:
            self._group.deactivate()

    def skip_to(self, now: int) -> None:
        """Go on at ``now`` [ns] as if no time had passed: the world stands still, and the episode is no longer for it.

        Only the controller knows, as the real one does after a stall of its process: it reads the clock, and commands
        where its trajectory is by now. That is a step of the set point by as much as the plan went on meanwhile; what
        bounds it is that whoever sends plans brings them to rest when joint states stay away, and the drives' forces.
        """
        if now % self.step_duration or now < self.now:
            raise ConfigError(
                f'time to go on at: got {now} ns, allowed whole multiples of {self.step_duration} from {self.now}'
            )
        self._began += now - self.now
        self.now = now

    def step(self, set_point: np.ndarray | None = None) -> Iterator[Reading]:
        """Advance by one physics step; return what the sensors read at the new time.

        Each reading is taken when it is asked for, before the next step; pictures, which take long, come last. A
        ``set_point`` (A,) is the drives' in place of the controllers', which then don't run.
        """
        world = self.world
        then = self.now + self.step_duration
        if set_point is None:
            set_point = self._group.run(self.now, then, world.joint_positions, world.joint_velocities)
        # Drives take no command that is not a number.
        self._driven = np.where(np.isfinite(set_point), set_point, self._driven)
        world.step(self._driven)
        self.now = then
        if self.now % SCORE_PERIOD == 0:
            self._progress = world.progress
            self._best = max(self._best, self._progress.score)
            self.success = self.success or self._progress.success
        return self._readings()

    @property
    def episode(self) -> EpisodeStatus:
        """How the episode goes."""
        return EpisodeStatus(
            seed=self._seed,
            elapsed=(self.now - self._began) / NANOSECONDS,
            score=self._best,
            success=self.success,
            details=self._progress.details,
        )

    def _due(self, name: str) -> bool:
        rate = self._rates.get(name)
        if rate is None:
            return False
        # Whole numbers of thousandths of a period, so that multiples of it are exact.
        thousandths, period = round(rate * 1000), NANOSECONDS * 1000
        return self.now * thousandths // period > (self.now - self.step_duration) * thousandths // period

    def _joint_reading(self) -> JointReading:
        names, world = self.world.joints, self.world
        states = (world.joint_positions, world.joint_velocities, world.joint_efforts)
        if self._states is not None:
            names, states = self._states.state_joints, self._states.joint_states
        position, velocity, effort = states
        return JointReading(stamp=self.now, name=names, position=position, velocity=velocity, effort=effort)

    def _readings(self) -> Iterator[Reading]:
        world = self.world
        if self._due('joints'):
            yield self._joint_reading()
        if self._due('pose'):
            for name, pose in world.poses.items():
                yield PoseReading(stamp=self.now, name=name, pose=pose)
        if self.now % SCORE_PERIOD == 0:
            yield RewardReading(stamp=self.now, reward=self._progress.score)
        if self._due('camera'):
            for camera in world.cameras:
                if self._draws is not None and not self._draws(camera):
                    continue
                yield ImageReading(stamp=self.now, camera=camera, pixels=world.render(camera))
