"""Values between the nodes of one process, handed over as they are: no message is made and sent.

rclpy has no intra-process communication of its own. What is handed over here is immutable (`dp_ros.data`). A node with
a thread of its own still works in that: the value lies in an inbox until the node's executor gets there. The topics
stay, for whoever listens from outside.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rclpy.node import Node

from dp_ros.errors import ConfigError

Value = TypeVar('Value')
OBSERVATION, BEGUN, CHUNK, LEDGER = 'observation', 'inference_begun', 'action_chunk', 'ledger'


class Inbox(Generic[Value]):
    """The newest ``depth`` values for a node, which its executor hands to ``receive`` one by one."""

    def __init__(self, node: Node, receive: Callable[[Value], None], depth: int) -> None:
        self._node, self._receive = node, receive
        self._values: deque[Value] = deque(maxlen=depth)
        self._guard = node.create_guard_condition(self._empty)
        self.dealt_with = threading.Event()
        self.dealt_with.set()

    def put(self, value: Value) -> None:
        """Add a value, in any thread."""
        self.dealt_with.clear()
        self._values.append(value)
        self._guard.trigger()

    def close(self) -> None:
        """Drop what is left."""
        self._values.clear()
        self._node.destroy_guard_condition(self._guard)
        self.dealt_with.set()

    def _empty(self) -> None:
        try:
            for _ in range(len(self._values)):
                if self._values:  # what is received may close the inbox
                    self._receive(self._values.popleft())
        finally:
            if not self._values:
                self.dealt_with.set()


class Exchange:
    """Joins the nodes of one process. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inboxes: dict[str, Inbox[Any]] = {}
        self._takers: dict[str, tuple[int, Callable[[Any], None]]] = {}
        self._terms: dict[str, dict[str, Any]] = {}

    def agree(self, what: str, node: Node, terms: Any) -> None:
        """Say what a node means by ``what``: its topics, and their kind.

        Raises
        ------
        ConfigError
            If another node has said something else: through messages, neither would have understood the other.

        """
        name = node.get_fully_qualified_name()
        with self._lock:
            for other, theirs in self._terms.get(what, {}).items():
                if other != name and theirs != terms:
                    raise ConfigError(
                        f'{what} in one process: got {terms} of {name} and {theirs} of {other}, allowed the same; '
                        'remapped topics, or other bundles, need processes of their own'
                    )
            self._terms.setdefault(what, {})[name] = terms

    def withdraw(self, node: Node) -> None:
        """Forget what a node has said."""
        with self._lock:
            for said in self._terms.values():
                said.pop(node.get_fully_qualified_name(), None)

    def listen(self, what: str, node: Node, receive: Callable[[Any], None], depth: int) -> None:
        """Hand what comes from now on to ``receive``, in the thread of the node's executor."""
        inbox = Inbox(node, receive, depth)
        with self._lock:
            self._inboxes[what] = inbox

    def take(self, what: str, receive: Callable[[Any], None]) -> None:
        """Hand what comes from now on to ``receive`` at once: for a node that shares this thread with the sender."""
        with self._lock:
            self._takers[what] = (threading.get_ident(), receive)

    def deafen(self, *whats: str) -> None:
        """Listen no more."""
        with self._lock:
            for what in whats:
                self._takers.pop(what, None)
            for inbox in [self._inboxes.pop(what) for what in whats if what in self._inboxes]:
                inbox.close()

    def send(self, what: str, value: Any) -> None:
        """Hand a value to whoever listens."""
        with self._lock:
            if what in self._inboxes:
                self._inboxes[what].put(value)
            thread, receive = self._takers.get(what, (0, None))
        if receive is not None:
            if thread != threading.get_ident():
                raise RuntimeError(f'{what}: sent in another thread than it is taken in, where nothing guards it')
            receive(value)

    def give_way(self, what: str, most: float) -> None:
        """Wait until what was sent has been dealt with, ``most`` [s] at the longest.

        One interpreter serves both threads: whoever sent would otherwise take half of it from who received.
        """
        with self._lock:
            inbox = self._inboxes.get(what)
        if inbox is not None:
            inbox.dealt_with.wait(most)
