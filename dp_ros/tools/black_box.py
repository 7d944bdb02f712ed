"""Keep the last minute of the policy's topics, and write it when the arm is stopped: the node `black_box`.

It listens to every topic that one of the three nodes publishes or subscribes to, and writes what it has when the
trajectory_publisher latches, or is gone without having been deactivated: a recording that says what came, what was
decided and what was sent. It takes no part in the motion: whatever happens to it, the arm goes on.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import NodeNameNonExistentError
from rclpy.qos import QoSDurabilityPolicy

from dp_ros.data import NANOSECONDS
from dp_ros.errors import ConfigError, DpRosError
from dp_ros.messages.status import Status, decode
from dp_ros.options import build, option, options_of
from dp_ros.paths import ros_home
from dp_ros.ros.diagnostics import ERROR, OK
from dp_ros.ros.lifecycle import ManagedNode, run
from dp_ros.tools.node_processes import POLICY_NODES, PUBLISHER
from dp_ros.tools.recorder import LATCHED, matching_qos, message_class

NAME = 'black_box'
LEFT_OUT = ('/parameter_events',)
AFTERWARDS = 2 * NANOSECONDS  # what comes after a stop is wanted too: how the arm comes to rest
GONE = 3 * NANOSECONDS  # the status comes once a second


# fmt: off
@dataclass(frozen=True, kw_only=True)
class BlackBoxOptions:
    """Options of the node."""

    folder: str = option(
        '', 'Folder that recordings are written to, each in one of its own; empty: dp_ros/black_box in the folder that '
        'ROS keeps files in (ROS_HOME, or ~/.ros).',
    )
    seconds: float = option(60.0, 'How much is kept.', unit='s', low=1.0, high=3600.0)
    megabytes: int = option(
        256, 'Most memory for it; beyond, the oldest messages of the topic that takes most are left out, so pictures '
        'first.', unit='MB', low=1, high=16_384,
    )
    keep: int = option(20, 'How many recordings are kept; the oldest are removed.', low=1, high=100_000)
# fmt: on


PARAMETERS = options_of(BlackBoxOptions)


class RecentMessages:
    """Keep the newest messages of all topics: those of ``span`` [ns], as far as ``budget`` bytes allow. For one thread.

    Beyond these, the topic that takes most loses its oldest.
    """

    def __init__(self, span: int, budget: int) -> None:
        self._span, self._budget = span, budget
        self._messages: dict[str, deque[tuple[int, bytes]]] = {}
        self._last: dict[str, tuple[int, bytes]] = {}
        self._sizes: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()

    def add(self, topic: str, received: int, data: bytes, *, latched: bool = False) -> None:
        """Add a message received at a time [ns]; of ``latched`` topics the newest is kept, however old."""
        kept = self._messages.setdefault(topic, deque())
        kept.append((received, data))
        self._sizes[topic] += len(data)
        if latched:
            self._last[topic] = kept[-1]
        while kept and kept[0][0] < received - self._span:
            self._drop(topic)
        while self._sizes.total() > self._budget:
            largest = max(self._sizes, key=self._sizes.__getitem__)
            self._drop(largest)
            self.left_out[largest] += 1

    def listed(self) -> list[tuple[int, str, bytes]]:
        """Return when each message was received [ns], its topic and its bytes, in order of time."""
        newest = max((kept[-1][0] for kept in self._messages.values() if kept), default=0)
        found = [
            (received, topic, data)
            for topic, kept in self._messages.items()
            for received, data in kept
            if received >= newest - self._span
        ]
        here = {topic for _, topic, _ in found}
        found += [(at, topic, data) for topic, (at, data) in self._last.items() if topic not in here]
        return sorted(found, key=lambda message: message[0])

    def _drop(self, topic: str) -> None:
        _, data = self._messages[topic].popleft()
        self._sizes[topic] -= len(data)


class BlackBox(ManagedNode):
    """The node."""

    def __init__(self, **options: Any) -> None:
        super().__init__(NAME, PARAMETERS, **options)
        self._options = BlackBoxOptions()
        self._folder = Path()
        self._recent = RecentMessages(0, 0)
        self._types: dict[str, str] = {}
        self._unknown: dict[str, str] = {}
        self._listening: list[Any] = []
        self._status: Status | None = None
        self._status_at = 0
        self._due: tuple[int, str] | None = None
        self._writing: threading.Thread | None = None
        self._written = 0
        self._error = ''

    def configure(self) -> None:
        """Make the folder; refuse to start without what writes recordings."""
        try:
            import dp_ros.recordings.rosbag.reader  # noqa: F401
        except ImportError as error:
            raise ConfigError(f"{NAME}: got no {error.name}, allowed with the extra 'record' installed") from error
        self._options = build(BlackBoxOptions, self.values())
        self._folder = Path(self._options.folder).expanduser() if self._options.folder else ros_home() / 'dp_ros' / NAME
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f'folder: got {self._folder}, which cannot be made ({error}), allowed another') from error

    def activate(self) -> None:
        """Listen from now on."""
        self._forget()
        status = f'{PUBLISHER}/status'
        self._listening.append(self.create_subscription(DiagnosticStatus, status, self._on_status, LATCHED))
        self._look()

    def deactivate(self) -> None:
        """Stop listening; what is due is written first."""
        if self._due is not None and self._writing is None:
            self._write(self._due[1])
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        while self._listening:
            self.destroy_subscription(self._listening.pop())
        self._due = None

    def restart(self, reason: str) -> None:
        """Begin again where times have changed."""
        self._recent = self._new()
        self.get_logger().info(f'begins again: {reason}')

    def refresh(self) -> None:
        """Look for topics that are new, write what is due, and report."""
        if not self.active:
            return
        self._look()
        now = self.steady()
        if self._status is not None and now > self._status_at + GONE:
            if self._status.state != 'inactive' and not self._status.latched and self._due is None:
                self._due = (now, 'gone')
            self._status = None
        if self._writing is not None and not self._writing.is_alive():
            self._writing = None
        if self._due is not None and now >= self._due[0] and self._writing is None:
            cause, self._due = self._due[1], None
            self._write(cause)
        values: dict[str, object] = {'topics': len(self._types), 'written': self._written, 'folder': self._folder}
        values |= {f'left_out {topic}': count for topic, count in self._recent.left_out.items()}
        values |= {f'not_kept {topic}': kind for topic, kind in self._unknown.items()}
        self.diagnostics.report('recordings', ERROR if self._error else OK, self._error or 'kept', values)

    def _new(self) -> RecentMessages:
        return RecentMessages(int(self._options.seconds * NANOSECONDS), self._options.megabytes * 1_000_000)

    def _forget(self) -> None:
        self._recent, self._status, self._due, self._error = self._new(), None, None, ''
        self._types.clear()
        self._unknown.clear()

    def _look(self) -> None:
        """Subscribe to the topics of the policy's nodes that are new."""
        for name in POLICY_NODES:
            try:
                topics = [
                    *self.get_publisher_names_and_types_by_node(name, self.get_namespace()),
                    *self.get_subscriber_names_and_types_by_node(name, self.get_namespace()),
                ]
            except NodeNameNonExistentError:
                continue
            for topic, kinds in topics:
                if topic not in self._types and topic not in LEFT_OUT:
                    self._subscribe(topic, kinds)

    def _subscribe(self, topic: str, kinds: Sequence[str]) -> None:
        from dp_ros.recordings.rosbag.reader import check_type

        qos = matching_qos(self, topic)
        if qos is None:
            return  # nobody publishes it yet
        try:
            kind = message_class(topic, kinds[0])
            check_type(topic, kinds[0])
        except ConfigError:
            self._unknown[topic] = kinds[0]
            return
        latched = qos.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
        self._types[topic] = kinds[0]
        receive = partial(self._receive, topic, latched)
        self._listening.append(self.create_subscription(kind, topic, receive, qos, raw=True))

    def _receive(self, topic: str, latched: bool, data: bytes) -> None:
        self._recent.add(topic, self.now(), data, latched=latched)

    def _on_status(self, message: DiagnosticStatus) -> None:
        try:
            status = decode(Status, message.values)
        except DpRosError as error:
            self.get_logger().error(f'{PUBLISHER}/status: {error}')
            return
        before, self._status, self._status_at = self._status, status, self.steady()
        if status.latched and before is not None and not before.latched and self._due is None:
            self._due = (self._status_at + AFTERWARDS, status.cause or 'latched')

    def _write(self, cause: str) -> None:
        """Write what is kept in a thread of its own: meanwhile, messages are received."""
        messages, types = self._recent.listed(), dict(self._types)
        cause = re.sub(r'\W+', '_', cause)
        path = self._folder / f'{time.strftime("%Y%m%dT%H%M%S", time.gmtime())}_{cause}'
        self._writing = threading.Thread(target=self._save, args=(path, messages, types), name='writing')
        self._writing.start()

    def _save(self, path: Path, messages: list[tuple[int, str, bytes]], types: dict[str, str]) -> None:
        from dp_ros.recordings.rosbag.reader import BagWriter

        try:
            with BagWriter(path) as bag:
                for received, topic, data in messages:
                    bag.write_raw(topic, types[topic], received, data)
            for old in recordings(self._folder)[: -self._options.keep]:
                shutil.rmtree(old)
        except (DpRosError, OSError) as error:
            self._error = f'{path}: {error}'
            self.get_logger().error(f'not written: {self._error}')
            return
        self._written, self._error = self._written + 1, ''
        self.get_logger().info(f'{len(messages)} messages written to {path}')


def recordings(folder: Path) -> list[Path]:
    """Return the recordings that the node has written to a folder, the oldest first."""
    return sorted(path for path in folder.iterdir() if re.fullmatch(r'\d{8}T\d{6}_\w+', path.name) and path.is_dir())


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `black_box`."""
    return run(BlackBox, args)


if __name__ == '__main__':
    raise SystemExit(main())
