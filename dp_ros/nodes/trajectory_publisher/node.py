"""Chunks and joint states in, the trajectory that the controller gets out; or a stop, with its reason.

`dp_ros.motion.planner` plans, splices and limits, `dp_ros.motion.safety.safety_states` decides when to stop, and
`dp_ros.nodes.trajectory_publisher.motion` joins the two. Should this node die, the trajectory that was sent last ends
at rest and the controller holds: the length of its tail is the dead-man's switch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from dp_ros.data import MOST_ALTERNATIVES, Chunk, Refusal, to_nanoseconds
from dp_ros.errors import DataError
from dp_ros.messages import encoding
from dp_ros.motion.outcome import Planned
from dp_ros.motion.outputs import driven_apart
from dp_ros.motion.safety.approach import Approach
from dp_ros.motion.safety.clock_watch import ClockWatch
from dp_ros.motion.safety.measured_states import MeasuredState
from dp_ros.motion.safety.safety_states import Cause, Reason
from dp_ros.motion.settings.plan import make_planner
from dp_ros.motion.trajectory import Trajectory
from dp_ros.nodes.trajectory_publisher import safety_report
from dp_ros.nodes.trajectory_publisher.chunk_ledger import ChunkLedger
from dp_ros.nodes.trajectory_publisher.command_sender import AGAIN, FAREWELL_AGAIN, CommandSender
from dp_ros.nodes.trajectory_publisher.controllers.command_topics import serialized_message
from dp_ros.nodes.trajectory_publisher.controllers.endpoints import SingleSource, SourceWatch
from dp_ros.nodes.trajectory_publisher.heartbeat import Heartbeat, Permission
from dp_ros.nodes.trajectory_publisher.joint_states import STATUS as JOINT_STATES
from dp_ros.nodes.trajectory_publisher.joint_states import JointStates
from dp_ros.nodes.trajectory_publisher.latch_store import LatchStore
from dp_ros.nodes.trajectory_publisher.motion import Motion, Parts
from dp_ros.nodes.trajectory_publisher.obstacles.scene_topics import SceneTopics, make_scene_topics
from dp_ros.nodes.trajectory_publisher.operator_services import Operator
from dp_ros.nodes.trajectory_publisher.settings.plan import make_outputs, read_robot, read_settings
from dp_ros.nodes.trajectory_publisher.settings.publisher import (
    PARAMETERS,
    PATTERNS,
    check_fallback,
    make_command,
    make_controller_states,
    make_grippers,
)
from dp_ros.nodes.trajectory_publisher.settings.safety import (
    make_latch_store,
    make_reset_socket,
    make_safety_states,
    read_home,
)
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.compatibility import check_compatibility
from dp_ros.ros.bundles import read_bundle
from dp_ros.ros.callback_errors import CallbackError
from dp_ros.ros.clock_timer import ClockTimer
from dp_ros.ros.diagnostics import OK, WARN
from dp_ros.ros.lifecycle import WARN_PERIOD, ManagedNode, reliable, run
from dp_ros.ros.realtime import CpuLatency, take_priority
from dp_ros.task.spec import JointStream

START = 'start'  # the status of where the policy begins
CHUNKS, LEDGER = 'policy_executor/action_chunk', 'policy_executor/ledger'
LOOK = 50_000_000  # [ns] between two looks at what may stop the robot, or less: half a control step
LEDGER_DEPTH = 10
PATIENCE = 100_000_000  # [ns] for a joint state after a jump of the clock, or less: a control step
LARGEST_CHUNK = 4096  # [bytes] besides the numbers of a chunk: names, and what lies between
RESTARTS = 1  # steps back of the sequence number among the last chunks that may come from an executor's restart
WHENEVER = 2**62  # [ns]: a simulation that begins anew may have put its robot elsewhere, so only a joint state will do


def largest_chunk(pred_horizon: int, joints: Sequence[str]) -> int:
    """Return how large the message of a chunk with all its alternatives may be [bytes]."""
    # Positions, velocities, and the time of each step; three numbers stand for lengths and gaps.
    steps = 8 * pred_horizon * (4 * len(joints) * (1 + MOST_ALTERNATIVES) + 8)
    return LARGEST_CHUNK + steps + (1 + MOST_ALTERNATIVES) * sum(len(joint) + 16 for joint in joints)


class TrajectoryPublisher(ManagedNode):
    """The node `trajectory_publisher`.

    Attributes
    ----------
    planner, permission
        What plans, and what says whether the robot may move, from `configure` on.
    motion
        What plans and stops now; None unless the node is active.
    timer
        Calls `tick`; None unless the node is active.
    ledger
        What became of each chunk.

    """

    def __init__(self, **options: Any) -> None:
        self._bundle: Bundle | None = None
        self.motion: Motion | None = None
        self._inputs: list[Any] = []
        self._closing: list[Any] = []
        self._plan: Any = None
        self.timer: ClockTimer | None = None
        self._again: Any = None
        self._chunk_sources = SourceWatch(RESTARTS)
        self._store: LatchStore | None = None
        self._obstacles: SceneTopics | None = None
        self._operator: Operator | None = None
        self._cpu_latency = CpuLatency(self)
        super().__init__('trajectory_publisher', PARAMETERS, patterns=PATTERNS, **options)
        self._status = safety_report.StatusTopics(self)
        self.ledger = ChunkLedger(self.diagnostics, self._status.chunk)

    @property
    def counts(self) -> dict[str, int]:
        """Chunks since activation, by what became of them."""
        return self.ledger.counts

    # Lifecycle.

    def configure(self) -> None:
        """Check that the bundle is for this robot, and that the limits are whole."""
        take_priority(self)
        self._cpu_latency.configure()
        bundle = read_bundle(self)
        action = bundle.task.action
        check_compatibility(
            bundle,
            joints=self.value('joints') or None,
            units=self.value('units') or None,
            control_dt=self.value('control_dt') / self.value('policy_speed') or None,
        )
        robot = read_robot(self)
        outputs = make_outputs(self, bundle)
        apart = driven_apart(outputs)
        self.planner = make_planner(read_settings(self, action.joints, apart), bundle.task, robot)
        limits = self.planner.limits
        assert limits is not None, 'make_planner gives limits'
        topic = self.resolve_topic_name(self.value('topics.joint_states'))
        self._stream = JointStream(name='joint_states', topic=topic, joints=action.joints, units=action.units)
        self._received: JointStates | None = None
        self._ladder = make_safety_states(self, bundle.task)
        self._home = read_home(self, limits)
        self._obstacles = make_scene_topics(self, self.planner, robot, self._home)
        self._store = self._store or make_latch_store(self)
        check_fallback(self)
        self._grippers = make_grippers(self, outputs, limits)
        self._closing = [self._grippers]
        self._command = make_command(self, bundle.task, outputs, self._grippers)
        self._controllers = make_controller_states(self, bundle.task, outputs)
        timeout = to_nanoseconds(self.value('heartbeat_timeout'))
        self.permission = Permission(self, self.value('topics.enable'), timeout)
        self._plan = self.create_lifecycle_publisher(JointTrajectory, '~/plan', reliable(1))
        self._heartbeat = Heartbeat(self)
        self._closing += [self._command, self._heartbeat, *([self._obstacles] if self._obstacles is not None else [])]
        self._bundle = bundle

    def activate(self) -> None:
        """Start without a plan: the first chunk is led in from the measured state."""
        assert self._bundle is not None
        self._cpu_latency.activate()
        kept = self._store.begin() if self._store is not None else ''
        limits = self.planner.limits
        assert limits is not None, 'configure gives the planner limits'
        dt = to_nanoseconds(self._bundle.task.control_dt)
        self.ledger.clear()
        self._command.forget()
        simulated = self.simulated_time
        parts = Parts(
            planner=self.planner,
            safety=self._ladder,
            joint_states=JointStates(
                self._stream,
                to_nanoseconds(self.value('max_joint_age')),
                limits.without_speed(self.planner.options.driven_apart),
                self.planner.continuous,
                self._measured,
                self._received,
            ),
            command=self._command,
            permission=self.permission,
            watch=ClockWatch(to_nanoseconds(self.value('max_clock_step')), simulated=simulated),
            sender=CommandSender(
                self.planner,
                self._prepare,
                self._send,
                self.now,
                steady=self.steady,
                repeat=self._repeat,
                wake=self._wake,
            ),
            approach=Approach(
                self.planner,
                self._bundle.starts,
                self._bundle.task.action.units,
                self.value('approach_speed') if self.value('approach') else None,
            ),
            sources=[SingleSource(self, t, self.steady) for t in (CHUNKS, self.permission.topic)],
            controllers=self._controllers,
            detour=None if self._obstacles is None else self._obstacles.detour,
            say=self.get_logger().error,
            note=self.get_logger().info,
        )
        self._received = parts.joint_states
        patience = WHENEVER if simulated else min(dt, PATIENCE)
        self.motion = Motion(parts, home=self._home, home_duration=self.value('home_duration'), patience=patience)
        # Steady time: a simulated clock may stand still.
        self._again = self.create_timer(AGAIN / 1e9, self._on_again, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._again.cancel()
        if kept:
            self.motion.safety.latch(Reason(cause=Cause.PLAN, text=kept))
        self._report = safety_report.SafetyReport(self, self.motion, self.ledger, self._store, self._status)
        self._report.say()
        self._listen()
        # Simulated time may run at any rate. The system's may be set, and then a timer on it would wait for hours.
        self.timer = ClockTimer(self, min(dt // 2, LOOK), self.tick, steady=True)
        self._operator = Operator(self, self.motion, make_reset_socket(self), self._reset, self._report.say)

    def _listen(self) -> None:
        newest = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        inputs: tuple[tuple[Any, str, Callable[..., None], QoSProfile], ...] = (
            (JointState, self._stream.topic, self._on_joint_state, newest),
            (DiagnosticStatus, LEDGER, self.ledger.inferred, reliable(LEDGER_DEPTH)),
            (JointTrajectory, CHUNKS, self._on_chunk, reliable(1)),
        )
        self._inputs = [self.create_subscription(*each, raw=True) for each in inputs]
        self._joint_states = self._inputs[0]
        self.permission.open()
        self._controllers.open()
        if self._obstacles is not None:
            self._obstacles.open()

    def deactivate(self) -> None:
        """Stop: the robot is brought to rest, if it was ever told to move."""
        if self.motion is not None:
            self._stop()
            self._status.inactive()
        self._cpu_latency.deactivate()

    def _stop(self) -> None:
        assert self.motion is not None
        if self._operator is not None:
            self._operator.close_socket()
        if self.context.ok():
            try:
                self.motion.end()
                while self.motion.farewell():
                    time.sleep(FAREWELL_AGAIN / 1e9)
                    self._take_joint_states()
            except Exception as error:  # what was sent last ends at rest, and no callback may come after this
                self.on_callback_error(CallbackError(where='the end of the motion', error=error, harmless=False))
            self.permission.close()
            self._controllers.close()
            if self._obstacles is not None:
                self._obstacles.deactivate()
            self.ledger.settle()
            if self.timer is not None:  # None if it was interrupted while it was activated
                self.timer.close()
            if self._again is not None:
                self.destroy_timer(self._again)
            if self._operator is not None:
                self._operator.close()
            for subscription in self._inputs:
                self.destroy_subscription(subscription)
        self._inputs, self._operator, self.motion, self.timer, self._again = [], None, None, None, None
        self.ledger.forget()
        for name in (safety_report.STATUS, JOINT_STATES, START):
            self.diagnostics.forget(name)

    def cleanup(self) -> None:
        """Remove the outputs."""
        self._cpu_latency.cleanup()
        for part in self._closing:
            part.close()
        if self._plan is not None:
            self.destroy_lifecycle_publisher(self._plan)
        self._closing, self._plan, self._bundle = [], None, None

    def stopped(self) -> None:
        """Note in the store that nothing moves any more; a latch stays for who activates the node again."""
        if self._store is not None:
            self._store.rest()

    def ended(self) -> None:
        """Note in the store that the process ended in order."""
        if self._store is not None:
            self._store.end()

    def on_callback_error(self, error: CallbackError) -> None:
        """Latch: what was cut short may be what would have stopped the arm."""
        super().on_callback_error(error)
        if self.motion is None or error.harmless:
            return
        reason = Reason(cause=Cause.PLAN, text=f'an error that nobody foresaw, {error}')
        try:
            self.motion.latch(reason)
        except Exception as further:
            self.motion.safety.latch(reason)  # what was sent last ends at rest
            self.get_logger().error(f'no stop could be sent: {type(further).__name__}: {further}')
        self._report.say()

    def restart(self, reason: str) -> None:
        """Deal with a jump of a simulated clock at once."""
        if self.motion is not None:
            self.motion.time()
            self._report.say()

    def apply(self, values: Mapping[str, Any]) -> None:
        """Use changed parameters from the next chunk on."""
        if self._bundle is not None:
            self.planner.blend_steps = values['blend_steps']

    # In.

    # A callback that was ready when the node was deactivated may still come.

    def _on_joint_state(self, message: bytes, info: Mapping[str, Any]) -> None:
        if self.motion is None:
            return
        self.motion.joint_states.receive(message, self.now(), info)
        if self.motion.unsettled:
            self.motion.time()

    def _take_joint_states(self) -> None:
        """Take what has arrived while no executor spins."""
        taken = self._joint_states.handle.take_message(JointState, True)
        if taken is not None:
            self._on_joint_state(*taken)

    def _measured(self, state: MeasuredState) -> None:
        self.planner.measured(state.stamp, state.positions, state.velocities)

    def _on_chunk(self, message: bytes, info: Mapping[str, Any]) -> None:
        if self._bundle is None or self.motion is None:
            return
        self._chunk_sources.heard(info)
        if self._chunk_sources.several:
            topic = self.resolve_topic_name(CHUNKS)
            text = f'{topic}: got chunks from several publishers in turn, allowed one'
            self.motion.latch(Reason(cause=Cause.PUBLISHER, text=text))
        self._follow(message)

    def _decoded(self, message: bytes) -> Chunk:
        """Return a chunk; its size is looked at first, for what is large takes long to decode."""
        assert self._bundle is not None
        task = self._bundle.task
        if len(message) > (most := largest_chunk(task.pred_horizon, task.action.joints)):
            raise DataError(f'chunk: got a message of {len(message)} bytes, allowed up to {most}')
        return encoding.chunk_from_message(
            deserialize_message(message, JointTrajectory), to_nanoseconds(task.control_dt)
        )

    def _follow(self, message: bytes) -> None:
        assert self._bundle is not None and self.motion is not None
        began = time.thread_time()
        received = self.motion.look()
        self.counts['chunks'] += 1
        verdict: Planned | Refusal
        try:
            chunk = self._decoded(message)
        except Exception as error:  # whatever the type support raises over foreign bytes
            verdict, stamp = Refusal(reason=str(error)), received
        else:
            verdict, stamp = self.motion.take(chunk, received), chunk.stamp
        cost = time.thread_time() - began
        if isinstance(verdict, Planned):
            deadline = to_nanoseconds(self.value('deadline') or self._bundle.task.control_dt)
            times = {'observation': stamp, 'received': received, 'now': self.now()}
            self.ledger.published(verdict, **times, deadline=deadline, cost=cost)
        else:
            self._log_refusal(verdict)
            self.ledger.refused(verdict, observation=stamp, received=received)
        self._report.say()

    def _log_refusal(self, refusal: Refusal) -> None:
        text = f'chunk refused: {refusal.reason}'
        if refusal.passing:
            self.get_logger().info(text, throttle_duration_sec=WARN_PERIOD)
        else:
            self.get_logger().error(text, throttle_duration_sec=WARN_PERIOD)

    def _on_again(self) -> None:
        if self.motion is not None and not self.motion.again():
            self._again.cancel()

    def _wake(self) -> None:
        if self._again is not None:
            self._again.reset()

    def tick(self) -> None:
        """Look at what may stop the robot, and report; the timer's callback."""
        if self.motion is None:
            return
        now = self.motion.look()
        unsafe = self.motion.unsettled or self.motion.safety.latched or self.planner.lost
        self._grippers.follow(None if unsafe else self.planner.plan, now)
        self.ledger.tick()
        safety_state = self.motion.safety.safety_state
        self._heartbeat.beat(safety_report.LEVELS[safety_state], safety_state.name.lower())
        self._report.say()
        if self._operator is not None:
            self._operator.serve()

    def _reset(self) -> str:
        assert self.motion is not None
        self._chunk_sources = SourceWatch(RESTARTS)
        return self.motion.reset()

    # Out.

    def _prepare(self, trajectory: Trajectory, topics: Sequence[int] | None) -> tuple[dict[int, bytes], bytes]:
        plan = serialized_message(trajectory)  # once, for both
        return self._command.prepare(trajectory, plan, topics), plan

    def _send(self, prepared: tuple[dict[int, bytes], bytes]) -> None:
        self._command.send(prepared[0])
        self._plan.publish(prepared[1])

    def _repeat(self, prepared: tuple[dict[int, bytes], bytes]) -> None:
        self._command.send(prepared[0])

    def refresh(self) -> None:
        """Bring safety state, limits and joint states up to date."""
        if not self.active or self.motion is None:
            self._status.inactive()
            return
        self._report.report()
        self.ledger.report_limits(stopped=self.motion.safety.latched)
        self.motion.joint_states.report(self.diagnostics, self.now())
        well, where = self.motion.approach.report(self.now())
        self.diagnostics.report(START, OK if well else WARN, where)
        self._controllers.report(self.now())
        self._grippers.report()
        if self._obstacles is not None:
            self._obstacles.report(self.motion.blocked, self.now())


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `trajectory_publisher`."""
    return run(TrajectoryPublisher, args)


if __name__ == '__main__':
    raise SystemExit(main())
