"""Before moving: the controller's own parameters are read over ROS, and compared with what will be sent to it."""

from __future__ import annotations

from rclpy.node import Node

from dp_ros.errors import ConfigError
from dp_ros.nodes.parameters import Param
from dp_ros.nodes.queries import full_name, get_parameters
from dp_ros.policy.controller_settings import Expected, Finding, compare, refuse_fatal

CONTROLLER_PARAMETERS = [
    Param(
        name='controller', default='',
        description='The controller node whose parameters are checked before moving, e.g. arm_controller. '
        'Empty: not asked.',
    ),
    Param(
        name='require_controller', default=False,
        description='Refuse to configure if the controller does not answer; else only a warning.',
    ),
    Param(
        name='controller_wait', default=2.0, low=0.0, high=60.0,
        description='Longest time to wait for the controller to answer [s].',
    ),
]  # fmt: skip


def check_controller(
    node: Node, target: str, expected: Expected, *, wait: float = 2.0, require: bool = False
) -> list[Finding]:
    """Read a controller's parameters, refuse what would move the robot wrongly, and return the other differences.

    It blocks for up to ``wait`` seconds, and may be called within `configure`::

        findings = check_controller(
            self,
            self.value('controller'),
            Expected(
                joints=action.joints,
                units=action.units,
                controller_mode=self.value('controller_mode'),
                control_dt=task.control_dt,
                splice_margin=self.value('splice_margin'),
                tail=self.value('tail'),
                use_sim_time=self.get_clock().ros_time_is_active,
                far=self.value('far'),
            ),
            wait=self.value('controller_wait'),
            require=self.value('require_controller'),
        )
        for finding in findings:
            self.get_logger().warning(str(finding))

    With several outputs it is called once for each, with that output's joints.

    Parameters
    ----------
    node
        Who asks.
    target
        The controller node's name, in ``node``'s namespace unless it starts with a slash; empty: nothing is asked.
    expected
        What will be sent.
    wait
        Longest time to wait for the answer [s].
    require
        Whether no answer is a refusal too.

    Raises
    ------
    ConfigError
        If there are fatal findings; it names each: what, got, allowed, and why.

    """
    if not target:
        return []
    name = full_name(node, target)
    settings = get_parameters(node, target, expected.names, wait)
    if settings is None:
        why = 'no node of this name answers, so nothing about it was checked'
        if require:
            raise ConfigError(f'controller {name}: got no answer within {wait} s, allowed one; {why}')
        return [Finding(what=f'controller {name}', got=None, allowed='its parameters', because=why, fatal=False)]
    findings = compare(settings, expected)
    refuse_fatal(name, findings)
    return findings
