"""The controller is known by its node, and checked when it appears, while the publisher's thread goes on."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.client import Client
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
from trajectory_msgs.msg import JointTrajectory

from dp_ros.errors import ConfigError
from dp_ros.motion.outputs import Output
from dp_ros.motion.safety.safety_states import Cause
from dp_ros.nodes.simulated_robot.controller_parameters import ControllerParameters, parameters_of
from dp_ros.nodes.trajectory_publisher.controllers import check as controller_check
from dp_ros.nodes.trajectory_publisher.controllers.check import controller_names
from dp_ros.nodes.trajectory_publisher.controllers.command_topics import CommandTopics
from dp_ros.nodes.trajectory_publisher.settings.publisher import (
    PARAMETERS,
    PATTERNS,
    make_command,
    make_controller_states,
)
from dp_ros.ros import parameter_query
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.simulation.controller.spec import ControllerSpec

pytestmark = pytest.mark.ros

JOINTS = ('a', 'b')
TASK: Any = SimpleNamespace(control_dt=0.1, action=SimpleNamespace(joints=JOINTS, units=('rad', 'rad')))
TOPIC = 'arm_controller/joint_trajectory'
ARM = Output(name='command', topic=TOPIC, joints=JOINTS)
NOBODY = (
    '/arm_controller/joint_trajectory: got nobody who listens, allowed an active joint_trajectory_controller, the node '
    '/arm_controller; or is the parameter controller to name another?'
)


class Watched:
    """The command topics of a node that sends trajectories."""

    def __init__(self, ros: Any, *outputs: Output, namespace: str = '/', **parameters: Any) -> None:
        def create(**options: Any) -> ManagedNode:
            return ManagedNode('sender', PARAMETERS, patterns=PATTERNS, namespace=namespace, **options)

        self.ros = ros
        self.node = ros.create(create, **parameters)
        self.command: CommandTopics = make_command(self.node, TASK, outputs or (ARM,))

    @property
    def faults(self) -> list[str]:
        """What forbids motion now; all of it is about controllers."""
        faults = self.command.look().faults
        assert {fault.cause for fault in faults} <= {Cause.CONTROLLER}
        return [fault.text for fault in faults]

    def free(self) -> None:
        """Wait until nothing forbids motion."""
        self.ros.wait(lambda: not self.faults, 'a controller that was checked')

    def stopped_by(self, text: str) -> None:
        self.ros.wait(lambda: any(text in fault for fault in self.faults), text)


@pytest.fixture
def appear(ros: Any) -> Iterator[Any]:
    """Return a function that starts a controller in the tester's process, and returns one that takes it away."""
    started: list[ControllerParameters] = []

    def start(
        name: str = 'arm_controller',
        joints: tuple[str, ...] = JOINTS,
        *,
        use_sim_time: bool = False,
        topic: str = '',
        **settings: Any,
    ) -> Any:
        parameters = parameters_of(joints, ControllerSpec(**settings))
        controller = ControllerParameters(ros.tester, name, parameters, use_sim_time=use_sim_time)
        started.append(controller)
        subscribe(controller.node, topic or f'{name}/joint_trajectory')

        def leave() -> None:
            started.remove(controller)
            controller.close()

        return leave

    yield start
    for one in started:
        one.close()


def subscribe(node: Node, topic: str = TOPIC) -> Any:
    return node.create_subscription(JointTrajectory, topic, lambda _: None, 1)


def plain(ros: Any, name: str = 'arm_controller', **options: Any) -> Node:
    """Return a node that listens, and has no parameters but those that every node has."""
    node: Node = ros.add(Node(name, context=ros.context, **options))
    subscribe(node, f'{name}/joint_trajectory')
    return node


def test_a_controller_that_appears_later_is_checked_before_anything_moves(ros, appear, capfd):
    watched = Watched(ros)
    assert watched.faults == [NOBODY]
    appear()
    watched.stopped_by('controller /arm_controller: got no answer yet, allowed motion once its parameters were checked')
    watched.free()
    ros.spin(0.2)
    assert 'controller /arm_controller: checked' in capfd.readouterr().err
    assert list(watched.node.clients) == [], 'nothing is left of the question'


def test_that_a_controller_has_yet_to_answer_passes_and_that_none_is_there_does_not(ros, appear):
    watched = Watched(ros)
    assert [fault.passing for fault in watched.command.look().faults] == [False]
    appear()
    ros.wait(lambda: any(fault.passing for fault in watched.command.look().faults), 'the controller to be asked')
    watched.free()


def test_who_only_records_is_no_controller(ros, appear):
    watched = Watched(ros)
    subscribe(ros.tester)
    watched.stopped_by('/arm_controller/joint_trajectory: got only /tester who listens, allowed an active')
    appear()
    watched.free()


def test_the_controller_may_have_a_name_of_its_own(ros, appear):
    watched = Watched(ros, controller='driver')
    plain(ros)
    watched.stopped_by('got only /arm_controller who listens, allowed an active joint_trajectory_controller, the node')
    appear('driver', topic=TOPIC)
    watched.free()


