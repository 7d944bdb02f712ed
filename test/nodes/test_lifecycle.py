from __future__ import annotations

from typing import Any

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_msgs.msg import Header

from dp_ros.errors import ConfigError
from dp_ros.ros.lifecycle import ManagedNode, reliable, run

OK, ERROR = DiagnosticStatus.OK, DiagnosticStatus.ERROR

pytestmark = pytest.mark.ros


class Example(ManagedNode):
    """Notes what it is asked to do, and fails where it is told to."""

    def __init__(self, fail: dict[str, Exception] | None = None, **options: Any) -> None:
        self.done: list[str] = []
        self.fail = fail or {}
        super().__init__('example', [], **options)

    def _do(self, what: str) -> None:
        self.done.append(what)
        if what in self.fail:
            raise self.fail[what]

    def configure(self) -> None:
        self._do('configure')
        self.output = self.create_lifecycle_publisher(Header, '~/out', reliable(1))

    def activate(self) -> None:
        self._do('activate')
        self.output.publish(Header(frame_id='first'))

    def deactivate(self) -> None:
        self._do('deactivate')

    def cleanup(self) -> None:
        self._do('cleanup')


def make(ros: Any, **fail: Exception) -> Example:
    node: Example = ros.add(Example(fail, context=ros.context))
    return node


def state(node: Example) -> str:
    return node.state


def test_start_configures_and_activates(ros):
    node = make(ros)
    assert node.start()
    assert node.active
    assert node.done == ['configure', 'activate']
    ros.status('example: lifecycle', OK, 'active')


def test_a_publisher_is_enabled_when_activation_begins(ros):
    heard = ros.listen(Header, '/example/out')
    node = make(ros)
    node.trigger_configure()
    ros.connected('/example/out')
    ros.wait(node.output.get_subscription_count, 'the subscription')
    node.trigger_activate()
    ros.wait(lambda: heard, 'the message')
    assert heard[0].frame_id == 'first'


def test_a_refused_configure_leaves_the_node_unconfigured_and_clean(ros):
    node = make(ros, configure=ConfigError('size: got 3, allowed 1 or 2'))
    assert not node.start()
    assert state(node) == 'unconfigured'
    assert node.done == ['configure', 'cleanup']
    ros.status('example: lifecycle', ERROR, 'configure refused: size: got 3, allowed 1 or 2')
    node.fail = {}
    assert node.start()


def test_a_refused_activate_leaves_the_node_inactive(ros):
    node = make(ros, activate=ConfigError('no'))
    assert not node.start()
    assert state(node) == 'inactive'
    assert node.done == ['configure', 'activate', 'deactivate']


def test_an_unexpected_error_is_said_and_leaves_the_node_unconfigured(ros):
    node = make(ros, activate=RuntimeError('surprise'))
    assert not node.start()
    assert state(node) == 'unconfigured'
    assert node.done[-2:] == ['deactivate', 'cleanup']
    ros.status('example: lifecycle', ERROR, 'activate failed: surprise')


def test_every_transition_does_its_part(ros):
    node = make(ros)
    node.start()
    node.trigger_deactivate()
    node.trigger_cleanup()
    node.trigger_shutdown()
    assert state(node) == 'finalized'
    assert node.done[:4] == ['configure', 'activate', 'deactivate', 'cleanup']


def test_a_node_that_cannot_start_ends_with_exit_code_1():
    assert run(lambda: Example({'configure': ConfigError('no')})) == 1


def test_a_node_that_cannot_be_made_ends_with_exit_code_1():
    def refuse() -> Example:
        raise ConfigError('no')

    assert run(refuse) == 1


def test_a_node_whose_thread_dies_ends_with_exit_code_1():
    class Dying(Example):
        def activate(self) -> None:
            self.died.set_exception(RuntimeError('the thread is gone'))

    nodes: list[Dying] = []

    def create() -> Dying:
        nodes.append(Dying())
        return nodes[0]

    assert run(create) == 1
    assert nodes[0].done[-2:] == ['deactivate', 'cleanup'], 'it stopped what it had started'


def test_a_destroyed_node_leaves_its_services_to_the_next_of_its_name(ros):
    first = make(ros)
    ros.executor.remove_node(first)
    ros.nodes.remove(first)
    first.destroy_node()
    ros.wait(lambda: ros.tester.count_services('/example/change_state') == 0, 'its services to be gone')
    second = make(ros)
    request = ChangeState.Request()
    request.transition.id = Transition.TRANSITION_CONFIGURE
    assert ros.call(ChangeState, '/example/change_state', request).success
    assert state(second) == 'inactive'
    assert first.done == []


def test_an_active_node_does_not_change_its_clock(ros):
    node = make(ros)
    node.start()
    request = SetParameters.Request(parameters=[Parameter('use_sim_time', value=True).to_parameter_msg()])
    (refused,) = ros.call(SetParameters, '/example/set_parameters', request).results
    assert not refused.successful
    assert 'use_sim_time: got a change while active' in refused.reason
    assert not node.simulated_time
    node.trigger_deactivate()
    (allowed,) = ros.call(SetParameters, '/example/set_parameters', request).results
    assert allowed.successful


@pytest.mark.parametrize('by', ['number', 'label'])
def test_a_transition_that_the_state_lacks_is_refused_and_the_node_lives_on(ros, by):
    node = ros.create(Example)
    assert node.start()
    request = ChangeState.Request()
    if by == 'number':
        request.transition.id = Transition.TRANSITION_ACTIVATE
    else:
        request.transition.label = 'activate'
    assert not ros.call(ChangeState, '/example/change_state', request).success
    assert node.active
    request.transition.id, request.transition.label = Transition.TRANSITION_DEACTIVATE, ''
    assert ros.call(ChangeState, '/example/change_state', request).success
    assert not node.active
