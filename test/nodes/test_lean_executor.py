from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.task import Future
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from dp_ros.ros import lean_executor
from dp_ros.ros.lean_executor import LeanExecutor, RclpyExecutor, make_executor
from dp_ros.ros.wait_set import WaitSet

LIMIT = 30.0  # [s]
TOPIC = 'messages'


class Graph:
    """One node on one executor."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(context=self.context)
        self.executor = LeanExecutor(context=self.context)
        self.node = Node('lean', context=self.context)
        self.executor.add_node(self.node)
        self.publisher = self.node.create_publisher(JointTrajectory, TOPIC, 10)
        self.heard: list[Any] = []

    def subscribe(self, callback: Callable[..., Any] | None = None) -> Subscription:
        return self.node.create_subscription(JointTrajectory, TOPIC, callback or self.heard.append, 10)

    def send(self, name: str = '') -> None:
        message = JointTrajectory()
        message.header.frame_id = name
        self.publisher.publish(message)

    def wait(self, until: Callable[[], Any]) -> None:
        end = time.monotonic() + LIMIT
        while not until():
            assert time.monotonic() < end
            self.executor.spin_once(timeout_sec=0.05)

    def idle(self) -> None:
        """Spin until nothing is left to do."""
        for _ in range(20):
            self.executor.spin_once(timeout_sec=0.01)

    def matched(self) -> None:
        self.wait(lambda: self.publisher.get_subscription_count() > 0)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def graph() -> Iterator[Graph]:
    graph = Graph()
    yield graph
    graph.close()


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> list[WaitSet]:
    """Every wait set that is made."""
    made: list[WaitSet] = []
    make = WaitSet.__init__

    def counted(self: WaitSet, *args: Any, **options: Any) -> None:
        made.append(self)
        make(self, *args, **options)

    monkeypatch.setattr(WaitSet, '__init__', counted)
    return made


def test_messages_come_in_order_without_a_new_wait_set(graph, sets):
    graph.subscribe()
    graph.matched()
    graph.idle()
    made = len(sets)
    for number in range(5):
        graph.send(str(number))
    graph.wait(lambda: len(graph.heard) == 5)
    assert [m.header.frame_id for m in graph.heard] == list('01234')
    assert len(sets) == made


def test_one_piece_of_work_a_spin(graph):
    graph.subscribe()
    graph.matched()
    graph.idle()
    graph.send()
    graph.send()
    graph.executor.spin_once(timeout_sec=LIMIT)
    assert len(graph.heard) == 1
    graph.executor.spin_once(timeout_sec=LIMIT)
    assert len(graph.heard) == 2


def test_timers_come_at_their_rate_and_rest_when_cancelled(graph):
    ticks = []
    timer = graph.node.create_timer(0.01, lambda: ticks.append(0), clock=Clock(clock_type=ClockType.STEADY_TIME))
    graph.wait(lambda: len(ticks) >= 5)
    timer.cancel()
    graph.idle()
    count = len(ticks)
    graph.idle()
    assert len(ticks) == count
    timer.reset()
    graph.wait(lambda: len(ticks) > count)


def test_a_timer_that_another_callback_cancels_in_the_same_round_is_not_called(graph):
    called = []
    timers: list[Any] = []

    def first() -> None:
        called.append(0)
        for timer in timers:
            timer.cancel()

    timers.extend(graph.node.create_timer(0.01, first) for _ in range(2))
    graph.executor.spin_once(timeout_sec=0.0)
    time.sleep(0.05)  # both are due at once
    graph.wait(lambda: called)
    graph.idle()
    assert len(called) == 1


def test_entities_that_come_are_heard_and_those_that_go_are_destroyed(graph):
    graph.idle()
    first = graph.subscribe()
    graph.matched()
    graph.idle()
    graph.send()
    graph.wait(lambda: len(graph.heard) == 1)
    graph.node.destroy_subscription(first)
    graph.wait(lambda: graph.publisher.get_subscription_count() == 0)
    graph.send()
    graph.idle()
    assert len(graph.heard) == 1


def test_a_subscription_destroyed_by_another_callback_of_the_same_round_is_not_called(graph):
    heard: list[str] = []
    subscriptions: dict[str, Subscription] = {}

    def listener(name: str) -> Callable[[Any], None]:
        def hear(_: Any) -> None:
            heard.append(name)
            graph.node.destroy_subscription(subscriptions['b' if name == 'a' else 'a'])

        return hear

    for name in 'ab':
        subscriptions[name] = graph.subscribe(listener(name))
    graph.wait(lambda: graph.publisher.get_subscription_count() == 2)
    graph.idle()
    graph.send()
    time.sleep(0.1)  # both have it
    graph.wait(lambda: heard)
    graph.idle()
    assert len(heard) == 1


def test_services_and_their_answers_are_rclpys_own(graph):
    other = Node('asking', context=graph.context)
    graph.executor.add_node(other)

    def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = 'yes'
        return response

    graph.node.create_service(Trigger, 'ask', answer)
    client = other.create_client(Trigger, 'ask')
    graph.wait(client.service_is_ready)
    answers: list[str] = []
    for _ in range(3):
        future = client.call_async(Trigger.Request())
        future.add_done_callback(lambda done: answers.append(done.result().message))
        graph.wait(future.done)
    graph.wait(lambda: len(answers) == 3)
    assert answers == ['yes'] * 3
    other.destroy_node()


def test_a_coroutine_holds_up_its_group_and_no_other(graph):
    """A callback that awaits: its group's others wait, as rclpy promises."""
    gate: Future = Future(executor=graph.executor)
    passed: list[str] = []

    async def waits(_: Any) -> None:
        passed.append('began')
        await gate
        passed.append('went on')

    graph.subscribe(waits)
    graph.matched()
    graph.send()
    graph.wait(lambda: passed)
    tick = graph.node.create_timer(0.01, lambda: passed.append('tick'))  # of the same group
    graph.idle()
    assert passed == ['began']
    gate.set_result(None)
    graph.wait(lambda: 'tick' in passed)
    assert passed[:2] == ['began', 'went on']
    graph.node.destroy_timer(tick)


