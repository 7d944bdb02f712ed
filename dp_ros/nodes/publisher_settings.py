"""All parameters of the trajectory_publisher, and the check of its controllers before anything moves."""

from __future__ import annotations

from collections.abc import Sequence

from dp_ros.config import TaskSpec
from dp_ros.errors import ConfigError
from dp_ros.nodes.controller_check import CONTROLLER_PARAMETERS, check_controller
from dp_ros.nodes.ladder_settings import HOME_PATTERN
from dp_ros.nodes.ladder_settings import PARAMETERS as LADDER_PARAMETERS
from dp_ros.nodes.lifecycle import ManagedNode
from dp_ros.nodes.plan_settings import PARAMETERS as PLAN_PARAMETERS
from dp_ros.nodes.plan_settings import PATTERNS as PLAN_PATTERNS
from dp_ros.nodes.queries import get_parameters
from dp_ros.policy.controller_settings import Expected
from dp_ros.policy.outputs import Output

PARAMETERS = [*PLAN_PARAMETERS, *CONTROLLER_PARAMETERS, *LADDER_PARAMETERS]
PATTERNS = {**PLAN_PATTERNS, **HOME_PATTERN}
EXECUTOR = 'policy_executor'


def check_controllers(node: ManagedNode, task: TaskSpec, outputs: Sequence[Output]) -> None:
    """Ask each controller for its parameters; refuse what would move the robot wrongly, and warn of the rest.

    One controller has the name that the parameter `controller` says. Of several, each is asked by the name that its
    topic is below.
    """
    if not node.value('controller'):
        return
    units = dict(zip(task.action.joints, task.action.units, strict=True))
    for output in outputs:
        target = node.value('controller') if len(outputs) == 1 else output.topic.rsplit('/', 1)[0]
        expected = Expected(
            joints=output.joints,
            units=tuple(units[joint] for joint in output.joints),
            controller_mode=node.value('controller_mode'),
            control_dt=task.control_dt,
            splice_margin=node.value('splice_margin'),
            tail=node.value('tail'),
            use_sim_time=node.simulated_time,
            far=node.value('follow_tolerance'),
        )
        wait, require = node.value('controller_wait'), node.value('require_controller')
        for finding in check_controller(node, target, expected, wait=wait, require=require):
            node.get_logger().warning(str(finding))


def check_fallback(node: ManagedNode) -> None:
    """Where the fallback is a policy, refuse a policy_executor that has none; one that does not answer is warned of."""
    if node.value('fallback') != 'policy':
        return
    answer = get_parameters(node, EXECUTOR, ['fallback_bundle'], node.value('controller_wait'))
    if answer is None:
        node.get_logger().warning(f"fallback: 'policy', and {EXECUTOR} did not say whether it has a fallback_bundle")
    elif not answer.get('fallback_bundle'):
        raise ConfigError(f"fallback: got 'policy', allowed with a fallback_bundle of {EXECUTOR}, which has none")
