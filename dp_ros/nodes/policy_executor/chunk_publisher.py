"""Chunks out of the policy_executor, and what its ledger says of them."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from trajectory_msgs.msg import JointTrajectory

from dp_ros.messages import encoding
from dp_ros.nodes.policy_executor.inference import Prediction
from dp_ros.ros.diagnostics import OK
from dp_ros.ros.lifecycle import ManagedNode, reliable

PREDICTED = 'chunk'


class ChunkOutlet:
    """Publishes what `Inference` predicts."""

    def __init__(self, node: ManagedNode) -> None:
        self._node = node
        self._chunks = node.create_lifecycle_publisher(JointTrajectory, '~/action_chunk', reliable(1))
        self._ledger = node.create_lifecycle_publisher(DiagnosticStatus, '~/ledger', reliable(10))

    def close(self) -> None:
        """Remove the publishers."""
        for publisher in (self._chunks, self._ledger):
            self._node.destroy_lifecycle_publisher(publisher)

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