def test_guard_conditions_call_once_for_each_trigger_without_a_new_wait_set(graph, sets):
    called: list[int] = []
    guard = graph.node.create_guard_condition(lambda: called.append(0))
    graph.idle()
    made = len(sets)
    for count in (1, 2):
        threading.Thread(target=guard.trigger).start()
        graph.wait(lambda count=count: len(called) == count)
        graph.idle()
        assert len(called) == count
    assert len(sets) == made


def test_a_guard_condition_of_a_coroutine_is_rclpys_own(graph):
    called: list[int] = []

    async def call() -> None:
        called.append(0)

    guard = graph.node.create_guard_condition(call)
    graph.idle()
    guard.trigger()
    graph.wait(lambda: called)
    graph.idle()
    assert len(called) == 1


def test_who_came_while_a_future_was_waited_for_is_heard(graph):
    graph.idle()
    graph.subscribe()
    graph.executor.spin_until_future_complete(Future(), timeout_sec=0.1)
    graph.matched()
    graph.idle()
    graph.send()
    graph.wait(lambda: graph.heard)


def test_a_task_is_run(graph):
    done = graph.executor.create_task(lambda: 'done')
    graph.wait(done.done)
    assert done.result() == 'done'


def test_incompatible_listeners_are_still_spoken_of(graph):
    told: list[Any] = []
    events = rclpy.event_handler.SubscriptionEventCallbacks(incompatible_qos=told.append)
    weak = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
    strong = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE)
    graph.node.create_publisher(JointTrajectory, 'other', weak)
    graph.node.create_subscription(JointTrajectory, 'other', graph.heard.append, strong, event_callbacks=events)
    graph.wait(lambda: told)
    assert told[0].total_count == 1


def test_who_comes_later_and_is_incompatible_is_spoken_of_too(graph):
    told: list[Any] = []
    events = rclpy.event_handler.PublisherEventCallbacks(incompatible_qos=told.append)
    weak = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
    strong = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE)
    graph.node.create_publisher(JointTrajectory, 'other', weak, event_callbacks=events)
    graph.idle()
    other = Node('later', context=graph.context)
    try:
        other.create_subscription(JointTrajectory, 'other', graph.heard.append, strong)
        spun = threading.Thread(target=lambda: graph.executor.spin_once())
        spun.start()  # for ever, and nothing else happens
        spun.join(LIMIT)
        assert not spun.is_alive()
        graph.wait(lambda: told)
    finally:
        other.destroy_node()


@pytest.mark.parametrize('timeout', [None, 0.02])
def test_an_event_that_ends_every_wait_is_dealt_with_at_once(graph, monkeypatch, timeout):
    told: list[Any] = []
    events = rclpy.event_handler.SubscriptionEventCallbacks(incompatible_qos=told.append)
    weak = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
    strong = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE)
    graph.node.create_subscription(JointTrajectory, 'other', graph.heard.append, strong, event_callbacks=events)
    graph.idle()
    monkeypatch.setattr(lean_executor, 'EVENTS', int(LIMIT * 1e9))
    graph.executor._events_due = time.monotonic_ns() + lean_executor.EVENTS
    waits: list[int] = []
    wait = WaitSet.wait

    def counted(self: WaitSet, nanoseconds: int) -> Any:
        waits.append(nanoseconds)
        return wait(self, nanoseconds)

    monkeypatch.setattr(WaitSet, 'wait', counted)
    other = Node('later', context=graph.context)
    try:
        other.create_publisher(JointTrajectory, 'other', weak)
        end = time.monotonic() + 10
        while not told and time.monotonic() < end:
            graph.executor.spin_once(timeout_sec=timeout)
        assert told
        ended_early = len(waits) - (0 if timeout is None else 10 / timeout)
        assert ended_early < 50
    finally:
        other.destroy_node()


