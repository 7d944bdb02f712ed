"""What a policy may be asked to reach: a pose, a picture, or an instruction in words.

A goal is known in one of two ways. ``topic``: recordings have it on the topic that the robot has it on; there and here
the newest one received counts, however old. ``hindsight``: recordings need no goal, for what an episode came to is what
it was asked for; training takes a later value of a stream. Live, a goal always comes on its topic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from dp_ros.errors import ConfigError, listed
from dp_ros.options import REQUIRED, like, option
from dp_ros.task.streams import NAME, UPRIGHT, ImageStream, PoseFeature, PoseStream, Stream

GoalSource = Literal['hindsight', 'topic']
Hindsight = Literal['last', 'any']
SOURCE = 'Where training has it from.'
TEXT_WIDTH = 256
"""Numbers that stand for an instruction; see `dp_ros.policy.language`."""


# fmt: off
@dataclass(frozen=True, kw_only=True)
class GoalPose:
    """Chosen features of a ``geometry_msgs/PoseStamped`` topic, in order. Lengths in [m]."""

    kind: ClassVar[str] = 'goal_pose'
    features: tuple[PoseFeature, ...] = option(REQUIRED, 'What is observed of the pose.')
    name: str = option('goal_pose', NAME)
    topic: str = option('/goal_pose', 'Where the goal comes from.')
    source: GoalSource = option('hindsight', SOURCE)
    stream: str = option('', 'In hindsight, the stream whose later value is the goal, with the same features or size.')
    hindsight: Hindsight = option('last', 'Which value: the `last` of the episode, or `any` later one, drawn anew.')
    frame: str = option('', 'The `frame_id` that it must have; empty: any.')
    near: tuple[float, ...] = option(UPRIGHT, 'As of a pose stream; in hindsight, that of the stream.')

    @property
    def as_stream(self) -> PoseStream:
        """The stream that its topic would be, to decode messages by."""
        return PoseStream(name=self.name, topic=self.topic, features=self.features, frame=self.frame, near=self.near)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one goal."""
        return self.as_stream.shape


@dataclass(frozen=True, kw_only=True)
class GoalImage:
    """A picture of the goal: ``sensor_msgs/Image`` or ``CompressedImage``; the rest is as in `GoalPose`."""

    kind: ClassVar[str] = 'goal_image'
    height: int = like(ImageStream, 'height', REQUIRED)
    width: int = like(ImageStream, 'width', REQUIRED)
    compressed: bool = like(ImageStream, 'compressed', False)
    name: str = option('goal_image', NAME)
    topic: str = option('/goal_image', 'Where the goal comes from.')
    source: GoalSource = option('hindsight', SOURCE)
    stream: str = like(GoalPose, 'stream', '')
    hindsight: Hindsight = like(GoalPose, 'hindsight', 'last')

    @property
    def as_stream(self) -> ImageStream:
        """The stream that its topic would be, to decode messages by."""
        return ImageStream(
            name=self.name, topic=self.topic, height=self.height, width=self.width, compressed=self.compressed
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one goal."""
        return self.as_stream.shape


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """The task in words, on a ``std_msgs/String`` topic, live and in recordings."""

    kind: ClassVar[str] = 'instruction'
    name: str = option('instruction', NAME)
    topic: str = option('/instruction', 'Where the goal comes from.')
    source: Literal['topic'] = option('topic', SOURCE)
    phrasings: dict[str, tuple[str, ...]] = field(
        default_factory=dict, metadata={'text': 'By what it means, ways to say it, the first of which stands for all; '
        'see `dp_ros.policy.language`. What means none of it is refused. Empty: every instruction stands for itself, '
        'and none is refused.'},
    )

    def __post_init__(self) -> None:
        empty = [name for name, texts in self.phrasings.items() if not texts or not all(map(str.strip, texts))]
        if empty:
            raise ConfigError(f'goal {self.name!r} phrasings: got none, or empty ones, for {listed(empty)}')

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its embedding."""
        return (TEXT_WIDTH,)
# fmt: on


GoalSpec = GoalPose | GoalImage | Instruction


def check_goals(goals: tuple[GoalSpec, ...], streams: tuple[Stream, ...]) -> None:
    """Raise ConfigError unless names differ, and what hindsight looks at is there and of the goal's kind."""
    names = [s.name for s in streams] + [g.name for g in goals]
    if len(set(names)) != len(names):
        raise ConfigError(f'goals: got names {listed(names)} with the streams, allowed no name twice')
    if sum(isinstance(goal, Instruction) for goal in goals) > 1:
        raise ConfigError('goals: got more than one instruction, allowed one')
    for goal in goals:
        if not isinstance(goal, Instruction):
            _check_hindsight(goal, streams)


def _check_hindsight(goal: GoalPose | GoalImage, streams: tuple[Stream, ...]) -> None:
    wanted = goal.as_stream  # refuses features and sizes that no stream may have
    if goal.source == 'topic':
        return
    alike = [s.name for s in streams if type(s) is type(wanted) and _content(s) == _content(wanted)]
    if goal.stream not in alike:
        raise ConfigError(
            f'goal {goal.name!r} stream: got {goal.stream!r}, allowed one of the same kind with the same features or '
            f'size: {listed(alike)}; or source: topic'
        )


def _content(stream: Stream) -> object:
    if isinstance(stream, PoseStream):
        return (stream.features, stream.near)
    return (stream.shape, stream.content, stream.fit) if isinstance(stream, ImageStream) else stream.shape
