"""Report the safety state: typed on `~/status`, for people on `/diagnostics`, in the log and in the heartbeat."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy

from dp_ros.messages.status import ChunkReport, State, Status, encode
from dp_ros.motion.safety.safety_states import Cause, SafetyState
from dp_ros.nodes.trajectory_publisher.chunk_ledger import ChunkLedger
from dp_ros.nodes.trajectory_publisher.latch_store import LatchStore
from dp_ros.nodes.trajectory_publisher.motion import Motion
from dp_ros.ros.diagnostics import ERROR, OK, STALE, WARN, status_message
from dp_ros.ros.lifecycle import ManagedNode, reliable

STATUS = 'ladder'
LEVELS = {
    SafetyState.WAIT: WARN,
    SafetyState.RUN: OK,
    SafetyState.TAIL: WARN,
    SafetyState.DECELERATE: WARN,
    SafetyState.HOLD: STALE,
    SafetyState.HOME: ERROR,
    SafetyState.LATCHED: ERROR,
}
STATES: dict[SafetyState, State] = {
    SafetyState.WAIT: 'waiting',
    SafetyState.RUN: 'running',
    SafetyState.TAIL: 'finishing',
    SafetyState.DECELERATE: 'slowing',
    SafetyState.HOLD: 'holding',
    SafetyState.HOME: 'homing',
    SafetyState.LATCHED: 'latched',
}
LEDGER_DEPTH = 50
MEANING = {
    SafetyState.TAIL: 'the plan is finished as it was sent',
    SafetyState.DECELERATE: 'the robot slows down along its path',
    SafetyState.HOLD: 'the robot holds',
    SafetyState.HOME: 'the robot goes home',
    SafetyState.LATCHED: 'stopped until ~/reset is called',
}


def status(motion: Motion, refusal: str) -> tuple[bytes, str]:
    """Return level and text; ``refusal`` is why the last chunk was refused, or ''."""
    safety_state, reason = motion.safety.safety_state, motion.safety.reason
    if safety_state is SafetyState.WAIT:
        return (ERROR, str(reason)) if reason else (WARN, f'chunk refused: {refusal}' if refusal else 'no chunk yet')
    if safety_state is SafetyState.RUN:
        return (WARN, f'chunk refused: {refusal}') if refusal else (OK, 'following chunks')
    return LEVELS[safety_state], f'{MEANING[safety_state]}: {reason}'


def values(motion: Motion, now: int) -> dict[str, object]:
    """Return what stands beside the text: the rung, what it is about, and the ages that count [ms]."""
    safety, state, plan = motion.safety, motion.joint_states.state, motion.planner.plan
    found: dict[str, object] = {
        'rung': safety.safety_state.name.lower(),
        'cause': safety.reason.cause.value if safety.reason else '',
        'observation_age_ms': '' if safety.executed is None else f'{(now - safety.executed) / 1e6:.1f}',
        'joint_state_age_ms': '' if state is None else f'{(now - state.stamp) / 1e6:.1f}',
        'rest_in_ms': '' if plan is None else f'{max(0, plan.end - now) / 1e6:.1f}',
    }
    thresholds = safety.thresholds
    for name in ('tail', 'decelerate', 'hold', 'latch', 'joint_tail', 'joint_decelerate'):
        found[f'{name}_after_ms'] = f'{getattr(thresholds, name) / 1e6:.1f}'
    return found


class StatusTopics:
    """Publish `~/status`, kept for those who join later, and `~/ledger`; see `dp_ros.messages.status` for their keys.

    They are there before `configure`, so that an inactive node can be told from one that is missing.
    """

    def __init__(self, node: ManagedNode) -> None:
        self._node = node
        durability, reliability = QoSDurabilityPolicy.TRANSIENT_LOCAL, QoSReliabilityPolicy.RELIABLE
        kept = QoSProfile(depth=1, durability=durability, reliability=reliability)
        self._status = node.create_publisher(DiagnosticStatus, '~/status', kept)
        self._chunks = node.create_publisher(DiagnosticStatus, '~/ledger', reliable(LEDGER_DEPTH))
        self.inactive()

    def inactive(self) -> None:
        """Publish that the node is not active."""
        self.status(OK, 'inactive', Status(state='inactive', stamp=self._node.now()))

    def status(self, level: bytes, text: str, status: Status) -> None:
        """Publish the safety state."""
        if self._node.context.ok():
            self._status.publish(status_message(self._node, 'status', level, text, encode(status)))

    def chunk(self, level: bytes, text: str, report: ChunkReport) -> None:
        """Publish what became of a chunk."""
        if self._node.context.ok():
            self._chunks.publish(status_message(self._node, 'ledger', level, text, encode(report)))


class SafetyReport:
    """Report the safety state, at once when it has changed.

    Parameters
    ----------
    node
        The node that speaks.
    motion
        Whose safety state it is.
    ledger
        Knows what became of the last chunk.
    store
        Keeps a latch for whoever comes after this process, or None.
    topics
        Where the typed status goes.

    """

    def __init__(
        self, node: ManagedNode, motion: Motion, ledger: ChunkLedger, store: LatchStore | None, topics: StatusTopics
    ) -> None:
        self._topics = topics
        self._node, self._motion, self._ledger, self._store = node, motion, ledger, store
        self._said: tuple[SafetyState, Cause | None] | None = None

    def say(self) -> None:
        """Log and report the safety state if it has changed since this was called before."""
        safety = self._motion.safety
        said = (safety.safety_state, safety.reason.cause if safety.reason else None)
        if said == self._said:
            return
        before, self._said = self._said, said
        if safety.safety_state > SafetyState.RUN:
            self._node.get_logger().error(f'{safety.safety_state.name.lower()}: {safety.reason}')
        elif before is not None:
            self._node.get_logger().info(safety.safety_state.name.lower())
        if self._store is not None and SafetyState.LATCHED in (safety.safety_state, before[0] if before else None):
            self._keep(self._store)
        self.report(now=True)

    def _keep(self, store: LatchStore) -> None:
        if self._motion.safety.latched:
            store.latched(str(self._motion.safety.reason))
        else:
            store.released()

    def report(self, *, now: bool = False) -> None:
        """Bring the status up to date."""
        level, text = status(self._motion, self._ledger.refusal)
        entry = {**values(self._motion, self._node.now()), **self._ledger.totals()}
        self._node.diagnostics.report(STATUS, level, text, entry, now=now)
        self._topics.status(level, text, self._typed(text))

    def _typed(self, text: str) -> Status:
        safety, state, counts = self._motion.safety, self._motion.joint_states.state, self._ledger.counts
        reason = str(safety.reason or ('' if safety.safety_state is SafetyState.RUN else text))
        return Status(
            state=STATES[safety.safety_state],
            reason=reason,
            cause=safety.reason.cause.value if safety.reason else '',
            latched=safety.safety_state in (SafetyState.HOME, SafetyState.LATCHED),
            stamp=self._node.now(),
            observation=safety.executed,
            joint_state=None if state is None else state.stamp,
            rests_at=self._motion.rests_at,
            chunks=counts['chunks'],
            published=counts['published'],
            refused=counts['refused'],
            late=counts['deadline_misses'],
            latency=self._ledger.latency,
        )
