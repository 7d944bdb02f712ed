"""Who is on a topic: several publishers where there should be one, over DDS; the graph's slow news stood in for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.node import Node
from std_msgs.msg import Bool

from dp_ros.motion.safety.safety_states import Cause
from dp_ros.nodes.trajectory_publisher.controllers.endpoints import (
    NAMELESS,
    TWINS,
    UNKNOWN,
    Ages,
    SingleSource,
    by_name,
)

TOPIC = '/left/enable'


def endpoint(name: str, gid: int, namespace: str = '/') -> Any:
    return SimpleNamespace(node_name=name, node_namespace=namespace, endpoint_gid=[gid] * 16)


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


class Graph:
    """What a node sees of a topic."""

    def __init__(self, *publishers: Any) -> None:
        self.publishers, self.names_read = list(publishers), 0

    def resolve_topic_name(self, topic: str) -> str:
        return topic

    def count_publishers(self, topic: str) -> int:
        return len(self.publishers)

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        self.names_read += 1
        return self.publishers

    def get_fully_qualified_name(self) -> str:
        return '/me'


@pytest.mark.ros
def test_two_nodes_that_publish_are_named_and_one_is_not(ros):
    source = SingleSource(ros.add(Node('me', context=ros.context, namespace='/left')), 'enable', lambda: 0)
    assert source.topic == TOPIC
    ros.tester.create_publisher(Bool, TOPIC, 1)
    ros.wait(source.count, 'the first')
    assert source.fault() is None
    other = ros.add(Node('other', context=ros.context, namespace='/left'))
    publisher = other.create_publisher(Bool, TOPIC, 1)
    fault = ros.wait(source.fault, 'the fault')
    assert fault.cause is Cause.PUBLISHER
    assert fault.text == '/left/enable: got 2 publishers, /left/other, /tester, allowed one'
    other.destroy_publisher(publisher)
    ros.wait(lambda: source.fault() is None, 'the end of it')


@pytest.mark.ros
def test_what_the_node_itself_publishes_does_not_count(ros):
    node = ros.add(Node('me', context=ros.context))
    source = SingleSource(node, TOPIC, lambda: 0)
    node.create_publisher(Bool, TOPIC, 1)
    ros.tester.create_publisher(Bool, TOPIC, 1)
    ros.wait(lambda: source.count() == 2, 'both')
    assert source.others() == ()


def test_names_are_read_only_where_there_are_several() -> None:
    graph: Any = Graph(endpoint('one', 1))
    assert SingleSource(graph, TOPIC, Clock()).others() == () and graph.names_read == 0


def test_one_name_twice_is_a_node_that_was_started_again_until_the_dead_one_would_be_gone() -> None:
    graph: Any = Graph(endpoint('one', 1), endpoint('one', 2))
    clock = Clock()
    source = SingleSource(graph, TOPIC, clock)
    assert source.fault() is None
    clock.now = TWINS - 1
    assert source.fault() is None
    clock.now = TWINS
    fault = source.fault()
    assert fault is not None and 'got 2 publishers, /one, /one, allowed one' in fault.text


def test_a_node_that_is_killed_again_and_again_is_one() -> None:
    graph: Any = Graph(endpoint('one', 1))
    clock = Clock()
    source = SingleSource(graph, TOPIC, clock)
    for number in range(2, 9):
        clock.now += TWINS // 2
        graph.publishers = [endpoint('one', gid) for gid in (number - 1, number)]
        assert source.fault() is None


def test_who_stays_without_a_name_is_someone_else() -> None:
    graph: Any = Graph(endpoint('one', 1), endpoint(UNKNOWN, 2))
    clock = Clock()
    source = SingleSource(graph, TOPIC, clock)
    assert source.fault() is None
    clock.now = NAMELESS
    assert source.others() == ('/one', 'someone without a name')


def test_endpoints_are_gathered_by_their_nodes() -> None:
    left = [endpoint('a', 1, '/left'), endpoint('a', 2, '/left')]
    found, unknown = by_name([*left, endpoint('a', 3), endpoint(UNKNOWN, 4)])
    assert found == {'/left/a': frozenset({b'\1' * 16, b'\2' * 16}), '/a': frozenset({b'\3' * 16})}
    assert unknown == frozenset({b'\4' * 16})


def test_who_goes_away_and_comes_back_is_new() -> None:
    clock = Clock()
    ages = Ages(clock)
    one, two = frozenset({b'1'}), frozenset({b'1', b'2'})
    ages.look(one)
    clock.now = 10
    ages.look(two)
    assert ages.younger(two, 10) and not ages.younger(one, 10)
    ages.look(two - one)
    ages.look(two)
    assert ages.younger(one, 1)
