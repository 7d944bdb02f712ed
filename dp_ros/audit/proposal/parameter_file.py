"""Write a proposal as the parameter file of the nodes: what this robot needs; config/policy.yaml has the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dp_ros.audit.audit import some
from dp_ros.audit.proposal.actions import controller_of
from dp_ros.audit.proposal.propose import Proposal
from dp_ros.audit.proposal.survey import DESCRIPTION, Motion
from dp_ros.audit.proposal.yaml_text import CHECK, flow, number, remarked, remarks, scalar
from dp_ros.messages.encoding import JOINT_TRAJECTORY
from dp_ros.task.spec import ImageStream, Unit

MARGIN = 0.05
"""Of a joint's recorded range, on each side, that is proposed as its limits."""
_LEAST: dict[Unit, float] = {'rad': 0.01, 'm': 0.001}
FASTER = {'velocity': 1.5, 'acceleration': 3.0}
"""How many times the largest that was recorded, over 0.1 s, is allowed."""
SLOWEST: dict[Unit, dict[str, float]] = {
    'rad': {'velocity': 0.5, 'acceleration': 2.0},
    'm': {'velocity': 0.1, 'acceleration': 0.5},
}
"""Less is not proposed [/s, /s^2]: a joint that was hardly moved would take for ever to come to rest."""
TOLERANCES: dict[Unit, float] = {'rad': 0.02, 'm': 0.005}
"""A `follow_tolerance` that does for many arms."""
STATE_ERROR = 0.02
"""A `joint_state_error` that encoders keep [rad or m]; the node's default is for robots of which nothing is known."""
_FROZEN = 0.5


def parameter_text(proposal: Proposal, name: str) -> str:
    """Return the parameter file."""
    before = [*_head(), *_observation_buffer(proposal, name), *_policy_executor(name)]
    return '\n'.join([*before, *_publisher(proposal, name)]) + '\n'


def _head() -> Iterator[str]:
    yield '# Parameters of the nodes for this robot, written by dp_ros init. Whatever is not here has its default;'
    yield f'# config/policy.yaml lists and explains every parameter. Look at each line that ends with `{CHECK}`.'
    yield '#   ros2 launch dp_ros policy.launch.py sim:=false params_file:=FILE'


def _bundle(name: str) -> str:
    return f'    bundle: {scalar(f"models/{name}")}  # where dp_ros export wrote it'


def _observation_buffer(proposal: Proposal, name: str) -> Iterator[str]:
    yield ''
    yield '/**/observation_buffer:'
    yield '  ros__parameters:'
    yield _bundle(name)
    cameras = [s for s in proposal.task.streams if isinstance(s, ImageStream)]
    frozen = max((proposal.topic(s).frozen for s in cameras), default=0.0)
    if cameras and frozen < _FROZEN / 2:
        yield f'    max_frozen: {number(_FROZEN)}  # [s] of one and the same picture; recorded: {frozen:.2g} at most'


def _policy_executor(name: str) -> Iterator[str]:
    yield ''
    yield '/**/policy_executor:'
    yield '  ros__parameters:'
    yield _bundle(name)
    yield '    threads: 1  # of one network call; dp_ros tune measures what this machine can do'


def _publisher(proposal: Proposal, name: str) -> Iterator[str]:
    task = proposal.task
    yield ''
    yield '/**/trajectory_publisher:'
    yield '  ros__parameters:'
    yield _bundle(name)
    yield '    # Computes, checks and reports everything, and sends nothing. false: the arm moves.'
    yield '    dry_run: true'
    yield '    # A bundle for other joints, units or times is refused.'
    yield f'    joints: {flow(task.action.joints)}'
    unsure = [joint for joint, guess in proposal.units.items() if not guess.sure]
    yield from remarked(f'    units: {flow(task.action.units)}', some(unsure), check=bool(unsure))
    yield f'    control_dt: {number(task.control_dt, 6)}'
    yield from _topics(proposal)
    yield from _limits(proposal)
    yield '    # How far a joint may be from the plan, its lag taken off [rad or m]: a little more than while it works.'
    # Fingers in m beside an arm in rad have the arm's: what they hold keeps them millimetres from their command.
    tolerance = max(TOLERANCES[unit] for unit in task.action.units)
    yield f'    follow_tolerance: {number(tolerance)}  {CHECK}'
    yield '    # What the joint states of a robot at rest may be wrong by [rad or m]. More makes beginning slower.'
    yield f'    joint_state_error: {number(STATE_ERROR)}  {CHECK}'
    yield '    # What follows where observations stay away: hold; or home, with a position for each joint. Here, where'
    yield '    # the recordings begin.'
    yield '    fallback: hold'
    yield '    home:'
    for joint in task.action.joints:
        yield f'      {scalar(joint)}: {number(proposal.motions[joint].start)}  {CHECK}'


