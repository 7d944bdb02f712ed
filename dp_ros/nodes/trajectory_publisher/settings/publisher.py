"""All parameters of the trajectory_publisher, and what is made of those about its controllers."""

from __future__ import annotations

from collections.abc import Sequence

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError
from dp_ros.motion.outputs import Output, trajectory_outputs
from dp_ros.motion.settings.publisher import PUBLISHER_OPTIONS
from dp_ros.nodes.trajectory_publisher.controllers.check import (
    ControllerCheck,
    controller_names,
)
from dp_ros.nodes.trajectory_publisher.controllers.command_topics import CommandTopics
from dp_ros.nodes.trajectory_publisher.controllers.gripper_action import GoalRule, Grippers, action_type
from dp_ros.nodes.trajectory_publisher.controllers.state import ControllerStates
from dp_ros.nodes.trajectory_publisher.settings.plan import PATTERNS as PLAN_PATTERNS
from dp_ros.nodes.trajectory_publisher.settings.safety import HOME_PATTERN
from dp_ros.robot.controller_settings import Expected
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.ros.bundles import BUNDLE, POLICY_SPEED
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.queries import get_parameters
from dp_ros.ros.realtime import PARAMETERS as REALTIME_PARAMETERS
from dp_ros.task.spec import TaskSpec

PARAMETERS = [BUNDLE, POLICY_SPEED, *REALTIME_PARAMETERS, *PUBLISHER_OPTIONS]
PATTERNS = {**PLAN_PATTERNS, **HOME_PATTERN}
EXECUTOR = 'policy_executor'


def make_grippers(node: ManagedNode, outputs: Sequence[Output], limits: JointLimits) -> Grippers:
    """Return those of the outputs that take goals of positions; in a dry run they get none."""
    rules = {output: GoalRule.of(output, limits) for output in outputs if output.gripper}
    for output in rules:
        action_type(output.type)
    return Grippers(node, {} if node.value('dry_run') else rules, require=node.value('require_controller'))


def make_command(
    node: ManagedNode, task: TaskSpec, outputs: Sequence[Output], grippers: Grippers | None = None
) -> CommandTopics:
    """Return the controllers' topics, where each controller is checked against what it will be sent."""
    outputs = trajectory_outputs(outputs)
    units = dict(zip(task.action.joints, task.action.units, strict=True))
    checks = [
        ControllerCheck(
            node,
            name,
            Expected(
                joints=output.joints,
                units=tuple(units[joint] for joint in output.joints),
                control_dt=task.control_dt,
                splice_margin=node.value('splice_margin'),
                tail=node.value('tail'),
                use_sim_time=node.simulated_time,
                follow_tolerance=node.value('follow_tolerance'),
            ),
            to_nanoseconds(node.value('controller_wait')),
        )
        for name, output in zip(controller_names(node, outputs), outputs, strict=True)
    ]
    require, dry_run = node.value('require_controller'), node.value('dry_run')
    return CommandTopics(node, outputs, checks, require=require, dry_run=dry_run, grippers=grippers)


def make_controller_states(node: ManagedNode, task: TaskSpec, outputs: Sequence[Output]) -> ControllerStates:
    """Return what the controllers say themselves, where it can be heard; `open` it to listen."""
    outputs = trajectory_outputs(outputs)
    names = controller_names(node, outputs)
    joints = {name: output.joints for name, output in zip(names, outputs, strict=True) if name}
    return ControllerStates(node, joints, task.action.joints)


def check_fallback(node: ManagedNode) -> None:
    """Where the fallback is a policy, refuse a policy_executor that has none; one that does not answer is warned of."""
    if node.value('fallback') != 'policy':
        return
    answer = get_parameters(node, EXECUTOR, ['fallback_bundle'], node.value('controller_wait'))
    if answer is None:
        node.get_logger().warning(f"fallback: 'policy', and {EXECUTOR} did not say whether it has a fallback_bundle")
    elif not answer.get('fallback_bundle'):
        raise ConfigError(f"fallback: got 'policy', allowed with a fallback_bundle of {EXECUTOR}, which has none")
