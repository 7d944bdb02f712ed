"""Asking other nodes over ROS, from where no executor is free; and what a simulated controller answers."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.client import Client
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.task import Future
from std_msgs.msg import String

from dp_ros.nodes.simulated_robot.controller_parameters import ControllerParameters, parameters_of
from dp_ros.robot.controller_settings import Expected, compare
from dp_ros.ros.queries import full_name, get_parameters, latched
from dp_ros.simulation.controller.spec import ControllerSpec

pytestmark = pytest.mark.ros

WAIT = 30.0  # [s] at most; an answer takes milliseconds
JOINTS = ('a', 'b')


@pytest.fixture
def controllers(ros: Any) -> Iterator[Any]:
    """Return a function that starts a controller's node of these settings in the tester's process."""
    started = []

    def start(name: str = 'arm_controller', *, use_sim_time: bool = False, **settings: Any) -> None:
        parameters = parameters_of(JOINTS, ControllerSpec(**settings))
        started.append(ControllerParameters(ros.tester, name, parameters, use_sim_time=use_sim_time))

    yield start
    for each in started:
        each.close()


def test_parameters_come_with_their_types_and_what_is_not_declared_is_left_out(ros, controllers):
    controllers(cmd_timeout=1.5, rate=250.0)
    wanted = ['joints', 'cmd_timeout', 'update_rate', 'constraints.b.trajectory', 'use_sim_time', 'no_such']
    assert get_parameters(ros.tester, 'arm_controller', wanted, WAIT) == {
        'joints': JOINTS,
        'cmd_timeout': 1.5,
        'update_rate': 250,
        'constraints.b.trajectory': 0.0,
        'use_sim_time': False,
    }


def test_a_parameter_without_a_value_does_not_hide_the_others(ros):
    node = ros.add(Node('other', context=ros.context))
    node.declare_parameter('empty', rclpy.Parameter.Type.STRING)
    node.declare_parameter('full', 3)
    stop, done = threading.Event(), []

    def spin() -> None:
        while not stop.is_set():
            ros.executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        done.append(get_parameters(ros.tester, 'other', ['empty', 'full'], WAIT))
    finally:
        stop.set()
        thread.join()
    assert done == [{'full': 3}]


def test_a_question_whose_answer_is_lost_is_put_again(ros, controllers, monkeypatch):
    controllers()
    asked, ask = [], Client.call_async

    def lose_the_first(client: Any, request: Any) -> Any:
        asked.append(request)
        return Future() if len(asked) == 1 else ask(client, request)

    monkeypatch.setattr(Client, 'call_async', lose_the_first)
    assert get_parameters(ros.tester, 'arm_controller', ['joints'], WAIT) == {'joints': JOINTS}
    assert [type(request).__name__ for request in asked[:2]] == ['ListParameters_Request'] * 2


def test_no_node_no_answer(ros):
    assert get_parameters(ros.tester, 'nobody', ['joints'], 0.1) is None
    assert latched(ros.tester, 'no_such_topic', String, 0.1) is None


def test_a_latched_message_is_heard_under_the_callers_name_of_the_topic(ros):
    keep = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    ros.tester.create_publisher(String, '/tester/said', keep).publish(String(data='before'))
    assert latched(ros.tester, '~/said', String, WAIT).data == 'before'


def test_questions_leave_nothing_behind(ros, controllers):
    controllers()

    def counts() -> tuple[int, int]:
        gc.collect()
        return sum(isinstance(each, Node) for each in gc.get_objects()), threading.active_count()

    get_parameters(ros.tester, 'arm_controller', ['joints'], WAIT)
    before = counts()
    for _ in range(5):
        get_parameters(ros.tester, 'arm_controller', ['joints'], WAIT)
        latched(ros.tester, 'no_such_topic', String, 0.01)
    assert counts() == before


def test_names_without_a_slash_are_in_the_callers_namespace(ros):
    node = ros.add(Node('asker', context=ros.context, namespace='/left'))
    assert full_name(node, 'arm_controller') == '/left/arm_controller'
    assert full_name(node, '/arm_controller') == '/arm_controller'
    assert full_name(ros.tester, 'arm_controller') == '/arm_controller'


def test_a_controller_may_have_a_namespace(ros, controllers):
    controllers('/right/arm_controller')
    assert get_parameters(ros.tester, '/right/arm_controller', ['joints'], WAIT) == {'joints': JOINTS}


def test_the_served_parameters_suit_what_they_should(ros, controllers):
    controllers()
    names = ['allow_trajectory_replacement', 'open_loop_control']
    answer = get_parameters(ros.tester, 'arm_controller', names, WAIT)
    assert answer == {'open_loop_control': False}
    served = parameters_of(JOINTS, ControllerSpec())
    expected = Expected(joints=JOINTS, control_dt=0.1, splice_margin=0.03, tail=0.5)
    assert not any(finding.fatal for finding in compare(served, expected))


def test_served_parameters_can_not_be_set(ros, controllers):
    from rcl_interfaces.srv import SetParameters

    controllers()
    value = rclpy.Parameter('cmd_timeout', value=3.0).to_parameter_msg()
    answer = ros.call(SetParameters, '/arm_controller/set_parameters', SetParameters.Request(parameters=[value]))
    assert not answer.results[0].successful
