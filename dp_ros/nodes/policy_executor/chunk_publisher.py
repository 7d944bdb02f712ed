"""Chunks out of the policy_executor, what its ledger says of them, and which alternative of each is executed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from trajectory_msgs.msg import JointTrajectory

from dp_ros.errors import DataError
from dp_ros.messages import encoding
from dp_ros.messages.status import ChunkReport, decode
from dp_ros.nodes.policy_executor.inference import Prediction
from dp_ros.ros.diagnostics import OK
from dp_ros.ros.lifecycle import WARN_PERIOD, ManagedNode, reliable

PREDICTED = 'chunk'
REPORTS = 'trajectory_publisher/ledger'
DEPTH = 10


class ChunkOutlet:
    """Publishes what `Inference` predicts."""

    def __init__(self, node: ManagedNode) -> None:
        self._node = node
        self._chunks = node.create_lifecycle_publisher(JointTrajectory, '~/action_chunk', reliable(1))
        self._ledger = node.create_lifecycle_publisher(DiagnosticStatus, '~/ledger', reliable(DEPTH))
        self._reports: Any = None

    def close(self) -> None:
        """Remove what was made."""
        for publisher in (self._chunks, self._ledger):
            self._node.destroy_lifecycle_publisher(publisher)
        if self._reports is not None:
            self._node.destroy_subscription(self._reports)

    def follow(self, executed: Callable[[int, int], None]) -> None:
        """Call ``executed`` with the stamp [ns] of each chunk that is executed, and which alternative of it is."""

        def on_report(message: Any) -> None:
            try:
                report = decode(ChunkReport, message.values)
            except DataError as error:
                self._node.get_logger().error(f'{REPORTS}: {error}', throttle_duration_sec=WARN_PERIOD)
                return
            if report.alternative is not None:
                executed(report.observation, report.alternative)

        self._reports = self._node.create_subscription(DiagnosticStatus, REPORTS, on_report, reliable(DEPTH))

    def listeners(self) -> int:
        """Return how many will get the next chunk."""
        return int(self._chunks.get_subscription_count())

    def publish(self, prediction: Prediction) -> None:
        """Let the chunk out."""
        self._chunks.publish(encoding.chunk_to_message(prediction.chunk))

    def tell(self, prediction: Prediction, published: int) -> None:
        """Say how a chunk was made."""
        entry = {key: str(value) for key, value in {**prediction.entry(), 'published': published}.items()}
        name = f'{self._node.get_fully_qualified_name().lstrip("/")}: {PREDICTED}'
        values = [KeyValue(key=key, value=value) for key, value in entry.items()]
        self._ledger.publish(DiagnosticStatus(level=OK, name=name, message='predicted', values=values))
        self._node.diagnostics.report(PREDICTED, OK, 'predicted', entry, now=True)
