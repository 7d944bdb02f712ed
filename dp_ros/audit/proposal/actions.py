"""Decide what the policy commands, and on which topics recordings have it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dp_ros.audit.proposal.survey import Survey, TopicSurvey
from dp_ros.audit.topics import UNNAMED
from dp_ros.errors import DataError, listed
from dp_ros.messages.encoding import JOINT_STATE, JOINT_TRAJECTORY
from dp_ros.recordings.rosbag.types import GRIPPER_COMMAND
from dp_ros.task.spec import SourceKind

CONTROLLER_TOPIC = '/joint_trajectory_controller/joint_trajectory'
"""Topic that commands are sent to if no recording shows one."""
_LEADS = re.compile(r'leader|master|gello|teleop|command|cmd|target|desired|reference|goal', re.IGNORECASE)
_COMMANDS = re.compile(r'Trajectory|Twist|Jog|Command|Float64|Goal')
_CLOSE = 0.5
"""How far, of what a joint moves through, numbers may be from it and still be its set points (root of mean square)."""
_CLEAR = 0.25
"""Ratio of mean squares: set points belong to a joint if those to any other are so many times as far."""


@dataclass(frozen=True, kw_only=True)
class Commands:
    """One topic as commands.

    Attributes
    ----------
    joints
        The robot's, in the order of the commands.
    gripper
        Whether these are a gripper's commands, which have no names of joints.
    source_joints
        What the topic calls them, where that is something else; as in `ActionSpec`.
    observed
        The topic that observes them.
    check
        What about it a person should check, or ''.

    """

    topic: str
    source: SourceKind
    joints: tuple[str, ...]
    observed: TopicSurvey
    source_joints: tuple[str, ...] = ()
    gripper: bool = False
    check: str = ''

    @property
    def direct(self) -> bool:
        """Tell whether a trajectory controller takes commands on the topic."""
        return self.source == 'joint_trajectory' and not self.gripper


@dataclass(frozen=True, kw_only=True)
class ActionProposal:
    """Keep what is proposed as actions, and ``others``: further command topics, each with the reason against it.

    Each joint is commanded by one of ``commands``, the first of which has most.
    """

    commands: tuple[Commands, ...]
    others: tuple[str, ...] = ()

    @property
    def joints(self) -> tuple[str, ...]:
        """All joints, those of one topic after those of another."""
        return tuple(joint for commands in self.commands for joint in commands.joints)

    @property
    def observed(self) -> tuple[TopicSurvey, ...]:
        """The joint states that observe them, each once."""
        return tuple({commands.observed.name: commands.observed for commands in self.commands}.values())


def propose_action(survey: Survey) -> ActionProposal:
    """Return the command topic with most joints, and those that command others; without any, the robot's next state.

    Raises
    ------
    DataError
        If no joint states were recorded, or none in which a joint moves.

    """
    states = own_states(survey)
    found, refused = [], []
    for topic in survey.of(JOINT_TRAJECTORY, *UNNAMED, JOINT_STATE):
        if topic in states:
            continue
        commands = _commands(topic, states)
        if isinstance(commands, str):
            refused.append(f'{topic.name}: {commands}')
        else:
            found.append(commands)
    refused += [f'{n}: {kind} cannot be learnt from' for n, kind in survey.others.items() if _COMMANDS.search(kind)]
    if not found:
        return ActionProposal(commands=(_next_state(states),), others=tuple(refused))
    # Sorting keeps the order of topics: the first of those that cover as much.
    chosen: list[Commands] = []
    for commands in sorted(found, key=lambda c: (-len(c.joints), c.source == 'joint_state')):
        known = {joint for before in chosen for joint in before.joints}
        if known.isdisjoint(commands.joints):
            chosen.append(commands)
        else:
            refused.append(f'{commands.topic}: commands {listed(commands.joints)}, as others do')
    return ActionProposal(commands=tuple(chosen), others=tuple(refused))


def own_states(survey: Survey) -> list[TopicSurvey]:
    """Return the JointState topics that are the robot's own, those with most joints first.

    Raises
    ------
    DataError
        If there is none.

    """
    found = [t for t in survey.of(JOINT_STATE) if t.joints and not t.unusable]
    own = [t for t in found if not _LEADS.search(t.topic)]
    if not own:
        got = listed(f'{t.name} ({t.unusable})' if t.unusable else t.name for t in survey.of(JOINT_STATE))
        raise DataError(
            f'recordings: got no joint states of the robot (sensor_msgs/JointState: {got}; all topics: '
            f'{listed([*survey.topics, *survey.others])}), allowed with them: record /joint_states'
        )
    return sorted(own, key=lambda t: -len(t.joints))


def _commands(topic: TopicSurvey, states: Sequence[TopicSurvey]) -> Commands | str:
    """Return a topic as commands, or why it is none."""
    if topic.unusable or not topic.joints:
        return topic.unusable or 'names no joints'
    if topic.type in UNNAMED:
        return _forwarded(topic, states)
    if not topic.whole:
        return f'commands {listed(topic.joints)}, but not all of them in each message'
    observed = next((s for s in states if set(topic.joints) <= set(s.joints)), None)
    source: SourceKind = 'joint_state' if topic.type == JOINT_STATE else 'joint_trajectory'
    if observed is not None:
        return Commands(topic=topic.topic, source=source, joints=topic.joints, observed=observed)
    if topic.type == JOINT_STATE:
        return _leader(topic, states)
    return f'commands {listed(topic.joints)}, which no joint states have'


def _leader(topic: TopicSurvey, states: Sequence[TopicSurvey]) -> Commands | str:
    alike = next((s for s in states if len(s.joints) == len(topic.joints)), None)
    if alike is None:
        return f'has joints {listed(topic.joints)}, and no joint states have as many'
    check = f'which joint of {topic.name} leads which: taken in the order of the messages'
    return Commands(
        topic=topic.topic, source='joint_state', joints=alike.joints, source_joints=topic.joints,
        observed=alike, check=check,
    )  # fmt: skip


def _forwarded(topic: TopicSurvey, states: Sequence[TopicSurvey]) -> Commands | str:
    """Tell which joints the numbers of a forwarding controller or a gripper are for, by what follows them."""
    count, gripper = len(topic.joints), topic.type == GRIPPER_COMMAND
    source: SourceKind = 'joint_trajectory' if gripper else 'float64_multi_array'
    observed = next((s for s in states if len(s.joints) >= count and set(s.joints) <= set(topic.distances)), None)
    if not topic.whole or observed is None:
        return 'numbers that cannot be matched with joints'
    squares = np.array([topic.distances[joint] for joint in observed.joints])  # (J, N)
    nearest = squares.argmin(axis=0)
    reach = [max(0.1, observed.motions[j].high - observed.motions[j].low) for j in observed.joints]
    far = [i for i in range(count) if np.sqrt(squares[nearest[i], i]) > _CLOSE * reach[nearest[i]]]
    if far:
        return f'{topic.joints[far[0]]} is near no joint: velocities or efforts, not set points'
    joints = tuple(observed.joints[row] for row in nearest)
    others = np.partition(squares, 1, axis=0)[1] if len(squares) > 1 else np.full(count, np.inf)
    clear = len(set(joints)) == count and bool((squares.min(axis=0) < _CLEAR * others).all())
    if clear:
        return Commands(topic=topic.topic, source=source, joints=joints, observed=observed, gripper=gripper)
    if len(observed.joints) != count:
        return 'numbers that cannot be told apart as joints'
    check = 'which number is for which joint: taken in the order of the joint states'
    return Commands(
        topic=topic.topic, source=source, joints=observed.joints, observed=observed, gripper=gripper, check=check
    )


def _next_state(states: Sequence[TopicSurvey]) -> Commands:
    moving = [(topic, tuple(j for j, m in topic.motions.items() if m.moves)) for topic in states]
    topic, joints = max(moving, key=lambda pair: len(pair[1]))
    if not joints:
        raise DataError(f'recordings: got no commands, and no joint of {listed(t.name for t, _ in moving)} that moves')
    return Commands(topic=topic.topic, source='next_state', joints=joints, observed=topic)


def controller_of(topic: str) -> str:
    """Return the controller's node: the name that a command topic is below, or '' if it is below none."""
    return topic.strip('/').rpartition('/')[0]
