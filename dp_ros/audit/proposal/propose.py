"""Propose a task from recordings, with what they could not show."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dp_ros.audit.proposal.actions import CONTROLLER_TOPIC, ActionProposal, own_states, propose_action
from dp_ros.audit.proposal.survey import Motion, Survey, TopicSurvey
from dp_ros.audit.proposal.units import UnitGuess, guess_units
from dp_ros.audit.topics import PICTURES
from dp_ros.errors import ConfigError
from dp_ros.messages.encoding import COMPRESSED_IMAGE, POSE
from dp_ros.robot.model import RobotModel
from dp_ros.robot.urdf import parse_urdf
from dp_ros.task.spec import ActionSource, ActionSpec, ImageStream, JointStream, PoseStream, Stream, TaskSpec, Unit
from dp_ros.task.streams import PoseFeature
from dp_ros.task.units import converted

RATES = (10.0, 8.0, 5.0, 4.0, 2.0, 1.0)
"""Control rates to choose from, the usual one first [Hz]."""
SIDE = 96
"""Pixels of the shorter side of a picture."""
_GRID = 8
_STILL = 1e-4  # [m], or of a quaternion
_SLACK = 1.05  # rates are measured, not set
_NICE = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0)
_GENERIC = re.compile(r'(image|img)(_raw|_color|_rect|_rect_color|_mono)?|color|colour|rgb|raw|compressed|pose|stamped')
_ASKED = re.compile(r'goal|target|command|cmd|desired|reference', re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A task for recordings.

    Attributes
    ----------
    ages
        By stream, why its ``max_age``.
    left_out
        Topics that could have been streams, each with why they are none.
    robot
        From the recorded URDF, or None; ``robot_problem`` says what is wrong with one that cannot be used.

    """

    survey: Survey
    task: TaskSpec
    action: ActionProposal
    units: Mapping[str, UnitGuess]
    ages: Mapping[str, str]
    left_out: tuple[str, ...] = ()
    robot: RobotModel | None = None
    robot_problem: str = ''

    @property
    def motions(self) -> dict[str, Motion]:
        """How each commanded joint moves, as measured, in m or rad."""
        return self.in_si({joint: motion for t in self.action.observed for joint, motion in t.motions.items()})

    @property
    def sent_as_recorded(self) -> bool:
        """Tell whether the first commands were recorded on a topic that a trajectory controller takes them on."""
        return self.action.commands[0].direct and not self.survey.columns

    @property
    def columns(self) -> dict[str, str]:
        """The columns of a dataset, by stream, and the action's by ``action``; none of recordings."""
        known, first = self.survey.columns, self.action.commands[0]
        found = {stream.name: known[stream.topic] for stream in self.task.streams if stream.topic in known}
        return found | ({'action': known[first.topic]} if known and first.direct else {})

    def in_si(self, motions: Mapping[str, Motion]) -> dict[str, Motion]:
        """Return the motions of commanded joints in m or rad."""
        found = {}
        for joint, guess in self.units.items():
            if joint in motions:
                _, factor = converted(joint, (joint,), (guess.unit,), ())
                found[joint] = motions[joint].scaled(factor[0]) if factor else motions[joint]
        return found

    def topic(self, stream: Stream) -> TopicSurvey:
        """Return the topic of a stream."""
        if not isinstance(stream, JointStream):
            return self.survey.topics[stream.topic]
        return next(t for t in self.action.observed if t.topic == stream.topic and set(stream.joints) <= set(t.joints))


