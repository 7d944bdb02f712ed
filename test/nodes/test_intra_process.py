"""Values handed over between the nodes of one process."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.node import Node

from dp_ros.errors import ConfigError
from dp_ros.ros.intra_process import CHUNK, OBSERVATION, Exchange

pytestmark = pytest.mark.ros
LONG = 20.0  # [s]


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def node(ros):
    return ros.add(Node('hearing', context=ros.context))


def listen(exchange: Exchange, node: Node, depth: int) -> list[Any]:
    heard: list[Any] = []
    exchange.listen(OBSERVATION, node, heard.append, depth)
    return heard


def test_values_of_another_thread_arrive_as_they_are_in_order_and_in_the_executor_s_thread(ros, exchange, node):
    threads = []
    heard: list[Any] = []

    def receive(value: Any) -> None:
        threads.append(threading.current_thread())
        heard.append(value)

    exchange.listen(OBSERVATION, node, receive, 8)
    sent = [object() for _ in range(5)]
    sender = threading.Thread(target=lambda: [exchange.send(OBSERVATION, value) for value in sent])
    sender.start()
    ros.wait(lambda: len(heard) == 5, 'five values')
    sender.join()
    assert all(got is gave for got, gave in zip(heard, sent, strict=True))
    assert set(threads) == {threading.main_thread()}


def test_the_newest_are_kept(ros, exchange, node):
    heard = listen(exchange, node, 2)
    for number in range(5):
        exchange.send(OBSERVATION, number)
    ros.wait(lambda: heard, 'a value')
    ros.spin(0.1)
    assert heard == [3, 4]


def test_who_listens_no_more_hears_nothing_not_even_what_lies_there(ros, exchange, node):
    heard = listen(exchange, node, 8)
    exchange.send(OBSERVATION, 'lies there')
    exchange.deafen(OBSERVATION, CHUNK)
    exchange.send(OBSERVATION, 'later')
    ros.spin(0.2)
    assert heard == []
    again = listen(exchange, node, 8)
    exchange.send(OBSERVATION, 'again')
    ros.wait(lambda: again == ['again'], 'a value')


def test_a_receiver_may_stop_listening(ros, exchange, node):
    heard = []

    def once(value: int) -> None:
        heard.append(value)
        exchange.deafen(OBSERVATION)

    exchange.listen(OBSERVATION, node, once, 8)
    for number in range(3):
        exchange.send(OBSERVATION, number)
    ros.wait(lambda: heard, 'a value')
    ros.spin(0.1)
    assert heard == [0]


def test_a_sender_gives_way_until_what_it_sent_has_been_dealt_with(ros, exchange, node):
    """A receiver that fails, or ends, keeps nobody waiting."""
    order: list[str] = []

    def receive(value: str) -> None:
        order.append(f'received {value}')
        if value == 'bad':
            raise ValueError(value)

    def send(value: str) -> None:
        exchange.send(OBSERVATION, value)
        sent.set()
        exchange.give_way(OBSERVATION, LONG)
        order.append(f'gave way for {value}')

    exchange.listen(OBSERVATION, node, receive, 8)
    exchange.give_way(OBSERVATION, LONG)  # nothing was sent
    exchange.give_way(CHUNK, LONG)  # nobody listens
    for value in ('good', 'bad', 'never taken'):
        sent = threading.Event()
        sender = threading.Thread(target=send, args=(value,))
        sender.start()
        assert sent.wait(LONG)
        sender.join(0.1)
        assert sender.is_alive(), 'nobody has taken it'
        if value == 'never taken':
            exchange.deafen(OBSERVATION)
        else:
            with suppress(ValueError):
                ros.wait(lambda value=value: f'received {value}' in order, value)
        sender.join(LONG / 2)
        assert not sender.is_alive()
    ways = [f'{what} {value}' for value in ('good', 'bad') for what in ('received', 'gave way for')]
    assert order == [*ways, 'gave way for never taken']


def test_a_sender_gives_way_for_so_long_only(exchange, node):
    """Nobody spins the receiver's executor here."""
    exchange.listen(OBSERVATION, node, print, 8)
    exchange.send(OBSERVATION, 'never taken')
    began = time.monotonic()
    exchange.give_way(OBSERVATION, 0.2)
    assert 0.2 <= time.monotonic() - began < LONG


def test_nodes_that_mean_different_things_are_refused_until_one_withdraws(ros, exchange, node):
    other = ros.add(Node('sending', context=ros.context))
    exchange.agree(OBSERVATION, other, ('/a',))
    exchange.agree(OBSERVATION, other, ('/b',))  # it may change its mind
    exchange.agree(CHUNK, node, ('/c',))
    with pytest.raises(ConfigError, match=r"got \('/a',\) of /hearing and \('/b',\) of /sending, allowed the same"):
        exchange.agree(OBSERVATION, node, ('/a',))
    exchange.withdraw(other)
    exchange.agree(OBSERVATION, node, ('/a',))


def test_who_takes_gets_values_at_once_until_he_is_deafened(exchange):
    taken = []

    def receive(value: Any) -> None:
        taken.append(value)
        if value == 'last':
            exchange.deafen(OBSERVATION)  # what is received may do so

    exchange.take(OBSERVATION, receive)
    for value in ('first', 'last', 'late'):
        exchange.send(OBSERVATION, value)
    assert taken == ['first', 'last']


def test_nothing_is_taken_in_another_thread_than_the_taker_s(exchange):
    taken: list[Any] = []
    errors: list[str] = []

    def send() -> None:
        try:
            exchange.send(OBSERVATION, 1)
        except RuntimeError as error:
            errors.append(str(error))

    exchange.take(OBSERVATION, taken.append)
    sender = threading.Thread(target=send)
    sender.start()
    sender.join(LONG)
    assert taken == []
    assert errors == ['observation: sent in another thread than it is taken in, where nothing guards it']
