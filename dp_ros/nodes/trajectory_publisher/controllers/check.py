"""The controller is checked when it appears: its own parameters are read over ROS, and compared with what it will get.

The node that moves the robot goes on meanwhile: nothing here waits. `look` is called with each look at the graph.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from rclpy.exceptions import InvalidTopicNameException
from rclpy.validate_full_topic_name import validate_full_topic_name

from dp_ros.errors import ConfigError
from dp_ros.motion.outputs import Output
from dp_ros.nodes.trajectory_publisher.controllers.endpoints import NOBODY
from dp_ros.robot.controller_settings import Expected, compare, refusal
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.parameter_query import ParameterQuery
from dp_ros.ros.queries import full_name

AFRESH = 5_000_000_000  # [ns] after which a controller that was refused is asked again: it may have been set right


def controller_names(node: ManagedNode, outputs: Sequence[Output]) -> tuple[str, ...]:
    """Return the name of each output's controller with its namespace.

    It is what the parameter `controller` says, or else what the output's topic is below. That may be no name where
    nobody needs it.

    Raises
    ------
    ConfigError
        If it is no name of a node, or one name is given for several outputs.

    """
    given = node.value('controller')
    if given and len(outputs) > 1:
        raise ConfigError(
            f"controller: got {given!r} with {len(outputs)} outputs, allowed ''; each controller is known by the name "
            'that its topic is below'
        )
    topics = [str(node.resolve_topic_name(output.topic)) for output in outputs]
    names = [full_name(node, given)] if given else [topic.rsplit('/', 1)[0] for topic in topics]
    needed = given or (node.value('require_controller') and not node.value('dry_run'))
    for name, topic in zip(names, topics, strict=True) if needed else ():
        try:
            validate_full_topic_name(name)
        except InvalidTopicNameException:
            text = f'controller: got {given or name!r} for {topic}, allowed the name of a node, e.g. arm_controller'
            raise ConfigError(text) from None
    return tuple(names)


class ControllerCheck:
    """Keeps what is known about one controller.

    Parameters
    ----------
    node
        Who asks.
    name
        The controller's name, with its namespace.
    expected
        What will be sent to it.
    wait
        How long no answer is nothing unusual [ns].

    Attributes
    ----------
    refusal
        What about it forbids motion, or ''.

    """

    def __init__(self, node: ManagedNode, name: str, expected: Expected, wait: int) -> None:
        self._node, self.name, self._expected, self._wait = node, name, expected, wait
        self._gids = NOBODY
        self._query: ParameterQuery | None = None
        self._since = self._answered_at = 0
        self._checked = False
        self._warned: set[str] = set()
        self.refusal = ''

    def look(self, gids: frozenset[bytes]) -> None:
        """Take the ids of its subscriptions, none if it is away: one that is new is a controller that has come back."""
        new, self._gids = gids - self._gids, gids
        if not gids:
            self.close()
            return
        now = self._node.steady()
        if new:
            self._stop_asking()
            self.refusal, self._checked, self._since = '', False, now
        afresh = bool(self.refusal) and now - self._answered_at >= AFRESH
        if self._query is None and (afresh or not self._checked):
            self._ask()
        if self._query is not None:
            self._query.step()
            if self._silent:
                self._warn(self.objection)

    @property
    def objection(self) -> str:
        """Return why it may not be moved by: it was refused, or nothing is known about it yet; or ''."""
        if self.refusal or self._checked:
            return self.refusal
        if self._silent:
            wait = f'{self._wait / 1e9:.6g} s'
            return f'controller {self.name}: got no answer within {wait}, allowed one about its parameters'
        return f'controller {self.name}: got no answer yet, allowed motion once its parameters were checked'

    @property
    def pending(self) -> bool:
        """Tell whether the controller is there, and its answer may still come in time."""
        return bool(self._gids) and not (self.refusal or self._checked or self._silent)

    @property
    def _silent(self) -> bool:
        return not self._checked and self._node.steady() - self._since > self._wait

    def close(self) -> None:
        """Forget what is known, and ask no more."""
        self._stop_asking()
        self._gids, self.refusal, self._checked = NOBODY, '', False

    def _ask(self) -> None:
        # What the middleware can't do now it may the next time; whoever moves an arm must not stop for that.
        with contextlib.suppress(RuntimeError):
            self._query = ParameterQuery(self._node, self.name, self._expected.names, self._judge)

    def _stop_asking(self) -> None:
        if self._query is not None:
            self._query.close()
        self._query = None

    def _judge(self, settings: dict[str, Any]) -> None:
        findings = compare(settings, self._expected)
        before, self.refusal = self.refusal, refusal(self.name, findings)
        self._query, self._checked, self._answered_at = None, True, self._node.steady()
        for finding in findings:
            if not finding.fatal:
                self._warn(f'controller {self.name}: {finding}')
        if self.refusal and self.refusal != before:
            self._node.get_logger().error(self.refusal)
        elif not self.refusal:
            self._node.get_logger().info(f'controller {self.name}: checked, {len(settings)} parameters')

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._node.get_logger().warning(text)
