"""Chunks and joint states in, the trajectory that the controller gets out; or a stop, with its reason.

The plan, the splicing and the limits are `dp_ros.policy.planner`'s. If chunks stop coming, the trajectory that was sent
last ends at rest and the controller holds: the length of its tail is the dead-man's switch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from dp_ros import messages
from dp_ros.config import JointStream
from dp_ros.data import Chunk, to_nanoseconds
from dp_ros.errors import DataError, DpRosError
from dp_ros.nodes.diagnostics import ERROR, OK, STALE, WARN
from dp_ros.nodes.lifecycle import WARN_PERIOD, ManagedNode, reliable, run
from dp_ros.nodes.observation_buffer import below_namespace, read_bundle
from dp_ros.nodes.plan_settings import LIMITS_PATTERN, PARAMETERS, make_planner, read_limits
from dp_ros.policy.bundle import Bundle, check_fits
from dp_ros.policy.outcome import Planned, Refused
from dp_ros.policy.trajectory import Trajectory

LEDGER, STATUS = 'chunk', 'plan'


class TrajectoryPublisher(ManagedNode):
    """The node `trajectory_publisher`."""

    def __init__(self, **options: Any) -> None:
        self._bundle: Bundle | None = None
        self._entities: list[Any] = []
        self._outputs: list[Any] = []
        super().__init__('trajectory_publisher', PARAMETERS, patterns=LIMITS_PATTERN, **options)

    def _forget(self) -> None:
        self._joint_state: tuple[int, bytes] | None = None
        self._stopped = ''
        self._last_chunk: int | None = None
        self._refusal = ''
        self.counts = {'chunks': 0, 'published': 0, 'refused': 0, 'reseeded': 0, 'deadline_misses': 0}

    # Lifecycle.

    def configure(self) -> None:
        """Check that the bundle is for this robot, and that the limits are whole."""
        bundle = read_bundle(self.value('bundle'))
        action = bundle.task.action
        check_fits(bundle, joints=self.value('joints') or None, units=self.value('units') or None)
        limits = read_limits(self, action.joints)
        self._stream = JointStream(
            name='joint_states',
            topic=self.resolve_topic_name(self.value('topics.joint_states')),
            joints=action.joints,
            units=action.units,
        )
        self._bundle = bundle
        self._planner = make_planner(self, bundle, limits)
        self._command, self._plan = (
            self.create_lifecycle_publisher(JointTrajectory, topic, reliable(1))
            for topic in (self.value('topics.command') or below_namespace(action.topic), '~/plan')
        )
        self._outputs = [self._command, self._plan]

    def activate(self) -> None:
        """Start without a plan: the first chunk is led in from the measured state."""
        self._forget()
        self._planner.reset()
        newest = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        self._entities = [
            # Only the newest joint state before a chunk is ever looked at, so none is decoded on arrival.
            self.create_subscription(JointState, self._stream.topic, self._on_joint_state, newest, raw=True),
            self.create_subscription(JointTrajectory, 'policy_executor/action_chunk', self._on_chunk, reliable(1)),
        ]
        self._service = self.create_service(Trigger, '~/reset', self._on_reset)

    def deactivate(self) -> None:
        """Stop: the robot is brought to rest, if it was ever told to move."""
        if not self._entities:
            return
        if self.context.ok():
            self._brake()
            self.destroy_service(self._service)
            for subscription in self._entities:
                self.destroy_subscription(subscription)
        self._entities = []
        self._planner.reset()
        for name in (STATUS, LEDGER):
            self.diagnostics.forget(name)

    def cleanup(self) -> None:
        """Remove the outputs."""
        for publisher in self._outputs:
            self.destroy_lifecycle_publisher(publisher)
        self._outputs = []
        self._bundle = None

    def restart(self, reason: str) -> None:
        """Forget the plan: its stamps mean nothing after a jump of the clock."""
        self.get_logger().warning(f'{reason}: the plan starts anew')
        self._planner.reset()
        self._joint_state = None
        self._last_chunk = None

    # In.

    def _on_joint_state(self, message: bytes) -> None:
        self._joint_state = (self.now(), message)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = True
        response.message = f'reset after: {self._stopped}' if self._stopped else 'it was not stopped'
        self._stopped = ''
        self._planner.reset()
        self.get_logger().info(response.message)
        self.refresh()
        return response

    def _on_chunk(self, message: JointTrajectory) -> None:
        assert self._bundle is not None
        received = self.now()
        self.counts['chunks'] += 1
        self._last_chunk = received
        stamp = messages.stamp_of(message)
        if self._stopped:
            self._refuse(stamp, received, f'stopped until ~/reset is called: {self._stopped}')
            return
        try:
            chunk = messages.chunk_from_message(message, to_nanoseconds(self._bundle.task.control_dt))
            self._measure()
            verdict = self._planner.accept(chunk, received)
        except DpRosError as error:
            verdict = Refused(reason=str(error))
        if isinstance(verdict, Planned):
            self._send(verdict.trajectory)
            self._account(chunk, received, verdict)
            return
        if verdict.stop:
            self._stop(verdict.reason)
        self._refuse(stamp, received, verdict.reason)

    def _measure(self) -> None:
        """Hand the newest joint state to the planner, which refuses to move without a fresh one."""
        if self._joint_state is None:
            raise DataError(f'{self._stream.topic}: got no joint state yet, allowed one before anything moves')
        arrival, serialized = self._joint_state
        state = deserialize_message(serialized, JointState)
        positions = messages.decode(self._stream, state)
        speeds = messages.decode(_speeds(self._stream), state) if len(state.velocity) else None
        self._planner.measured(messages.stamp_of(state) or arrival, positions, speeds)

    # Out.

    def _send(self, trajectory: Trajectory) -> None:
        message = messages.to_joint_trajectory(trajectory)
        self._command.publish(message)
        self._plan.publish(message)

    def _brake(self) -> None:
        """Bring the robot to rest on its plan; without a plan it was never told to move."""
        if self._planner.plan is None:
            return
        stopped = self._planner.stop(self.now())
        if isinstance(stopped, Refused):
            stopped = self._planner.hold(self.now())
        if isinstance(stopped, Trajectory):
            self._send(stopped)
        else:
            self.get_logger().error(f'no way to stop but the end of the plan: {stopped.reason}')

    def _stop(self, reason: str) -> None:
        self._stopped = reason
        self._brake()
        self.get_logger().error(f'stopped: {reason}; call ~/reset to go on')

    # What is said about it.

    def _account(self, chunk: Chunk, received: int, planned: Planned) -> None:
        assert self._bundle is not None
        now = self.now()
        latency = now - chunk.stamp
        late = latency > to_nanoseconds(self.value('deadline') or self._bundle.task.control_dt)
        self._refusal = ''
        for key, happened in (('published', True), ('reseeded', planned.reseeded), ('deadline_misses', late)):
            self.counts[key] += happened
        entry = {
            'observation': chunk.stamp,
            'received': received,
            'published': now,
            'first_executed': planned.first_executed,
            'dropped_steps': planned.dropped_steps,
            'clamped_steps': planned.clamped_steps,
            'reseeded': planned.reseeded,
            'stretch': f'{planned.stretch:.4f}',
            'delay_ms': f'{planned.delay / 1e6:.3f}',
            'latency_ms': f'{latency / 1e6:.3f}',
        }
        text = 'late' if late else 'published'
        self.diagnostics.report(LEDGER, WARN if late else OK, text, {**entry, **self._totals()}, now=True)
        self.refresh()

    def _refuse(self, stamp: int, received: int, reason: str) -> None:
        self.counts['refused'] += 1
        self._refusal = reason
        self.get_logger().error(f'chunk refused: {reason}', throttle_duration_sec=WARN_PERIOD)
        entry = {'observation': stamp, 'received': received, 'refused': reason, **self._totals()}
        self.diagnostics.report(LEDGER, ERROR, f'refused: {reason}', entry, now=True)
        self.refresh()

    def _totals(self) -> dict[str, int]:
        return {f'total_{name}': count for name, count in self.counts.items()}

    def refresh(self) -> None:
        """Say whether there is a plan, and whether chunks still come."""
        if not self.active or self._bundle is None:
            return
        level, text = self._state()
        self.diagnostics.report(STATUS, level, text, self._totals())

    def _state(self) -> tuple[bytes, str]:
        assert self._bundle is not None
        task = self._bundle.task
        now, plan = self.now(), self._planner.plan
        if self._stopped:
            return ERROR, f'stopped: {self._stopped}'
        if self._refusal:
            return WARN, f'chunk refused: {self._refusal}'
        if self._last_chunk is None or plan is None:
            return WARN, 'no chunk yet'
        silence = now - self._last_chunk
        if plan.end < now:
            return STALE, f'no chunk for {silence / 1e9:.1f} s: the robot holds at the end of the plan'
        if silence > to_nanoseconds((task.exec_horizon + 2) * task.control_dt):
            return WARN, f'no chunk for {silence / 1e9:.1f} s: the plan ends in {(plan.end - now) / 1e9:.1f} s'
        return OK, 'following chunks'


def _speeds(stream: JointStream) -> JointStream:
    return replace(stream, fields=('velocity',))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `trajectory_publisher`."""
    return run(TrajectoryPublisher, args)


if __name__ == '__main__':
    raise SystemExit(main())
