"""List who is on a topic: by the names of the nodes and the ids of what they made there, and since when.

A node that was killed stays in the graph until its lease ends, some 20 s; one that has just come has no name yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.topic_endpoint_info import TopicEndpointInfo

from dp_ros.motion.safety.safety_states import Cause, Reason

UNKNOWN = '_NODE_NAME_UNKNOWN_'  # what the middleware calls a node that it has not heard of yet
NAMELESS = 2_000_000_000  # [ns] after which someone without a name is none of ROS's
TWINS = 30_000_000_000  # [ns] after which two of one name both live: a dead one would be gone
NOBODY: frozenset[bytes] = frozenset()


def name_of(info: TopicEndpointInfo) -> str:
    """Return the name of an endpoint's node, with its namespace."""
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'


def by_name(infos: Iterable[TopicEndpointInfo]) -> tuple[dict[str, frozenset[bytes]], frozenset[bytes]]:
    """Return the ids of endpoints by their nodes' names, and of those whose nodes have no name yet."""
    found: dict[str, frozenset[bytes]] = {}
    unknown = NOBODY
    for info in infos:
        gid = frozenset({bytes(info.endpoint_gid)})
        if info.node_name == UNKNOWN:
            unknown |= gid
        else:
            name = name_of(info)
            found[name] = found.get(name, NOBODY) | gid
    return found, unknown


class Ages:
    """Since when endpoints have been known. Who goes away and comes back is new.

    Parameters
    ----------
    steady
        Reads a clock that nobody sets [ns].

    """

    def __init__(self, steady: Callable[[], int]) -> None:
        self._steady = steady
        self._since: dict[bytes, int] = {}

    def look(self, gids: frozenset[bytes]) -> None:
        """Take who is there now."""
        now = self._steady()
        self._since = {gid: self._since.get(gid, now) for gid in gids}

    def younger(self, gids: Iterable[bytes], age: int) -> bool:
        """Tell whether one of those there has been known for less than ``age`` [ns]."""
        now = self._steady()
        return any(now - self._since[gid] < age for gid in gids)


class SingleSource:
    """Watches that one node alone publishes on a topic that this node listens to.

    The same name twice is mostly a node that was killed and started again, and is taken for one until both have been
    there longer than the dead one could.

    Parameters
    ----------
    node
        Who listens.
    topic
        Its name, in ``node``'s namespace or absolute.
    steady
        Reads a clock that nobody sets [ns].

    """

    def __init__(self, node: Node, topic: str, steady: Callable[[], int]) -> None:
        self._node, self.topic = node, str(node.resolve_topic_name(topic))
        self._ages = Ages(steady)

    def count(self) -> int:
        """Return how many publish there, for a tenth of the cost of their names."""
        return int(self._node.count_publishers(self.topic))

    def others(self) -> tuple[str, ...]:
        """Return the names of all who publish there, this node left out, if they are more than one; else nothing."""
        if self.count() < 2:
            self._ages.look(NOBODY)
            return ()
        named, unknown = by_name(self._node.get_publishers_info_by_topic(self.topic))
        named.pop(self._node.get_fully_qualified_name(), None)
        self._ages.look(unknown.union(*named.values()))
        nameless = [gid for gid in unknown if not self._ages.younger({gid}, NAMELESS)]
        names = [name for name, gids in named.items() for _ in range(self._living(gids))]
        names += ['someone without a name'] * len(nameless)
        return tuple(sorted(names)) if len(names) > 1 else ()

    def _living(self, gids: frozenset[bytes]) -> int:
        return max(1, sum(not self._ages.younger({gid}, TWINS) for gid in gids))

    def fault(self) -> Reason | None:
        """Return what forbids motion: that several publish there."""
        others = self.others()
        if not others:
            return None
        text = f'{self.topic}: got {len(others)} publishers, {", ".join(others)}, allowed one'
        return Reason(cause=Cause.PUBLISHER, text=text)


def first_fault(sources: Iterable[SingleSource]) -> str:
    """Return the first fault of several sources, or ''."""
    return next((str(fault) for source in sources if (fault := source.fault())), '')


UNSUPPORTED = 2**64 - 1  # what some middleware gives for a number
HEARD = 20  # messages that are looked back on


class SourceWatch:
    """Tell the messages of several publishers from those of one by their sequence numbers.

    A number that is not above the last comes from another publisher: once where a publisher was restarted, again and
    again where two speak.

    Parameters
    ----------
    most
        Steps back among the last messages that are no second publisher.

    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._last = -1
        self._steps: deque[bool] = deque(maxlen=HEARD)

    def heard(self, info: Mapping[str, Any]) -> None:
        """Take the information that came with a message."""
        number = info.get('publication_sequence_number')
        if number is None or not 0 < number < UNSUPPORTED:
            return
        self._steps.append(number <= self._last)
        self._last = number

    @property
    def several(self) -> bool:
        """Whether more than one publisher has spoken lately."""
        return sum(self._steps) > self._most
