"""Parameters of the trajectory_publisher, and what it makes of them: limits and planner."""

from __future__ import annotations

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, listed
from dp_ros.nodes.lifecycle import ManagedNode
from dp_ros.nodes.observation_buffer import BUNDLE
from dp_ros.nodes.parameters import Param, overrides
from dp_ros.paths import locate
from dp_ros.policy.bundle import Bundle
from dp_ros.policy.limits import JointLimits
from dp_ros.policy.limits_file import read_joint_limits
from dp_ros.policy.planner import Planner

INFINITE = float('inf')
PARAMETERS = [
    BUNDLE,
    Param(
        name='joints', default=(),
        description="The robot's joints that the policy moves, in order; no other bundle fits. Empty: not checked.",
    ),
    Param(
        name='units', default=(),
        description='Unit of each of the joints, m or rad; no other bundle fits. Empty: not checked.',
    ),
    Param(name='continuous', default=(), description='Those of the joints that turn without end.'),
    Param(name='topics.joint_states', default='joint_states', description='Measured joint states come from here.'),
    Param(name='topics.command', default='', description='Trajectories go here; empty: where the bundle says.'),
    Param(
        name='max_joint_age', default=0.25, low=0.001, high=10.0,
        description='Oldest joint state [s] with which anything is sent.',
    ),
    Param(name='limits_file', default='', description='A joint_limits.yaml as for MoveIt; instead of limits.*.'),
    Param(
        name='position_tolerance', default=0.005, low=0.0, high=0.1,
        description='Steps beyond a position limit by up to this [rad or m] are put onto it; farther ones stop.',
    ),
    Param(
        name='history_steps', default=3, low=1, high=100,
        description='Control steps of the past that each trajectory starts with, so that the controller is on it.',
    ),
    Param(
        name='splice_margin', default=0.03, low=0.0, high=1.0,
        description='Longest time from here to the first command of the controller, its period included [s].',
    ),
    Param(
        name='lead_in', default=0.5, low=0.01, high=60.0,
        description='Least duration of the way from the measured state to the first chunk [s].',
    ),
    Param(
        name='far', default=0.2, low=0.0001, high=1000.0,
        description='A joint farther than this from the plan [rad or m] makes the plan start anew.',
    ),
    Param(
        name='tail', default=0.5, low=0.01, high=10.0,
        description='Least duration of the way to rest after the last step [s].',
    ),
    Param(
        name='deadline', default=0.0, low=0.0, high=60.0, live=True,
        description='A command is late if it is out later than this after its observation [s]; 0: control_dt.',
    ),
]  # fmt: skip
LIMITS = 'limits.'
QUANTITIES = {'lower': -INFINITE, 'upper': INFINITE, 'velocity': INFINITE, 'acceleration': INFINITE}
LIMITS_PATTERN = {r'limits\..+\.(lower|upper|velocity|acceleration)': 'limits.<joint>.' + '|'.join(QUANTITIES)}


def make_planner(node: ManagedNode, bundle: Bundle, limits: JointLimits) -> Planner:
    """Return the planner for a bundle's joints, with a node's parameters."""
    joints = bundle.task.action.joints
    continuous = node.value('continuous')
    if not set(continuous) <= set(joints):
        raise ConfigError(f'continuous: got {listed(continuous)}, allowed some of {listed(joints)}')
    return Planner(
        joints,
        to_nanoseconds(bundle.task.control_dt),
        limits,
        history_steps=node.value('history_steps'),
        splice_margin=to_nanoseconds(node.value('splice_margin')),
        lead_in=node.value('lead_in'),
        far=node.value('far'),
        tail=node.value('tail'),
        continuous=[joint in continuous for joint in joints],
        position_tolerance=node.value('position_tolerance'),
        max_age=to_nanoseconds(node.value('max_joint_age')),
    )


def read_limits(node: ManagedNode, joints: tuple[str, ...]) -> JointLimits:
    """Return the limits of ``joints`` from a node's parameters, which must say some for each."""
    given = [name for name in overrides(node) if name.startswith(LIMITS)]
    file = node.value('limits_file')
    if file and given:
        raise ConfigError(f'limits_file: got {file!r} and {listed(given)}, allowed one or the other')
    if file:
        return read_joint_limits(locate(file), joints)
    known = [LIMITS + joint + '.' + quantity for joint in joints for quantity in QUANTITIES]
    unknown = [name for name in given if name not in known]
    bare = [joint for joint in joints if not any(n.startswith(f'{LIMITS}{joint}.') for n in given)]
    if unknown or bare:
        raise ConfigError(
            f'limits: got {listed(given)}, allowed {listed(known)}, one or more for each joint, or limits_file'
        )
    node.declare_more([_limit_parameter(joint, quantity) for joint in joints for quantity in QUANTITIES])
    columns = {q: tuple(node.value(f'{LIMITS}{joint}.{q}') for joint in joints) for q in QUANTITIES}
    return JointLimits(joints=joints, **columns)


def _limit_parameter(joint: str, quantity: str) -> Param:
    unit = {'velocity': '/s', 'acceleration': '/s^2'}.get(quantity, '')
    return Param(
        name=f'{LIMITS}{joint}.{quantity}',
        default=QUANTITIES[quantity],
        low=-INFINITE,
        high=INFINITE,
        description=f'Limit of {joint}: {quantity} [rad{unit} or m{unit}].',
    )
