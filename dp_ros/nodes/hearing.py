"""Whether those who listen on a topic hear what is sent there.

The middleware knows a listener up to seconds before the listener hears, and may deliver what was sent meanwhile late,
or never. A controller that missed how a motion began would jump into the midst of it. Who acknowledges, hears.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.duration import Duration

# After a crash nobody can tell: for 20 s the middleware waits for the dead one's acknowledgement as well.
DEAF = 5_000_000_000  # [ns] after which someone who listens is taken to hear
ACKNOWLEDGED = 30_000_000  # [ns] to wait for an answer
NOBODY: frozenset[bytes] = frozenset()


class Hearing:
    """The listeners of one publisher, by the ids of their subscriptions.

    Parameters
    ----------
    publisher
        Of the topic.
    steady
        Reads a clock that nobody sets [ns].

    """

    def __init__(self, publisher: Any, steady: Callable[[], int]) -> None:
        self._publisher, self._steady = publisher, steady
        self._since: dict[bytes, int] = {}
        self._listeners = self._heard = self._asked = NOBODY

    def look(self, listeners: frozenset[bytes]) -> None:
        """Take who listens now; who went away and comes back is new."""
        now = self._steady()
        self._since = {listener: self._since.get(listener, now) for listener in listeners}
        self._listeners = listeners
        self._heard &= listeners
        self._asked &= listeners  # what was sent before it went away says nothing of who comes back

    def younger(self, listeners: frozenset[bytes], age: int) -> bool:
        """Whether one of them has been known for less than ``age`` [ns]."""
        now = self._steady()
        return any(now - self._since[listener] < age for listener in listeners)

    def deaf(self, *, fresh: bool) -> frozenset[bytes]:
        """Return who may not hear, as far as it matters.

        Parameters
        ----------
        fresh
            Whether a motion begins with the next message: then everyone must hear. One that goes on may be joined by
            others, as long as there is someone from before.

        """
        now = self._steady()
        new = frozenset(g for g in self._listeners - self._heard if now - self._since[g] < DEAF)
        return new if fresh or new == self._listeners else NOBODY

    def ask(self, harmless: bytes) -> None:
        """Send something harmless, and note who acknowledges it; or was it acknowledged since it was sent before."""
        if self._asked != self._listeners or not acknowledged(self._publisher, 0):
            self._publisher.publish(harmless)
            self._asked = self._listeners
            if not acknowledged(self._publisher, ACKNOWLEDGED):
                return
        self._heard |= self._listeners


def acknowledged(publisher: Any, wait: int) -> bool:
    """Whether everyone known to listen has acknowledged what was sent; False where the middleware cannot say."""
    try:
        return bool(publisher.wait_for_all_acked(Duration(nanoseconds=wait)))
    except RuntimeError:
        return False
