"""What a node says about itself on `/diagnostics`, once a second and whenever its level changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

OK: bytes = DiagnosticStatus.OK
WARN: bytes = DiagnosticStatus.WARN
ERROR: bytes = DiagnosticStatus.ERROR
STALE: bytes = DiagnosticStatus.STALE

PERIOD = 1.0  # [s]


def status_message(node: Node, what: str, level: bytes, text: str, values: Mapping[str, object]) -> DiagnosticStatus:
    """Return a message named after the node and ``what``."""
    return DiagnosticStatus(
        level=level,
        name=f'{node.get_fully_qualified_name().lstrip("/")}: {what}',
        message=text,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


class Diagnostics:
    """The statuses of one node, each under a name of its own. May be used from any thread.

    Parameters
    ----------
    node
        The node that speaks.
    refresh
        Called before each periodic message, to bring the statuses up to date.

    Attributes
    ----------
    statuses
        Those that are repeated, by name.

    """

    def __init__(self, node: Node, refresh: Callable[[], None]) -> None:
        self._node = node
        self._refresh = refresh
        self._lock = threading.Lock()
        self.statuses: dict[str, DiagnosticStatus] = {}
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Steady time: a simulated clock that stands still must not silence the node.
        self._timer = node.create_timer(PERIOD, self._periodic, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def report(
        self, name: str, level: bytes, message: str, values: Mapping[str, object] | None = None, *, now: bool = False
    ) -> None:
        """Replace the status ``name``. It is published at once if its level changed, or if ``now`` says so."""
        status = status_message(self._node, name, level, message, values or {})
        with self._lock:
            before = self.statuses.get(name)
            self.statuses[name] = status
        if now or before is None or before.level != level:
            self._publish([status])

    def forget(self, name: str) -> None:
        """Stop repeating the status ``name``."""
        with self._lock:
            self.statuses.pop(name, None)

    def _periodic(self) -> None:
        self._refresh()
        with self._lock:
            statuses = list(self.statuses.values())
        self._publish(statuses)

    def _publish(self, statuses: list[DiagnosticStatus]) -> None:
        if not self._node.context.ok():
            return
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
