"""What a simulated world offers to the robot in front of it, and how it is described to those who choose one.

Positions in [m], angles in [rad], times in [ns].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from dp_ros.errors import ConfigError, listed
from dp_ros.motion.outputs import Output, check_outputs
from dp_ros.motion.trajectory import Trajectory
from dp_ros.paths import share_folder
from dp_ros.task.spec import ActionSource, ActionSpec, ImageStream, JointStream, PoseStream, TaskSpec
from dp_ros.task.units import SI, Unit


@dataclass(frozen=True, kw_only=True)
class Pose:
    """A position [m] and an orientation as a quaternion x, y, z, w."""

    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float]

    @property
    def yaw(self) -> float:
        """The turn about z [rad], for a body that lies flat."""
        return float(2.0 * np.arctan2(self.orientation[2], self.orientation[3]))


def flat_pose(x: float, y: float, yaw: float, z: float = 0.0) -> Pose:
    """Return the pose of a body that lies flat; of the two quaternions for it, that with w not negative."""
    half = (yaw + np.pi) % (2.0 * np.pi) / 2.0 - np.pi / 2.0
    return Pose(position=(x, y, z), orientation=(0.0, 0.0, float(np.sin(half)), float(np.cos(half))))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Enough to draw a world: joint positions, and the poses of what it tracks by name."""

    joints: tuple[float, ...]
    poses: Mapping[str, Pose]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a task is.

    Attributes
    ----------
    score
        0 to 1, now; 1 is what counts as success.
    success
        Whether the world's criterion is met now.
    details
        The world's own findings, for people and summaries.

    """

    score: float
    success: bool
    details: Mapping[str, float | str] = field(default_factory=dict)


class World(Protocol):
    """Physics, one step at a time, with sensors that may be read at any time.

    Attributes
    ----------
    joints, units, lower, upper
        Names in the order of a set point; ``m`` or ``rad``; the range of each.
    step_duration
        Of one call of `step` [ns].
    cameras
        Names that `render` takes.
    tracked
        Names of what `poses` holds.

    """

    joints: tuple[str, ...]
    units: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    step_duration: int
    cameras: tuple[str, ...]
    tracked: tuple[str, ...]
    robot_description: str

    def reset(self, seed: int) -> None:
        """Begin an episode at the state that belongs to ``seed``, at rest."""

    def set_scene(self, scene: Scene) -> None:
        """Put everything where it is asked for, at rest."""

    def step(self, set_point: np.ndarray) -> None:
        """Advance by one step with the joints driven towards ``set_point`` (A,)."""

    @property
    def joint_positions(self) -> np.ndarray:
        """Measured positions (A,)."""

    @property
    def joint_velocities(self) -> np.ndarray:
        """Measured velocities (A,)."""

    @property
    def joint_efforts(self) -> np.ndarray:
        """Forces [N] or torques [Nm] of the drives in the last step (A,)."""

    @property
    def poses(self) -> dict[str, Pose]:
        """Poses of what is tracked, by name."""

    @property
    def progress(self) -> Progress:
        """How far the task is."""

    def render(self, camera: str) -> np.ndarray:
        """Return what a camera sees, (H, W, 3) uint8 RGB."""

    def render_large(self, height: int) -> np.ndarray:
        """Return a picture for people, ``height`` pixels high, (H, W, 3) uint8 RGB."""

    def tool_pixels(self, joints: np.ndarray, height: int) -> np.ndarray:
        """Return where in such a picture the tool is for joint positions (N, A): column, row (N, 2) [pixels]."""


@runtime_checkable
class WithJointStates(Protocol):
    """What a world has besides, where joint states are of more joints than are moved, or in another order.

    Attributes
    ----------
    state_joints
        Names in the order of `joint_states`.

    """

    state_joints: tuple[str, ...]

    @property
    def joint_states(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Measured positions, velocities and efforts."""


@runtime_checkable
class WithInstructions(Protocol):
    """What a world has besides, where its spec has `WorldSpec.instructions`."""

    def set_instruction(self, meaning: str) -> None:
        """Let the episode that `reset` began ask for what an instruction means, a key of `WorldSpec.instructions`."""


@runtime_checkable
class WithGoalPictures(Protocol):
    """What a world has besides, where its spec has `WorldSpec.pictured`."""

    def goal_picture(self, camera: str) -> np.ndarray:
        """Return what a camera would see at the end of this episode, had it come to what it asks for, (H, W, 3) uint8.

        The same episode, which is known by its seed and by what `WithInstructions.set_instruction` said, has the same
        picture whatever has been done in it.
        """


class Expert(Protocol):
    """A scripted demonstrator of a world's task; ask it every ``control_dt``. One for each episode.

    Attributes
    ----------
    finishes
        Whether it knows when it is done; if not, it goes on for as long as it is asked.

    """

    finishes: bool

    def trajectory(self, stamp: int, joints: Sequence[float] | np.ndarray, poses: Mapping[str, Pose]) -> Trajectory:
        """Return the command that answers what was seen at ``stamp`` [ns]."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do; never where ``finishes`` is false."""


CONTROLLER = 'arm_controller'
"""The name of a robot's only controller."""


def controller(name: str, joints: Sequence[str]) -> Output:
    """Return a controller of ``joints`` that listens where a joint_trajectory_controller of this name does."""
    return Output(name=name, topic=f'{name}/joint_trajectory', joints=tuple(joints))