def _topics(proposal: Proposal) -> Iterator[str]:
    states = list(dict.fromkeys(t.topic for t in proposal.action.observed))
    yield '    # Relative topics stay below the namespace.'
    yield '    topics:'
    remark = f'recorded on {", ".join(states)}: all joints must come on one' if len(states) > 1 else ''
    remark = 'a dataset has no topics' if proposal.survey.columns else remark
    yield from remarked(f'      joint_states: {scalar(states[0].lstrip("/"))}', remark, check=bool(remark))
    if len(proposal.action.commands) == 1:
        yield from _command(proposal)
    if proposal.robot:
        yield f'      robot_description: {DESCRIPTION}  # recorded: limits come from there too'
    yield "    # The controller's node is asked for its parameters before anything moves."
    if len(proposal.action.commands) > 1:
        yield from _outputs(proposal)
    else:
        controller = controller_of(proposal.task.action.topic)
        known = proposal.sent_as_recorded and bool(controller)
        yield from remarked(f'    controller: {scalar(controller)}', '' if known else 'not recorded', check=not known)
    used = {commands.topic for commands in proposal.action.commands}
    others = [t for t in proposal.survey.of(JOINT_TRAJECTORY) if t.topic not in used and t.joints]
    if others:
        text = '; '.join(f'{t.name} ({", ".join(t.joints)})' for t in others)
        yield from remarks(f'Other trajectories were recorded, which this policy does not command: {text}.', 4)


def _command(proposal: Proposal) -> Iterator[str]:
    direct = proposal.sent_as_recorded
    topic = scalar(proposal.task.action.topic.lstrip('/'))
    yield from remarked(f'      command: {topic}', '' if direct else 'not recorded', check=not direct)


def _outputs(proposal: Proposal) -> Iterator[str]:
    """Yield where each controller of several gets its joints of each trajectory."""
    yield '    # Each is a controller, known by the name that its topic is below.'
    yield '    outputs:'
    for place, commands in enumerate(proposal.action.commands, 1):
        controller = controller_of(commands.topic) or f'controller_{place}'
        topic = commands.topic if commands.direct else f'/{controller}/joint_trajectory'
        yield f'      {scalar(re.sub(r"[^A-Za-z0-9_]", "_", controller))}:'
        known = commands.direct and bool(controller_of(commands.topic))
        remark = '' if known else f'recorded: {commands.topic}; where a controller takes trajectories'
        yield from remarked(f'        topic: {scalar(topic.lstrip("/"))}', remark, check=not known)
        yield f'        joints: {flow(commands.joints)}'


def _limits(proposal: Proposal) -> Iterator[str]:
    task, measured = proposal.task, proposal.motions
    if proposal.robot_problem:
        yield from remarks(f'The recorded robot_description cannot be used: {proposal.robot_problem}.', 4)
    known = proposal.robot.limits(task.action.joints) if proposal.robot else None
    if known is None:
        yield from remarks(
            f'No limits were recorded. These are the recorded range with {MARGIN:.0%} of it on each side, {_times()}. '
            "Better are the maker's: in limits_file, urdf_file or topics.robot_description.", 4,
        )  # fmt: skip
    else:
        yield from remarks(
            f'Beside the URDF, {_times()}. Where two limit the same, the stricter counts.', 4,
        )  # fmt: skip
    yield '    limits:'
    commanded = _commanded(proposal)
    for joint, unit in zip(task.action.joints, task.action.units, strict=True):
        motion = measured[joint]
        found = [motion, commanded[joint]] if joint in commanded else [motion]
        ranged = known is None and joint not in task.continuous
        yield f'      {scalar(joint)}: {{{_limit(found, unit, ranged)}}}  {CHECK}'


def _times() -> str:
    return (
        f'{FASTER["velocity"]:g} times the largest speed and {FASTER["acceleration"]:g} times the largest acceleration '
        'of states and commands over 0.1 s, or what is little for an arm'
    )


def _commanded(proposal: Proposal) -> dict[str, Motion]:
    """Return how the set points move, where recordings name their joints."""
    named = [c for c in proposal.action.commands if c.direct or (c.source == 'joint_state' and not c.source_joints)]
    found = {joint: motion for c in named for joint, motion in proposal.survey.topics[c.topic].motions.items()}
    return proposal.in_si(found)


def _limit(motions: list[Motion], unit: Unit, positions: bool) -> str:
    low, high = min(m.low for m in motions), max(m.high for m in motions)
    margin = max(_LEAST[unit], MARGIN * (high - low))
    largest = {'velocity': max(m.speed for m in motions), 'acceleration': max(m.acceleration for m in motions)}
    found = {'lower': low - margin, 'upper': high + margin} if positions else {}
    found |= {name: max(SLOWEST[unit][name], FASTER[name] * value) for name, value in largest.items()}
    return ', '.join(f'{key}: {number(value)}' for key, value in found.items())
