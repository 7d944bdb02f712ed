"""Another node's parameters, read while the node that asks goes on with its work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any

from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.client import Client
from rclpy.parameter import parameter_value_to_python
from rclpy.task import Future

from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.queries import plain

AGAIN = 500_000_000  # [ns] after which a question is put again, and twice as long after that
SELDOM = 4_000_000_000  # [ns] between two at most
OPEN = 4  # questions that may still be answered; older ones are given up

Questions = Generator[tuple[Client, Any], Any, None]


class ParameterQuery:
    """One reading of those parameters that another node has. `step` is called now and then until it is done.

    The first answer may be lost while the two nodes only begin to know each other, so questions are put again.

    Parameters
    ----------
    node
        Who asks; the answers come in its executor.
    target
        The other node's name with its namespace.
    names
        Parameters wanted; those that are not declared, or have no value, are left out.
    then
        Called once, with values by name.

    """

    def __init__(
        self, node: ManagedNode, target: str, names: Iterable[str], then: Callable[[dict[str, Any]], None]
    ) -> None:
        self._node, self._names, self._then = node, tuple(names), then
        self._list = node.create_client(ListParameters, f'{target}/list_parameters')
        self._get = node.create_client(GetParameters, f'{target}/get_parameters')
        self._questions = self._read()
        self._question: tuple[Client, Any] | None = next(self._questions)
        self._asked: deque[Future] = deque()
        self._due, self._pause = 0, AGAIN

    def step(self) -> None:
        """Put the question that is next, once somebody can answer it, or put it again."""
        now = self._node.steady()
        if self._question is None or now < self._due:
            return
        client, request = self._question
        try:
            if not client.service_is_ready():
                return
            future = client.call_async(request)
        except RuntimeError:  # the middleware's: who asks must not stop for that, and may ask again
            self._due = now + AGAIN
            return
        if len(self._asked) >= OPEN:
            client.remove_pending_request(self._asked.popleft())
        self._asked.append(future)
        self._due, self._pause = now + self._pause, min(2 * self._pause, SELDOM)
        future.add_done_callback(
            partial(self._node.guarded(f'answer of {client.srv_name}', self._answered), self._question)
        )

    def close(self) -> None:
        """Ask no more."""
        self._question = None
        self._asked.clear()
        for client in (self._list, self._get):
            self._node.destroy_client(client)

    def _answered(self, question: tuple[Client, Any], future: Future) -> None:
        if question is not self._question or future.result() is None:
            return  # it was put twice, or is of no interest any more
        self._asked.clear()
        self._due, self._pause = 0, AGAIN
        try:
            self._question = self._questions.send(future.result())
        except StopIteration:
            return
        self.step()

    def _read(self) -> Questions:
        listing = yield self._list, ListParameters.Request()
        declared = set(listing.result.names)
        known = [name for name in self._names if name in declared]
        values = yield from self._values(known)
        if len(values) != len(known):
            # One parameter without a value makes some nodes answer with nothing at all.
            values = []
            for name in known:
                single = yield from self._values([name])
                values.append(single[0] if single else None)
        self.close()
        self._then({name: value for name, value in zip(known, values, strict=True) if value is not None})

    def _values(self, names: list[str]) -> Generator[tuple[Client, Any], Any, list[Any]]:
        response = yield self._get, GetParameters.Request(names=names)
        return [_value(value) for value in response.values]


def _value(value: Any) -> Any:
    try:
        return plain(parameter_value_to_python(value))
    except (RuntimeError, ValueError):  # of a type that is not known here
        return None
