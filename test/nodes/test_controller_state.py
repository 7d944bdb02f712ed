"""What controllers say themselves, over DDS. Where their messages are not installed, stand-ins of that shape are."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.serialization import deserialize_message
from std_msgs.msg import String

from dp_ros.data import NANOSECONDS
from dp_ros.nodes.trajectory_publisher.controllers import command_topics
from dp_ros.nodes.trajectory_publisher.controllers import state as controller_state
from dp_ros.nodes.trajectory_publisher.controllers.state import (
    ACTIVITY,
    LATCHED,
    MAX_AGE,
    STATE,
    ControllerStates,
    installed,
)
from dp_ros.ros.lifecycle import ManagedNode
from test.nodes.test_trajectory_publisher import started

pytestmark = pytest.mark.ros

T0 = 1_700_000_000_000_000_000
ARM = '/left/arm_controller'
HAND = '/left/hand_controller'
JOINTS = ('finger', 'a', 'b')
OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN


def state_fields(names: tuple[str, ...], positions: list[float], stamp: int) -> dict[str, Any]:
    sec, nanosec = divmod(stamp, NANOSECONDS)
    header = {'stamp': {'sec': sec, 'nanosec': nanosec}}
    return {'header': header, 'joint_names': list(names), 'reference': {'positions': positions}}


def activity_fields(labels: dict[str, str]) -> dict[str, Any]:
    return {'controllers': [{'name': name, 'state': {'label': label}} for name, label in labels.items()]}


class StandIn:
    """Messages of the same shape, carried as text."""

    def __init__(self, monkeypatch: Any) -> None:
        def decode(message: bytes, kind: type) -> Any:
            return json.loads(deserialize_message(message, kind).data, object_hook=lambda o: SimpleNamespace(**o))

        monkeypatch.setattr(controller_state, 'deserialize_message', decode)

    def find(self, kind: str) -> type:
        return String

    def state(self, *args: Any) -> Any:
        return String(data=json.dumps(state_fields(*args)))

    def activity(self, labels: dict[str, str]) -> Any:
        return String(data=json.dumps(activity_fields(labels)))


class Real:
    """The messages themselves."""

    def __init__(self, monkeypatch: Any) -> None:
        self.states: Any = pytest.importorskip('control_msgs.msg', reason='control_msgs is not installed')
        self._activities: Any = pytest.importorskip('controller_manager_msgs.msg', reason='it is not installed')

    find = staticmethod(installed)

    def state(self, names: tuple[str, ...], positions: list[float], stamp: int) -> Any:
        message = self.states.JointTrajectoryControllerState(joint_names=list(names))
        message.reference.positions = positions
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, NANOSECONDS)
        return message

    def activity(self, labels: dict[str, str]) -> Any:
        message = self._activities.ControllerManagerActivity()
        for name, label in labels.items():
            message.controllers.append(self._activities.NamedLifecycleState(name=name))
            message.controllers[-1].state.label = label
        return message


class Controllers:
    """The listener, and who speaks."""

    def __init__(self, ros: Any, messages: Any) -> None:
        self.ros, self.messages = ros, messages
        self.node = ros.create(lambda **options: ManagedNode('sender', [], **options))
        joints = {ARM: ('b', 'a'), HAND: ('finger',)}
        self.states = ControllerStates(self.node, joints, JOINTS, find=messages.find)
        self.states.open()
        kind = messages.find(STATE)
        self.arm = ros.talk(kind, f'{ARM}/controller_state')
        self.hand = ros.talk(kind, f'{HAND}/controller_state')

    def say(self, publisher: Any, *args: Any) -> None:
        self.send(publisher, self.messages.state(*args))

    def send(self, publisher: Any, message: Any) -> None:
        latest = self.states.states[ARM if publisher is self.arm else HAND]
        before = latest.received
        publisher.publish(message)
        self.ros.wait(lambda: latest.received > before, 'the state')


@pytest.fixture(params=[StandIn, Real])
def messages(request: Any, monkeypatch: Any) -> Any:
    return request.param(monkeypatch)


@pytest.fixture
def controllers(ros: Any, messages: Any) -> Controllers:
    return Controllers(ros, messages)


def test_references_of_all_controllers_are_put_in_the_plans_order(controllers):
    assert controllers.states.reference(T0) is None
    controllers.say(controllers.arm, ('a', 'b'), [1.0, 2.0], T0)
    assert controllers.states.reference(T0) is None, 'of the other nothing is known'
    controllers.say(controllers.hand, ('finger',), [3.0], T0 - 5)
    stamp, positions = controllers.states.reference(T0)
    assert stamp == T0 - 5
    np.testing.assert_array_equal(positions, [3.0, 1.0, 2.0])
    controllers.say(controllers.arm, ('b', 'a', 'other'), [5.0, 4.0, 9.0], T0 + 7)
    stamp, positions = controllers.states.reference(T0 + 7)
    assert (stamp, positions.tolist()) == (T0 - 5, [3.0, 4.0, 5.0])


def test_a_reference_of_another_time_does_not_count(controllers):
    controllers.say(controllers.arm, ('a', 'b'), [1.0, 2.0], T0)
    controllers.say(controllers.hand, ('finger',), [3.0], T0)
    for now in (T0 + MAX_AGE, T0 - MAX_AGE):
        assert controllers.states.reference(now) is not None
    for now in (T0 + MAX_AGE + 1, T0 - MAX_AGE - 1, 0):
        assert controllers.states.reference(now) is None


@pytest.mark.parametrize(
    'fields',
    [
        (('a', 'b'), [1.0], T0),
        (('a',), [1.0, 2.0], T0),
        (('a', 'a'), [1.0, 2.0], T0),
        (('a', 'c'), [1.0, 2.0], T0),
        ((), [], T0),
        (('a', 'b'), [float('nan'), 2.0], T0),
        (('a', 'b'), [1.0, float('inf')], T0),
        (('a', 'b'), [1.0, 2.0], 0),
        (('a', 'b'), [1.0, 2.0], -NANOSECONDS),
    ],
)
def test_a_state_that_makes_no_sense_is_counted_and_changes_nothing(controllers, fields):
    controllers.say(controllers.arm, ('a', 'b'), [1.0, 2.0], T0)
    controllers.say(controllers.hand, ('finger',), [3.0], T0)
    before = controllers.states.reference(T0)
    controllers.say(controllers.arm, *fields)
    after = controllers.states.reference(T0)
    assert after is not None and before is not None and after[0] == before[0]
    np.testing.assert_array_equal(after[1], before[1])
    assert controllers.states.states[ARM].wrong == 1


@pytest.mark.parametrize('junk', [b'', b'\0', b'\0\1\0\0' + b'\xff' * 100, b'\0\1\0\0\5\0\0\0abc'])
def test_what_can_not_be_decoded_is_counted(controllers, junk):
    controllers.say(controllers.arm, ('a', 'b'), [1.0, 2.0], T0)
    controllers.say(controllers.hand, ('finger',), [3.0], T0)
    assert controllers.states.reference(T0) is not None
    controllers.states.states[ARM].receive(junk)
    assert controllers.states.reference(T0)[1].tolist() == [3.0, 1.0, 2.0]
    assert controllers.states.states[ARM].wrong == 1


def test_what_can_not_be_decoded_may_come_over_the_network(controllers):
    controllers.send(controllers.arm, b'\0\1\0\0' + b'\xff' * 40)
    assert controllers.states.reference(T0) is None
    assert controllers.states.states[ARM].wrong == 1


def test_a_message_that_is_too_large_is_not_decoded(controllers, monkeypatch):
    monkeypatch.setattr(controller_state, 'LARGEST', 10)
    controllers.say(controllers.arm, ('a', 'b'), [1.0, 2.0], T0)
    assert controllers.states.reference(T0) is None
    assert controllers.states.states[ARM].wrong == 1


def test_a_message_is_decoded_when_it_is_asked_for_and_once(controllers, monkeypatch):
    decoded: list[Any] = []
    decode: Callable[..., Any] = vars(controller_state)['deserialize_message']

    def counted(message: bytes, kind: type) -> Any:
        decoded.append(message)
        return decode(message, kind)

    monkeypatch.setattr(controller_state, 'deserialize_message', counted)
    for x in range(5):
        controllers.say(controllers.arm, ('a', 'b'), [float(x), 2.0], T0)
    controllers.say(controllers.hand, ('finger',), [3.0], T0)
    assert decoded == []
    assert [controllers.states.reference(T0)[1][1] for _ in range(3)] == [4.0] * 3
    assert len(decoded) == 2


def test_an_inactive_controller_is_named(ros, messages):
    talk = ros.tester.create_publisher(messages.find(ACTIVITY), '/left/controller_manager/activity', LATCHED)
    talk.publish(messages.activity({'arm_controller': 'inactive', 'hand_controller': 'active', 'other': 'inactive'}))
    states = Controllers(ros, messages).states  # it comes later than what was said
    ros.wait(states.inactive, 'the activity')
    assert states.inactive() == "controller /left/arm_controller: got the state 'inactive', allowed active"
    talk.publish(messages.activity({'arm_controller': 'active'}))
    ros.wait(lambda: not states.inactive(), 'the next')


def test_of_whom_nothing_is_said_nothing_is_known(controllers):
    assert controllers.states.inactive() == ''


def test_it_is_reported(ros, controllers):
    controllers.states.report(T0)
    ros.status('controller state', OK, 'nothing heard')
    controllers.say(controllers.arm, ('a', 'b'), [1.0, 2.0], T0)
    controllers.say(controllers.hand, ('finger',), [3.0], T0)
    controllers.states.report(T0 + 2_000_000)
    ros.wait(lambda: any(s.message == 'heard' for s in ros.statuses), 'the report')
    said = next(s for s in ros.statuses if s.message == 'heard')
    values = {v.key: v.value for v in said.values}
    assert values['reference_age_ms'] == '2.0' and values[f'received {ARM}/controller_state'] == '1'


def test_without_the_packages_nothing_is_heard_and_all_works(ros):
    node = ros.create(lambda **options: ManagedNode('sender', [], **options))
    states = ControllerStates(node, {ARM: ('a',)}, ('a',), find=lambda kind: None)
    before = len(list(node.subscriptions))
    states.open()
    assert (states.state_type, states.activity_type) == (None, None)
    assert states.reference(T0) is None and states.inactive() == ''
    assert len(list(node.subscriptions)) == before
    states.report(T0)
    ros.status('controller state', OK, 'not installed')
    states.close()


def test_a_package_that_can_not_be_used_is_as_none(ros, capfd):
    node = ros.create(lambda **options: ManagedNode('sender', [], **options))
    states = ControllerStates(node, {ARM: ('a',)}, ('a',), find=lambda kind: int)
    states.open()
    assert states.reference(T0) is None and states.inactive() == ''
    ros.spin(0.05)
    assert 'controller state: cannot be heard' in capfd.readouterr().err


def test_what_is_not_installed_is_not_found():
    assert installed('no_such_package_msgs/Nothing') is None
    assert installed('std_msgs/NoSuchMessage') is None
    assert installed('std_msgs/String') is String


def test_once_closed_it_has_forgotten(controllers):
    controllers.say(controllers.arm, ('a', 'b'), [1.0, 2.0], T0)
    controllers.say(controllers.hand, ('finger',), [3.0], T0)
    assert controllers.states.reference(T0) is not None
    before = len(list(controllers.node.subscriptions))
    controllers.states.close()
    assert controllers.states.reference(T0) is None
    assert len(list(controllers.node.subscriptions)) < before
    controllers.states.open()
    assert controllers.states.reference(T0) is None


def test_a_publisher_gives_up_a_plan_that_the_controller_says_it_does_not_follow(ros, tiny, monkeypatch):
    """The whole node, and the messages of ros2_control."""
    messages = Real(monkeypatch)
    monkeypatch.setattr(command_topics, 'SETTLE', 0)
    live = started(ros, tiny)
    states = ros.talk(messages.find(STATE), '/arm_controller/controller_state')
    activity = ros.tester.create_publisher(messages.find(ACTIVITY), '/controller_manager/activity', LATCHED)
    heard = live.node.motion.parts.controllers.states['/arm_controller']

    def command(away: float) -> None:
        live.advance(live.now + 100_000_000)
        plan = live.node.planner.plan
        where = plan.positions_at(np.array([live.now - plan.stamp]))[0] + [0.0, away]
        before = heard.received
        states.publish(messages.state(plan.joints, where.tolist(), live.now))
        ros.wait(lambda: heard.received > before, 'the state')
        live.node.tick()

    command(0.0)
    assert live.safety_state == 'RUN' and heard.wrong == 0
    live.node.refresh()
    ros.status('trajectory_publisher: controller state', OK, 'heard')
    command(0.1)
    assert 'it commands pusher_y 0.1 from it' in live.node.planner.lost
    activity.publish(messages.activity({'arm_controller': 'inactive'}))
    ros.wait(live.node.motion.parts.controllers.inactive, 'the activity')
    live.node.refresh()
    ros.status('trajectory_publisher: controller state', WARN, "got the state 'inactive', allowed active")
