"""Send a gripper's driver goals of control_msgs/GripperCommand or ParallelGripperCommand along the plan.

A gripper's driver takes one position and goes there as fast as it likes; trajectories mean nothing to it. So the plan
is looked at a little ahead, at each look at what may stop the robot, and a goal is sent where it has moved on, or has
come to rest. What the gripper is measured to do is not compared with the plan: it may hold something.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from rclpy.action import ActionClient
from rclpy.task import Future

from dp_ros.errors import ConfigError
from dp_ros.motion.outputs import Output
from dp_ros.motion.safety.safety_states import Cause, Reason
from dp_ros.motion.trajectory import Trajectory
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.ros.diagnostics import ERROR, OK, WARN
from dp_ros.ros.lifecycle import ManagedNode

LEAD = 50_000_000  # [ns] by which the plan is looked at ahead: goals take their time, and grippers theirs
SHARE = 0.01  # of a joint's range that is a step, where none is given
SAME = 1e-4  # [rad or m] by which a position at rest may differ from the last goal
SILENT = 1_000_000_000  # [ns] after which a goal counts as unanswered; one that was rejected is sent again after it


ACTIONS = {'gripper_command': 'GripperCommand', 'parallel_gripper_command': 'ParallelGripperCommand'}


def action_type(kind: str) -> Any:
    """Return the action's class for the type of an output; :class:`ConfigError` where it is not installed."""
    try:
        return getattr(importlib.import_module('control_msgs.action'), ACTIONS[kind])
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f'outputs type: got {kind!r} without control_msgs/{ACTIONS[kind]} ({error}), allowed where '
            'ros-jazzy-control-msgs is installed'
        ) from error


def goal_of(output: Output, position: float) -> Any:
    """Return the goal that asks a gripper for a position [rad or m], with its largest force or torque."""
    goal = action_type(output.type).Goal()
    if output.type == 'gripper_command':
        goal.command.position, goal.command.max_effort = position, output.max_effort
    else:
        goal.command.name, goal.command.position = list(output.joints), [position]
        goal.command.effort = [output.max_effort] if output.max_effort else []  # none: the driver's own
    return goal


class GoalRule:
    """Decide when a gripper gets a new goal, and which.

    Parameters
    ----------
    step
        How far its joint goes until the next goal [rad or m]; more than 0.
    lower, upper
        What goals stay within [rad or m].

    Attributes
    ----------
    last
        The last goal; before there was one, where the plan began, which is where the gripper is: one that holds
        something is not told to let it go. None without a plan.

    """

    def __init__(self, step: float, lower: float, upper: float) -> None:
        self._step, self._lower, self._upper = step, lower, upper
        self.last: float | None = None
        self._sent = False

    @classmethod
    def of(cls, output: Output, limits: JointLimits) -> GoalRule:
        """Return the rule of a gripper, whose joint is among those of ``limits``."""
        column = limits.joints.index(output.joints[0])
        lower, upper = limits.lower[column], limits.upper[column]
        step = output.step or SHARE * (upper - lower)
        if not np.isfinite(step):
            raise ConfigError(f'outputs {output.name} step: got 0, allowed more for a joint without position limits')
        return cls(step, lower, upper)

    def lose(self) -> None:
        """Take it that the driver knows nothing of the last goal, if it had one: where the plan is then is due."""
        if self._sent:
            self.last = np.inf

    def due(self, plan: Trajectory | None, joint: str, now: int) -> float | None:
        """Return the goal to send ``now`` [ns], or None; it counts as sent."""
        if plan is None:
            self.last, self._sent = None, False
            return None
        column, ahead = plan.joints.index(joint), now + LEAD
        if self.last is None:
            self.last = float(plan.positions[0, column])
        planned = plan.positions_at(np.array([ahead - plan.stamp]))[0, column]
        position = min(max(float(planned), self._lower), self._upper)
        moved, resting = abs(position - self.last), ahead >= plan.end
        if moved < self._step and not (resting and moved > SAME):
            return None
        self.last, self._sent = position, True
        return position


