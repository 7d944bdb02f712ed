"""What is around the real trajectory_publisher: controller, robot, sensors, policy, operator and intruders."""

from __future__ import annotations

import signal
import time
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from .controller import Controller, parameters_of
from .curves import SECOND
from .events import Event
from .judge import Marks
from .signals import Chunk, JointState
from .wire import NODE, Publisher, chunk_message, joint_state_message, read_trajectory, set_time

COMMANDS = 'arm_controller/joint_trajectory'
CHUNKS, ENABLE = 'policy_executor/action_chunk', 'trajectory_publisher/enable'
CLOCK_PERIOD, ENABLE_PERIOD = SECOND // 100, SECOND // 10
LATE_CLOCK = 2 * CLOCK_PERIOD
BLIND = 3 * SECOND // 20
STALL = SECOND // 20  # of this process, beyond which its joint states may be called old
ACTIVATE, DEACTIVATE = 3, 4
GARBAGE = b'\x00\x01\x00\x00' + b'\xff' * 40


class Rig(Node):
    """Controller, robot, sensors, policy, operator and intruders, in one node and another beside it.

    Parameters
    ----------
    controller
        The controller and the robot.
    publisher
        The process under attack.
    marks
        Where is noted what was done.
    latency, loss
        Longest time that a trajectory takes [s], and the share that is lost.
    rng
        Draws both.
    simulated
        Whether robot time is simulated: published on /clock, and can step.

    """

    def __init__(
        self,
        controller: Controller,
        publisher: Publisher,
        marks: Marks,
        *,
        latency: float,
        loss: float,
        rng: np.random.Generator,
        simulated: bool,
    ) -> None:
        overrides = [Parameter('use_sim_time', value=simulated)]
        super().__init__('arm_controller', parameter_overrides=overrides)
        for name, value in parameters_of(controller.setup).items():
            self.declare_parameter(name, value)
        self.controller, self.publisher, self.marks = controller, publisher, marks
        self.safety_state, self.beaten, self.published = '', 0, 0
        self._latency, self._loss, self._rng, self._simulated = latency, loss, rng, simulated
        self.peer = Node('intruder')
        self._intruders: dict[str, Any] = {}
        self._off_by: Event | None = None
        self._told = [self.now()]  # when time was told [ns, steady]
        self._states = self.create_publisher(JointStateMessage, 'joint_states', 10)
        self._chunks = self.create_publisher(JointTrajectory, CHUNKS, QoSProfile(depth=1))
        self._enable = self.create_publisher(Bool, ENABLE, 1)
        self._time = self.create_publisher(Clock, '/clock', 1) if simulated else None
        self._commands: Any = None
        self.listen()
        self.create_subscription(DiagnosticStatus, f'{NODE}/heartbeat', self._on_heartbeat, QoSProfile(depth=1))
        self._triggers = {name: self.create_client(Trigger, f'{NODE}/{name}') for name in ('reset', 'hold')}
        self._lifecycle = self.create_client(ChangeState, f'{NODE}/change_state')
        self._setter = self.create_client(SetParameters, f'{NODE}/set_parameters')
        self._executor_ = SingleThreadedExecutor()
        for node in (self, self.peer):
            self._executor_.add_node(node)
        self._next_clock = self._next_enable = self._spun = self.now()
        self.answers: list[tuple[int, str, bool, str]] = []

    def close(self) -> None:
        """Remove the nodes."""
        self._executor_.shutdown()
        self.peer.destroy_node()
        self.destroy_node()

    # Port.

    def now(self) -> int:
        """Return steady time [ns]: the machine's, which publishers' stamps are in as well."""
        return time.time_ns()

    def latched(self) -> bool:
        """Return whether the node says so."""
        return self.safety_state == 'latched'

    def joint_state(self, state: JointState, peer: bool = False) -> None:
        """Publish a joint state."""
        publisher = self._intruders.get('joint_states') if peer else self._states
        if publisher is not None:
            publisher.publish(joint_state_message(state))

    def chunk(self, chunk: Chunk, peer: bool = False) -> None:
        """Publish a chunk."""
        publisher = self._intruders.get('action_chunk') if peer else self._chunks
        if publisher is not None:
            publisher.publish(chunk_message(chunk))

    def reset(self) -> None:
        """Call ~/reset."""
        self.call('reset')

    def call(self, name: str) -> None:
        """Call one of the services without arguments; its answer is noted when it comes."""
        client = self._triggers[name]
        if client.service_is_ready():
            client.call_async(Trigger.Request()).add_done_callback(lambda future: self._answered(name, future.result()))

    def _answered(self, name: str, response: Any) -> None:
        if response is not None:
            self.answers.append((self.now(), name, bool(response.success), str(response.message)))

    def act(self, event: Event) -> None:
        """Do what is done to the nodes and the controller."""
        now = self.now()
        if event.kind in ('hold', 'reset'):
            self.call(event.kind)
        elif event.kind == 'garbage':
            self._states.publish(GARBAGE)
        elif event.kind == 'clock' and self._simulated:
            by = round(event.values['by'] * SECOND)
            self.controller.step_clock(now, max(by, SECOND - now - self.controller.offset))
            self._tell_time(now)
        elif event.kind == 'parameter':
            self._set(event.values['name'], event.values['value'])
        elif event.kind == 'stall':
            self.publisher.signal(signal.SIGSTOP)
        elif event.kind == 'lifecycle':
            self._change(DEACTIVATE)
        elif event.kind in ('controller_off', 'controller_restart') and self.controller.active:
            self.controller.deactivate(now)
            self._off_by = event
            if event.kind == 'controller_restart' and self._commands is not None:
                self.destroy_subscription(self._commands)
                self._commands = None
        elif event.kind == 'peer':
            self._intrude(event.values['topic'])
        elif event.kind in ('end', 'kill'):
            self.publisher.signal(signal.SIGINT if event.kind == 'end' else signal.SIGKILL)

    def undo(self, event: Event) -> None:
        """Take it back."""
        now = self.now()
        if event.kind == 'stall':
            self.publisher.signal(signal.SIGCONT)
        elif event.kind == 'lifecycle':
            self._change(ACTIVATE)
        elif event is self._off_by:  # others that came meanwhile changed nothing
            self._off_by = None
            self.listen()
            self.controller.activate(now)
            self.marks.add('active', now)
        elif event.kind == 'peer':
            for topic in [t for t in self._intruders if event.values['topic'].startswith(t)]:
                self.peer.destroy_publisher(self._intruders.pop(topic))

    def listen(self) -> None:
        """Subscribe as the controller does."""
        if self._commands is None:
            # Deep, since this process may be late where the real one never is: when messages were sent is known.
            quality = QoSProfile(depth=200, reliability=QoSReliabilityPolicy.BEST_EFFORT)
            self._commands = self.create_subscription(JointTrajectory, COMMANDS, self._on_command, quality)

    def _intrude(self, topic: str) -> None:
        kinds = {
            'joint_states': (JointStateMessage, 'joint_states'),
            'action_chunk': (JointTrajectory, CHUNKS),
            'enable': (Bool, ENABLE),
            'command': (JointTrajectory, COMMANDS),
        }
        name = 'joint_states' if topic.startswith('joint_states') else topic
        if name not in self._intruders:
            self._intruders[name] = self.peer.create_publisher(*kinds[name], 10)

    def _set(self, name: str, value: Any) -> None:
        if self._setter.service_is_ready():
            request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
            self._setter.call_async(request)

    def _change(self, transition: int) -> None:
        if self._lifecycle.service_is_ready():
            request = ChangeState.Request()
            request.transition.id = transition
            self._lifecycle.call_async(request)

    # In.

    def _on_command(self, message: JointTrajectory, info: Any) -> None:
        sent = int(info['source_timestamp'])
        self.published += 1
        arrival = sent + round(self._rng.uniform(0.0, self._latency) * SECOND)
        if self._rng.random() < self._loss:
            self.marks.add('lost', arrival)
            self.controller.heard.lost.append((arrival, read_trajectory(message)))
            return
        if self._simulated and sent - self._told[bisect_right(self._told, sent) - 1] > LATE_CLOCK:
            self.marks.add('lost', arrival)  # the node could not know how late it was
        self.controller.hear(read_trajectory(message), arrival)

    def _on_heartbeat(self, message: DiagnosticStatus) -> None:
        self.safety_state, self.beaten = message.message, self.now()

    # Time.

    def _tell_time(self, now: int) -> None:
        if self._time is not None:
            message = Clock()
            set_time(message.clock, max(now + self.controller.offset, 1))
            self._time.publish(message)
            self._told.append(now)

    def spin(self, seconds: float) -> None:
        """Take what comes, up to ``seconds``, and give signs of life."""
        self._executor_.spin_once(timeout_sec=seconds)
        now = self.now()
        if now - self._spun > STALL:
            self.marks.add('stall', self._spun, now)
        if now - self._spun > BLIND:  # no joint states meanwhile: nobody could know
            self.marks.add('lie', self._spun, now)
        self._spun = now
        if now >= self._next_clock:
            self._next_clock = now + CLOCK_PERIOD
            self._tell_time(now)
        if now >= self._next_enable:
            self._next_enable = now + ENABLE_PERIOD
            self._enable.publish(Bool(data=True))
        self.controller.advance(now)

    def until(self, condition: Callable[[], bool], seconds: float, each: Callable[[], None]) -> bool:
        """Spin until a condition holds, with ``each`` in between; return whether it did."""
        end = self.now() + round(seconds * SECOND)
        while self.now() < end:
            each()
            self.spin(0.003)
            if condition():
                return True
        return False
