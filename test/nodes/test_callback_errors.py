"""Errors out of callbacks: none ends a node, each is named, and who called gets an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.context import Context
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from dp_ros.ros import callback_errors
from dp_ros.ros.callback_errors import CallbackError, CallbackErrors, Patience
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.main import make_executor, turn

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
UNKNOWN_TYPE = 99
LIVE = 'use_sim_time'  # a parameter that every node has, and may be set

pytestmark = pytest.mark.ros


class Example(ManagedNode):
    """Keeps what reached its hook."""

    def __init__(self, **options: Any) -> None:
        self.caught: list[CallbackError] = []
        super().__init__('example', [], **options)

    def on_callback_error(self, error: CallbackError) -> None:
        self.caught.append(error)
        super().on_callback_error(error)


class Loop:
    """A node in the loop that all nodes run in, on one of the executors that they may have."""

    def __init__(self, kind: Callable[..., Executor], ros: Any) -> None:
        self.ros = ros
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = Example(context=self.context)
        self.executor = kind(context=self.context)
        self.executor.add_node(self.node)
        self.patience = Patience()
        self.wake = self.node.create_timer(0.01, lambda: None)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        def turned() -> Any:
            for _ in range(5):
                turn(self.executor, (self.node,), self.patience)
            return condition()

        return self.ros.wait(turned, what)

    def call(self, kind: type, service: str, request: Any) -> Any:
        client = self.ros.tester.create_client(kind, service)
        self.until(client.service_is_ready, service)
        future = client.call_async(request)
        self.until(future.done, f'{service} to answer')
        return future.result()

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture(params=[make_executor, SingleThreadedExecutor])
def loop(ros, request) -> Iterator[Loop]:
    loop = Loop(request.param, ros)
    yield loop
    loop.close()


def fail(*_: Any) -> Any:
    raise RuntimeError('as it was raised')


def test_a_callback_that_fails_is_counted_and_named_and_the_others_go_on(loop):
    loop.node.create_subscription(Header, '/bad', fail, 10)
    heard: list[Any] = []
    loop.node.create_subscription(Header, '/good', heard.append, 10)
    bad, good = (loop.ros.tester.create_publisher(Header, topic, 10) for topic in ('/bad', '/good'))
    loop.until(lambda: bad.get_subscription_count() and good.get_subscription_count(), 'the subscriptions')
    for _ in range(3):
        bad.publish(Header())
    loop.until(lambda: len(loop.node.caught) == 3, 'three errors')
    good.publish(Header())
    loop.until(lambda: heard, 'the other message')
    assert {(e.where, e.harmless, str(e.error)) for e in loop.node.caught} == {
        ('subscription /bad', False, 'as it was raised')
    }
    loop.until(lambda: any(s.name == 'example: callbacks' for s in loop.ros.statuses), 'the status')
    status = next(s for s in loop.ros.statuses if s.name == 'example: callbacks')
    assert status.level == ERROR and status.message == 'subscription /bad: RuntimeError: as it was raised'


def test_a_timer_that_fails_comes_again(loop):
    loop.node.create_timer(0.01, fail)
    loop.until(lambda: len(loop.node.caught) > 2, 'three errors')
    assert 'timer of fail' in loop.node.caught[0].where


def test_a_message_that_cannot_be_decoded_is_named_with_its_topic_and_is_harmless(loop):
    heard: list[Any] = []
    loop.node.create_subscription(JointState, '/states', heard.append, 10)
    publisher = loop.ros.tester.create_publisher(JointState, '/states', 10)
    loop.until(publisher.get_subscription_count, 'the subscription')
    publisher.publish(b'\x00\x01\x00\x00' + 20 * b'\xff')
    loop.until(lambda: loop.node.caught, 'the error')
    publisher.publish(JointState(name=['elbow']))
    loop.until(lambda: heard, 'the good message')
    assert heard[0].name == ['elbow']
    (error,) = loop.node.caught
    assert (error.where, error.harmless) == ('subscription /states: not a JointState', True)
    loop.until(lambda: any(s.name == 'example: callbacks' for s in loop.ros.statuses), 'the status')
    assert next(s for s in loop.ros.statuses if s.name == 'example: callbacks').level == WARN


@pytest.mark.parametrize('raw', [False, True])
def test_whoever_wants_it_gets_what_came_with_a_message(loop, raw):
    """As a number of its publisher's; rclpy 7.1's EventsExecutor would fail with such callbacks."""
    heard: list[Any] = []
    kind, qos = (JointState if raw else Image), 10
    loop.node.create_subscription(kind, '/states', lambda message, info: heard.append((message, info)), qos, raw=raw)
    publisher = loop.ros.tester.create_publisher(kind, '/states', qos)
    loop.until(publisher.get_subscription_count, 'the subscription')
    for _ in range(2):
        publisher.publish(kind())
    loop.until(lambda: len(heard) == 2, 'the messages')
    assert all(isinstance(message, bytes if raw else kind) for message, _ in heard)
    assert [info['publication_sequence_number'] for _, info in heard] == [1, 2]
    assert not loop.node.caught


def test_of_messages_that_came_together_none_lies_there_because_another_failed(loop):
    """An EventsExecutor that an error comes out of takes no more of them until others come."""
    heard: list[str] = []

    def receive(message: Header) -> None:
        heard.append(message.frame_id)
        raise RuntimeError('as it was raised')

    publisher = loop.ros.tester.create_publisher(Header, '/bad', 10)
    loop.node.create_subscription(Header, '/bad', receive, 10)
    loop.ros.wait(publisher.get_subscription_count, 'the subscription')
    for number in range(5):
        publisher.publish(Header(frame_id=str(number)))
    loop.until(lambda: len(heard) == 5, 'all five')
    assert heard == ['0', '1', '2', '3', '4'] and len(loop.node.caught) == 5


def test_what_comes_out_of_rclpy_itself_is_named_and_ends_nothing(loop, monkeypatch):
    def fail_once(timeout_sec: Any = None) -> None:
        raise RuntimeError('as it was raised')

    turn(SimpleNamespace(spin_once=fail_once), (loop.node,), loop.patience)
    assert [(e.where, e.harmless) for e in loop.node.caught] == [('rclpy', False)]
    assert loop.call(GetParameters, '/example/get_parameters', GetParameters.Request(names=[LIVE])).values


def test_a_request_whose_handler_fails_is_answered(loop):
    loop.node.create_service(Trigger, '~/fail', fail)
    answer = loop.call(Trigger, '/example/fail', Trigger.Request())
    assert not answer.success and answer.message == 'failed: RuntimeError: as it was raised'
    assert [(e.where, e.harmless) for e in loop.node.caught] == [('service /example/fail', False)]


def parameters(*types: int) -> list[Parameter]:
    return [Parameter(name=LIVE, value=ParameterValue(type=kind)) for kind in types]


def test_parameters_of_a_type_that_does_not_exist_are_refused_one_by_one(loop):
    request = SetParameters.Request(parameters=parameters(1, UNKNOWN_TYPE, 1))
    results = loop.call(SetParameters, '/example/set_parameters', request).results
    assert [r.successful for r in results] == [True, False, False]
    assert '99 is not a valid' in results[1].reason and 'one before it failed' in results[2].reason
    (error,) = loop.node.caught
    assert error.harmless and error.where.endswith('example/set_parameters')


def test_parameters_of_a_type_that_does_not_exist_are_refused_together(loop):
    request = SetParametersAtomically.Request(parameters=parameters(1, UNKNOWN_TYPE))
    result = loop.call(SetParametersAtomically, '/example/set_parameters_atomically', request).result
    assert not result.successful and '99 is not a valid' in result.reason


def test_a_parameter_without_a_name_is_refused(loop):
    request = SetParameters.Request(parameters=[Parameter(value=ParameterValue(type=1))])
    (result,) = loop.call(SetParameters, '/example/set_parameters', request).results
    assert not result.successful and "got the name ''" in result.reason


def test_a_hook_that_fails_itself_ends_nothing(loop, monkeypatch):
    monkeypatch.setattr(loop.node, 'on_callback_error', fail)
    ticks: list[int] = []
    loop.node.create_timer(0.01, fail)
    loop.node.create_timer(0.01, lambda: ticks.append(0))
    loop.until(lambda: len(ticks) > 3, 'the other timer')


def test_the_end_of_ros_still_comes_out(loop):
    loop.context.try_shutdown()
    with pytest.raises((ExternalShutdownException, rclpy_implementation.RCLError)):
        loop.until(lambda: False, 'nothing')
    assert loop.node.caught == []


def test_what_fails_because_ros_has_ended_is_no_error(loop):
    def end() -> None:
        loop.context.try_shutdown()
        fail()

    loop.node.create_timer(0.01, end)
    with pytest.raises((ExternalShutdownException, rclpy_implementation.RCLError)):
        loop.until(lambda: False, 'nothing')
    assert loop.node.caught == []


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Return the time, and what was slept."""
    now = [100.0, 0.0]
    monkeypatch.setattr('dp_ros.ros.callback_errors.time.monotonic', lambda: now[0])
    monkeypatch.setattr('dp_ros.ros.callback_errors.time.sleep', lambda s: now.__setitem__(1, now[1] + s))
    return now


