"""The real trajectory_publisher in a process of its own, and the ROS side of what is around it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
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
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from .attack import Chunk, JointState
from .controller import Controller
from .curves import SECOND, Message
from .events import Event
from .judge import Marks

NODE, COMMANDS = 'trajectory_publisher', 'arm_controller/joint_trajectory'
CHUNKS, ENABLE = 'policy_executor/action_chunk', 'trajectory_publisher/enable'
CLOCK_PERIOD, ENABLE_PERIOD = SECOND // 100, SECOND // 10
STALL = SECOND // 20  # of this process, beyond which its joint states may be called old
ACTIVATE, DEACTIVATE = 3, 4
GARBAGE = b'\x00\x01\x00\x00' + b'\xff' * 40


class Publisher:
    """The process of the node under attack."""

    def __init__(self, parameters: Path, folder: Path) -> None:
        self._parameters, self._folder = parameters, folder
        self.log = folder / 'log'
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; what it writes goes to the log."""
        command = [sys.executable, '-m', f'dp_ros.nodes.{NODE}', '--ros-args', '--params-file', str(self._parameters)]
        environment = {**os.environ, 'ROS_HOME': str(self._folder), 'ROS_LOG_DIR': str(self._folder / 'ros_log')}
        with self.log.open('ab') as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    @property
    def ended(self) -> int | None:
        """The code that it ended with; None while it runs."""
        return None if self._process is None else self._process.poll()

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def last_words(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors='replace')[-1500:] if self.log.exists() else ''

    def close(self) -> None:
        """End it for good."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()


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
        super().__init__('arm_controller')
        self.controller, self.publisher, self.marks = controller, publisher, marks
        self.rung, self.beaten, self.published = '', 0, 0
        self._latency, self._loss, self._rng, self._simulated = latency, loss, rng, simulated
        self.peer = Node('intruder')
        self._intruders: dict[str, Any] = {}
        self._states = self.create_publisher(JointStateMessage, 'joint_states', 10)
        self._chunks = self.create_publisher(JointTrajectory, CHUNKS, QoSProfile(depth=1))
        self._enable = self.create_publisher(Bool, ENABLE, 1)
        self._clock = self.create_publisher(Clock, '/clock', 1) if simulated else None
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
        return self.rung == 'latched'

    def joint_state(self, state: JointState, peer: bool = False) -> None:
        """Publish a joint state."""
        message = JointStateMessage(
            name=list(state.names),
            position=[float(value) for value in state.positions],
            velocity=[float(value) for value in state.velocities],
        )
        _stamp(message.header.stamp, state.stamp)
        publisher = self._intruders.get('joint_states') if peer else self._states
        if publisher is not None:
            publisher.publish(message)

    def chunk(self, chunk: Chunk, peer: bool = False) -> None:
        """Publish a chunk."""
        message = JointTrajectory(joint_names=list(chunk.joints))
        _stamp(message.header.stamp, chunk.stamp)
        for at, action in zip(chunk.times, chunk.actions, strict=True):
            point = JointTrajectoryPoint(positions=action.tolist())
            _stamp(point.time_from_start, int(at))
            message.points.append(point)
        publisher = self._intruders.get('action_chunk') if peer else self._chunks
        if publisher is not None:
            publisher.publish(message)

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
        elif event.kind in ('controller_off', 'controller_restart'):
            self.listen()
            if not self.controller.active:
                self.controller.activate(now)
                self.marks.add('active', now)
        elif event.kind == 'peer':
            for topic in [t for t in self._intruders if event.values['topic'].startswith(t)]:
                self.peer.destroy_publisher(self._intruders.pop(topic))

    def listen(self) -> None:
        """Subscribe as the controller does."""
        if self._commands is None:
            newest = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
            self._commands = self.create_subscription(JointTrajectory, COMMANDS, self._on_command, newest)

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
            return
        self.controller.hear(_read(message), arrival)

    def _on_heartbeat(self, message: DiagnosticStatus) -> None:
        self.rung, self.beaten = message.message, self.now()

    # Time.

    def _tell_time(self, now: int) -> None:
        if self._clock is not None:
            message = Clock()
            _stamp(message.clock, max(now + self.controller.offset, 1))
            self._clock.publish(message)

    def spin(self, seconds: float) -> None:
        """Take what comes, up to ``seconds``, and give signs of life."""
        self._executor_.spin_once(timeout_sec=seconds)
        now = self.now()
        if now - self._spun > STALL:
            self.marks.add('stall', self._spun, now)
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


def _stamp(field: Any, time: int) -> None:
    field.sec, field.nanosec = divmod(time, SECOND)


def _time(field: Any) -> int:
    return int(field.sec) * SECOND + int(field.nanosec)


def _read(message: JointTrajectory) -> Message:
    def column(name: str) -> np.ndarray | None:
        rows = [list(getattr(point, name)) for point in message.points]
        return np.array(rows, dtype=float) if rows and all(rows) else None

    count = len(message.joint_names)
    positions = column('positions')
    return Message(
        stamp=_time(message.header.stamp),
        joints=tuple(message.joint_names),
        times=np.array([_time(point.time_from_start) for point in message.points], dtype=np.int64),
        positions=np.zeros((0, count)) if positions is None else positions,
        velocities=column('velocities'),
        accelerations=column('accelerations'),
    )
