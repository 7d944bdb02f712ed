"""Parameters of the trajectory_publisher's plan, and what it makes of them: limits, workspace, planner, outputs."""

from __future__ import annotations

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, listed
from dp_ros.motion.options import KEPT_BEYOND
from dp_ros.motion.outputs import Output, check_outputs
from dp_ros.motion.planner import Planner
from dp_ros.motion.workspace import AXES, Workspace
from dp_ros.nodes.trajectory_publisher.robot_description import PARAMETERS as ROBOT_PARAMETERS
from dp_ros.nodes.trajectory_publisher.robot_description import read_robot as read_robot
from dp_ros.paths import locate
from dp_ros.policy.bundle.manifest import Bundle
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.robot.limits_file import read_joint_limits
from dp_ros.robot.model import RobotModel
from dp_ros.ros.bundles import BUNDLE, POLICY_SPEED, below_namespace
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.parameters import Param, overrides
from dp_ros.ros.realtime import PARAMETERS as REALTIME_PARAMETERS

INFINITE = float('inf')
PARAMETERS = [
    BUNDLE,
    POLICY_SPEED,
    *REALTIME_PARAMETERS,
    Param(
        name='joints', default=(),
        description="The robot's joints that the policy moves, in order; no other bundle fits. Empty: not checked.",
    ),
    Param(
        name='units', default=(),
        description='Unit of each of the joints, m or rad; no other bundle fits. Empty: not checked.',
    ),
    Param(
        name='control_dt', default=0.0, low=0.0, high=60.0,
        description='Time between actions, at policy_speed 1, that the robot is meant for [s]; no other bundle fits. '
        '0: not checked.',
    ),
    Param(name='continuous', default=(), description="Those of the joints that turn without end, besides the URDF's."),
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
        name='blend_steps', default=4, low=0, high=100, live=True,
        description='Control steps that the cross-fade from the plan into a new chunk may take at most; 0: none. '
        'It takes as few as it can without more acceleration than chunks have inside.',
    ),
    Param(
        name='accelerations', default=False,
        description='Send accelerations too: the controller follows quintics, and acceleration makes no steps.',
    ),
    Param(
        name='lead_in', default=0.5, low=0.01, high=60.0,
        description='Least duration of the way from the measured state to the first chunk [s].',
    ),
    Param(
        name='follow_tolerance', default=0.0, low=0.0, high=1000.0,
        description='A joint farther than this from the plan [rad or m], its lag taken off, does not follow it: '
        'nothing more is planned, and the plan begins anew once the robot stands. 0: its way in 4 ms at its speed '
        'limit.',
    ),
    Param(
        name='expected_lag', default=0.05, low=0.0, high=1.0,
        description='Longest time by which the robot follows its commands late, before motion has shown it [s].',
    ),
    Param(
        name='max_lag', default=0.15, low=0.0, high=1.0,
        description='Longest time by which the robot follows its commands late, as joint states tell [s].',
    ),
    Param(
        name='joint_state_error', default=0.2, low=0.0, high=10.0,
        description='What the joint states of a robot at rest may be wrong by [rad or m], and the way to where the '
        'plan begins is still within the limits. More makes beginning slower.',
    ),
    Param(
        name='tail', default=0.5, low=0.01, high=10.0,
        description='Least duration of the way to rest at the end of a chunk [s].',
    ),
    Param(
        name='stop_on_path', default=True,
        description='Come to rest on the last steps of the chunk, slower and slower; false: straight on beyond them.',
    ),
    Param(
        name='keep_steps', default=0, low=0, high=1000,
        description='Steps of a chunk that must be followed; where later ones would leave the limits, the plan rests '
        'before them. 0: exec_horizon + 4.',
    ),
    Param(
        name='deadline', default=0.0, low=0.0, high=60.0, live=True,
        description='A command is late if it is out later than this after its observation [s]; 0: control_dt.',
    ),
    *ROBOT_PARAMETERS,
    Param(
        name='workspace.link', default='',
        description='Link of the URDF of which a point must not leave a box; empty: no box is checked.',
    ),
    Param(
        name='workspace.frame', default='',
        description="Link in whose axes the box is given; empty: the URDF's root.",
    ),
    *(
        Param(
            name=f'workspace.point_{axis}', default=0.0, low=-10.0, high=10.0,
            description=f'{axis} of the point in the axes of workspace.link [m].',
        )
        for axis in AXES
    ),
    *(
        Param(
            name=f'workspace.{axis}_{end}', default=bound, low=-INFINITE, high=INFINITE,
            description=f'{word} {axis} that the point may have [m].',
        )
        for axis in AXES
        for end, bound, word in (('min', -INFINITE, 'Least'), ('max', INFINITE, 'Greatest'))
    ),
]  # fmt: skip
LIMITS, OUTPUTS = 'limits.', 'outputs.'
UNITS = {'lower': '', 'upper': '', 'velocity': '/s', 'acceleration': '/s^2', 'deceleration': '/s^2', 'jerk': '/s^3'}
QUANTITIES = {quantity: -INFINITE if quantity == 'lower' else INFINITE for quantity in UNITS}
PATTERNS = {
    rf'limits\..+\.({"|".join(QUANTITIES)})': 'limits.<joint>.' + '|'.join(QUANTITIES),
    r'outputs\..+\.(topic|joints)': 'outputs.<name>.topic|joints',
}
LIMITS_PATTERN = PATTERNS


