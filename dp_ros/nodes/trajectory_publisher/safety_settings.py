"""Parameters of the trajectory_publisher's ladder, and what it makes of them with a bundle."""

from __future__ import annotations

import numpy as np

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, listed
from dp_ros.motion.safety.safety_states import Ladder, Thresholds
from dp_ros.nodes.trajectory_publisher.latch_store import LatchStore, latch_file
from dp_ros.nodes.trajectory_publisher.local_reset import COMMAND, ResetSocket, socket_path
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.parameters import Param, overrides
from dp_ros.task.spec import TaskSpec

LONGEST = 3600.0  # [s]
LATCH_SECONDS = 3.0  # from hold to latched, where the parameter is 0
HOME = 'home.'
HOME_PATTERN = {r'home\..+': 'home.<joint>'}
PARAMETERS = [
    Param(
        name='dry_run', default=False,
        description='Compute, check and report everything, and send nothing: no command topic is even made.',
    ),
    Param(
        name='tail_after', default=0.0, low=0.0, high=LONGEST,
        description='Age of the observation behind the motion [s] at which chunks count as late, and the plan is '
        'finished as sent; 0: exec_horizon + 2 control steps.',
    ),
    Param(
        name='decelerate_after', default=0.0, low=0.0, high=LONGEST,
        description='Age of that observation [s] at which the arm slows down along its path; 0: half-way from '
        'tail_after to the last step of the chunk.',
    ),
    Param(
        name='hold_after', default=0.0, low=0.0, high=LONGEST,
        description='Age of that observation, or of the newest joint state [s], at which the arm is held, or goes '
        'home; 0: when the last chunk would have ended, its tail included.',
    ),
    Param(
        name='latch_after', default=0.0, low=0.0, high=LONGEST,
        description='The same age [s] at which only ~/reset lets the arm move again; 0: 3 s after hold_after.',
    ),
    Param(
        name='joint_state_timeout', default=0.5, low=0.001, high=LONGEST,
        description='Age of the newest joint state [s] at which a moving arm slows down along its path.',
    ),
    Param(
        name='fallback', default='hold', choices=('hold', 'home', 'policy'),
        description='What follows where observations stay away: hold; go home and latch; or hold, while the '
        'policy_executor goes over to its fallback_bundle by itself.',
    ),
    Param(
        name='home_duration', default=4.0, low=0.1, high=600.0,
        description='Least time of the way home [s].',
    ),
    Param(
        name='heartbeat_timeout', default=0.0, low=0.0, high=LONGEST,
        description='The arm moves only while someone sends true on topics.enable at least this often [s]; 0: always.',
    ),
    Param(
        name='topics.enable', default='~/enable',
        description='std_msgs/Bool from whoever permits motion: true permits, false or silence stops and latches.',
    ),
    Param(
        name='max_clock_step', default=0.1, low=0.001, high=LONGEST,
        description='The clock jumped if it gained or lost more than this [s] within half a control step.',
    ),
    Param(
        name='state_folder', default='',
        description='Where the node keeps a small file that says whether it runs and whether it is latched: after an '
        'abnormal end the next one starts latched. Empty: $ROS_HOME, or ~/.ros.',
    ),
    Param(
        name='keep_latch', default=False,
        description='Keep a latch over an orderly end too, for where the node is started again by itself.',
    ),
    Param(
        name='allow_reset', default='service', choices=('service', 'local'),
        description='Who may release a latch: service: anyone on the network, by ~/reset; local: only this user at '
        f'this machine, by `{COMMAND}`.',
    ),
]  # fmt: skip


def make_ladder(node: ManagedNode, task: TaskSpec) -> Ladder:
    """Return the ladder for a bundle's task, with a node's parameters."""
    dt, last = task.control_dt, task.pred_horizon * task.control_dt
    tail = node.value('tail_after') or min(task.exec_horizon + 2, task.pred_horizon) * dt
    decelerate = node.value('decelerate_after') or max(tail, (tail + last) / 2)
    hold = node.value('hold_after') or max(decelerate, last + node.value('tail'))
    latch = node.value('latch_after') or hold + LATCH_SECONDS
    often = (task.exec_horizon + 1) * dt
    if decelerate < often:
        node.get_logger().warning(
            f'decelerate_after: {decelerate:g} s, with a new chunk every exec_horizon control steps ({often:g} s with '
            'one for predicting) the arm slows down before each, unless the executor has a shorter exec_horizon'
        )
    thresholds = Thresholds(
        tail=to_nanoseconds(tail),
        decelerate=to_nanoseconds(decelerate),
        hold=to_nanoseconds(hold),
        latch=to_nanoseconds(latch),
        joint_tail=to_nanoseconds(node.value('max_joint_age')),
        joint_decelerate=to_nanoseconds(node.value('joint_state_timeout')),
    )
    return Ladder(thresholds, fallback=node.value('fallback'))


def make_latch_store(node: ManagedNode) -> LatchStore | None:
    """Return where a node's latch is kept; None for one that moves nothing."""
    if node.value('dry_run'):
        return None
    path = latch_file(node, node.value('state_folder'))
    return LatchStore(path, keep=node.value('keep_latch'), say=node.get_logger().error)


def make_reset_socket(node: ManagedNode) -> ResetSocket | None:
    """Return where a person at this machine releases the latch; None where the service ~/reset does."""
    if node.value('allow_reset') == 'service':
        return None
    return ResetSocket(socket_path(node.context.get_domain_id(), node.get_fully_qualified_name()))


def read_home(node: ManagedNode, limits: JointLimits) -> np.ndarray | None:
    """Return the home position (A,) [rad or m] where the fallback is to go there; None otherwise.

    Raises
    ------
    ConfigError
        If a joint has none or one outside its limits, or if positions are given for nothing.

    """
    given = sorted(name for name in overrides(node) if name.startswith(HOME))
    wanted = [HOME + joint for joint in limits.joints]
    if set(given) - set(wanted):
        raise ConfigError(f'home: got {listed(given)}, allowed {listed(wanted)}')
    node.declare_more([_home_parameter(name) for name in wanted if name in given])
    if node.value('fallback') != 'home':
        return None
    missing = [name for name in wanted if name not in given]
    if missing:
        raise ConfigError(f"fallback: got 'home' without {listed(missing)}, allowed with one for each joint")
    positions = np.array([node.value(name) for name in wanted], dtype=np.float64)
    for name, value, lower, upper in zip(wanted, positions, limits.lower, limits.upper, strict=True):
        if not lower <= value <= upper:
            raise ConfigError(f'{name}: got {value}, allowed {lower} to {upper}')
    return positions


def _home_parameter(name: str) -> Param:
    joint = name.removeprefix(HOME)
    return Param(name=name, default=0.0, low=-1e6, high=1e6, description=f'Home position of {joint} [rad or m].')
