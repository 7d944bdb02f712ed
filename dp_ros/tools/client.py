"""A client of the running nodes: starts and stops them through their lifecycle, resets the robot, and watches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import Trigger

from dp_ros.errors import DpRosError
from dp_ros.tools.node_processes import EXECUTOR, POLICY_NODES, PUBLISHER, ROBOT, NodeProcesses

TRANSITIONS = {
    'configure': Transition.TRANSITION_CONFIGURE,
    'activate': Transition.TRANSITION_ACTIVATE,
    'deactivate': Transition.TRANSITION_DEACTIVATE,
}
ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.02


class SessionError(DpRosError, RuntimeError):
    """A node did not answer, or refused."""


@dataclass
class Ledger:
    """What the publisher reported of its chunks since the episode began."""

    latency: list[float] = field(default_factory=list)
    late: int = 0
    refused: int = 0
    stop: str = ''


class Session:
    """Drives node processes that run already. Not thread-safe: everything happens in the caller's thread."""

    def __init__(self, processes: NodeProcesses, *, namespace: str = '') -> None:
        self.processes = processes
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node: Node = rclpy.create_node('dp_ros_session', namespace=namespace, context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.ledger = Ledger()
        self.episode: dict[str, str] = {}
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 50)
        self.node.create_subscription(DiagnosticStatus, f'{ROBOT}/episode', self._on_episode, 10)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def spin(self, seconds: float = POLL_SECONDS) -> None:
        """Handle what arrives for a while; raise if a node has died."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)
        self.processes.check()

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = ANSWER_SECONDS) -> None:
        """Spin until ``condition`` holds."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise SessionError(f'{what}: not within {seconds} s')
            self._executor.spin_once(timeout_sec=POLL_SECONDS)
            self.processes.check()

    def transition(self, name: str, transition: str) -> None:
        """Take a node through a lifecycle transition."""
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        if not self._call(ChangeState, f'{name}/change_state', request).success:
            raise SessionError(f'{name}: refused to {transition}: {self.processes.last_error(name)}')

    def configure_policy(self) -> None:
        """Configure the policy's nodes."""
        for name in POLICY_NODES:
            self.transition(name, 'configure')

    def begin(self, seed: int) -> None:
        """Reset the robot with a seed, which draws the policy's noise too, and start the policy from inactive."""
        self.reset(seed)
        self.set_parameter(EXECUTOR, 'seed', seed)
        self.ledger = Ledger()
        # The sink first, so that nothing that is sent is missed.
        for name in reversed(POLICY_NODES):
            self.transition(name, 'activate')
            if name == PUBLISHER:
                self._release()

    def _release(self) -> None:
        """Release what latched in the episode before: a latch stays when the publisher is deactivated."""
        until = time.monotonic() + ANSWER_SECONDS
        while not (answer := self._call(Trigger, f'{PUBLISHER}/reset', Trigger.Request())).success:
            if time.monotonic() > until:
                raise SessionError(f'{PUBLISHER}: {answer.message}')
            self.spin()

    def reset(self, seed: int) -> None:
        """Begin an episode of the robot with a seed."""
        self.set_parameter(ROBOT, 'seed', seed)
        reset = self._call(Trigger, f'{ROBOT}/reset', Trigger.Request())
        if not reset.success:
            raise SessionError(f'{ROBOT}: refused to reset: {reset.message}')
        self.episode = {}
        self.wait(lambda: self.episode.get('seed') == str(seed), f'an episode with seed {seed}')

    def end(self) -> None:
        """Stop the policy; the publisher tells the robot to hold."""
        for name in POLICY_NODES:
            self.transition(name, 'deactivate')

    def set_parameter(self, name: str, parameter: str, value: int) -> None:
        """Set an integer parameter of a node."""
        typed = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=value)
        request = SetParameters.Request(parameters=[Parameter(name=parameter, value=typed)])
        result = self._call(SetParameters, f'{name}/set_parameters', request).results[0]
        if not result.successful:
            raise SessionError(f'{name}: refused {parameter} = {value}: {result.reason}')

    def _call(self, kind: Any, service: str, request: Any) -> Any:
        client = self.node.create_client(kind, service)
        try:
            self.wait(client.service_is_ready, f'service {service}')
            future = client.call_async(request)
            self.wait(future.done, f'an answer of {service}')
            return future.result()
        finally:
            self.node.destroy_client(client)

    def _on_episode(self, message: DiagnosticStatus) -> None:
        self.episode = {v.key: v.value for v in message.values}

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if len(message.status) > 1:
                continue  # several together are the periodic repetition
            values = {v.key: v.value for v in status.values}
            if status.name.endswith('trajectory_publisher: ladder') and values.get('rung') == 'latched':
                self.ledger.stop = status.message
            if not status.name.endswith('trajectory_publisher: chunk'):
                continue
            if 'latency_ms' in values:
                self.ledger.latency.append(float(values['latency_ms']) / 1e3)
                self.ledger.late += status.message == 'late'
            else:
                self.ledger.refused += 1
