"""What nodes use of ROS while they run: every topic and service that the graph shows, and those of a moment besides."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from rclpy.context import Context
from rclpy.node import Node

from dp_ros.ros.main import make_executor

LIMIT = 30.0  # [s] of waiting; everything takes a small part of it
NUMBER = re.compile(r'(?<=_query_)\d+')  # nodes that live for one question are numbered


class Use(NamedTuple):
    """One thing that a node does: ``publish``, ``subscribe``, ``request`` or ``reply``, and with what."""

    node: str
    action: str
    name: str


class Uses:
    """Collects what the nodes of one process use, from their making on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: set[Use] = set()
        for method in ('create_client', 'create_service', 'create_publisher', 'create_subscription'):
            monkeypatch.setattr(Node, method, self._noting(getattr(Node, method)))

    def _noting(self, create: Callable[..., Any]) -> Callable[..., Any]:
        def noting(node: Node, *args: Any, **options: Any) -> Any:
            entity = create(node, *args, **options)
            self.look(node, node.get_name(), node.get_namespace())  # at once: it may be gone soon
            return entity

        return noting

    def wait_for(self, use: Use) -> None:
        """Wait until a node was seen to do this."""
        end = time.monotonic() + LIMIT
        while use not in self.found:
            assert time.monotonic() < end, f'waited {LIMIT} s for {use}'
            time.sleep(0.01)

    def look(self, observer: Node, name: str, namespace: str) -> None:
        """Add what the graph shows of a node."""
        own = NUMBER.sub('*', f'{namespace.rstrip("/")}/{name}')
        for action, ask in (
            ('publish', observer.get_publisher_names_and_types_by_node),
            ('subscribe', observer.get_subscriber_names_and_types_by_node),
            ('request', observer.get_client_names_and_types_by_node),
            ('reply', observer.get_service_names_and_types_by_node),
        ):
            self.found |= {Use(own, action, NUMBER.sub('*', topic)) for topic, _ in ask(name, namespace)}


@contextmanager
def running(context: Context, *nodes: Any) -> Iterator[None]:
    """Let nodes run in a thread of their own, so that they answer while another one asks them."""
    executor = make_executor(context)
    for node in nodes:
        executor.add_node(node)
    ended = threading.Event()

    def spin() -> None:
        while not ended.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        executor.shutdown()