class GripperAction:
    """Sends one gripper its goals.

    Parameters
    ----------
    node
        Who sends.
    output, rule
        The gripper, and when it gets a goal.

    """

    def __init__(self, node: ManagedNode, output: Output, rule: GoalRule) -> None:
        self._node, self._output, self._rule, (self._joint,) = node, output, rule, output.joints
        self.topic = str(node.resolve_topic_name(output.topic))
        self._client: Any = ActionClient(node, action_type(output.type), self.topic)
        self._asked: Future | None = None
        self._at = 0  # when the last goal was sent [ns, steady]
        self._rejected = False
        self.counts = {'goals': 0, 'rejected': 0, 'unanswered': 0}

    def objection(self) -> str:
        """Return why nothing may move by this gripper, or ''."""
        if self._client.server_is_ready():
            return ''
        return f'{self.topic}: got no server of the action, allowed one of control_msgs/{ACTIONS[self._output.type]}'

    def follow(self, plan: Trajectory | None, now: int) -> None:
        """Send a goal if one is due; ``plan`` is None where nothing may move. One is sent at a time."""
        since = self._node.steady() - self._at
        if self._asked is not None and since > SILENT:
            self._asked = None
            self.counts['unanswered'] += 1
        if not self._client.server_is_ready():
            self._asked, self._rejected = None, False
            self._rule.lose()
            return
        if plan is None or self._asked is None:
            position = self._rule.due(plan, self._joint, now)
            if position is None and plan is not None and self._rejected and since > SILENT:
                position = self._rule.last
            if position is not None:
                self._send(position)

    def _send(self, position: float) -> None:
        self._at, self._rejected = self._node.steady(), False
        self.counts['goals'] += 1
        self._asked = self._client.send_goal_async(goal_of(self._output, position))
        self._asked.add_done_callback(self._answered)

    def _answered(self, future: Future) -> None:
        if future is not self._asked:
            return
        self._asked, self._rejected = None, not future.result().accepted
        self.counts['rejected'] += self._rejected

    def report(self) -> None:
        """Bring the status up to date."""
        missing, last = self.objection(), self._rule.last
        place = f'{last:.4f}' if last is not None and np.isfinite(last) else ''
        values = {**self.counts, 'position': place}
        level, text = (ERROR, missing) if missing else (OK, 'follows the plan')
        if self._rejected and not missing:
            level, text = WARN, f'{self.topic}: got a goal rejected, {place}, allowed one that is accepted'
        self._node.diagnostics.report(f'gripper {self._output.name}', level, text, values)

    def close(self) -> None:
        """Send no more."""
        self._client.destroy()
        self._node.diagnostics.forget(f'gripper {self._output.name}')


class Grippers:
    """Those of one plan.

    Parameters
    ----------
    node
        Who sends.
    rules
        When each gets a goal.
    require
        Whether nothing may move before each driver is there.

    """

    def __init__(self, node: ManagedNode, rules: Mapping[Output, GoalRule], *, require: bool) -> None:
        self._require = require
        self._all = [GripperAction(node, output, rule) for output, rule in rules.items()]

    def faults(self) -> list[Reason]:
        """Return what forbids motion: drivers that are not there."""
        missing = [gripper.objection() for gripper in self._all] if self._require else []
        return [Reason(cause=Cause.CONTROLLER, text=text) for text in missing if text]

    def follow(self, plan: Trajectory | None, now: int) -> None:
        """Send the goals that are due ``now`` [ns]; ``plan`` is None where nothing may move."""
        for gripper in self._all:
            gripper.follow(plan, now)

    def report(self) -> None:
        """Bring their status up to date."""
        for gripper in self._all:
            gripper.report()

    def close(self) -> None:
        """Send no more."""
        for gripper in self._all:
            gripper.close()
