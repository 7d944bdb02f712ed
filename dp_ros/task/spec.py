"""Describe a task: what the policy observes and commands, its rates, horizons and goals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dp_ros.errors import ConfigError, listed
from dp_ros.options import REQUIRED, check_options, like, option
from dp_ros.task.goals import GoalImage as GoalImage
from dp_ros.task.goals import GoalPose as GoalPose
from dp_ros.task.goals import GoalSpec, check_goals
from dp_ros.task.goals import Instruction as Instruction
from dp_ros.task.streams import TOPIC, check_names
from dp_ros.task.streams import ImageStream as ImageStream
from dp_ros.task.streams import JointStream as JointStream
from dp_ros.task.streams import PoseStream as PoseStream
from dp_ros.task.streams import Stream as Stream
from dp_ros.task.units import UNITS, Channel, converted, joint_channels
from dp_ros.task.units import Unit as Unit

Guidance = Literal['', 'goal', 'observation']
MOST_STEPS = 10_000
"""Longest horizon: what a file may ask for is reserved before anything is learnt or run."""
REWARD = 'reward'
"""What an episode calls its rewards, (N, 1), beside its streams."""
SourceKind = Literal['joint_trajectory', 'joint_state', 'float64_multi_array', 'next_state']


# fmt: off
@dataclass(frozen=True, kw_only=True)
class ActionSource:
    """One of several topics on which recordings have an action's set points: an arm's controller, or a gripper's.

    Its messages are ``trajectory_msgs/JointTrajectory``, ``std_msgs/Float64MultiArray`` in the order of `joints`,
    ``control_msgs/GripperCommand`` for one joint, or a leader's ``sensor_msgs/JointState``.
    """

    topic: str = option(REQUIRED, TOPIC)
    joints: tuple[str, ...] = option(REQUIRED, "Those of the action's joints that are commanded there.")
    source_joints: tuple[str, ...] = option((), 'What the source calls them, in the order of `joints`. Empty: same.')
    next_state: bool = option(
        False, 'Whether the set points are where these joints were a control step later, on a topic of joint states: '
        'for an arm that was commanded otherwise, by a twist or by the pose of its tool.',
    )

    def __post_init__(self) -> None:
        check_names(f'action source {self.topic} joints', self.joints)
        if self.source_joints:
            _check_source_joints(f'action source {self.topic} source_joints', self.source_joints, self.joints)


def _check_source_joints(what: str, named: tuple[str, ...], joints: tuple[str, ...]) -> None:
    check_names(what, named)
    if len(named) != len(joints):
        raise ConfigError(f'{what}: got {len(named)} for {len(joints)} joints, allowed one for each joint, or none')


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """Name what the policy commands: position set points of joints, on a ``trajectory_msgs/JointTrajectory`` topic."""

    topic: str = option(REQUIRED, 'Where the robot takes commands.')
    joints: tuple[str, ...] = option(REQUIRED, 'Names of the joints, in order.')
    units: tuple[Unit, ...] = option(REQUIRED, UNITS)
    source: SourceKind = option(
        'joint_trajectory', 'Where recordings have the set points from: `joint_trajectory`, commands to a trajectory '
        "controller; `joint_state`, a leader arm's joint states; `float64_multi_array`, commands to a group of "
        'forwarded joints, in the order of `joints`; `next_state`, where the robot itself was a control step later.',
    )
    source_topic: str = option(
        '', 'Of that source in the recordings. Empty: `topic`, or for `next_state` the stream that observes the joints.'
    )
    source_joints: tuple[str, ...] = like(ActionSource, 'source_joints', ())
    sources: tuple[ActionSource, ...] = option(
        (), 'Several topics in place of that source, each with some of the joints: an arm and a gripper on controllers '
        'of their own. What has not been commanded yet is where it is measured.',
    )
    relative: bool = option(
        False, "Whether the network's actions count from where the joints were at the newest observation, which a "
        'stream must hold. Chunks, topics and recordings have absolute set points either way.',
    )
    scale: tuple[float, ...] = option(
        (), 'What recorded set points are multiplied by to be in m or rad: one for each joint; empty: nothing. The '
        'robot is commanded in m and rad.',
    )

    def __post_init__(self) -> None:
        check_names('action joints', self.joints)
        units, scale = converted('action', self.joints, self.units, self.scale)
        object.__setattr__(self, 'units', units)
        object.__setattr__(self, 'scale', scale)
        if self.source == 'joint_state' and not self.source_topic:
            raise ConfigError("action source_topic: got none, allowed the leader's JointState topic")
        if self.source_joints and self.source == 'float64_multi_array':
            raise ConfigError(
                f'action source_joints: got {listed(self.source_joints)}, allowed none with float64_multi_array, '
                'whose numbers have no names and are taken in the order of joints'
            )
        if self.source_joints:
            _check_source_joints('action source_joints', self.source_joints, self.joints)
        if self.sources:
            self._check_sources()

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Name and unit of each number."""
        return joint_channels(self.joints, self.units, ('position',))

    def _check_sources(self) -> None:
        if self.source != 'joint_trajectory' or self.source_topic or self.source_joints:
            raise ConfigError('action sources: got them with source, source_topic or source_joints, allowed alone')
        check_names('action sources topics', tuple(source.topic for source in self.sources))
        named = [joint for source in self.sources for joint in source.joints]
        if sorted(named) != sorted(self.joints):
            raise ConfigError(
                f'action sources: got joints {listed(named)}, allowed each of {listed(self.joints)} in one source'
            )