def make_planner(node: ManagedNode, bundle: Bundle, limits: JointLimits, robot: RobotModel | None = None) -> Planner:
    """Return the planner for a bundle's joints, with a node's parameters; ``robot`` is read again if not given."""
    joints = bundle.task.action.joints
    continuous = node.value('continuous')
    if not set(continuous) <= set(joints):
        raise ConfigError(f'continuous: got {listed(continuous)}, allowed some of {listed(joints)}')
    robot = robot or read_robot(node)
    turning = {*continuous, *(robot.continuous(joints) if robot else ())}
    return Planner(
        joints,
        to_nanoseconds(bundle.task.control_dt),
        limits,
        history_steps=node.value('history_steps'),
        splice_margin=to_nanoseconds(node.value('splice_margin')),
        blend_steps=node.value('blend_steps'),
        lead_in=node.value('lead_in'),
        follow_tolerance=node.value('follow_tolerance'),
        expected_lag=to_nanoseconds(node.value('expected_lag')),
        max_lag=to_nanoseconds(node.value('max_lag')),
        joint_state_error=node.value('joint_state_error'),
        tail=node.value('tail'),
        stop_on_path=node.value('stop_on_path'),
        keep_steps=node.value('keep_steps') or bundle.task.exec_horizon + KEPT_BEYOND,
        continuous=[joint in turning for joint in joints],
        position_tolerance=node.value('position_tolerance'),
        max_age=to_nanoseconds(node.value('max_joint_age')),
        accelerations=node.value('accelerations'),
        workspace=_workspace(node, joints, robot),
    )


def _workspace(node: ManagedNode, joints: tuple[str, ...], robot: RobotModel | None) -> Workspace | None:
    link = node.value('workspace.link')
    box = [tuple(node.value(f'workspace.{axis}_{end}') for axis in AXES) for end in ('min', 'max')]
    if not link:
        if any(abs(bound) < INFINITE for bound in (*box[0], *box[1])):
            raise ConfigError('workspace.link: got nothing, allowed a link of the URDF, since bounds are given')
        return None
    if robot is None:
        raise ConfigError(f'workspace.link: got {link!r} without a URDF, allowed urdf_file or topics.robot_description')
    point = [node.value(f'workspace.point_{axis}') for axis in AXES]
    chain = robot.chain(joints, link, frame=node.value('workspace.frame'), point=point)
    return Workspace(chain=chain, lower=box[0], upper=box[1])


def make_outputs(node: ManagedNode, bundle: Bundle) -> tuple[Output, ...]:
    """Return the controllers that a plan goes to: those that `outputs` names, or one with all joints."""
    action = bundle.task.action
    names = sorted({name[len(OUTPUTS) :].rsplit('.', 1)[0] for name in overrides(node) if name.startswith(OUTPUTS)})
    if not names:
        topic = node.value('topics.command') or below_namespace(action.topic)
        return (Output(name='command', topic=topic, joints=action.joints),)
    node.declare_more([parameter for name in names for parameter in _output_parameters(name)])
    outputs = tuple(
        Output(
            name=name, topic=node.value(f'{OUTPUTS}{name}.topic'), joints=tuple(node.value(f'{OUTPUTS}{name}.joints'))
        )
        for name in names
    )
    check_outputs(outputs, action.joints)
    return outputs


def _output_parameters(name: str) -> list[Param]:
    return [
        Param(name=f'{OUTPUTS}{name}.topic', default='', description=f'Trajectories for {name} go here.'),
        Param(name=f'{OUTPUTS}{name}.joints', default=(), description=f'Joints of {name}, in order.'),
    ]


def read_limits(node: ManagedNode, joints: tuple[str, ...], robot: RobotModel | None = None) -> JointLimits:
    """Return the limits of ``joints`` from a node's parameters and, the stricter counts, from its URDF.

    Without a URDF, something must be said of each joint. ``robot`` is read again if not given.
    """
    robot = robot or read_robot(node)
    given = [name for name in overrides(node) if name.startswith(LIMITS)]
    file = node.value('limits_file')
    if file and given:
        raise ConfigError(f'limits_file: got {file!r} and {listed(given)}, allowed one or the other')
    known = [LIMITS + joint + '.' + quantity for joint in joints for quantity in QUANTITIES]
    unknown = [name for name in given if name not in known]
    bare = [joint for joint in joints if not any(n.startswith(f'{LIMITS}{joint}.') for n in given)]
    if unknown or (bare and not file and robot is None):
        raise ConfigError(
            f'limits: got {listed(given)}, allowed {listed(known)}, one or more for each joint, limits_file or a URDF'
        )
    limits = read_joint_limits(locate(file), joints) if file else _declared_limits(node, joints)
    return limits if robot is None else limits.stricter(robot.limits(joints))


def _declared_limits(node: ManagedNode, joints: tuple[str, ...]) -> JointLimits:
    node.declare_more([_limit_parameter(joint, quantity) for joint in joints for quantity in QUANTITIES])
    columns = {q: tuple(node.value(f'{LIMITS}{joint}.{q}') for joint in joints) for q in QUANTITIES}
    # Whoever gives no deceleration means that of acceleration.
    brakes = zip(columns['deceleration'], columns['acceleration'], strict=True)
    columns['deceleration'] = tuple(a if d == INFINITE else d for d, a in brakes)
    return JointLimits(joints=joints, **columns)


def _limit_parameter(joint: str, quantity: str) -> Param:
    return Param(
        name=f'{LIMITS}{joint}.{quantity}',
        default=QUANTITIES[quantity],
        low=-INFINITE,
        high=INFINITE,
        description=f'Limit of {joint}: {quantity} [rad{UNITS[quantity]} or m{UNITS[quantity]}].',
    )