def propose(survey: Survey) -> Proposal:
    """Return a task for recordings.

    Raises
    ------
    DataError
        If no joint states of the robot are in them.

    """
    action = propose_action(survey)
    robot, problem = _robot(survey.description, action.joints)
    units: dict[str, UnitGuess] = {}
    for commands in action.commands:
        units |= guess_units(commands.joints, commands.observed.motions, robot)
    left_out: list[str] = [f'{t.name}: other joint states' for t in own_states(survey) if t not in action.observed]
    if survey.columns:
        left_out += [f'{column}: {what}' for column, what in survey.others.items()]
    pictures = list(_cameras(survey, left_out))
    poses = list(_poses(survey, left_out))
    topics = [*action.observed, *poses, *pictures]
    names = _names(topics)
    ages = {topic.name: _age(topic) for topic in topics}
    streams: list[Stream] = [_joints(t, names[t.name], ages[t.name][0], action, units) for t in action.observed]
    streams += [
        PoseStream(
            name=names[t.name], topic=t.name, features=pose_features(t), max_age=ages[t.name][0],
            frame=t.frames[0] if len(t.frames) == 1 else '',
        )
        for t in poses
    ]  # fmt: skip
    streams += [_camera(t, names[t.name], ages[t.name][0]) for t in pictures]
    task = TaskSpec(
        streams=tuple(streams),
        action=_action(action, tuple(units[joint].unit for joint in action.joints)),
        control_dt=_control_dt(survey, topics),
        continuous=tuple(_wrapping(action, units)),
    )
    return Proposal(
        survey=survey, task=task, action=action, units=units, left_out=tuple(left_out), robot=robot,
        robot_problem=problem, ages={names[topic]: why for topic, (_, why) in ages.items()},
    )  # fmt: skip


def _wrapping(action: ActionProposal, units: Mapping[str, UnitGuess]) -> Iterable[str]:
    """Yield the joints whose positions wrap in the recordings."""
    for commands in action.commands:
        for joint in commands.joints:
            motion = commands.observed.motions.get(joint)
            if motion is not None and motion.wraps and units[joint].unit in ('rad', 'deg'):
                yield joint


def _joints(
    topic: TopicSurvey, name: str, max_age: float, action: ActionProposal, units: Mapping[str, UnitGuess]
) -> JointStream:
    joints = tuple(j for commands in action.commands if commands.observed == topic for j in commands.joints)
    chosen = tuple(units[joint].unit for joint in joints)
    return JointStream(name=name, topic=topic.topic, joints=joints, units=chosen, max_age=max_age)


def _action(action: ActionProposal, units: tuple[Unit, ...]) -> ActionSpec:
    """Return the action: of one source, or of several topics; a gripper's is told by its type, among these alone."""
    first = action.commands[0]
    topic = first.topic if first.direct else CONTROLLER_TOPIC
    if len(action.commands) > 1 or first.gripper:
        sources = tuple(
            ActionSource(topic=c.topic, joints=c.joints, source_joints=c.source_joints) for c in action.commands
        )
        return ActionSpec(topic=topic, joints=action.joints, units=units, sources=sources)
    return ActionSpec(
        topic=topic,
        joints=action.joints,
        units=units,
        source=first.source,
        source_topic='' if first.direct or first.source == 'next_state' else first.topic,
        source_joints=first.source_joints,
    )


def _robot(description: str, joints: tuple[str, ...]) -> tuple[RobotModel | None, str]:
    if not description:
        return None, ''
    try:
        robot = parse_urdf(description, 'robot_description')
        robot.limits(joints)
    except ConfigError as error:
        return None, str(error)
    return robot, ''


def _control_dt(survey: Survey, topics: Sequence[TopicSurvey]) -> float:
    """Return the time between control ticks [s]; of a dataset a whole number of its rows."""
    if not survey.columns:
        return 1.0 / _control_rate(topics)
    rate = topics[0].rate
    return math.ceil(rate / (_SLACK * RATES[0])) / rate


def _control_rate(topics: Iterable[TopicSurvey]) -> float:
    """Return the largest control rate at which every stream has news at each tick [Hz]."""
    slowest = min((topic.rate for topic in topics if topic.rate), default=RATES[0])
    return next((rate for rate in RATES if rate <= _SLACK * slowest), RATES[-1])


def _age(topic: TopicSurvey) -> tuple[float, str]:
    """Return a ``max_age`` [s] that usual jitter and delay keep within, and why."""
    usual = 0.2 if topic.type in PICTURES else 0.1
    least = max(3.0 / topic.rate if topic.rate else 0.0, 1.5 * topic.interval) + topic.delay
    why = f'{topic.rate:.3g} messages/s, {1e3 * topic.interval:.0f} ms between most, {1e3 * topic.delay:.0f} ms late'
    return next((age for age in _NICE if _SLACK * age >= max(usual, least)), _NICE[-1]), why


