"""What is said about the ladder on `/diagnostics`, in the log and in the heartbeat."""

from __future__ import annotations

from dp_ros.motion.safety.safety_states import Cause, Rung
from dp_ros.nodes.trajectory_publisher.chunk_ledger import ChunkLedger
from dp_ros.nodes.trajectory_publisher.latch_store import LatchStore
from dp_ros.nodes.trajectory_publisher.motion import Motion
from dp_ros.ros.diagnostics import ERROR, OK, STALE, WARN
from dp_ros.ros.lifecycle import ManagedNode

STATUS = 'ladder'
LEVELS = {
    Rung.WAIT: WARN,
    Rung.RUN: OK,
    Rung.TAIL: WARN,
    Rung.DECELERATE: WARN,
    Rung.HOLD: STALE,
    Rung.HOME: ERROR,
    Rung.LATCHED: ERROR,
}
MEANING = {
    Rung.TAIL: 'the plan is finished as it was sent',
    Rung.DECELERATE: 'the robot slows down along its path',
    Rung.HOLD: 'the robot holds',
    Rung.HOME: 'the robot goes home',
    Rung.LATCHED: 'stopped until ~/reset is called',
}


def status(motion: Motion, refusal: str) -> tuple[bytes, str]:
    """Return level and text; ``refusal`` is why the last chunk was refused, or ''."""
    rung, reason = motion.ladder.rung, motion.ladder.reason
    if rung is Rung.WAIT:
        return (ERROR, str(reason)) if reason else (WARN, f'chunk refused: {refusal}' if refusal else 'no chunk yet')
    if rung is Rung.RUN:
        return (WARN, f'chunk refused: {refusal}') if refusal else (OK, 'following chunks')
    return LEVELS[rung], f'{MEANING[rung]}: {reason}'


def values(motion: Motion, now: int) -> dict[str, object]:
    """Return what stands beside the text: the rung, what it is about, and the ages that count [ms]."""
    ladder, state, plan = motion.ladder, motion.joint_states.state, motion.planner.plan
    found: dict[str, object] = {
        'rung': ladder.rung.name.lower(),
        'cause': ladder.reason.cause.value if ladder.reason else '',
        'observation_age_ms': '' if ladder.executed is None else f'{(now - ladder.executed) / 1e6:.1f}',
        'joint_state_age_ms': '' if state is None else f'{(now - state.stamp) / 1e6:.1f}',
        'rest_in_ms': '' if plan is None else f'{max(0, plan.end - now) / 1e6:.1f}',
    }
    thresholds = ladder.thresholds
    for name in ('tail', 'decelerate', 'hold', 'latch', 'joint_tail', 'joint_decelerate'):
        found[f'{name}_after_ms'] = f'{getattr(thresholds, name) / 1e6:.1f}'
    return found


class LadderReport:
    """Says where the ladder stands, at once when it has moved.

    Parameters
    ----------
    node
        The node that speaks.
    motion
        Whose ladder it is.
    ledger
        Knows what became of the last chunk.
    store
        Keeps a latch for whoever comes after this process, or None.

    """

    def __init__(self, node: ManagedNode, motion: Motion, ledger: ChunkLedger, store: LatchStore | None) -> None:
        self._node, self._motion, self._ledger, self._store = node, motion, ledger, store
        self._said: tuple[Rung, Cause | None] | None = None

    def say(self) -> None:
        """Log and report the ladder if it has moved since this was called before."""
        ladder = self._motion.ladder
        said = (ladder.rung, ladder.reason.cause if ladder.reason else None)
        if said == self._said:
            return
        before, self._said = self._said, said
        if ladder.rung > Rung.RUN:
            self._node.get_logger().error(f'{ladder.rung.name.lower()}: {ladder.reason}')
        elif before is not None:
            self._node.get_logger().info(ladder.rung.name.lower())
        if self._store is not None and Rung.LATCHED in (ladder.rung, before[0] if before else None):
            self._keep(self._store)
        self.report(now=True)

    def _keep(self, store: LatchStore) -> None:
        if self._motion.ladder.latched:
            store.latched(str(self._motion.ladder.reason))
        else:
            store.released()

    def report(self, *, now: bool = False) -> None:
        """Bring the status up to date."""
        level, text = status(self._motion, self._ledger.refusal)
        entry = {**values(self._motion, self._node.now()), **self._ledger.totals()}
        self._node.diagnostics.report(STATUS, level, text, entry, now=now)
