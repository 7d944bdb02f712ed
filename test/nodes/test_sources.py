"""Two nodes that publish observations: the policy_executor makes no chunk of a mixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import JointState

from dp_ros.nodes.policy_executor.node import PolicyExecutor
from dp_ros.nodes.trajectory_publisher.controllers.endpoints import SourceWatch

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
    node.refresh()
    assert node.inference.latched
    node.trigger_deactivate()
    node.trigger_activate()
    node.refresh()
    assert not node.inference.latched


def heard(*numbers: int) -> SourceWatch:
    watch = SourceWatch(1)
    for number in numbers:
        watch.heard({'publication_sequence_number': number})
    return watch


def test_one_publisher_numbers_its_messages_upwards_and_once_anew_where_it_was_restarted():
    assert not heard(1, 2, 3, 7, 9).several
    assert not heard(812, 813, 1, 2, 3).several


def test_two_publishers_in_turn_are_told_from_one():
    assert heard(812, 1, 813, 2, 814, 3).several


def test_a_middleware_without_numbers_tells_nothing():
    assert not heard(0, 0, 0, 0).several
    assert not heard(*[2**64 - 1] * 8).several
    watch = SourceWatch(0)
    watch.heard({})
    assert not watch.several