def _cameras(survey: Survey, left_out: list[str]) -> Iterable[TopicSurvey]:
    """Yield the topics of cameras, each camera once; say in ``left_out`` what is none."""
    topics = {t.name: t for t in survey.of(*PICTURES)}
    for name, topic in topics.items():
        raw = name.removesuffix('/compressed')
        if topic.unusable or topic.size is None:
            left_out.append(f'{name}: {topic.unusable or "pictures of no size"}')
        elif topic.content == 'depth' and (topic.type == COMPRESSED_IMAGE or not _depth_range(topic)):
            left_out.append(f'{name}: depth that is compressed, or without a distance in its first picture')
        elif raw != name and raw in topics and not topics[raw].unusable:
            left_out.append(f'{name}: the pictures of {raw}, compressed')
        elif min(topic.size) < _GRID:
            left_out.append(f'{name}: pictures of {topic.size[0]} x {topic.size[1]} pixels')
        else:
            yield topic


def _poses(survey: Survey, left_out: list[str]) -> Iterable[TopicSurvey]:
    for topic in survey.of(POSE):
        if topic.unusable or _ASKED.search(topic.name):
            left_out.append(f'{topic.name}: {topic.unusable or "asks for something; it may be a goal"}')
        elif not pose_features(topic):
            left_out.append(f'{topic.name}: never moves')
        else:
            yield topic


def pose_features(topic: TopicSurvey) -> tuple[PoseFeature, ...]:
    """Return what of a pose moves: positions, and where it turns about z alone the yaw, else the quaternion."""
    moving = {name for name, motion in topic.motions.items() if motion.high - motion.low > _STILL}
    turned: tuple[PoseFeature, ...] = ()
    if moving & {'qz', 'qw'}:
        turned = ('sin_yaw', 'cos_yaw')
    if moving & {'qx', 'qy'}:
        turned = ('qx', 'qy', 'qz', 'qw')
    places: tuple[PoseFeature, ...] = ('x', 'y', 'z')
    return (*(name for name in places if name in moving), *turned)


def _camera(topic: TopicSurvey, name: str, max_age: float) -> ImageStream:
    assert topic.size
    width, height = picture_size(*topic.size)
    return ImageStream(
        name=name, topic=topic.name, height=height, width=width, compressed=topic.type == COMPRESSED_IMAGE,
        max_age=max_age, content=topic.content, depth_range=_depth_range(topic),
    )  # fmt: skip


def _depth_range(topic: TopicSurvey) -> tuple[float, ...]:
    """Return the nearest and the farthest distance [m], in whole decimetres about those of the first picture."""
    if topic.content != 'depth' or not topic.depths:
        return ()
    near, far = topic.depths
    return math.floor(10.0 * near) / 10.0, min(100.0, math.floor(10.0 * far + 1.0) / 10.0)


def picture_size(width: int, height: int) -> tuple[int, int]:
    """Return the size nearest to `SIDE` pixels for the shorter side that keeps a picture's aspect, never enlarged."""
    scale = min(1.0, SIDE / min(width, height))
    if scale == 1.0:
        return width, height
    return tuple(max(_GRID, _GRID * round(side * scale / _GRID)) for side in (width, height))  # type: ignore[return-value]


def _names(topics: Iterable[TopicSurvey]) -> dict[str, str]:
    """Return a name for the stream of each topic, by topic: its parts but the usual ones; none twice."""
    names: dict[str, str] = {}
    for topic in topics:
        parts = [part for part in topic.topic.strip('/').split('/') if not _GENERIC.fullmatch(part)]
        parts = [part for before, part in zip(['', *parts], parts, strict=False) if part != before]
        plain = re.sub(r'\W', '_', '_'.join(parts)) or ('camera' if topic.type in PICTURES else 'pose')
        plain = f'{plain}_observed' if plain in ('action', 'cond', 'given') else plain
        tries = (plain if i == 1 else f'{plain}_{i}' for i in itertools.count(1))
        names[topic.name] = next(name for name in tries if name not in names.values())
    return names
