"""Play what the graph shows of several controllers: the product's own `CommandTopics`, over endpoints that are played.

A controller that comes again has a new id, mostly no name for a moment, and was not checked yet; one that was killed
stays beside it until its lease ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory

from dp_ros.motion.outputs import Output
from dp_ros.motion.safety.safety_states import Cause, Reason
from dp_ros.nodes.trajectory_publisher.controllers.command_topics import CommandTopics
from dp_ros.nodes.trajectory_publisher.controllers.endpoints import NOBODY, UNKNOWN

from .controller import NEVER
from .curves import SECOND, Message
from .events import Event
from .wire import read_trajectory

if TYPE_CHECKING:
    from .product import Time

LEASE = 20 * SECOND
NODE = 'publisher'


@dataclass
class Played:
    """A controller in the graph: its ids with until when each is there, and since when it has a name [ns, steady]."""

    name: str
    numbers: Iterator[int]
    ids: list[tuple[bytes, int]] = field(default_factory=list)
    named_at: int = 0
    checked_at: int = 0

    def come(self, now: int, values: dict[str, Any]) -> None:
        """Listen, under a new id."""
        self.ids.append((bytes([next(self.numbers)]), NEVER))
        self.named_at = now + round(values.get('nameless', 0.0) * SECOND)
        self.checked_at = now + round(values.get('unchecked', 0.0) * SECOND)

    def leave(self, now: int, values: dict[str, Any]) -> None:
        """Go, or be killed."""
        until = now + LEASE if values.get('killed') else now
        self.ids = [(gid, min(until, end)) for gid, end in self.ids]

    def endpoints(self, now: int) -> list[Any]:
        """Return those that are in the graph."""
        self.ids = [(gid, end) for gid, end in self.ids if end > now]
        return [
            SimpleNamespace(
                node_namespace='/', node_name=UNKNOWN if end == NEVER and now < self.named_at else self.name,
                endpoint_gid=gid,
            )
            for gid, end in self.ids
        ]  # fmt: skip


class Check:
    """Passes a controller a while after it came, as `ControllerCheck` does when its answer is there."""

    refusal = ''

    def __init__(self, played: Played, time: Time) -> None:
        self.name = f'/{played.name}'
        self._played, self._time = played, time
        self._gids = NOBODY

    def look(self, gids: frozenset[bytes]) -> None:
        """Take who is there."""
        self._gids = gids

    @property
    def pending(self) -> bool:
        """Tell whether it was not checked yet."""
        return bool(self._gids) and self._time.steady < self._played.checked_at

    @property
    def objection(self) -> str:
        """Return why it may not be moved by."""
        return f'{self.name}: got no answer yet' if self.pending else ''


class SeveralControllers:
    """Plays the node of `CommandTopics`.

    Parameters
    ----------
    time
        The product's clocks.
    parts
        The joints of each controller.
    send
        Is called with each message and the number of its controller.
    require
        As of `CommandTopics`.

    """

    def __init__(
        self, time: Time, parts: Sequence[tuple[str, ...]], send: Callable[[Message, int], None], *, require: bool
    ) -> None:
        self._time, self._send = time, send
        self.peers: set[str] = set()
        numbers = count(1)
        self._played = [Played(f'controller_{number}', numbers) for number in range(len(parts))]
        for played in self._played:
            played.come(time.steady, {})
        outputs = [
            Output(name=played.name, topic=f'/{played.name}/joint_trajectory', joints=part)
            for played, part in zip(self._played, parts, strict=True)
        ]
        checks: list[Any] = [Check(played, time) for played in self._played]
        node: Any = self
        self.command = CommandTopics(node, outputs, checks, require=require, dry_run=False)
        self.command.look()
        self._decoded: dict[int, tuple[bytes, Message]] = {}

    def leave(self, event: Event, now: int) -> None:
        """Let a controller go."""
        self._played[event.values['who']].leave(now, event.values)

    def come(self, event: Event, now: int) -> None:
        """Let it come again."""
        self._played[event.values['who']].come(now, event.values)

    def second(self, topic: str) -> Reason | None:
        """Return what is wrong with a topic that is to have one publisher."""
        if topic not in self.peers:
            return None
        return Reason(cause=Cause.PUBLISHER, text=f'{topic}: got a second publisher')

    # What `CommandTopics` asks its node for.

    def resolve_topic_name(self, topic: str) -> str:
        """Return it."""
        return topic

    def steady(self) -> int:
        """Return steady time [ns]."""
        return self._time.steady

    def create_lifecycle_publisher(self, kind: type, topic: str, qos: Any) -> Any:
        """Return what sends to a controller."""
        number = self._number(topic)
        return SimpleNamespace(publish=lambda serialized: self._publish(serialized, number))

    def get_subscriptions_info_by_topic(self, topic: str) -> list[Any]:
        """Return who listens."""
        return self._played[self._number(topic)].endpoints(self._time.steady)

    def count_publishers(self, topic: str) -> int:
        """Return how many publish."""
        return 1 + ('command' in self.peers)

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        """Return who publishes."""
        names = [NODE, *(['peer'] if 'command' in self.peers else [])]
        return [SimpleNamespace(node_namespace='/', node_name=name) for name in names]

    def get_fully_qualified_name(self) -> str:
        """Return its own name."""
        return f'/{NODE}'

    def _number(self, topic: str) -> int:
        return next(number for number, played in enumerate(self._played) if topic.startswith(f'/{played.name}/'))

    def _publish(self, serialized: bytes, number: int) -> None:
        last = self._decoded.get(number)
        if last is None or last[0] != serialized:
            last = serialized, read_trajectory(deserialize_message(serialized, JointTrajectory))
            self._decoded[number] = last
        self._send(last[1], number)
