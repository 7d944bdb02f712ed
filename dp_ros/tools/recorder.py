"""Records topics of the running robot into rosbag2 folders, one for each episode."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy

from dp_ros.errors import ConfigError, DataError, listed

if TYPE_CHECKING:
    from dp_ros.recordings.rosbag.reader import BagWriter

# Deep enough that no message is lost while a file is opened.
DEPTH = 1000
LATCHED = QoSProfile(
    depth=DEPTH, reliability=QoSReliabilityPolicy.RELIABLE, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL
)


class Recorder:
    """Writes what arrives on some topics to a bag, as it arrives: bytes, with the node's clock as the receive time.

    Parameters
    ----------
    node
        Subscribes; its executor must spin while an episode is recorded.
    goals
        Those topics on which the newest message counts, however old: it is written at the start of each episode too,
        as received then.

    Attributes
    ----------
    newest
        The newest message of each of ``goals`` that has one, serialized.

    """

    def __init__(
        self,
        node: Node,
        topics: Sequence[str],
        new_bag: Callable[[Path | str], BagWriter],
        *,
        goals: Sequence[str] = (),
    ) -> None:
        self._goals = frozenset(goals)
        self.newest: dict[str, bytes] = {}
        self._seen: deque[tuple[int, bytes]] = deque(maxlen=DEPTH)
        self._node = node
        self._topics = tuple(topics)
        self._new_bag = new_bag
        self._types: dict[str, str] = {}
        self._subscriptions: dict[str, Any] = {}
        self._bag: BagWriter | None = None
        self._counts: dict[str, int] = {}
        self._error: Exception | None = None

    def missing(self) -> list[str]:
        """Return the topics that the graph does not know yet; wait until there are none, then `connect`."""
        known = self._graph()
        return [topic for topic in self._topics if topic not in known]

    def connect(self) -> None:
        """Subscribe to the topics, with their types from the graph; raise :class:`ConfigError` if it lacks one."""
        known = self._graph()
        absent = self.missing()
        if absent:
            raise ConfigError(f'record: nobody offers {listed(absent)}, allowed {listed(sorted(known))}')
        for topic in self._topics:
            if len(known[topic]) != 1:
                raise ConfigError(f'record: topic {topic}: got types {listed(known[topic])}, allowed one')
            self._types[topic] = known[topic][0]
            kind = message_class(topic, known[topic][0])
            if topic not in self._goals:
                made = self._node.create_subscription(
                    kind, topic, partial(self._write, topic), self._qos(topic), raw=True
                )
                self._subscriptions[topic] = made
                continue
            # A latched goal is only sent to who asks for it, and one that is not latched only to who does not.
            receive: Any = self._goal_receiver(topic)
            for qos in (self._qos(topic), LATCHED):
                self._node.create_subscription(kind, topic, receive, qos, raw=True)

    def unheard(self) -> list[str]:
        """Return the topics, those of goals aside, whose publishers have not found this yet; wait until there are none.

        Only then nothing is missed.
        """
        return [topic for topic, made in self._subscriptions.items() if not made.get_publisher_count()]

    @contextmanager
    def episode(self, path: Path | str) -> Iterator[dict[str, int]]:
        """Record to the new folder ``path``, until the block ends; gives the messages so far by topic.

        The folder appears at the end. An error in the block, or a topic that sent nothing, and there is none.
        """
        if not self._types:
            raise ConfigError('record: got an episode before connect(), allowed after it')
        self._counts, self._error = dict.fromkeys(self._topics, 0), None
        try:
            with self._new_bag(path) as self._bag:
                for topic, data in self.newest.items():
                    self._write(topic, data)
                yield self._counts
                self._check(path)
        finally:
            self._bag = None

    def note(self, **labels: object) -> None:
        """Say something of the episode that is recorded, such as ``success``."""
        if self._bag is not None:
            self._bag.note(**labels)

    def _check(self, path: Path | str) -> None:
        if self._error is not None:
            raise DataError(f'record {path}: {self._error}') from self._error
        silent = [topic for topic, count in self._counts.items() if not count]
        if silent:
            raise DataError(f'record {path}: got no message on {listed(silent)}, allowed 1 or more on each topic')

    def _goal_receiver(self, topic: str) -> Callable[[bytes, Any], None]:
        def receive(data: bytes, about: Any) -> None:
            sent = (about['source_timestamp'], data)
            if sent in self._seen:  # Both subscriptions have got it.
                return
            self._seen.append(sent)
            self.newest[topic] = data
            self._write(topic, data)

        return receive

    def _write(self, topic: str, data: bytes) -> None:
        if self._bag is None or self._error is not None:
            return
        try:
            self._bag.write_raw(topic, self._types[topic], self._node.get_clock().now().nanoseconds, data)
        except Exception as error:  # To be raised where the recording is, and not in whatever spins.
            self._error = error
            return
        self._counts[topic] += 1

    def _graph(self) -> dict[str, list[str]]:
        return dict(self._node.get_topic_names_and_types())

    def _qos(self, topic: str) -> QoSProfile:
        # Goals that are latched have a subscription of their own, and one that is not finds those that are not.
        found = matching_qos(self._node, topic)
        kind = QoSReliabilityPolicy.BEST_EFFORT if found is None else found.reliability
        return QoSProfile(depth=DEPTH, reliability=kind)


def matching_qos(node: Node, topic: str) -> QoSProfile | None:
    """Return a profile that matches every publisher of a topic; None if there is none yet."""
    offered = [info.qos_profile for info in node.get_publishers_info_by_topic(topic)]
    if not offered:
        return None
    reliable = all(qos.reliability == QoSReliabilityPolicy.RELIABLE for qos in offered)
    latched = all(qos.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
    return QoSProfile(
        depth=DEPTH,
        reliability=QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT,
        durability=QoSDurabilityPolicy.TRANSIENT_LOCAL if latched else QoSDurabilityPolicy.VOLATILE,
    )


def message_class(topic: str, kind: str) -> type:
    """Return the class of a message type as the graph names it; raise :class:`ConfigError` if it is not installed."""
    package, _, name = kind.split('/')
    try:
        found: type = getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f'record: topic {topic}: its type {kind} cannot be imported; allowed installed types'
        ) from error
    return found