@dataclass(frozen=True, kw_only=True)
class RewardSpec:
    """Where recordings have rewards: a ``std_msgs/Float64`` topic with one or more messages each control tick.

    Such a message has no stamp. What counts at a tick is the newest one received by ``arrival_wait`` after it: as long
    as a stream's message may take.
    """

    topic: str = option('/reward', TOPIC)
    max_age: float = option(
        0.1, 'How long before the tick the message may have been received.', unit='s', low=1e-9, high=60.0
    )

    def __post_init__(self) -> None:
        check_options(self, 'reward ')


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """Everything that training and running must agree on. It travels inside the bundle."""

    streams: tuple[Stream, ...]
    action: ActionSpec
    control_dt: float = option(
        0.1, 'Time between actions, and between observations.', unit='s', low=0.001, high=10.0
    )
    arrival_wait: float = option(
        0.02, 'How long after a tick a message stamped before it may still arrive and count; less than `control_dt`.',
        unit='s', low=0.0, high=10.0,
    )
    obs_horizon: int = option(2, 'Observations in a window.', low=1, high=MOST_STEPS)
    pred_horizon: int = option(16, 'Actions in a chunk.', low=1, high=MOST_STEPS)
    exec_horizon: int = option(
        8, 'Actions executed before the next chunk takes over, up to `pred_horizon`.', low=1, high=MOST_STEPS
    )
    continuous: tuple[str, ...] = option(
        (), 'Joints that turn without end, whose positions wrap from half a turn to minus half a turn: in recordings '
        'and live they are unwrapped, and moved by whole turns next to the middle of what was learnt.', unit='rad',
    )
    goals: tuple[GoalSpec, ...] = option(
        (), 'What the policy is asked to reach; none where its task is fixed by its training.'
    )
    guidance: Guidance = option(
        '', 'What training leaves out of the conditioning at times (see `network.guidance_dropout`), so that running '
        'may be guided towards the rest of it: the `goal`, or the `observation`; empty: nothing.',
    )
    reward: RewardSpec | None = option(
        None, 'Where recordings have rewards, for a policy that learns from them; the robot needs none.'
    )

    def __post_init__(self) -> None:
        check_names('streams', tuple(s.name for s in self.streams))
        check_goals(self.goals, self.streams)
        if self.reward is not None and REWARD in (*(s.name for s in self.streams), *(g.name for g in self.goals)):
            raise ConfigError(
                f'streams and goals: got the name {REWARD!r}, allowed others: so an episode has its rewards'
            )
        if self.guidance == 'goal' and not self.goals:
            raise ConfigError("guidance: got 'goal' without goals, allowed with one or more, or observation")
        check_options(self)
        if not self.arrival_wait < self.control_dt:
            raise ConfigError(
                f'arrival_wait: got {self.arrival_wait}, allowed 0 up to control_dt ({self.control_dt} s)'
            )
        if self.exec_horizon > self.pred_horizon:
            raise ConfigError(f'exec_horizon: got {self.exec_horizon}, allowed 1 to pred_horizon ({self.pred_horizon})')
        self._check_continuous()
        if self.action.relative:
            self.base_columns()

    def _check_continuous(self) -> None:
        read: list[JointStream | ActionSpec] = [self.action]
        read += [stream for stream in self.streams if isinstance(stream, JointStream)]
        turning = {j for of in read for j, unit in zip(of.joints, of.units, strict=True) if unit == 'rad'}
        if len(set(self.continuous)) != len(self.continuous) or not turning.issuperset(self.continuous):
            raise ConfigError(
                f'continuous: got {listed(self.continuous)}, allowed each of {listed(sorted(turning))} once: '
                'joints [rad] of streams and action'
            )

    def base_columns(self) -> tuple[str, tuple[int, ...]]:
        """Return the stream that has the action's joints' positions, and its columns of them, in the action's order."""
        wanted = dict(zip(self.action.joints, self.action.units, strict=True))
        for stream in self.streams:
            if isinstance(stream, JointStream) and 'position' in stream.fields:
                found = dict(zip(stream.joints, stream.units, strict=True))
                if wanted.items() <= found.items():
                    first = stream.fields.index('position') * len(stream.joints)
                    return stream.name, tuple(first + stream.joints.index(joint) for joint in wanted)
        raise ConfigError(
            f'action relative: no stream has the positions of {listed(f"{j} [{u}]" for j, u in wanted.items())}; '
            'allowed with a joint_state stream of them'
        )

    def stream(self, name: str) -> Stream:
        """Return the stream called ``name``."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise ConfigError(f'stream: got {name!r}, allowed {listed(s.name for s in self.streams)}')
# fmt: on