def test_a_controller_that_would_move_wrongly_stops_everything_with_each_reason(ros, appear, capfd):
    watched = Watched(ros)
    leave = appear(joints=('a', 'c'), use_sim_time=True)
    watched.stopped_by('controller /arm_controller: joints: got a, c, allowed a, b (')
    assert 'use_sim_time: got True, allowed False' in watched.faults[0]
    ros.spin(0.3)
    watched.stopped_by('joints: got a, c')
    assert capfd.readouterr().err.count(' joints: got a, c') == 1, 'it is logged once'
    leave()
    watched.stopped_by(NOBODY)
    appear()
    watched.free()
    assert watched.command.look().restarted == ''


def test_a_controller_that_is_set_right_is_asked_again(ros, monkeypatch):
    monkeypatch.setattr(controller_check, 'AFRESH', 0)
    watched = Watched(ros)
    node = plain(ros)
    node.declare_parameter('joints', ['a', 'c'])
    watched.stopped_by('joints: got a, c')
    ros.spin(0.2)
    watched.stopped_by('joints: got a, c')
    node.set_parameters([Parameter('joints', value=list(JOINTS))])
    watched.free()


def test_a_controller_that_is_restarted_is_checked_anew(ros, appear):
    watched = Watched(ros)
    leave = appear()
    watched.free()
    leave()
    appear(joints=('a', 'c'))
    restarted: list[str] = []

    def refused() -> bool:
        around = watched.command.look()
        restarted.extend([around.restarted] if around.restarted else [])
        assert around.faults, 'nothing moves before it was checked again'
        return 'joints: got a, c' in around.faults[0].text

    ros.wait(refused, 'the refusal')
    assert restarted == ['/arm_controller']


def test_what_only_differs_is_warned_of_once(ros, appear, capfd):
    watched = Watched(ros)
    leave = appear(interpolate_from_desired_state=True)
    watched.free()
    leave()
    watched.stopped_by('got nobody')
    appear(interpolate_from_desired_state=True)
    watched.free()
    text = 'controller /arm_controller: interpolate_from_desired_state: got True, allowed False or True'
    assert capfd.readouterr().err.count(text) == 1


def test_a_node_that_is_no_joint_trajectory_controller_will_do_and_is_warned_of(ros, capfd):
    watched = Watched(ros)
    plain(ros)
    watched.free()
    assert 'controller /arm_controller: joints: got None, allowed a, b (it is no joint' in capfd.readouterr().err


def test_what_such_a_node_does_declare_counts(ros):
    watched = Watched(ros)
    plain(ros, parameter_overrides=[Parameter('use_sim_time', value=True)])
    watched.stopped_by('controller /arm_controller: use_sim_time: got True, allowed False')


def test_parameters_of_another_kind_are_not_judged(ros, capfd):
    watched = Watched(ros)
    node = plain(ros)
    node.declare_parameter('joints', 7)
    node.declare_parameter('update_rate', [1.0, 2.0])
    node.declare_parameter('cmd_timeout', Parameter.Type.DOUBLE)  # without a value
    watched.free()
    text = capfd.readouterr().err
    assert 'joints: got 7, allowed a list of names' in text
    assert 'update_rate: got 1.0, 2.0, allowed a number' in text


def test_a_controller_without_parameter_services_is_said_not_to_answer(ros):
    watched = Watched(ros, controller_wait=0.1)
    plain(ros, start_parameter_services=False)
    watched.stopped_by('controller /arm_controller: got no answer within 0.1 s, allowed one about its parameters')
    ros.spin(0.3)
    watched.stopped_by('got no answer within 0.1 s')


def test_a_controller_that_is_slow_to_answer_is_waited_for(ros, monkeypatch):
    monkeypatch.setattr(parameter_query, 'AGAIN', 20_000_000)
    monkeypatch.setattr(parameter_query, 'SELDOM', 20_000_000)
    watched = Watched(ros, controller_wait=0.1)
    node = Node('arm_controller', context=ros.context)
    subscribe(node)
    watched.stopped_by('got no answer within 0.1 s')
    for _ in range(20):
        watched.stopped_by('got no answer within 0.1 s')
        ros.spin(0.01)
    ros.add(node)  # only now somebody deals with what it is asked
    watched.free()


def test_a_question_whose_answer_is_lost_is_put_again(ros, appear, monkeypatch):
    asked, ask = [], Client.call_async

    def lose_the_first(client: Any, request: Any) -> Any:
        asked.append(type(request).__name__)
        return Future() if len(asked) == 1 else ask(client, request)

    monkeypatch.setattr(Client, 'call_async', lose_the_first)
    watched = Watched(ros)
    appear()
    watched.free()
    assert asked == ['ListParameters_Request'] * 2 + ['GetParameters_Request']


@pytest.mark.parametrize(
    ('owner', 'name'), [(Client, 'call_async'), (Client, 'service_is_ready'), (ManagedNode, 'create_client')]
)
def test_what_the_middleware_refuses_is_tried_again(ros, appear, monkeypatch, owner, name):
    calls, call = [], getattr(owner, name)

    def fail_twice(*args: Any) -> Any:
        calls.append(args)
        if len(calls) < 3:
            raise RuntimeError('failed')
        return call(*args)

    monkeypatch.setattr(parameter_query, 'AGAIN', 1)
    watched = Watched(ros)
    monkeypatch.setattr(owner, name, fail_twice)
    appear()
    watched.free()
    assert len(calls) > 2


