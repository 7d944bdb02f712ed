"""Two nodes that publish observations: the policy_executor makes no chunk of a mixture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402

from dp_ros.nodes.command_topics import NAMELESS, UNKNOWN  # noqa: E402
from dp_ros.nodes.policy_executor import PolicyExecutor  # noqa: E402
from dp_ros.nodes.sources import Sources  # noqa: E402

ERROR, WARN = DiagnosticStatus.ERROR, DiagnosticStatus.WARN
TOPIC = '/observation_buffer/joint_states'

pytestmark = pytest.mark.ros


@pytest.fixture
def another(ros) -> Iterator[Node]:
    """Another node that publishes observations."""
    node = Node('another', context=ros.context)
    node.create_publisher(JointState, TOPIC, 1)
    yield node
    node.destroy_node()


def test_a_second_source_latches_until_the_node_is_activated_anew_without_it(ros, tiny, another):
    node = ros.create(PolicyExecutor, bundle=tiny)
    assert node.start()
    ros.status('policy_executor: inference', WARN, 'no complete observation yet')
    ros.tester.create_publisher(JointState, TOPIC, 1)
    text = f'stopped: {TOPIC}: got 2 publishers, /another, /tester, allowed one'
    ros.status('policy_executor: inference', ERROR, text)
    another.destroy_node()
    ros.wait(lambda: node.count_publishers(TOPIC) == 1, 'the second source to be gone')
    assert node._is_latched()
    node.trigger_deactivate()
    node.trigger_activate()
    assert not node._is_latched()


class Graph:
    """Stands in for a node that sees a graph."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.now = 0

    def steady(self) -> int:
        return self.now

    def count_publishers(self, _: str) -> int:
        return len(self.names)

    def get_publishers_info_by_topic(self, _: str) -> list[Any]:
        return [
            type('Info', (), {'node_namespace': '/left', 'node_name': name, 'endpoint_gid': [number] * 16})
            for number, name in enumerate(self.names)
        ]


def test_the_same_name_twice_is_one_that_was_started_again():
    assert Sources(Graph('buffer', 'buffer'), ['/a']).fault() == ''


def test_two_names_are_two_sources():
    fault = Sources(Graph('buffer', 'bag', 'buffer'), ['/a', '/b']).fault()
    assert fault == '/a: got 2 publishers, /left/bag, /left/buffer, allowed one'


def test_one_whose_name_has_not_come_through_counts_once_it_should_have():
    graph = Graph('buffer', UNKNOWN)
    sources = Sources(graph, ['/a'])
    assert sources.fault() == ''
    graph.now = NAMELESS
    assert sources.fault() == ''
    graph.now += 1
    assert 'one without a name' in sources.fault()
    graph.names[1] = 'buffer'
    assert sources.fault() == ''
