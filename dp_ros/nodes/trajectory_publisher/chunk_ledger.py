"""What became of each chunk: its times from observation to first executed step, and what the limits did to it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.serialization import deserialize_message

from dp_ros.data import Refusal
from dp_ros.messages.status import ChunkReport
from dp_ros.motion.outcome import Planned
from dp_ros.ros.diagnostics import ERROR, OK, WARN, Diagnostics

CHUNK, LIMITS, ENTRIES = 'chunk', 'limits', 'ledger'
KEPT = 8  # inferences whose chunk may still come
COSTS = 512  # chunks over which percentiles of the node's own cost are taken
KNOWN: Mapping[str, type] = {'inference_start': int, 'inference_end': int, 'policy': str}  # of an inference
SLOWED = 1.0 + 1e-6


@dataclass(frozen=True)
class _Entry:
    """A chunk to be reported."""

    report: ChunkReport
    level: bytes
    text: str
    values: Mapping[str, object]


class ChunkLedger:
    """Counts chunks and reports each, typed to ``publish`` and for people on `/diagnostics`.

    Times are robot time [ns]; costs are processor time of this node [s], the wait for a processor not among them.
    `unread` are the messages of the policy_executor that no chunk has needed yet.
    """

    def __init__(self, diagnostics: Diagnostics, publish: Callable[[bytes, str, ChunkReport], None]) -> None:
        self._diagnostics, self._publish = diagnostics, publish
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.counts = {'chunks': 0, 'published': 0, 'refused': 0, 'reseeded': 0, 'deadline_misses': 0}
        self.limits = {'clamped_chunks': 0, 'shortened_chunks': 0, 'slowed_chunks': 0, 'delayed_chunks': 0, 'stops': 0}
        self.limits['alternative_chunks'] = 0
        self._worst = {'stretch_max': 1.0, 'delay_ms_max': 0.0}
        self._inferences: OrderedDict[str, Mapping[str, str]] = OrderedDict()
        self.unread: deque[bytes] = deque(maxlen=KEPT)
        self._due: _Entry | None = None
        self._undecodable = 0
        self._fresh = False  # whether it was entered since the last tick
        self._costs: deque[float] = deque(maxlen=COSTS)
        self._excess = ''
        self.refusal = ''  # why the last chunk was refused
        self.latency: float | None = None  # of the last chunk that was sent [s]

    def inferred(self, message: bytes) -> None:
        """Keep what the policy_executor says of a chunk, serialized; it comes after the chunk."""
        self.unread.append(message)
        self._say(patient=True)

    def tick(self) -> None:
        """Wait no longer for what the policy_executor says of a chunk that was entered before the last tick."""
        self._say(patient=self._fresh)
        self._fresh = False

    def settle(self) -> None:
        """Report a chunk of which the policy_executor has still said nothing."""
        self._say(patient=False)

    def published(
        self, planned: Planned, *, observation: int, received: int, now: int, deadline: int, cost: float
    ) -> None:
        """Enter a chunk that was sent at ``now``."""
        late = now - observation > deadline
        for key, happened in (('published', True), ('reseeded', planned.restarted), ('deadline_misses', late)):
            self.counts[key] += happened
        self._limited(planned)
        self._costs.append(cost)
        self.refusal = ''
        entry = {
            'received': received,
            'published': now,
            'first_executed': planned.first_executed,
            'dropped_steps': planned.dropped_steps,
            'clamped_steps': planned.clamped_steps,
            'left_out_steps': planned.left_out_steps,
            'reseeded': planned.restarted,
            'stretch': f'{planned.stretch:.4f}',
            'delay_ms': f'{planned.delay / 1e6:.3f}',
            'alternative': planned.alternative,
            'latency_ms': f'{(now - observation) / 1e6:.3f}',
            'cost_ms': f'{cost * 1e3:.3f}',
        }
        level, text = (WARN, 'late') if late else (OK, 'published')
        self.latency = (now - observation) / 1e9
        report = ChunkReport(
            observation=observation, received=received, published=now, late=late, latency=self.latency, cost=cost,
            alternative=planned.alternative,
        )  # fmt: skip
        self._enter(_Entry(report, level, text, {**entry, **self.totals()}))

    def refused(self, refusal: Refusal, *, observation: int, received: int) -> None:
        """Enter a chunk that was refused."""
        reason = refusal.reason
        self.counts['refused'] += 1
        self.refusal = reason
        if refusal.stop:
            self.limits['stops'] += 1
            self._excess = reason
        entry = {'received': received, 'refused': reason, **self.totals()}
        report = ChunkReport(observation=observation, received=received, refused=reason, passing=refusal.passing)
        self._enter(_Entry(report, WARN if refusal.passing else ERROR, f'refused: {reason}', entry))
        self.settle()

    def totals(self) -> dict[str, int]:
        """Return the counts, for a status."""
        return {f'total_{name}': count for name, count in self.counts.items()}

    def report_limits(self, *, stopped: bool) -> None:
        """Say what the limits did since activation."""
        values: dict[str, object] = {**self.limits, **{name: f'{value:.3f}' for name, value in self._worst.items()}}
        if self._costs:
            costs = np.percentile(np.array(self._costs) * 1e3, (50, 99))
            values |= {'cost_ms_p50': f'{costs[0]:.3f}', 'cost_ms_p99': f'{costs[1]:.3f}'}
        level, text = (ERROR, self._excess) if stopped and self._excess else (OK, 'kept')
        self._diagnostics.report(LIMITS, level, text, values)

    def forget(self) -> None:
        """Stop repeating what was said."""
        self._due = None
        for name in (CHUNK, LIMITS):
            self._diagnostics.forget(name)

    def _enter(self, entry: _Entry) -> None:
        self.settle()
        self._due, self._fresh = entry, True
        self._say(patient=True)

    def _say(self, *, patient: bool) -> None:
        """Report what is due; if ``patient``, only once it is known when its inference was."""
        if self._due is None:
            return
        due, inference = self._due, self._inference(self._due.report.observation)
        if inference or not patient:
            self._due = None
            self._publish(due.level, due.text, replace(due.report, **inference))
            values = {'observation': due.report.observation, **inference, **due.values}
            self._diagnostics.report(CHUNK, due.level, due.text, values, now=True)

    def _limited(self, planned: Planned) -> None:
        self.limits['clamped_chunks'] += planned.clamped_steps > 0
        self.limits['shortened_chunks'] += planned.left_out_steps > 0
        self.limits['slowed_chunks'] += planned.stretch > SLOWED
        self.limits['alternative_chunks'] += planned.alternative > 0
        self.limits['delayed_chunks'] += planned.delay > 0 and not planned.restarted
        self._worst['stretch_max'] = max(self._worst['stretch_max'], planned.stretch)
        if not planned.restarted:
            self._worst['delay_ms_max'] = max(self._worst['delay_ms_max'], planned.delay / 1e6)

    def _inference(self, observation: int) -> dict[str, Any]:
        """Return when inference on an observation began and ended, if the policy_executor has said so."""
        while self.unread:
            values = self._values(self.unread.popleft())
            self._inferences[values.get('observation', '')] = values
        while len(self._inferences) > KEPT:
            self._inferences.popitem(last=False)
        known = self._inferences.pop(str(observation), {})
        return {key: kind(known[key]) for key, kind in KNOWN.items() if key in known}

    def _values(self, message: bytes) -> Mapping[str, str]:
        try:
            values = {v.key: v.value for v in deserialize_message(message, DiagnosticStatus).values}
            for key, kind in KNOWN.items():
                kind(values.get(key, 0))
            return values
        except Exception as error:  # of a kind that differs from one middleware to the next
            self._undecodable += 1
            text = f'what the policy_executor says of chunks cannot be decoded, {self._undecodable} times: {error}'
            self._diagnostics.report(ENTRIES, WARN, text)
            return {}