def test_a_timer_that_is_set_anew_shortens_no_wait(graph, monkeypatch):
    timer = graph.node.create_timer(LIMIT, lambda: None)
    graph.idle()
    monkeypatch.setattr(lean_executor, 'EVENTS', 300_000_000)
    graph.executor._events_due = time.monotonic_ns() + 300_000_000
    timer.reset()
    began = time.monotonic()
    graph.executor.spin_once(timeout_sec=0.5)
    assert 0.49 < time.monotonic() - began < LIMIT


def test_events_are_waited_for_once_in_a_while_alone(graph, monkeypatch):
    monkeypatch.setattr(lean_executor, 'EVENTS', 3_600_000_000_000)
    graph.subscribe()
    graph.matched()
    waits: list[bool] = []
    wait = WaitSet.wait

    def counted(self: WaitSet, nanoseconds: int) -> Any:
        waits.append(self.without_events)
        return wait(self, nanoseconds)

    monkeypatch.setattr(WaitSet, 'wait', counted)
    graph.executor._events_due = 0
    for _ in range(8):
        graph.send()
    graph.wait(lambda: len(graph.heard) == 8)
    assert waits == [False] + [True] * (len(waits) - 1)


@pytest.mark.parametrize('pause', [0.05, 0.3, 10.0])
def test_a_wait_takes_its_time_though_events_come_between(graph, monkeypatch, pause):
    graph.idle()
    monkeypatch.setattr(lean_executor, 'EVENTS', int(pause * 1e9))
    graph.executor._events_due = time.monotonic_ns() + int(pause * 1e9)
    until: list[float] = []
    wait = WaitSet.wait

    def noted(self: WaitSet, nanoseconds: int) -> Any:
        until.append(time.monotonic() + nanoseconds / 1e9)
        return wait(self, nanoseconds)

    monkeypatch.setattr(WaitSet, 'wait', noted)
    began = time.monotonic()
    graph.executor.spin_once(timeout_sec=0.4)
    assert 0.39 < time.monotonic() - began < LIMIT
    assert max(until) - began < 0.6, 'no wait is for longer than what is left'


def test_message_info_and_raw_bytes_are_handed_on(graph):
    infos: list[Any] = []
    raw: list[bytes] = []
    graph.subscribe(lambda message, info: infos.append(info))
    graph.node.create_subscription(JointTrajectory, TOPIC, raw.append, 10, raw=True)
    graph.wait(lambda: graph.publisher.get_subscription_count() == 2)
    graph.send()
    graph.wait(lambda: infos and raw)
    assert infos[0]['source_timestamp'] > 0
    assert isinstance(raw[0], bytes)


def test_an_error_in_a_callback_comes_out_of_spin(graph):
    def fails(_: Any) -> None:
        raise RuntimeError('as it was raised')

    graph.subscribe(fails)
    graph.matched()
    graph.send()
    with pytest.raises(RuntimeError, match='as it was raised'):
        graph.wait(lambda: False)


def test_an_error_in_a_service_comes_out_of_spin(graph):
    def fails(*_: Any) -> None:
        raise RuntimeError('as it was raised')

    graph.node.create_service(Trigger, 'fail', fails)
    client = graph.node.create_client(Trigger, 'fail')
    graph.wait(client.service_is_ready)
    client.call_async(Trigger.Request())
    with pytest.raises(RuntimeError, match='as it was raised'):
        graph.wait(lambda: False)


def test_shutdown_from_another_thread_ends_a_wait(graph):
    graph.idle()
    thread = threading.Timer(0.2, graph.executor.shutdown)
    thread.start()
    graph.executor.spin_once(timeout_sec=LIMIT)
    thread.join()
    graph.executor.spin_once(timeout_sec=LIMIT)  # returns at once


def test_the_end_of_the_context_ends_a_wait(graph):
    graph.idle()
    thread = threading.Timer(0.2, lambda: rclpy.shutdown(context=graph.context))
    thread.start()
    with pytest.raises(ExternalShutdownException):
        graph.wait(lambda: False)
    thread.join()
    with pytest.raises(ExternalShutdownException):
        graph.executor.spin_once()


def test_made_after_the_shutdown_it_fails_without_a_second_error(monkeypatch):
    """Of rclpy's own destructor, which would look like a crash where a signal came while a node was starting."""
    ignored: list[Any] = []
    monkeypatch.setattr(sys, 'unraisablehook', ignored.append)
    context = Context()
    rclpy.init(context=context)
    rclpy.shutdown(context=context)
    with pytest.raises(rclpy_implementation.RCLError, match='context'):
        LeanExecutor(context=context)
    gc.collect()
    assert not ignored


def test_it_is_used_here(graph):
    """On this rclpy; on one that is different inside, its own executor is."""
    executor = make_executor(graph.context)
    assert isinstance(executor, LeanExecutor)
    executor.shutdown()


def test_another_rclpy_keeps_its_own_executor(graph, monkeypatch):
    monkeypatch.setattr(lean_executor, 'INNER', ('_guard', '_something_new'))
    executor = make_executor(graph.context)
    assert type(executor) is RclpyExecutor
    executor.shutdown()