def whole_task(spec: WorldSpec) -> TaskSpec:
    """Return a task that observes and commands all that a world has, for recordings that leave nothing out."""
    joints = JointStream(name='joints', topic='/joint_states', joints=spec.joints, units=spec.units)
    poses = (
        PoseStream(name=f'pose_{n}', topic=f'/{topic}', features=('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw'))
        for n, topic in enumerate(spec.pose_topics.values())
    )
    images = (
        ImageStream(name=f'image_{n}', topic=f'/{topic}', height=96, width=96)
        for n, topic in enumerate(spec.camera_topics.values())
    )
    sources = tuple(ActionSource(topic=f'/{output.topic}', joints=output.joints) for output in spec.outputs)
    action = ActionSpec(topic=f'/{spec.outputs[0].topic}', joints=spec.joints, units=spec.units, sources=sources)
    return TaskSpec(streams=(joints, *poses, *images), action=action)


class WorldMaker(Protocol):
    """Makes a world."""

    def __call__(self, *, disturbance: float) -> World:
        """Return a new world; ``disturbance`` 1 makes its episodes rougher, 0 does not. Imports what it needs."""


class ExpertMaker(Protocol):
    """Makes a demonstrator.

    One whose world has `WorldSpec.expert_noise` takes ``noise`` beside ``control_dt``, in the same unit; one whose
    world has `WorldSpec.instructions` takes ``meaning``.
    """

    def __call__(self, rng: np.random.Generator, *, control_dt: float) -> Expert:
        """Return a demonstrator for one episode, which is asked every ``control_dt`` [s]. Imports what it needs."""


@dataclass(frozen=True, kw_only=True)
class WorldSpec:
    """Everything about a world that is known before its physics are imported.

    Attributes
    ----------
    name
        What it is called on the command line, in parameters and in results.
    make_world, make_expert
        Make the physics and, if there is one, a demonstrator.
    joints, units
        Of its robot, as the world itself has them.
    controllers
        Of its robot: names, command topics without a slash in front, and which joints each has. Empty: one of all
        joints, `CONTROLLER`.
    goal_pose
        Where what it tracks should come to lie.
    pose_topics, camera_topics
        Topics, without a slash in front, by the names of what the world tracks and of its cameras.
    parameter_file
        YAML file with the nodes' parameters for this robot; a relative path is one that came with dp_ros.
    training_file
        Training configuration whose task names the topics of recordings, likewise; None: none.
    bundle, policy_speed
        What `dp_ros demo` runs, and how many times as fast as it was shown; empty: only what ``--bundle`` names.
    seconds_after_success
        For how long recordings of a demonstration through the nodes go on after success [s].
    environment
        Its id as a Gymnasium environment; empty: none.
    expert_noise
        By how much its demonstrator strays from its way where nothing else is asked for, as a standard deviation [rad
        or m]; None: that can't be chosen.
    instructions
        What can be asked for in words: by meaning, a name that the world knows, sentences that evaluations ask with
        and no training has. The world is `WithInstructions` then.
    pictured
        Which of these can be asked for by a goal picture. The world is `WithGoalPictures` then.
    faults
        Return what can be wrong in its physics, by name: what makes such a world. It imports what it needs.

    Raises
    ------
    ConfigError
        If the name is no identifier, joints and units do not fit each other, or something else is pictured than can be
        asked for in words.

    """

    name: str
    make_world: WorldMaker
    make_expert: ExpertMaker | None = None
    joints: tuple[str, ...]
    units: tuple[Unit, ...]
    controllers: tuple[Output, ...] = ()
    goal_pose: Pose
    pose_topics: Mapping[str, str]
    camera_topics: Mapping[str, str] = field(default_factory=dict)
    parameter_file: Path
    training_file: Path | None = None
    bundle: str = ''
    policy_speed: float = 1.0
    seconds_after_success: float = 0.0
    environment: str = ''
    expert_noise: float | None = None
    instructions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pictured: tuple[str, ...] = ()
    faults: Callable[[], Mapping[str, Callable[[], World]]] = dict

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigError(f'world name: got {self.name!r}, allowed letters, digits and underscores')
        if not set(self.pictured) <= set(self.instructions):
            raise ConfigError(
                f'world {self.name}: got pictured {listed(self.pictured)}, allowed of its instructions: '
                f'{listed(self.instructions)}'
            )
        allowed = SI
        if not self.joints or len(self.units) != len(self.joints) or not set(self.units) <= set(allowed):
            raise ConfigError(
                f'world {self.name}: got joints {listed(self.joints)} with units {listed(self.units)}, '
                f'allowed at least one joint, and for each {" or ".join(allowed)}'
            )
        self._check_controllers()

    def _check_controllers(self) -> None:
        try:
            check_outputs(self.outputs, self.joints)
        except ConfigError as error:
            raise ConfigError(f'world {self.name}: controllers: {error}') from error
        names = [output.name for output in self.outputs]
        if len(set(names)) != len(names):
            raise ConfigError(f'world {self.name}: controllers: got {listed(names)}, allowed a different name for each')
        if len(names) == 1 and self.outputs[0].joints != self.joints:
            raise ConfigError(
                f'world {self.name}: controllers: {names[0]}: got joints {listed(self.outputs[0].joints)}, allowed '
                f'{listed(self.joints)} in this order where there is one controller'
            )

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The controllers, of which there is always one."""
        return self.controllers or (controller(CONTROLLER, self.joints),)

    @property
    def parameters(self) -> Path:
        """The path of `parameter_file`."""
        return share_folder() / self.parameter_file

    @property
    def training(self) -> Path:
        """The path of `training_file`; ConfigError if there is none."""
        if self.training_file is None:
            raise ConfigError(f'training configuration of the world {self.name}: got none, allowed one with --config')
        return share_folder() / self.training_file
