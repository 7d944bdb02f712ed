"""Nothing moves before those who are to move hear; the graph and the acknowledgements are stood in for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from dp_ros import messages  # noqa: E402
from dp_ros.nodes import command_topics, hearing  # noqa: E402
from dp_ros.nodes.command_topics import UNKNOWN  # noqa: E402
from dp_ros.nodes.trajectory_publisher import TrajectoryPublisher  # noqa: E402
from test.nodes.test_trajectory_publisher import HOME, LIMITS, MS, T0, Live, controller  # noqa: E402

pytestmark = pytest.mark.ros

TOPIC = '/arm_controller/joint_trajectory'
ALWAYS = 10**15
ERROR = DiagnosticStatus.ERROR


def is_hold(message: Any, *positions: float) -> bool:
    """Whether a message says to stay at ``positions``."""
    fields = messages.trajectory_value(message)
    return fields.stamp == 0 and fields.positions.tolist() == [pytest.approx(positions)]


class Unheard(Live):
    """One whose listeners are asked whether they hear, and given answers; listeners can be made to appear."""

    def __init__(self, ros: Any, bundle: str, monkeypatch: Any, *answers: bool, **parameters: Any) -> None:
        self.answers = list(answers)
        monkeypatch.setattr(command_topics, 'SETTLE', 0)
        monkeypatch.setattr(hearing, 'DEAF', ALWAYS)
        monkeypatch.setattr(hearing, 'acknowledged', lambda _, wait: bool(wait) and self.answers.pop(0))
        super().__init__(ros, bundle, **parameters)
        self.graph = self.node.get_subscriptions_info_by_topic
        self.measure(T0)

    def begin(self) -> None:
        self.send(self.chunk(T0))

    def also(self, name: str, topic: str = TOPIC, namespace: str = '/') -> None:
        """Let one more listen, as far as the graph says."""
        more = SimpleNamespace(node_name=name, node_namespace=namespace, endpoint_gid=[1] * 16)
        graph = self.node.get_subscriptions_info_by_topic
        self.node.get_subscriptions_info_by_topic = lambda t: [*graph(t), *([more] if t == topic else [])]

    def moves(self) -> None:
        """Wait for a motion; the hold before it may have been overwritten."""
        self.ros.wait(lambda: self.sent and self.sent[-1].header.stamp.sec and self.plans, 'a motion')
        assert self.rung == 'RUN'

    def goes_on(self) -> None:
        """Send another chunk, and wait for the plan that it makes."""
        planned = self.node.counts['published']
        self.advance(self.now + 100 * MS)
        self.send(self.chunk(self.now))
        assert self.node.counts['published'] == planned + 1 and self.rung == 'RUN'

    def held(self, x: float = 0.2) -> None:
        """Refused, and what was sent last says to stay where the robot is."""
        self.ros.status('trajectory_publisher: chunk', ERROR, 'may not hear yet')
        self.ros.wait(lambda: self.sent and is_hold(self.sent[-1], x, 0.3), f'a hold at {x}')
        assert self.rung == 'WAIT'


def test_no_motion_begins_before_a_new_listener_has_acknowledged_a_hold(ros, tiny, monkeypatch):
    live = Unheard(ros, tiny, monkeypatch, False, True)
    live.begin()
    live.held()
    assert live.plans == []
    live.begin()
    live.moves()
    live.goes_on()  # who has heard once is not asked again
    assert live.answers == []


def test_who_never_acknowledges_is_taken_to_hear_in_the_end(ros, tiny, monkeypatch):
    live = Unheard(ros, tiny, monkeypatch, False)
    live.begin()
    live.held()
    monkeypatch.setattr(hearing, 'DEAF', 1)
    live.begin()
    live.moves()


def test_an_acknowledgement_that_comes_late_counts(ros, tiny, monkeypatch):
    live = Unheard(ros, tiny, monkeypatch, False)
    live.begin()
    live.held()
    monkeypatch.setattr(hearing, 'acknowledged', lambda _, wait: not wait)
    live.begin()
    live.moves()


def test_an_arm_that_gives_way_is_asked_to_stay_where_it_first_was(ros, tiny, monkeypatch):
    live = Unheard(ros, tiny, monkeypatch, *[False] * 4)
    live.begin()
    for sagged in (0.19, 0.18, 0.17):
        live.advance(live.now + 100 * MS, sagged)
        live.send(live.chunk(live.now))
    live.held(0.2)
    live.advance(live.now + 100 * MS, 0.45)  # farther than that, it was moved
    live.answers.append(False)
    live.send(live.chunk(live.now))
    live.held(0.45)


def test_who_begins_to_listen_in_the_midst_of_a_motion_does_not_end_it(ros, tiny, monkeypatch):
    live = Unheard(ros, tiny, monkeypatch, True)
    live.begin()
    live.moves()
    live.also('recorder')
    live.goes_on()


def test_a_chunk_that_cannot_be_used_asks_nobody(ros, tiny, monkeypatch):
    live = Unheard(ros, tiny, monkeypatch)
    live.send(live.chunk(T0, joints=('a', 'b')))
    live.refused('joints')


def test_a_restart_seen_before_the_first_joint_state_is_asked_all_the_same(ros, tiny, monkeypatch):
    live = Unheard(ros, tiny, monkeypatch, True, False)
    live.begin()
    live.moves()
    live.advance(T0 + 500 * MS, 0.25)
    live.time(T0 - 10_000 * MS)
    live.also('tester')  # the new one; the dead one is still in the graph
    for _ in range(10):
        live.time(live.now + 10 * MS)
        ros.spin(0.02)
    live.measure(live.now, 0.4)
    live.advance(live.now + 100 * MS, 0.4)
    live.send(live.chunk(live.now, 0.4, 0.001))
    live.held(0.4)
    assert live.answers == []


def test_who_went_away_and_comes_back_is_asked_again(ros, tiny, monkeypatch):
    live = Unheard(ros, tiny, monkeypatch, True, False)
    live.begin()
    live.moves()
    live.node.get_subscriptions_info_by_topic = lambda topic: []
    live.advance(T0 + 4000 * MS, 0.4)
    live.node.get_subscriptions_info_by_topic = live.graph
    live.send(live.chunk(live.now, 0.4, 0.001))
    live.held(0.4)
    assert live.answers == []


def test_an_acknowledgement_from_before_someone_went_away_does_not_count(monkeypatch):
    asked: list[bytes] = []
    waits: list[int] = []

    def answer(_: Any, wait: int) -> bool:
        waits.append(wait)
        return True

    monkeypatch.setattr(hearing, 'acknowledged', answer)
    one = hearing.Hearing(SimpleNamespace(publish=asked.append), lambda: 0)
    for listeners in (frozenset({b'1'}), frozenset(), frozenset({b'1'})):
        one.look(listeners)
        if listeners:
            assert one.deaf(fresh=True) == listeners
            one.ask(b'hold')
            assert not one.deaf(fresh=True)
    assert asked == [b'hold', b'hold'] and waits == [hearing.ACKNOWLEDGED] * 2


def test_the_way_home_is_not_sent_to_someone_new(ros, tiny, monkeypatch):
    live = Unheard(ros, tiny, monkeypatch, True, **HOME)
    live.begin()
    live.moves()
    monkeypatch.setattr(command_topics, 'SETTLE', ALWAYS)
    live.also(UNKNOWN, namespace='')
    live.advance(T0 + 2150 * MS, 0.3)
    live.reach('LATCHED')
    ros.status('trajectory_publisher: ladder', ERROR, 'no way home: the controller may be new')
    assert live.sent[-1].header.stamp.sec == 0


def test_a_controller_that_comes_after_a_recorder_is_not_led_onto_the_plan(ros, tiny, monkeypatch):
    live = Unheard(ros, tiny, monkeypatch, True, True)
    live.begin()  # as far as anybody can tell, who listens is a controller
    live.moves()
    live.advance(T0 + 700 * MS)
    late = controller(ros)
    ros.wait(lambda: live.node.count_subscribers(TOPIC) == 2, 'the controller')
    live.advance(T0 + 750 * MS)
    planned = len(live.plans)
    live.send(live.chunk(live.now))
    ros.wait(lambda: len(live.plans) > planned, 'the plan')
    sent = live.trajectory(len(live.plans))
    at = np.clip(live.now - sent.stamp, *sent.times[[0, -1]])
    assert sent.sample(np.array([at]))[0][0] == pytest.approx([0.2, 0.3], abs=1e-3)
    assert live.node.counts['reseeded'] == 2 and late is not None


class Pair(Live):
    """One that sends to two controllers."""

    def __init__(self, ros: Any, bundle: str, **parameters: Any) -> None:
        self.ros = ros
        self.node = ros.create(TrajectoryPublisher, bundle=bundle, use_sim_time=True, **LIMITS, **parameters)
        assert self.node.start()
        self.chunks = ros.talk(JointTrajectory, '/policy_executor/action_chunk', 1)
        self.joints = ros.talk(JointState, '/joint_states')
        ros.connected('/arm/joint_trajectory')
        ros.connected('/hand/joint_trajectory')
        self.time(T0)


def test_when_one_controller_is_restarted_the_others_stop(ros, tiny, monkeypatch):
    monkeypatch.setattr(command_topics, 'SETTLE', 0)
    monkeypatch.setattr(hearing, 'DEAF', 0)
    outputs = {
        'outputs__arm__topic': 'arm/joint_trajectory', 'outputs__arm__joints': ['pusher_y'],
        'outputs__hand__topic': 'hand/joint_trajectory', 'outputs__hand__joints': ['pusher_x'],
    }  # fmt: skip
    arm, hand = (ros.listen(JointTrajectory, f'/{name}/joint_trajectory', 1) for name in ('arm', 'hand'))
    live = Pair(ros, tiny, **outputs)
    live.measure(T0)
    live.send(live.chunk(T0))
    ros.wait(lambda: hand and arm, 'the first parts')
    live.advance(T0 + 300 * MS, 0.22)
    graph = live.node.get_subscriptions_info_by_topic
    again = SimpleNamespace(node_name='tester', node_namespace='/', endpoint_gid=[1] * 16)
    live.node.get_subscriptions_info_by_topic = lambda t: [*graph(t), *([again] if t.startswith('/arm') else [])]
    live.advance(T0 + 400 * MS, 0.23)
    ros.wait(lambda: is_hold(hand[-1], 0.22) or is_hold(hand[-1], 0.23), 'the hold')
    assert len(arm) == 1 and live.rung == 'WAIT'
