"""Chunks out of the policy_executor, and what its ledger says of them."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from trajectory_msgs.msg import JointTrajectory

from dp_ros.messages import encoding
from dp_ros.nodes.policy_executor.inference import Prediction
from dp_ros.ros.diagnostics import OK
from dp_ros.ros.intra_process import BEGUN, CHUNK, LEDGER
from dp_ros.ros.lifecycle import ManagedNode, reliable

PREDICTED = 'chunk'
GIVE_WAY = 0.02  # [s] at most, until the publisher of the same process has sent its trajectory


class ChunkOutlet:
    """Publishes what `Inference` predicts; in one process it is handed over, and published for others who listen."""

    def __init__(self, node: ManagedNode) -> None:
        self._node = node
        self._chunks = node.create_lifecycle_publisher(JointTrajectory, '~/action_chunk', reliable(1))
        self._ledger = node.create_lifecycle_publisher(DiagnosticStatus, '~/ledger', reliable(10))

    def agree(self) -> None:
        """Say to the other nodes of the process which topics these are; see `Exchange.agree`."""
        if self._node.exchange is not None:
            for what, publisher in ((CHUNK, self._chunks), (LEDGER, self._ledger)):
                self._node.exchange.agree(what, self._node, str(publisher.topic_name))

    def close(self) -> None:
        """Remove the publishers."""
        for publisher in (self._chunks, self._ledger):
            self._node.destroy_lifecycle_publisher(publisher)

    def listeners(self) -> int:
        """Return how many will get the next chunk as a message; 0 where it is handed over and none can be lost."""
        return 0 if self._node.exchange is not None else int(self._chunks.get_subscription_count())

    def announce(self) -> None:
        """Let the publisher of the same process look around while the networks work."""
        if self._node.exchange is not None:
            self._node.exchange.send(BEGUN, None)

    def publish(self, prediction: Prediction) -> None:
        """Let the chunk out."""
        if self._node.exchange is not None:
            self._node.exchange.send(CHUNK, prediction.chunk)
        if self._heard(self._chunks):
            self._chunks.publish(encoding.chunk_to_message(prediction.chunk))

    def give_way(self) -> None:
        """Leave the interpreter to the publisher of the same process until its trajectory is out."""
        if self._node.exchange is not None:
            self._node.exchange.give_way(CHUNK, GIVE_WAY)

    def tell(self, prediction: Prediction, published: int) -> None:
        """Say how a chunk was made."""
        entry = {key: str(value) for key, value in {**prediction.entry(), 'published': published}.items()}
        if self._node.exchange is not None:
            self._node.exchange.send(LEDGER, entry)
        if self._heard(self._ledger):
            name = f'{self._node.get_fully_qualified_name().lstrip("/")}: {PREDICTED}'
            values = [KeyValue(key=key, value=value) for key, value in entry.items()]
            self._ledger.publish(DiagnosticStatus(level=OK, name=name, message='predicted', values=values))
        self._node.diagnostics.report(PREDICTED, OK, 'predicted', entry, now=True)

    def _heard(self, publisher: Any) -> bool:
        return self._node.exchange is None or bool(publisher.get_subscription_count())
