"""A robot's policy from Python: configure, start and stop its nodes, give goals, hold, reset, and wait for a state."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self, TypeVar, get_args

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import State as Lifecycle
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from dp_ros.errors import DpRosError, check_choice, listed
from dp_ros.messages import encoding
from dp_ros.messages.status import State, Status, decode
from dp_ros.tools.node_processes import EXECUTOR, POLICY_NODES, PUBLISHER

BUFFER = POLICY_NODES[0]
TRANSITIONS = {
    'configure': Transition.TRANSITION_CONFIGURE,
    'activate': Transition.TRANSITION_ACTIVATE,
    'deactivate': Transition.TRANSITION_DEACTIVATE,
}
POLL = 0.02  # [s]
AGAIN = 5.0  # [s]: an answer can be lost before the server has found the client
FRESH = 3.0  # [s]: a status comes once a second
DEPTH = 50
KEPT = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
T = TypeVar('T')


class ClientError(DpRosError, RuntimeError):
    """A node that is missing, did not answer in time, or refused."""


class PolicyClient:
    """Operates the nodes of one robot, whoever started them: ``ros2 launch``, a container, or a program.

    Everything happens in the caller's thread, inside its methods. Those that wait raise `ClientError` after
    ``timeout``, naming what is missing.

    Parameters
    ----------
    namespace
        The nodes' namespace.
    timeout
        Longest time for an answer or a state [s].

    Examples
    --------
    ::

        with PolicyClient(namespace='left_arm') as client:
            client.start()
            client.set_goal('push the red block')
            client.wait('running')
            ...
            client.hold()
            print(client.status().reason)
            client.reset()
            client.stop()

    """

    def __init__(self, *, namespace: str = '', timeout: float = 30.0) -> None:
        self.timeout = timeout
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node: Node = rclpy.create_node('policy_client', namespace=namespace, context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._goals: dict[str, Any] = {}
        self._status: Status | None = None
        self._arrived = 0.0
        self.subscribe(Status, f'{PUBLISHER}/status', self._on_status, KEPT)

    def close(self) -> None:
        """Leave the graph; the nodes stay as they are."""
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # States of the nodes.

    def configure(self) -> None:
        """Configure the nodes that are not yet: they load the bundle, and check it against the robot."""
        for name in POLICY_NODES:
            if self._lifecycle(name) == Lifecycle.PRIMARY_STATE_UNCONFIGURED:
                self.transition(name, 'configure')

    def start(self) -> None:
        """Configure and activate the nodes that are not yet, against the way that data goes, so that none is lost."""
        self.configure()
        for name in reversed(POLICY_NODES):
            if self._lifecycle(name) != Lifecycle.PRIMARY_STATE_ACTIVE:
                self.transition(name, 'activate')

    def stop(self) -> None:
        """Deactivate the nodes that are active; the robot is brought to rest along its path."""
        for name in POLICY_NODES:
            if self._lifecycle(name) == Lifecycle.PRIMARY_STATE_ACTIVE:
                self.transition(name, 'deactivate')

    def transition(self, name: str, transition: str) -> None:
        """Take a node through ``configure``, ``activate`` or ``deactivate``."""
        check_choice('transition', transition, tuple(TRANSITIONS))
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[transition]))
        if not self.call(ChangeState, f'{name}/change_state', request).success:
            raise ClientError(f'{name}: refused to {transition}: {self._reason(name)}')

    def set_parameter(self, name: str, parameter: str, value: Any) -> None:
        """Set a parameter of a node."""
        request = SetParameters.Request(parameters=[Parameter(parameter, value=value).to_parameter_msg()])
        result = self.call(SetParameters, f'{name}/set_parameters', request).results[0]
        if not result.successful:
            raise ClientError(f'{name}: refused {parameter} = {value}: {result.reason}')

    # The robot.

    def hold(self) -> str:
        """Stop the robot along its path and latch; return what the node answers."""
        return self._trigger('hold')

    def reset(self, *, within: float = 10.0) -> str:
        """Release a latch; return what the node answers.

        Raises
        ------
        ClientError
            If it is still refused after ``within`` [s], because what latched it persists or the robot still moves.

        """
        until = time.monotonic() + within
        while True:
            try:
                return self._trigger('reset')
            except ClientError:
                if time.monotonic() > until:
                    raise
                self.spin()

    def set_goal(self, goal: str | np.ndarray | PoseStamped | Image | CompressedImage, *, topic: str = '') -> None:
        """Give the policy its goal; it stays as long as the client is open, or until the next.

        Parameters
        ----------
        goal
            Words, a pose [m], or a picture: a message, or an array (H, W, 3) uint8 RGB.
        topic
            Where it goes; the goal topic of this type that the policy_executor has if ''.

        Raises
        ------
        ClientError
            If the policy_executor takes no such goal, or takes it on several topics.

        """
        message: Any = goal
        if isinstance(goal, str):
            message = String(data=goal)
        elif isinstance(goal, np.ndarray):
            if goal.ndim != 3 or goal.shape[2] != 3 or goal.dtype != np.uint8:
                raise ClientError(f'goal: got a picture {goal.shape} of {goal.dtype}, allowed (H, W, 3) of uint8')
            message = encoding.to_image(stamp=0, pixels=goal, frame_id='')
        topic = self.node.resolve_topic_name(topic) if topic else self._goal_topic(message)
        if topic not in self._goals:
            self._goals[topic] = self.node.create_publisher(type(message), topic, KEPT)
        publisher = self._goals[topic]
        self.wait_until(publisher.get_subscription_count, f'{topic}: got no subscriber, allowed {EXECUTOR}')
        publisher.publish(message)
        if not publisher.wait_for_all_acked(Duration(seconds=self.timeout)):
            raise ClientError(f'{topic}: got no acknowledgement within {self.timeout:g} s')

    def _goal_topic(self, message: Any) -> str:
        kind = f'{type(message).__module__.split(".")[0]}/msg/{type(message).__name__}'
        namespace = self.node.get_namespace()
        observed = f'{namespace.rstrip("/")}/{BUFFER}/'
        found: list[str] = []

        def look() -> bool:
            if EXECUTOR in self.node.get_node_names():
                topics = self.node.get_subscriber_names_and_types_by_node(EXECUTOR, namespace)
                found[:] = [topic for topic, types in topics if kind in types and not topic.startswith(observed)]
            return bool(found)

        self.wait_until(look, f'goal: got {kind}, allowed what a configured {EXECUTOR} subscribes to')
        if len(found) > 1:
            raise ClientError(f'goal: got {kind} without a topic, allowed one of {listed(sorted(found))}')
        return found[0]

    def status(self) -> Status:
        """Return the safety state as it was published last, at most `FRESH` seconds ago."""
        self.spin(0.0)
        self.wait_until(
            lambda: self._status is not None and time.monotonic() - self._arrived < FRESH,
            f'{self.node.resolve_topic_name(f"{PUBLISHER}/status")}: got no status, allowed one a second',
        )
        assert self._status is not None
        return self._status

    def wait(self, *states: State, timeout: float | None = None) -> Status:
        """Wait until the robot is in one of the ``states``, and return its status.

        Raises
        ------
        ClientError
            If it is not within ``timeout`` [s]; it gives the state that the robot is in, and why.

        """
        for state in states:
            check_choice('state', state, get_args(State))
        seconds = self.timeout if timeout is None else timeout
        until = time.monotonic() + seconds
        while (status := self.status()).state not in states:
            if time.monotonic() > until:
                got = f'{status.state} ({status.reason})' if status.reason else status.state
                raise ClientError(f'state: got {got} after {seconds:g} s, allowed {listed(states)}')
            self.spin_once()
        return status

    # What a program needs besides.

    def subscribe(self, kind: type[T], topic: str, callback: Callable[[T], None], qos: Any = DEPTH) -> None:
        """Call ``callback`` with each value of a kind in `dp_ros.messages.status` that is published on a topic."""

        def decoded(message: DiagnosticStatus) -> None:
            callback(decode(kind, message.values))

        self.node.create_subscription(DiagnosticStatus, topic, decoded, qos)

    def spin(self, seconds: float = POLL) -> None:
        """Handle what arrives for a while, and what has arrived already."""
        until = time.monotonic() + seconds
        while True:
            self.spin_once(max(0.0, until - time.monotonic()))
            if time.monotonic() >= until:
                return

    def spin_once(self, seconds: float = POLL) -> None:
        """Wait until something arrives, and handle it."""
        self._executor.spin_once(timeout_sec=seconds)
        self._check()

    def wait_until(self, condition: Callable[[], Any], what: str, timeout: float | None = None) -> None:
        """Handle what arrives until ``condition`` holds; ``what`` is the error if it does not in time."""
        seconds = self.timeout if timeout is None else timeout
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise ClientError(f'{what} (waited {seconds:g} s)')
            self.spin_once()

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """Call a service and return its response; a question is put again, a command is not."""
        client = self.node.create_client(kind, service)
        name = self.node.resolve_service_name(service)
        try:
            self.wait_until(client.service_is_ready, f'{name}: got no such service, allowed a node that runs')
            futures = [client.call_async(request)]
            again = time.monotonic() + AGAIN

            def answered() -> bool:
                nonlocal again
                if kind is GetState and time.monotonic() > again:
                    futures.append(client.call_async(request))
                    again = time.monotonic() + AGAIN
                return any(future.done() for future in futures)

            self.wait_until(answered, f'{name}: got no answer, allowed one in time')
            return next(future.result() for future in futures if future.done())
        finally:
            self.node.destroy_client(client)

    def _lifecycle(self, name: str) -> int:
        return int(self.call(GetState, f'{name}/get_state', GetState.Request()).current_state.id)

    def _trigger(self, service: str) -> str:
        answer = self.call(Trigger, f'{PUBLISHER}/{service}', Trigger.Request())
        if not answer.success:
            raise ClientError(f'{PUBLISHER}: {answer.message}')
        return str(answer.message)

    def _reason(self, name: str) -> str:
        return f'the log of {self.node.resolve_topic_name(name)} gives the reason'

    def _check(self) -> None:
        """Raise if what this client depends on has ended."""

    def _on_status(self, status: Status) -> None:
        self._status, self._arrived = status, time.monotonic()
