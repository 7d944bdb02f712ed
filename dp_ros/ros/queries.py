"""Questions to other nodes that are answered before the call returns, and so may be asked within `configure`.

The asking node's executor is busy with the callback that asks. So each question has a node and an executor of its own,
in the asking node's context, and both are gone when it returns.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy

AGAIN = 0.5  # [s] after which a question is put again
WAIT = 0.1  # [s] at most in one turn of the executor
_number = itertools.count()


class _Asker:
    """A node that lives for one question. Time is counted by the steady clock: a simulated one may stand still."""

    def __init__(self, node: Node, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.node = Node(
            f'{node.get_name()}_query_{next(_number)}',
            context=node.context,
            namespace=node.get_namespace(),
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self.node)

    def wait(self, until: Callable[[], Any], most: float = float('inf')) -> bool:
        """Let callbacks run until something is true; return whether it became so in time, and within ``most`` [s]."""
        end = min(self._end, time.monotonic() + most)
        while not until():
            left = end - time.monotonic()
            if left <= 0.0 or not self.node.context.ok():
                return False
            # Not spin_until_future_complete: it leaves a callback on the future with every call.
            self._executor.spin_once(timeout_sec=min(WAIT, left))
        return True

    def call(self, kind: type, service: str, request: Any) -> Any:
        """Return a service's response, or None if there is none in time. It must change nothing: it may be asked twice.

        The answer of a server that does not know the client yet is lost.
        """
        client = self.node.create_client(kind, service)
        try:
            if not self.wait(client.service_is_ready):
                return None
            while time.monotonic() < self._end and self.node.context.ok():
                future = client.call_async(request)
                if self.wait(future.done, AGAIN):
                    return future.result()
            return None
        finally:
            self.node.destroy_client(client)

    def close(self) -> None:
        self._executor.remove_node(self.node)
        self._executor.shutdown()
        self.node.destroy_node()


@contextmanager
def _asker(node: Node, seconds: float) -> Iterator[_Asker]:
    asker = _Asker(node, seconds)
    try:
        yield asker
    finally:
        asker.close()


def full_name(node: Node, target: str) -> str:
    """Return a node's name with its namespace; a ``target`` without a slash in front is in ``node``'s."""
    return target if target.startswith('/') else f'{node.get_namespace().rstrip("/")}/{target}'


def get_parameters(node: Node, target: str, names: Iterable[str], seconds: float) -> dict[str, Any] | None:
    """Return those of another node's parameters that it has, or None if it does not answer within ``seconds``.

    Parameters
    ----------
    node
        Who asks; may be within a callback of any executor but the other node's.
    target
        The other node's name, with its namespace or in the same one.
    names
        Parameters wanted. Those that are not declared, or have no value, are left out of the answer.

    """
    wanted, service = list(names), full_name(node, target)
    with _asker(node, seconds) as asker:
        listing = asker.call(ListParameters, f'{service}/list_parameters', ListParameters.Request())
        if listing is None:
            return None
        known = [name for name in wanted if name in set(listing.result.names)]
        values = _values(asker, service, known)
        # One parameter without a value makes some nodes answer with nothing at all.
        if values is not None and len(values) != len(known):
            single = {name: _values(asker, service, [name]) for name in known}
            return None if None in single.values() else {n: v[0] for n, v in single.items() if v}
    return None if values is None else {n: v for n, v in zip(known, values, strict=True) if v is not None}


def _values(asker: _Asker, service: str, names: list[str]) -> list[Any] | None:
    response = asker.call(GetParameters, f'{service}/get_parameters', GetParameters.Request(names=names))
    return None if response is None else [plain(parameter_value_to_python(value)) for value in response.values]


def plain(value: Any) -> Any:
    """Return sequences as tuples, whatever kind of array the message holds them in."""
    return value if value is None or isinstance(value, bool | int | float | str) else tuple(value)


def latched(node: Node, topic: str, kind: type, seconds: float) -> Any:
    """Return a transient-local topic's last message, or None if none comes within ``seconds``.

    ``topic`` is resolved as ``node`` would, with its namespace and remappings.
    """
    heard: list[Any] = []
    last = QoSProfile(
        depth=1, reliability=QoSReliabilityPolicy.RELIABLE, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL
    )
    with _asker(node, seconds) as asker:
        subscription = asker.node.create_subscription(kind, node.resolve_topic_name(topic), heard.append, last)
        asker.wait(lambda: heard)
        asker.node.destroy_subscription(subscription)
    return heard[-1] if heard else None
