"""Make the safety states of a trajectory_publisher, and what belongs to them, from its parameters and a bundle."""

from __future__ import annotations

import numpy as np

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, listed
from dp_ros.motion.safety.safety_states import SafetyStateMachine, Thresholds
from dp_ros.nodes.trajectory_publisher.latch_store import LatchStore, latch_file
from dp_ros.nodes.trajectory_publisher.local_reset import ResetSocket, socket_path
from dp_ros.options import Option
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.parameters import overrides
from dp_ros.task.spec import TaskSpec

LATCH_SECONDS = 3.0  # from hold to latched, where the parameter is 0
HOME = 'home.'
HOME_PATTERN = {r'home\..+': 'home.<joint>'}


def make_safety_states(node: ManagedNode, task: TaskSpec) -> SafetyStateMachine:
    """Return the safety states for a bundle's task, with a node's parameters."""
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
    return SafetyStateMachine(thresholds, fallback=node.value('fallback'))


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


def _home_parameter(name: str) -> Option:
    joint = name.removeprefix(HOME)
    return Option(name=name, default=0.0, low=-1e6, high=1e6, description=f'Home position of {joint} [rad or m].')
