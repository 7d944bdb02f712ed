"""What a policy may be asked to reach: a pose, a picture, or an instruction in words.

A goal is known in one of two ways. ``topic``: recordings have it on the topic that the robot has it on; there and here
the newest one received counts, however old. ``hindsight``: recordings need no goal, for what an episode came to is what
it was asked for; training takes a later value of a stream. Live, a goal always comes on its topic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from dp_ros.errors import ConfigError, listed
from dp_ros.task.streams import UPRIGHT, ImageStream, PoseFeature, PoseStream, Stream

GoalSource = Literal['hindsight', 'topic']
Hindsight = Literal['last', 'any']
TEXT_WIDTH = 256
"""Numbers that stand for an instruction; see `dp_ros.policy.language`."""


@dataclass(frozen=True, kw_only=True)
class GoalPose:
    """Chosen features of a ``geometry_msgs/PoseStamped`` topic, in order. Lengths in [m].

    Attributes
    ----------
    topic
        Where the goal comes from.
    source
        Where training has it from.
    stream
        In hindsight, the pose stream whose later value is the goal; it has the same features.
    hindsight
        Which value: the ``last`` of the episode, or ``any`` later one, drawn anew each time.
    frame
        The ``frame_id`` that it must have; empty: any.
    near
        As of a pose stream; in hindsight, that of the stream.

    """

    kind: ClassVar[str] = 'goal_pose'
    features: tuple[PoseFeature, ...]
    name: str = 'goal_pose'
    topic: str = '/goal_pose'
    source: GoalSource = 'hindsight'
    stream: str = ''
    hindsight: Hindsight = 'last'
    frame: str = ''
    near: tuple[float, ...] = UPRIGHT

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
    height: int
    width: int
    compressed: bool = False
    name: str = 'goal_image'
    topic: str = '/goal_image'
    source: GoalSource = 'hindsight'
    stream: str = ''
    hindsight: Hindsight = 'last'

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
    """The task in words, on a ``std_msgs/String`` topic, live and in recordings.

    Attributes
    ----------
    phrasings
        By what it means, ways to say it, the first of which stands for all; see `dp_ros.policy.language`. What means
        none of it is refused. Empty: every instruction stands for itself, and none is refused.

    """

    kind: ClassVar[str] = 'instruction'
    name: str = 'instruction'
    topic: str = '/instruction'
    source: Literal['topic'] = 'topic'
    phrasings: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        empty = [name for name, texts in self.phrasings.items() if not texts or not all(map(str.strip, texts))]
        if empty:
            raise ConfigError(f'goal {self.name!r} phrasings: got none, or empty ones, for {listed(empty)}')

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its embedding."""
        return (TEXT_WIDTH,)


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