def test_looking_never_waits_for_the_controller(ros):
    """Nobody answers within this thread, so a look that waited would find nothing and take its whole time."""
    watched = Watched(ros, controller_wait=60.0)
    plain(ros)
    ros.wait(lambda: watched.node.count_subscribers(TOPIC), 'the controller')
    answers: list[Any] = []
    ros.tester.create_timer(0.001, lambda: answers.append(watched.faults))
    ros.wait(lambda: len(answers) > 1, 'two looks')
    watched.free()


def test_if_none_is_required_whoever_listens_will_do(ros):
    watched = Watched(ros, require_controller=False)
    watched.stopped_by('got nobody who listens, allowed an active joint_trajectory_controller')
    subscribe(ros.tester)
    watched.free()


@pytest.mark.parametrize('services', [True, False])
def test_if_none_is_required_an_answer_is_not_waited_for(ros, services, capfd):
    watched = Watched(ros, require_controller=False, controller_wait=0.1)
    node = Node('arm_controller', context=ros.context, start_parameter_services=services)
    subscribe(node)
    ros.wait(lambda: '/arm_controller' in watched.command.look().newcomer, 'the controller')
    assert watched.faults == []
    ros.spin(0.2)
    assert watched.faults == []
    assert 'got no answer within 0.1 s' in capfd.readouterr().err
    node.destroy_node()


def test_if_none_is_required_one_that_would_move_wrongly_is_refused_all_the_same(ros, appear):
    watched = Watched(ros, require_controller=False)
    appear(joints=('a', 'c'))
    watched.stopped_by('joints: got a, c')


def test_without_anything_to_send_no_controller_is_needed(ros):
    watched = Watched(ros, Output(name='command', topic='/joint_trajectory', joints=JOINTS), dry_run=True)
    assert watched.faults == []


def test_each_of_two_controllers_is_checked_against_its_joints(ros, appear):
    arm = Output(name='arm', topic='arm/joint_trajectory', joints=('b',))
    hand = Output(name='hand', topic='/right/hand/joint_trajectory', joints=('a',))
    watched = Watched(ros, arm, hand)
    appear('arm', ('b',))
    ros.wait(lambda: len(watched.faults) == 1, 'the arm')
    assert '/right/hand/joint_trajectory: got nobody who listens' in watched.faults[0]
    appear('/right/hand', ('b',))
    watched.stopped_by('controller /right/hand: joints: got b, allowed a')
    assert len(watched.faults) == 1


def test_two_robots_have_a_controller_of_one_name_each(ros, appear):
    left, right = Watched(ros, namespace='/left'), Watched(ros, namespace='/right')
    appear('/left/arm_controller')
    left.free()
    right.stopped_by('/right/arm_controller/joint_trajectory: got nobody who listens')
    appear('/right/arm_controller', joints=('a', 'c'))
    right.stopped_by('controller /right/arm_controller: joints: got a, c')
    assert left.faults == []


def test_a_name_that_is_given_is_in_the_publishers_namespace(ros):
    node = Watched(ros, namespace='/left', controller='driver').node
    assert controller_names(node, [ARM]) == ('/left/driver',)
    node = Watched(ros, controller='/other/driver').node
    assert controller_names(node, [ARM]) == ('/other/driver',)


def test_what_a_controller_says_itself_is_heard_under_its_name(ros):
    node = Watched(ros, namespace='/left').node
    hand = Output(name='hand', topic='/right/hand/joint_trajectory', joints=('a',))
    arm = Output(name='arm', topic=TOPIC, joints=('b',))
    states = make_controller_states(node, TASK, [arm, hand])
    assert states.controllers == {'/left/arm_controller': ('b',), '/right/hand': ('a',)}


@pytest.mark.parametrize(
    ('parameters', 'topics', 'reason'),
    [
        ({'controller': 'arm controller'}, [TOPIC], "controller: got 'arm controller' for /arm_controller/joint_traj"),
        ({'controller': 'arm'}, ['one/c', 'two/c'], "controller: got 'arm' with 2 outputs, allowed ''; each"),
        ({}, ['/joint_trajectory'], "controller: got '' for /joint_trajectory, allowed the name of a node, e.g. arm_"),
    ],
)
def test_a_controller_without_a_name_is_refused(ros, parameters, topics, reason):
    outputs = [Output(name=topic, topic=topic, joints=JOINTS) for topic in topics]
    with pytest.raises(ConfigError) as refusal:
        Watched(ros, *outputs, **parameters)
    assert reason in str(refusal.value)


def test_closing_in_the_midst_of_a_question_leaves_nothing(ros):
    watched = Watched(ros)
    plain(ros)
    watched.stopped_by('got no answer yet')
    assert list(watched.node.clients)
    watched.command.close()
    assert list(watched.node.clients) == []
    ros.spin(0.2)
