"""Who publishes what a node takes: observations of two sources, mixed, show a robot that is nowhere."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.topic_endpoint_info import TopicEndpointInfo

from dp_ros.errors import listed
from dp_ros.nodes.command_topics import NAMELESS, UNKNOWN
from dp_ros.nodes.lifecycle import ManagedNode


class Sources:
    """Counts the nodes that publish on topics of which each may have one.

    A node that was killed and started again stands twice in the graph for up to 20 s, under one name: that is no second
    source. One whose name has not come through yet counts as another only once that has taken `NAMELESS`.

    Parameters
    ----------
    node
        The node that takes what is published.
    topics
        Their full names.

    """

    def __init__(self, node: ManagedNode, topics: Sequence[str]) -> None:
        self._node, self._topics = node, tuple(topics)
        self._nameless: dict[bytes, int] = {}

    def fault(self) -> str:
        """Return which topic has more than one source now, with their names, or ''."""
        for topic in self._topics:
            if self._node.count_publishers(topic) < 2:
                continue  # names cost ten times as much, at every observation
            names = {self._name(info) for info in self._node.get_publishers_info_by_topic(topic)} - {''}
            if len(names) > 1:
                return f'{topic}: got {len(names)} publishers, {listed(sorted(names))}, allowed one'
        return ''

    def _name(self, info: TopicEndpointInfo) -> str:
        """Return who it is, or '' for one that may be about to be known."""
        gid = bytes(info.endpoint_gid)
        if info.node_name != UNKNOWN:
            self._nameless.pop(gid, None)
            return f'{info.node_namespace.rstrip("/")}/{info.node_name}'
        since = self._nameless.setdefault(gid, self._node.steady())
        return 'one without a name' if self._node.steady() - since > NAMELESS else ''