def test_errors_that_follow_each_other_fast_are_slowed_down(clock):
    patience, error = Patience(), RuntimeError()
    for _ in range(callback_errors.FAST - 1):
        patience.failed(error)
        patience.went_well()
    assert clock[1] == 0.0
    patience.failed(error)
    assert clock[1] == callback_errors.PAUSE
    clock[0] += 2.0
    patience.failed(error)
    assert clock[1] == callback_errors.PAUSE


def test_nothing_but_errors_for_long_ends_the_loop(clock):
    patience, error = Patience(), RuntimeError('as it was raised')
    patience.failed(error)
    clock[0] += callback_errors.GIVE_UP
    patience.failed(error)
    clock[0] += 0.1
    with pytest.raises(RuntimeError, match='as it was raised'):
        patience.failed(error)
    patience.went_well()
    patience.failed(error)


class Reports:
    """Keeps what would stand on /diagnostics."""

    def __init__(self) -> None:
        self.last: Any = None

    def report(self, *args: Any, now: bool = False) -> None:
        self.last = args


def test_the_status_calms_down_and_still_counts(clock):
    reports = Reports()
    errors = CallbackErrors(rclpy.logging.get_logger('test'), reports)
    errors.report()
    assert reports.last is None, 'nothing is said where nothing was wrong'
    for where in ('timer', 'timer', 'subscription /a'):
        errors.note(CallbackError(where=where, error=ValueError('no'), harmless=where != 'timer'))
    errors.report()
    counts = {'timer': 2, 'subscription /a': 1, 'total': 3}
    assert reports.last == ('callbacks', WARN, 'subscription /a: ValueError: no', counts)
    clock[0] += callback_errors.RECENT + 1
    errors.report()
    assert reports.last == ('callbacks', OK, 'no error for 11 s; the last: subscription /a: ValueError: no', counts)


def test_an_error_that_quotes_a_message_is_cut_short():
    error = CallbackError(where='timer', error=ValueError('x' * 10_000), harmless=False)
    assert len(str(error)) < 310
