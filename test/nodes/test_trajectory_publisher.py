from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from dp_ros.data import Chunk, Refusal
from dp_ros.errors import DataError
from dp_ros.messages import encoding
from dp_ros.messages.status import ChunkReport
from dp_ros.motion.checks.limits import check
from dp_ros.motion.trajectory import Trajectory
from dp_ros.nodes.trajectory_publisher import command_sender
from dp_ros.nodes.trajectory_publisher import node as trajectory_publisher
from dp_ros.nodes.trajectory_publisher.chunk_ledger import ChunkLedger
from dp_ros.nodes.trajectory_publisher.command_sender import FAREWELL_COPIES
from dp_ros.nodes.trajectory_publisher.controllers import command_topics
from dp_ros.nodes.trajectory_publisher.controllers.command_topics import UNKNOWN
from dp_ros.nodes.trajectory_publisher.node import TrajectoryPublisher
from dp_ros.ros.callback_errors import CallbackError

pytestmark = pytest.mark.ros

DT = 100_000_000
MS = 1_000_000
T0 = 1_700_000_000_000_000_000
EARLY = T0 - 1_000 * MS
BEFORE, STEP = 1000 * MS, 50 * MS  # what a beginning takes, and how often joint states come meanwhile
JOINTS = ('pusher_x', 'pusher_y')
LIMITS = {
    f'limits__{joint}__{quantity}': value
    for joint in JOINTS
    for quantity, value in {'lower': 0.0, 'upper': 0.5, 'velocity': 1.0, 'acceleration': 10.0}.items()
} | {'require_controller': False}  # the tester listens in its place
OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE


@pytest.fixture(autouse=True)
def known_at_once(monkeypatch):
    """Listeners hear from the first moment; a test that is about those that don't puts it back.

    A test lets the node spin when it waits: between, it is stalled, on the clock that is not the test's.
    """
    monkeypatch.setattr(command_topics, 'SETTLE', 0)
    monkeypatch.setattr(command_sender, 'LEAST_COPIES', 0)


class Live:
    """An active trajectory_publisher on a simulated clock, what it is told and what it sends."""

    velocities: np.ndarray | None = None  # of the chunks

    def __init__(
        self, ros: Any, bundle: str, *, make: Any = TrajectoryPublisher, at: int = T0, **parameters: Any
    ) -> None:
        self.ros = ros
        self.node = ros.create(make, bundle=bundle, use_sim_time=True, **{**LIMITS, **parameters})
        assert self.node.start()
        self.sent, self.copies = self.hear('/arm_controller/joint_trajectory', 50)
        self.plans = ros.listen(JointTrajectory, '/trajectory_publisher/plan')
        ros.connected('/arm_controller/joint_trajectory')
        ros.connected('/trajectory_publisher/plan')
        self.chunks = ros.talk(JointTrajectory, '/policy_executor/action_chunk', 1)
        self.joints = ros.talk(JointState, '/joint_states')
        self.time(at)

    def hear(self, topic: str, depth: int) -> tuple[list[Any], list[Any]]:
        """Listen to commands; return what was sent, what is sent again counted once, and all of it."""
        heard: list[Any] = []
        copies: list[Any] = []

        def take(message: Any) -> None:
            copies.append(message)
            if not heard or message != heard[-1]:
                heard.append(message)

        self.ros.tester.create_subscription(JointTrajectory, topic, take, depth)
        return heard, copies

    def begin(self, x: float = 0.2) -> None:
        """Let the robot stand until its plan has begun there; what was sent for that is gone."""
        until, plans = self.now + BEFORE, len(self.plans)
        for now in range(self.now + STEP, until, STEP):
            self.time(now)
            self.measure(now, x, 0.3)
            if now == until - BEFORE + 5 * STEP:
                self.first(now, x)
                self.ros.wait(lambda: len(self.plans) > plans, 'the point to hold')
                held = encoding.trajectory_value(self.plans[-1])
                assert held.stamp == 0 and held.positions.tolist() == [[x, 0.3]]
        self.time(until)
        self.measure(until, x, 0.3)
        self.ros.wait(lambda: not self.node.motion.planner.astray(), 'the plan to begin')
        self.ros.spin(0.02)
        for heard in (self.sent, self.copies, self.plans, self.ros.statuses):
            heard.clear()
        self.node.ledger.clear()

    def stand(self, x: float, y: float = 0.3) -> None:
        """Let the robot stand until a controller that was sent a point to hold is there."""
        least = self.now + 2 * DT  # it may have to be sent yet
        while self.now < max(least, self.node.motion.parts.sender.held_at + DT):
            self.time(self.now + DT // 2)
            self.measure(self.now, x, y)

    def first(self, now: int, x: float) -> None:
        """Send the chunk that makes a plan begin."""
        self.send(self.chunk(now, x))

    def time(self, now: int) -> None:
        self.ros.set_clock(now, self.node)
        self.now = now

    def measure(
        self, stamp: int, x: float | None = None, y: float | None = None, name: tuple[str, ...] = JOINTS
    ) -> None:
        """Publish a joint state, of where the plan is if nothing else is said."""
        plan = self.node.motion.planner.plan
        place = (0.2, 0.3) if plan is None else plan.sample(np.array([stamp - plan.stamp]))[0][0]
        x, y = (float(p) if given is None else given for given, p in zip((x, y), place, strict=True))
        self.publish(
            self.joints,
            encoding.to_joint_state(stamp=stamp, name=name, position=[x, y], velocity=[0.0, 0.0], effort=[]),
        )

    def publish(self, joints: Any, message: Any) -> None:
        """Publish a joint state with a publisher of them, and wait until it has been received."""
        before = self.node.motion.joint_states.received
        joints.publish(message)
        self.ros.wait(lambda: self.node.motion.joint_states.received > before, 'the joint state')

    def advance(self, to: int, x: float | None = None) -> None:
        """Let time pass, with a joint state twice a control step."""
        for now in (*range(self.now + DT // 2, to, DT // 2), to):
            self.time(now)
            self.measure(now, x)

    @property
    def safety_state(self) -> str:
        return str(self.node.motion.safety.safety_state.name)

    def reach(self, rung: str) -> None:
        self.ros.wait(lambda: self.safety_state == rung, f'rung {rung}, not {self.safety_state}')

    def chunk(self, stamp: int, x: float = 0.2, slope: float = 0.01, joints: tuple[str, ...] = JOINTS) -> Any:
        ramp = x + slope * np.arange(16)
        actions = np.stack([ramp, np.full(16, 0.3)], axis=1)
        return encoding.chunk_to_message(
            Chunk(stamp=stamp, control_dt=DT, joints=joints, actions=actions, velocities=self.velocities)
        )

    def send(self, message: Any) -> None:
        count = self.node.counts['chunks']
        self.chunks.publish(message)
        self.ros.wait(lambda: self.node.counts['chunks'] > count, 'the chunk to be handled')

    def trajectory(self, count: int) -> Trajectory:
        """Return trajectory number ``count``, checked for what any controller demands."""
        self.ros.wait(lambda: len(self.sent) >= count and len(self.plans) >= count, f'trajectory {count}')
        assert self.plans[count - 1] == self.sent[count - 1]
        fields = encoding.trajectory_value(self.sent[count - 1])
        assert fields.velocities is not None
        return Trajectory(
            stamp=fields.stamp,
            joints=fields.joints,
            times=fields.times,
            positions=fields.positions,
            velocities=fields.velocities,
        )

    def refused(self, reason: str, level: bytes = ERROR) -> None:
        self.ros.status('trajectory_publisher: chunk', level, reason)
        assert self.sent == []


def started(ros: Any, bundle: str, **parameters: Any) -> Live:
    """Return one that has taken its first chunk."""
    return moving(Live(ros, bundle, at=EARLY, **parameters))


def moving(live: Live) -> Live:
    """Let a plan begin and take its first chunk."""
    live.begin()
    live.time(T0 + 40 * MS)
    live.send(live.chunk(T0))
    live.trajectory(1)
    return live


def test_the_first_chunk_is_led_in_from_the_measured_state_within_the_limits(ros, tiny):
    live = started(ros, tiny)
    first = live.trajectory(1)
    assert first.joints == JOINTS
    position, velocity = first.sample(np.array([T0 - first.stamp]))
    assert position[0] == pytest.approx([0.2, 0.3])
    assert velocity[0] == pytest.approx([0.0, 0.0])
    assert first.velocities is not None
    assert first.velocities[-1].tolist() == [0.0, 0.0]
    assert check(first, live.node.planner.limits) is None


def test_the_next_chunk_is_spliced_into_the_plan(ros, tiny):
    live = started(ros, tiny)
    first = live.trajectory(1)
    live.advance(T0 + 800 * MS)
    live.time(T0 + 840 * MS)
    live.send(live.chunk(T0 + 800 * MS, 0.28, 0.012))
    second = live.trajectory(2)
    assert second.stamp + second.times[0] <= T0 + 840 * MS, 'anchored: the first point is due already'
    for now in (T0 + 840 * MS, T0 + 850 * MS, T0 + 869 * MS):
        before, after = (t.sample(np.array([now - t.stamp])) for t in (first, second))
        assert after[0] == pytest.approx(before[0], abs=1e-9)
        assert after[1] == pytest.approx(before[1], abs=1e-6)
    at_step = second.sample(np.array([T0 + 1400 * MS - second.stamp]))[0][0]
    assert at_step == pytest.approx([0.28 + 6 * 0.012, 0.3])


def test_an_inference_with_times_that_are_no_numbers_is_left_out_of_the_report_and_harms_nothing():
    reports: list[ChunkReport] = []
    told: list[str] = []
    diagnostics: Any = SimpleNamespace(report=lambda name, level, text, *_, **__: told.append(text))
    entries = ChunkLedger(diagnostics, lambda level, text, report: reports.append(report))
    for observation, start in ((1, 'soon'), (2, '5')):
        values = {'observation': str(observation), 'inference_start': start, 'inference_end': '6', 'policy': 'tiny'}
        message = DiagnosticStatus(values=[KeyValue(key=key, value=value) for key, value in values.items()])
        entries.inferred(serialize_message(message))
        entries.refused(Refusal(reason='too old'), observation=observation, received=7)
    assert [(r.inference_start, r.inference_end, r.policy) for r in reports] == [(None, None, ''), (5, 6, 'tiny')]
    assert any("invalid literal for int() with base 10: 'soon'" in text for text in told)


def test_each_chunk_has_an_entry_in_the_ledger(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 100 * MS)  # the policy_executor says nothing of it
    values = {v.key: v.value for v in ros.status('trajectory_publisher: chunk', OK, 'published').values}
    assert int(values['observation']) == T0
    assert int(values['received']) == int(values['published']) == T0 + 40 * MS
    assert (int(values['first_executed']) - T0) // DT == int(values['dropped_steps'])
    assert float(values['latency_ms']) == 40.0
    assert values['reseeded'] == 'True'
    assert values['total_deadline_misses'] == '0'
    live.advance(T0 + 910 * MS)
    live.send(live.chunk(T0 + 800 * MS, 0.28))
    live.advance(T0 + 1030 * MS)  # two ticks: the first may come right behind the chunk
    late = {v.key: v.value for v in ros.status('trajectory_publisher: chunk', WARN, 'late').values}
    assert float(late['latency_ms']) == 110.0
    assert late['total_deadline_misses'] == '1'


def test_without_joint_states_nothing_moves(ros, tiny):
    live = Live(ros, tiny)
    live.send(live.chunk(T0))
    live.refused('/joint_states: got no joint state yet')


def test_with_an_old_joint_state_nothing_moves(ros, tiny):
    live = Live(ros, tiny, max_joint_age=0.05)
    live.measure(T0)
    live.time(T0 + 60 * MS)
    live.send(live.chunk(T0))
    live.refused('joint state: got one 0.060 s from now, allowed 0.050 s')


@pytest.mark.parametrize(
    ('state', 'reason'),
    [
        ({'x': float('nan')}, 'position of pusher_x: got nan'),
        ({'y': float('inf')}, 'position of pusher_y: got inf'),
        ({'name': ('pusher_x', 'elbow')}, 'wanted pusher_y, which the message lacks'),
    ],
)
def test_with_a_joint_state_that_is_wrong_nothing_moves(ros, tiny, state, reason):
    live = Live(ros, tiny)
    live.measure(T0, **state)
    live.send(live.chunk(T0))
    live.refused(reason)


def test_the_joint_states_of_a_gripper_between_make_the_arms_neither_old_nor_refused(ros, tiny):
    live = Live(ros, tiny, max_joint_age=0.1)
    live.begin()
    states = live.node.motion.joint_states
    for now in range(live.now + MS, live.now + 6 * MS, MS):  # sooner than joint states are decoded
        live.time(now)
        live.measure(now)
        live.publish(live.joints, finger(now))
    live.time(live.now + 40 * MS)
    live.publish(live.joints, finger(live.now))
    live.send(live.chunk(live.now))
    ros.wait(lambda: live.sent, 'a trajectory')
    assert states.state.stamp == live.now - 40 * MS and states.others == 6 and states.wrong == 0
    assert not states.fault and not states.several_sources


def finger(stamp: int) -> JointState:
    """Give a joint state whose names and frame have the arm's names in them, and are not the arm's."""
    name = [f'{JOINTS[0]}_finger', 'finger']
    message = encoding.to_joint_state(stamp=stamp, name=name, position=[0.0, 0.0], velocity=[], effort=[])
    message.header.frame_id = JOINTS[1]
    return message


def no_number(live: Live) -> Any:
    message = live.chunk(T0)
    message.points[3].positions[0] = float('nan')
    return message


def uneven(live: Live) -> Any:
    message = live.chunk(T0)
    message.points[5].time_from_start.nanosec += 1
    return message


def empty(live: Live) -> Any:
    message = live.chunk(T0)
    message.points = []
    return message


@pytest.mark.parametrize(
    ('make', 'reason'),
    [
        (no_number, 'nan'),
        (uneven, 'time_from_start of point 5'),
        (empty, 'chunk'),
        (lambda live: live.chunk(T0, joints=('pusher_y', 'pusher_x')), 'joints'),
        (lambda live: live.chunk(T0 - 1600 * MS), 'made from an observation 1.600 s old, allowed 1.300 s'),
    ],
)
def test_a_chunk_that_cannot_be_followed_is_refused(ros, tiny, make, reason):
    live = Live(ros, tiny)
    live.measure(T0)
    live.send(make(live))
    live.refused(reason)


def test_a_chunk_that_cannot_be_planned_with_stops_the_arm_and_changes_no_plan(ros, tiny, monkeypatch):
    live = started(ros, tiny)
    plan, accept = live.node.planner.plan, live.node.planner.accept

    def fail(chunk, now):
        accept(chunk, now)
        raise DataError('a defect')

    monkeypatch.setattr(live.node.planner, 'accept', fail)
    live.advance(T0 + 840 * MS)
    live.send(live.chunk(T0 + 800 * MS, 0.28, -0.02))
    stop = live.trajectory(2)
    assert ends_at_rest(stop)
    now = np.array([T0 + 860 * MS])
    np.testing.assert_allclose(stop.sample(now - stop.stamp)[0], plan.sample(now - plan.stamp)[0], atol=1e-6)
    # The chunk goes back, what was planned before goes on.
    assert (np.diff(stop.positions[:, 0]) >= -1e-9).all() and stop.positions[-1, 0] > 0.285
    ros.status('trajectory_publisher: ladder', ERROR, 'stopped until ~/reset is called: chunk cannot be planned with')


@pytest.mark.parametrize(('policy_speed', 'often'), [(1.0, 0.05), (0.1, 0.05), (2.0, 0.025)])
def test_however_slow_the_policy_what_may_stop_the_arm_is_looked_at_often(ros, tiny, policy_speed, often):
    live = Live(ros, tiny, policy_speed=policy_speed)
    assert live.node.timer.period == round(often * 1e9)


@pytest.mark.parametrize(('seconds', 'warned'), [(1.3, True), (1.9, False), (0.0, False)])
def test_an_arm_that_would_slow_down_before_each_chunk_is_warned_of(ros, tiny, capfd, seconds, warned):
    Live(ros, tiny, policy_speed=0.5, decelerate_after=seconds, tail_after=min(seconds, 1.0), hold_after=20.0)
    text = f'decelerate_after: {seconds} s, with a new chunk every exec_horizon control steps (1.8 s with one'
    assert (text in capfd.readouterr().err) == warned


def test_chunks_at_another_speed_are_refused_with_a_hint(ros, tiny):
    live = Live(ros, tiny, policy_speed=2.0)
    live.measure(T0)
    live.time(T0 + 40 * MS)
    live.send(live.chunk(T0))
    live.refused('got 0.100000 s, allowed 0.050000 s (1 times control_dt; is policy_speed the same on all nodes?)')
    assert live.sent == []


@pytest.mark.parametrize('velocities', [None, np.zeros((16, 2))])
def test_a_chunk_beyond_a_position_limit_stops_until_reset(ros, tiny, velocities):
    live = started(ros, tiny)
    live.velocities = velocities
    live.advance(T0 + 840 * MS)
    live.send(live.chunk(T0 + 800 * MS, 0.28, 0.05))
    stop = live.trajectory(2)
    assert ends_at_rest(stop)
    assert check(stop, live.node.planner.limits) is None
    assert stop.end < T0 + 2000 * MS
    ros.status('trajectory_publisher: ladder', ERROR, 'stopped until ~/reset is called: ')
    early = ros.call(Trigger, '/trajectory_publisher/reset', Trigger.Request())
    assert not early.success and 'comes to rest in' in early.message

    live.advance(T0 + 1600 * MS)
    live.send(live.chunk(T0 + 1600 * MS, 0.3))
    ros.status('trajectory_publisher: chunk', ERROR, 'stopped until ~/reset is called')
    assert len(live.sent) == 2

    response = ros.call(Trigger, '/trajectory_publisher/reset', Trigger.Request())
    assert response.success and 'pusher_x position' in response.message
    live.begin(0.31)
    live.send(live.chunk(live.now, 0.31))
    assert live.trajectory(1).positions[0].tolist() == [0.31, 0.3]


def ends_at_rest(trajectory: Trajectory) -> bool:
    return trajectory.velocities is not None and trajectory.velocities[-1].tolist() == [0.0, 0.0]


def continues(before: Trajectory, after: Trajectory, now: int) -> bool:
    """Whether the arm goes on as before at ``now``."""
    (p0, v0), (p1, v1) = (t.sample(np.array([now - t.stamp])) for t in (before, after))
    return bool(np.allclose(p0, p1, atol=1e-9) and np.allclose(v0, v1, atol=1e-6))


def test_without_chunks_the_ladder_is_climbed_and_only_reset_leads_down_from_its_end(ros, tiny):
    live = started(ros, tiny)
    ros.status('trajectory_publisher: ladder', OK, 'following chunks')
    live.advance(T0 + 950 * MS)
    assert live.safety_state == 'RUN'
    live.advance(T0 + 1050 * MS)
    live.reach('TAIL')
    assert len(live.sent) == 1, 'the tail was sent with the chunk'
    ros.status('trajectory_publisher: ladder', WARN, 'the plan is finished as it was sent: no chunk for')
    live.advance(T0 + 1350 * MS)
    live.reach('DECELERATE')
    first, stop = live.trajectory(1), live.trajectory(2)
    assert continues(first, stop, T0 + 1360 * MS)
    assert stop.end < first.end
    assert ends_at_rest(stop)
    ros.status('trajectory_publisher: ladder', WARN, 'slows down along its path')
    live.advance(T0 + 2150 * MS)
    live.reach('HOLD')
    ros.status('trajectory_publisher: ladder', STALE, 'the robot holds: no chunk for')
    live.advance(T0 + 5150 * MS)
    live.reach('LATCHED')
    ros.status('trajectory_publisher: ladder', ERROR, 'stopped until ~/reset is called: no chunk for')
    assert len(live.sent) == 2

    response = ros.call(Trigger, '/trajectory_publisher/reset', Trigger.Request())
    assert not response.success
    assert 'observation behind the newest chunk: got one 5.' in response.message
    live.send(live.chunk(T0 + 5100 * MS))
    assert len(live.sent) == 2
    assert ros.call(Trigger, '/trajectory_publisher/reset', Trigger.Request()).success
    live.begin(0.31)
    live.send(live.chunk(live.now, 0.31))
    assert live.trajectory(1).positions[0].tolist() == [0.31, 0.3]
    assert live.safety_state == 'RUN'


@pytest.mark.parametrize('late', [1200, 1500, 2500])
def test_a_late_chunk_makes_the_arm_go_on_without_a_jerk(ros, tiny, late):
    live = started(ros, tiny)
    live.advance(T0 + late * MS)
    count = 1 if late < 1300 else 2
    before = live.trajectory(count)
    live.send(live.chunk(T0 + (late - 50) * MS, 0.32))
    after = live.trajectory(count + 1)
    assert continues(before, after, T0 + late * MS)
    assert check(after, live.node.planner.limits) is None
    assert live.safety_state == 'RUN'


def test_a_chunk_from_an_old_observation_is_refused(ros, tiny):
    live = Live(ros, tiny)
    live.advance(T0 + 1350 * MS)
    live.send(live.chunk(T0))
    live.refused('made from an observation 1.350 s old, allowed 1.300 s')


SLUGGISH = {'limits__pusher_x__deceleration': 0.4, 'joint_state_error': 0.02}  # a stop of it takes a while


def test_without_joint_states_a_moving_arm_slows_down_on_its_plan(ros, tiny):
    live = started(ros, tiny, **SLUGGISH)
    live.time(T0 + 300 * MS)
    live.reach('TAIL')
    live.time(T0 + 550 * MS)
    live.reach('DECELERATE')
    assert continues(live.trajectory(1), live.trajectory(2), T0 + 560 * MS), 'on the plan, not on a guess'
    ros.status('trajectory_publisher: ladder', WARN, 'the newest good joint state is 0.550 s old')
    live.send(live.chunk(T0 + 500 * MS))
    ros.status('trajectory_publisher: chunk', ERROR, 'joint state: got one')
    live.time(T0 + 600 * MS)
    live.measure(T0 + 600 * MS)
    live.send(live.chunk(T0 + 600 * MS, 0.25))
    assert live.trajectory(3).end > T0 + 2000 * MS
    assert live.safety_state == 'RUN'


def test_after_a_stop_for_lack_of_joint_states_a_robot_that_rests_is_held_first(ros, tiny):
    live = started(ros, tiny)
    live.time(T0 + 300 * MS)
    live.time(T0 + 550 * MS)
    live.reach('DECELERATE')
    stop = live.trajectory(2)
    live.time(stop.end + 10 * MS)
    live.measure(live.now)
    live.send(live.chunk(live.now, 0.25))
    ros.status('trajectory_publisher: chunk', ERROR, 'the robot moves, or has been seen for too short a time')
    assert len(live.sent) == 2, 'on its plan, but nobody knows what happened to it meanwhile'


def test_after_a_stop_for_lack_of_joint_states_the_arm_starts_from_where_it_is_measured(ros, tiny):
    live = started(ros, tiny)
    live.time(T0 + 300 * MS)
    live.time(T0 + 550 * MS)
    live.reach('DECELERATE')
    live.trajectory(2)
    live.time(T0 + 1800 * MS)
    live.stand(0.22)
    live.begin(0.22)
    live.send(live.chunk(live.now, 0.22))
    assert live.trajectory(1).positions[0].tolist() == [0.22, 0.3]


def test_a_joint_state_with_a_wild_stamp_or_number_does_not_blind_for_long(ros, tiny):
    live = started(ros, tiny)
    live.measure(T0 + 60_000 * MS)
    live.time(T0 + 100 * MS)
    live.send(live.chunk(T0 + 100 * MS))
    ros.status('trajectory_publisher: chunk', ERROR, 'got a stamp 59.960 s ahead')
    live.measure(T0 + 100 * MS)
    live.send(live.chunk(T0 + 100 * MS, 0.201))
    assert live.trajectory(2).stamp < T0 + 200 * MS


def test_hold_brings_the_arm_to_rest_along_its_path_until_reset(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 600 * MS)
    response = ros.call(Trigger, '/trajectory_publisher/hold', Trigger.Request())
    assert response.success and 'at rest in' in response.message
    stop = live.trajectory(2)
    assert continues(live.trajectory(1), stop, T0 + 610 * MS)
    assert stop.end < T0 + 1400 * MS and ends_at_rest(stop)
    ros.status('trajectory_publisher: ladder', ERROR, 'stopped until ~/reset is called: ~/hold was called')
    live.advance(T0 + 1700 * MS)
    live.send(live.chunk(T0 + 1700 * MS, 0.25))
    assert len(live.sent) == 2
    assert ros.call(Trigger, '/trajectory_publisher/reset', Trigger.Request()).success


def test_a_stop_is_sent_again_until_its_end(ros, tiny):
    live = started(ros, tiny, **SLUGGISH)
    live.advance(T0 + 800 * MS)
    assert ros.call(Trigger, '/trajectory_publisher/hold', Trigger.Request()).success
    stop = live.trajectory(2)
    while live.now + 100 * MS < stop.end:  # a stop is sent no more in its last 50 ms
        live.copies.clear()
        live.time(live.now + 50 * MS)
        live.measure(live.now)
        ros.wait(lambda: live.copies, 'the stop once more')
        assert live.copies[0] == live.sent[-1]
    live.advance(stop.end + 100 * MS)
    ros.spin(0.1)
    live.copies.clear()
    live.advance(stop.end + 300 * MS)
    ros.spin(0.1)
    assert live.copies == []


def test_a_stop_is_sent_no_more_to_a_robot_that_does_not_follow_it(ros, tiny):
    live = started(ros, tiny, **SLUGGISH)
    live.advance(T0 + 800 * MS)
    assert ros.call(Trigger, '/trajectory_publisher/hold', Trigger.Request()).success
    stop = live.trajectory(2)
    assert stop.end > T0 + 950 * MS
    at = float(stop.sample(np.array([live.now - stop.stamp]))[0][0, 0])
    live.time(T0 + 850 * MS)
    live.measure(live.now, at + 0.05)
    live.time(T0 + 860 * MS)
    live.node.tick()
    ros.spin(0.1)
    live.copies.clear()
    live.advance(T0 + 950 * MS, at + 0.05)
    ros.spin(0.1)
    assert live.safety_state == 'LATCHED'
    # It moves all the same, so it is held where it is.
    assert live.copies and not any(encoding.trajectory_value(copy).stamp for copy in live.copies)


def test_hold_before_anything_moved_sends_nothing_and_lets_nothing_move(ros, tiny):
    live = Live(ros, tiny)
    live.measure(T0)
    assert ros.call(Trigger, '/trajectory_publisher/hold', Trigger.Request()).success
    live.send(live.chunk(T0))
    live.refused('~/hold was called')


def surprise(harmless: bool = False) -> CallbackError:
    return CallbackError(where='timer of look', error=RuntimeError('as it was raised'), harmless=harmless)


SURPRISED = 'an error that nobody foresaw, timer of look: RuntimeError: as it was raised'


def test_an_error_that_nobody_foresaw_brings_the_arm_to_rest_until_reset(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 600 * MS)
    live.node.on_callback_error(surprise(harmless=True))
    assert live.safety_state == 'RUN' and len(live.sent) == 1
    live.node.on_callback_error(surprise())
    stop = live.trajectory(2)
    assert continues(live.trajectory(1), stop, T0 + 610 * MS)
    assert ends_at_rest(stop)
    ros.status('trajectory_publisher: ladder', ERROR, f'stopped until ~/reset is called: {SURPRISED}')
    ros.status('trajectory_publisher: callbacks', ERROR, 'as it was raised')


@pytest.mark.parametrize('part', ['brake', 'time', 'latch'])
def test_where_not_even_a_stop_can_be_planned_it_latches_all_the_same(ros, tiny, monkeypatch, part):
    live = started(ros, tiny)
    live.advance(T0 + 600 * MS)

    def fail(*_: Any) -> None:
        raise OverflowError('no stop')

    monkeypatch.setattr(live.node.motion, part, fail)
    live.node.on_callback_error(surprise())
    assert live.node.motion.safety.latched
    ros.status('trajectory_publisher: ladder', ERROR, SURPRISED)
    assert len(live.sent) == 1, 'what was sent ends at rest'


def test_an_error_at_the_end_of_the_motion_does_not_keep_the_node_from_ending(ros, tiny, monkeypatch):
    live = started(ros, tiny)

    def fail(*_: Any) -> None:
        raise OverflowError('no end')

    monkeypatch.setattr(live.node.motion, 'end', fail)
    live.node.trigger_deactivate()
    assert not live.node.active and live.node.motion is None
    ros.status('trajectory_publisher: callbacks', ERROR, 'the end of the motion: OverflowError: no end')
    live.node.trigger_activate()
    ros.status('trajectory_publisher: ladder', ERROR, 'the end of the motion')


def test_a_latch_outlives_deactivation_until_reset(ros, tiny):
    live = Live(ros, tiny)
    live.measure(T0)
    assert ros.call(Trigger, '/trajectory_publisher/hold', Trigger.Request()).success
    live.node.trigger_deactivate()
    live.node.trigger_activate()
    assert live.safety_state == 'LATCHED'
    live.time(T0)
    live.measure(T0)
    live.send(live.chunk(T0))
    live.refused('~/hold was called')
    assert ros.call(Trigger, '/trajectory_publisher/reset', Trigger.Request()).success
    live.node.trigger_deactivate()
    live.node.trigger_activate()
    assert live.safety_state == 'WAIT'


def test_without_a_place_for_its_latch_it_is_not_activated(ros, tiny, tmp_path):
    (tmp_path / 'file').write_text('')
    node = ros.create(TrajectoryPublisher, bundle=tiny, state_folder=str(tmp_path / 'file'), **LIMITS)
    assert not node.start()
    ros.status('trajectory_publisher: lifecycle', ERROR, 'state_folder: got')


def test_a_dry_run_leaves_nothing_behind(ros, tiny, tmp_path):
    node = ros.create(TrajectoryPublisher, bundle=tiny, state_folder=str(tmp_path), dry_run=True, **LIMITS)
    assert node.start()
    assert list(tmp_path.iterdir()) == []


def test_another_publisher_of_the_command_latches_and_is_named(ros, tiny):
    live = started(ros, tiny)
    other = ros.tester.create_publisher(JointTrajectory, '/arm_controller/joint_trajectory', 1)
    live.advance(T0 + 400 * MS)
    live.reach('LATCHED')
    assert ends_at_rest(live.trajectory(2))
    ros.status('trajectory_publisher: ladder', ERROR, 'got a second publisher, /tester, allowed none but this node')
    live.advance(T0 + 1600 * MS)
    response = ros.call(Trigger, '/trajectory_publisher/reset', Trigger.Request())
    assert not response.success and '/tester' in response.message
    ros.tester.destroy_publisher(other)
    ros.wait(lambda: ros.call(Trigger, '/trajectory_publisher/reset', Trigger.Request()).success, 'the reset')


def test_another_publisher_of_chunks_latches_and_is_named(ros, tiny):
    live = started(ros, tiny)
    intruder = ros.add(Node('intruder', context=ros.context))
    intruder.create_publisher(JointTrajectory, '/policy_executor/action_chunk', 1)
    ros.wait(lambda: live.node.count_publishers('/policy_executor/action_chunk') > 1, 'the other publisher')
    live.advance(T0 + 200 * MS)
    live.reach('LATCHED')
    assert ends_at_rest(live.trajectory(2))
    ros.status('trajectory_publisher: ladder', ERROR, 'action_chunk: got 2 publishers, /intruder, /tester, allowed one')


def test_two_publishers_of_the_joints_in_turn_latch(ros, tiny):
    live = started(ros, tiny)
    plan = live.node.planner.plan
    other = ros.talk(JointState, '/joint_states')
    for now in range(live.now + 10 * MS, live.now + 200 * MS, 20 * MS):
        for at, joints in ((now, live.joints), (now + 10 * MS, other)):
            live.time(at)
            place = plan.sample(np.array([at - plan.stamp]))[0][0].tolist()
            state = encoding.to_joint_state(stamp=at, name=JOINTS, position=place, velocity=[0.0, 0.0], effort=[])
            live.publish(joints, state)
    live.reach('LATCHED')
    stop = live.trajectory(2)
    assert ends_at_rest(stop)
    ros.status('trajectory_publisher: ladder', ERROR, 'got the same joints from several publishers in turn')


def wrong(live: Live, count: int) -> None:
    """Let joint states be 0.25 off, one after the other."""
    plan = live.node.planner.plan
    for now in range(live.now + 10 * MS, live.now + (count + 1) * 10 * MS, 10 * MS):
        live.time(now)
        live.measure(now, float(plan.sample(np.array([now - plan.stamp]))[0][0, 0]) + 0.25)


def test_a_glitch_of_a_few_joint_states_changes_nothing_and_is_counted(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 400 * MS)
    wrong(live, 3)
    live.advance(T0 + 500 * MS)
    assert live.safety_state == 'RUN' and len(live.sent) == 1
    live.send(live.chunk(T0 + 450 * MS, 0.21))
    assert continues(live.trajectory(1), live.trajectory(2), live.now)
    live.node.refresh()
    joints = {v.key: v.value for v in ros.status('trajectory_publisher: joint states', OK, 'arriving').values}
    assert joints['implausible'] == '3' and joints['wrong'] == '0'


def test_joint_states_that_stay_impossible_while_the_arm_moves_stop_it_along_its_plan(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 600 * MS)
    wrong(live, 8)
    live.time(live.now + 50 * MS)
    live.reach('LATCHED')
    first, stop = live.trajectory(1), live.trajectory(2)
    assert ends_at_rest(stop) and stop.stamp != 0
    assert continues(first, stop, T0 + 660 * MS) and stop.end < first.end
    ros.status('trajectory_publisher: ladder', ERROR, 'joint states in a row cannot be true')


def test_a_robot_that_stops_following_is_sent_nothing_more_until_a_plan_begins_where_it_stands(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 600 * MS)
    at = round(float(live.node.planner.plan.sample(np.array([live.now - live.node.planner.plan.stamp]))[0][0, 0]), 3)
    live.advance(T0 + 900 * MS, at)
    live.reach('WAIT')
    ros.status('trajectory_publisher: ladder', ERROR, 'the robot does not follow the plan: pusher_x is')
    assert len(live.sent) == 1
    # Where it is on the plan again, its controller may still be elsewhere: the plan stays given up.
    live.advance(live.now + 200 * MS)
    live.send(live.chunk(live.now, at))
    assert len(live.sent) == 1 and live.safety_state == 'WAIT'
    live.begin(at)
    live.send(live.chunk(live.now, at))
    assert live.trajectory(1).positions[0].tolist() == [at, 0.3]
    assert live.safety_state == 'RUN'


def test_the_point_to_begin_at_is_sent_again_and_again(ros, tiny):
    live = Live(ros, tiny, at=EARLY)
    live.advance(EARLY + 300 * MS, 0.2)
    live.send(live.chunk(live.now))
    ros.wait(lambda: len(live.copies) >= 4, 'the point again and again')
    assert all(copy == live.copies[0] for copy in live.copies)
    held = encoding.trajectory_value(live.copies[0])
    assert held.stamp == 0 and held.positions.tolist() == [[0.2, 0.3]]
    ros.status('trajectory_publisher: chunk', WARN, 'the controller holds where the robot stands: a plan begins there')


def test_a_normal_start_logs_no_error_and_a_beginning_anew_does(ros, tiny, capfd, monkeypatch):
    monkeypatch.setattr(trajectory_publisher, 'WARN_PERIOD', 1e-6)
    live = Live(ros, tiny, at=EARLY)
    live.advance(EARLY + 300 * MS)
    with monkeypatch.context() as young:
        young.setattr(command_topics, 'SETTLE', 10**15)
        live.send(live.chunk(live.now))
    live.begin()
    live.send(live.chunk(live.now))
    live.trajectory(1)
    log = capfd.readouterr().err
    assert 'listens since less than' in log and 'a plan begins there in' in log
    assert 'the plan begins where the robot stands' in log and '[ERROR]' not in log
    live.node.motion.planner.forget_plan()
    live.begin()
    assert '[ERROR]' in next(line for line in capfd.readouterr().err.splitlines() if 'the plan begins where' in line)


def test_a_robot_that_moves_gets_no_point_to_begin_at(ros, tiny):
    live = Live(ros, tiny, at=EARLY)
    for step in range(1, 7):
        live.time(EARLY + step * STEP)
        live.measure(live.now, 0.2 + 0.005 * step)
    live.send(live.chunk(live.now))
    live.refused('the robot moves, or has been seen for too short a time')


def test_a_chunk_that_is_too_large_is_refused_unread(ros, tiny, monkeypatch):
    live = started(ros, tiny)
    live.advance(T0 + 400 * MS)
    read: list[Any] = []
    monkeypatch.setattr(trajectory_publisher, 'deserialize_message', lambda *of: read.append(of))
    message = live.chunk(T0 + 400 * MS)
    message.points = message.points * 100
    live.send(message)
    ros.status('trajectory_publisher: chunk', ERROR, 'chunk: got a message of ')
    assert read == [] and len(live.sent) == 1 and live.safety_state == 'RUN'


def test_another_publisher_of_the_command_keeps_the_arm_from_starting(ros, tiny):
    live = Live(ros, tiny, at=EARLY)
    other = ros.tester.create_publisher(JointTrajectory, '/arm_controller/joint_trajectory', 1)
    ros.wait(lambda: live.node.count_publishers('/arm_controller/joint_trajectory') > 1, 'the other publisher')
    live.measure(EARLY)
    live.send(live.chunk(EARLY))
    live.refused('got a second publisher, /tester')
    ros.tester.destroy_publisher(other)
    ros.wait(lambda: live.node.count_publishers('/arm_controller/joint_trajectory') == 1, 'the other to be gone')
    moving(live)


def controller(ros: Any) -> Any:
    """Return a node named as the controller that listens, as ros2_control's does."""
    simulated = [Parameter('use_sim_time', value=True)]
    node = ros.add(Node('arm_controller', context=ros.context, parameter_overrides=simulated))
    node.create_subscription(JointTrajectory, '/arm_controller/joint_trajectory', lambda _: None, 1)
    return node


def test_without_a_controller_nothing_is_pretended(ros, tiny):
    live = Live(ros, tiny, at=EARLY)
    for subscription in list(ros.tester.subscriptions):
        if subscription.topic_name == '/arm_controller/joint_trajectory':
            ros.tester.destroy_subscription(subscription)
    ros.wait(lambda: not live.node.count_subscribers('/arm_controller/joint_trajectory'), 'nobody to listen')
    live.advance(EARLY + 300 * MS)
    live.send(live.chunk(live.now))
    ros.status('trajectory_publisher: chunk', ERROR, 'got nobody who listens')
    assert live.node.counts['published'] == 0 and not live.node.motion.beginning.under_way
    controller(ros)
    ros.wait(lambda: live.node.count_subscribers('/arm_controller/joint_trajectory'), 'the controller')
    live.begin()
    live.send(live.chunk(live.now))
    assert live.node.counts['published'] == 1


def test_whoever_listens_is_no_controller_unless_that_is_allowed(ros, tiny):
    live = Live(ros, tiny, at=EARLY, require_controller=True)
    live.advance(EARLY + 300 * MS)
    live.send(live.chunk(live.now))
    live.refused(
        'got only /tester who listens, allowed an active joint_trajectory_controller, the node /arm_controller'
    )


def test_a_controller_that_is_restarted_gets_a_plan_from_the_measured_state(ros, tiny):
    live = Live(ros, tiny, at=EARLY)
    first = controller(ros)
    ros.wait(lambda: live.node.count_subscribers('/arm_controller/joint_trajectory') == 2, 'the controller')
    moving(live)
    live.advance(T0 + 800 * MS)
    ros.executor.remove_node(first)
    ros.nodes.remove(first)
    first.destroy_node()
    ros.wait(lambda: live.node.count_subscribers('/arm_controller/joint_trajectory') == 1, 'the controller to be gone')
    controller(ros)
    at = float(live.trajectory(1).sample(np.array([live.now - live.trajectory(1).stamp]))[0][0, 0])
    for now in range(live.now + STEP, live.now + 3 * STEP, STEP):
        live.time(now)
        live.measure(now, at, 0.3)
    live.reach('WAIT')
    ros.status('trajectory_publisher: ladder', ERROR, '/arm_controller was restarted')
    assert len(live.sent) == 1, 'nothing that goes on from the old plan'
    live.begin(0.27)
    live.send(live.chunk(live.now, 0.3))
    assert live.trajectory(1).positions[0].tolist() == [0.27, 0.3]


def test_a_listener_without_a_name_yet_gets_no_plan_that_goes_on(ros, tiny):
    live = started(ros, tiny)
    infos = live.node.get_subscriptions_info_by_topic
    stranger = SimpleNamespace(node_name=UNKNOWN, node_namespace='', endpoint_gid=[1] * 16)
    live.node.get_subscriptions_info_by_topic = lambda topic: [*infos(topic), stranger]
    live.advance(T0 + 400 * MS)
    live.send(live.chunk(T0 + 400 * MS))
    ros.status('trajectory_publisher: chunk', WARN, 'someone listens whose name is not known yet')
    assert live.safety_state == 'RUN' and len(live.sent) == 1
    live.node.get_subscriptions_info_by_topic = infos
    live.send(live.chunk(T0 + 400 * MS))
    live.trajectory(2)


@pytest.mark.parametrize('follows', [True, False])
def test_a_stop_never_leads_a_robot_that_rests_onto_the_path_of_others(ros, tiny, follows):
    live = started(ros, tiny)
    infos = live.node.get_subscriptions_info_by_topic
    stranger = SimpleNamespace(node_name=UNKNOWN, node_namespace='', endpoint_gid=[1] * 16)
    live.advance(T0 + 1050 * MS)
    at = live.node.planner.plan.sample(np.array([live.now - live.trajectory(1).stamp]))[0][0, 0]
    live.node.get_subscriptions_info_by_topic = lambda topic: [*infos(topic), stranger]
    live.advance(T0 + 1350 * MS, None if follows else float(at))
    live.reach('DECELERATE' if follows else 'WAIT')
    if follows:
        assert continues(live.trajectory(1), live.trajectory(2), T0 + 1360 * MS)
    else:  # the stranger may be its controller, just restarted
        ros.status('trajectory_publisher: ladder', ERROR, 'the robot does not follow the plan: pusher_x')
        assert len(live.sent) == 1


def test_a_controller_that_may_not_hear_yet_is_sent_nothing(ros, tiny, monkeypatch):
    monkeypatch.setattr(command_topics, 'SETTLE', 10**15)
    live = Live(ros, tiny, at=EARLY)
    live.advance(EARLY + 300 * MS)
    live.send(live.chunk(live.now))
    live.refused('/tester listens since less than', WARN)
    assert live.safety_state == 'WAIT'
    monkeypatch.setattr(command_topics, 'SETTLE', 1)
    live.begin()
    live.send(live.chunk(live.now))
    live.trajectory(1)


def test_what_only_watches_the_command_is_no_controller(ros, tiny):
    live = Live(ros, tiny, at=EARLY)
    first = controller(ros)
    ros.wait(lambda: live.node.count_subscribers('/arm_controller/joint_trajectory') == 2, 'the controller')
    moving(live)
    ros.listen(JointTrajectory, '/arm_controller/joint_trajectory', 1)
    live.advance(T0 + 400 * MS)
    assert live.safety_state == 'RUN'
    assert live.node.counts['reseeded'] == 1
    assert first is not None


def test_deactivation_brings_the_robot_to_rest_and_activation_starts_without_a_plan(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 800 * MS)
    live.node.trigger_deactivate()
    stop = live.trajectory(2)
    assert stop.end < live.trajectory(1).end
    assert ends_at_rest(stop)
    live.node.trigger_activate()
    ros.wait(lambda: live.chunks.get_subscription_count() and live.joints.get_subscription_count(), 'subscriptions')
    live.time(T0 + 3000 * MS)
    live.begin(0.25)
    live.send(live.chunk(live.now, 0.25))
    assert live.trajectory(1).positions[0].tolist() == [0.25, 0.3]


def test_an_arm_that_rests_is_sent_nothing_at_the_end_wherever_it_was_moved_meanwhile(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 7000 * MS)
    assert live.safety_state == 'LATCHED'
    live.advance(T0 + 8000 * MS, 0.3)
    sent = len(live.copies)
    live.node.trigger_deactivate()
    ros.spin(0.3)
    assert len(live.copies) == sent


def test_an_arm_that_is_not_on_its_plan_is_held_where_it_is_at_the_end(ros, tiny):
    live = started(ros, tiny)
    live.time(T0 + 200 * MS)
    live.measure(T0 + 200 * MS, 0.45)
    live.node.trigger_deactivate()
    held = live.trajectory(2)
    assert held.stamp == 0
    assert held.positions[-1] == pytest.approx([0.45, 0.3])
    ros.wait(lambda: len(live.copies) > FAREWELL_COPIES, 'as many copies as of a stop')


def test_an_arm_that_was_not_on_its_plan_and_is_not_heard_any_more_is_sent_nothing(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 250 * MS, 0.25)
    live.time(T0 + 1200 * MS)
    live.node.trigger_deactivate()
    ros.spin(0.3)
    assert len(live.sent) == 1, 'a stop along the plan would pull it there, and where it was is too old to hold'


def test_deactivated_before_any_chunk_it_sends_nothing(ros, tiny):
    live = Live(ros, tiny)
    live.node.trigger_deactivate()
    live.node.trigger_activate()
    ros.wait(live.chunks.get_subscription_count, 'the subscription')
    live.send(live.chunk(T0))
    live.refused('no joint state yet')


def test_a_clock_that_jumps_back_gets_a_hold_without_a_stamp_and_a_new_plan(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 500 * MS)
    live.time(T0 - 10_000 * MS)
    live.send(live.chunk(T0 - 10_000 * MS))
    ros.status('trajectory_publisher: chunk', ERROR, 'the clock jumped, and no joint state came since')
    live.measure(live.now, 0.26, 0.3)
    live.time(live.now + 10 * MS)
    live.measure(live.now, 0.26, 0.3)
    held = live.trajectory(2)
    assert held.stamp == 0
    assert held.positions.tolist() == [[0.26, 0.3]], 'where it is, not where a plan of another time was'
    ros.status('trajectory_publisher: ladder', ERROR, 'the clock jumped by -10.')
    live.stand(0.26)
    live.begin(0.26)
    live.send(live.chunk(live.now, 0.26, 0.001))
    again = live.trajectory(1)
    assert 0 < again.stamp <= live.now and again.positions[0].tolist() == [0.26, 0.3]
    assert live.safety_state == 'RUN'


def test_nothing_begins_while_the_controller_is_on_its_way_to_a_point_to_hold(ros, tiny):
    """Where it is meanwhile nobody knows, if another one publishes joint states of a robot that stands."""
    live = started(ros, tiny)
    live.advance(T0 + 500 * MS)
    live.time(T0 - 10_000 * MS)
    for _ in range(2):
        live.measure(live.now, 0.26, 0.3)
        live.time(live.now + 10 * MS)
    held = live.trajectory(2)
    assert held.stamp == 0
    on_its_way_until = live.now + int(held.times[0])
    while live.now + DT < on_its_way_until:
        live.time(live.now + DT)
        live.measure(live.now, 0.24, 0.3)
        live.send(live.chunk(live.now, 0.24, 0.001))
        ros.status('trajectory_publisher: chunk', WARN, 'the controller comes to rest first: a plan may begin in')
    assert len(live.sent) == 2
    live.stand(0.24)
    live.send(live.chunk(live.now, 0.24, 0.001))
    begun = live.trajectory(3)
    assert begun.stamp == 0 and begun.positions.tolist() == [[0.24, 0.3]]


@pytest.mark.parametrize('back', [0, 3000])
def test_a_clock_that_jumps_leaves_as_much_of_the_way_to_a_point_to_hold_as_before(ros, tiny, back):
    live = started(ros, tiny)
    live.advance(T0 + 500 * MS)
    sender = live.node.motion.parts.sender
    live.time(T0 - 10_000 * MS)
    for _ in range(2):
        live.measure(live.now, 0.26, 0.3)
        live.time(live.now + 10 * MS)
    live.trajectory(2)
    left = sender.held_at - live.now
    assert left > 300 * MS
    live.time(live.now - back * MS)
    ros.wait(lambda: abs(sender.held_at - live.now - left) <= 20 * MS, f'{left} ns, not {sender.held_at - live.now}')


def test_a_clock_that_jumps_right_after_activation_is_noticed(ros, tiny):
    live = Live(ros, tiny, at=T0)
    live.measure(T0, 0.2, 0.3)
    live.node.trigger_deactivate()
    live.node.trigger_activate()
    live.measure(T0, 0.2, 0.3)
    live.time(T0 - 4000 * MS)
    live.begin()  # not when the time of the last joint state comes again


def test_a_clock_that_jumps_again_while_a_hold_is_under_way_gets_another(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 500 * MS)
    for number, (back, x) in enumerate(((10_000, 0.26), (20_000, 0.27)), start=2):
        live.time(T0 - back * MS)
        live.measure(live.now, x, 0.3)
        live.time(live.now + 10 * MS)
        live.measure(live.now, x, 0.3)
        held = live.trajectory(number)
        assert (held.stamp, held.positions.tolist()) == (0, [[x, 0.3]])


def test_a_latch_before_joint_states_tell_where_a_jump_of_the_clock_led_sends_no_stop_along_the_plan(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 500 * MS)
    live.time(T0 - 10_000 * MS)
    live.reach('WAIT')
    assert ros.call(Trigger, '/trajectory_publisher/hold', Trigger.Request()).success
    live.reach('LATCHED')
    ros.spin(0.1)
    assert len(live.sent) < 2, 'its stamps mean nothing any more'
    for _ in range(2):
        live.measure(live.now, 0.26, 0.3)
        live.time(live.now + 10 * MS)
    held = live.trajectory(2)
    assert (held.stamp, held.positions.tolist()) == (0, [[0.26, 0.3]])


def test_while_two_publish_the_joints_no_place_of_theirs_is_held_after_a_jump_of_the_clock(ros, tiny):
    live = started(ros, tiny)
    other = ros.talk(JointState, '/joint_states')
    live.advance(T0 + 500 * MS)

    def both(x: float) -> None:
        for joints in (live.joints, other):
            place = {'name': JOINTS, 'position': [x, 0.3], 'velocity': [0.0, 0.0], 'effort': []}
            live.publish(joints, encoding.to_joint_state(stamp=live.now, **place))
            live.time(live.now + 10 * MS)

    while not live.node.motion.joint_states.several_sources:
        both(0.3)
    live.time(T0 - 10_000 * MS)
    live.reach('WAIT')
    live.copies.clear()
    for _ in range(4):
        both(0.4)
    ros.spin(0.1)
    assert live.node.motion.unsettled and live.copies == []


def test_a_clock_that_jumps_back_while_the_arm_rests_sends_nothing(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 7000 * MS)
    sent = len(live.copies)
    live.time(T0 - 10_000 * MS)
    for _ in range(3):
        live.time(live.now + 10 * MS)
        live.measure(live.now, 0.26, 0.3)
    ros.wait(lambda: not live.node.motion.unsettled, 'the jump to be dealt with')
    ros.spin(0.1)
    assert len(live.copies) == sent


def test_a_simulation_that_began_anew_is_sent_nothing_until_it_says_where_its_robot_is(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 500 * MS)
    live.time(T0 - 10_000 * MS)
    live.reach('WAIT')
    for _ in range(30):
        live.time(live.now + 10 * MS)
        ros.spin(0.02)
    assert len(live.sent) < 2
    live.measure(live.now, 0.4, 0.3)
    live.time(live.now + 10 * MS)
    assert len(live.sent) < 2, 'one place tells no speed'
    live.measure(live.now, 0.4, 0.3)
    held = live.trajectory(2)
    assert held.stamp == 0
    assert held.positions.tolist() == [[0.4, 0.3]]


def test_a_joint_state_that_comes_before_the_clock_that_began_anew_latches_nothing(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 400 * MS)
    live.measure(T0 - 10_000 * MS)
    for ahead in (460, 520):
        live.time(T0 + ahead * MS)
        ros.spin(0.1)
    assert live.safety_state == 'RUN'
    live.time(T0 - 9980 * MS)
    live.measure(T0 - 9980 * MS)
    ros.status('trajectory_publisher: ladder', ERROR, 'the clock jumped by -10.')
    assert live.safety_state == 'WAIT'


def test_a_system_clock_that_is_set_is_noticed(ros, tiny):
    node = ros.create(TrajectoryPublisher, bundle=tiny, **LIMITS)
    assert node.start()
    offset = [0]
    clock = node.get_clock()
    node.now = lambda: int(clock.now().nanoseconds) + offset[0]
    node.motion.parts.sender.now = node.now
    ros.listen(JointTrajectory, '/arm_controller/joint_trajectory', 1)
    ros.spin(0.3)
    assert node.motion.safety.reason is None or 'clock' not in str(node.motion.safety.reason)
    offset[0] = 3600 * 1_000 * MS
    ros.status('trajectory_publisher: ladder', ERROR, 'the clock jumped by 3600.')


def test_what_was_sent_last_is_sent_again_before_the_publisher_goes(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 500 * MS)
    live.copies.clear()
    live.node.close()
    ros.wait(lambda: len(live.copies) >= 4, 'the last message again and again')
    assert all(copy == live.copies[0] for copy in live.copies)
    stop = live.trajectory(2)
    assert ends_at_rest(stop) and continues(live.trajectory(1), stop, T0 + 510 * MS)


def test_dry_run_computes_everything_and_makes_no_command_publisher(ros, tiny):
    node = ros.create(TrajectoryPublisher, bundle=tiny, use_sim_time=True, dry_run=True, **LIMITS)
    assert node.start()
    live = Live.__new__(Live)
    live.ros, live.node, live.sent, live.copies = ros, node, [], []
    live.plans = ros.listen(JointTrajectory, '/trajectory_publisher/plan')
    ros.connected('/trajectory_publisher/plan')
    live.chunks = ros.talk(JointTrajectory, '/policy_executor/action_chunk', 1)
    live.joints = ros.talk(JointState, '/joint_states')
    live.time(EARLY)
    live.begin()
    live.time(T0 + 40 * MS)
    live.send(live.chunk(T0))
    ros.wait(lambda: live.plans, 'the plan')
    assert node.counts['published'] == 1
    assert ros.tester.count_publishers('/arm_controller/joint_trajectory') == 0
    live.advance(T0 + 1400 * MS)
    live.reach('DECELERATE')
    ros.wait(lambda: len(live.plans) == 2, 'the stop, for viewing')


def test_an_arm_that_needs_permission_moves_only_with_it(ros, tiny):
    live = Live(ros, tiny, at=EARLY, heartbeat_timeout=0.2)
    permit = ros.talk(Bool, '/trajectory_publisher/enable')
    steady = [1_000 * MS]
    live.node.steady = lambda: steady[0]
    live.measure(EARLY)
    live.send(live.chunk(EARLY))
    live.refused('/trajectory_publisher/enable: got nothing yet, allowed true every 0.200 s')

    def say(permitted: bool) -> None:
        before = live.node.permission.said
        permit.publish(Bool(data=permitted))
        ros.wait(lambda: live.node.permission.said is not before, 'the permission')

    say(True)
    moving(live)
    live.advance(T0 + 200 * MS)
    assert live.safety_state == 'RUN'
    steady[0] += 201 * MS
    live.advance(T0 + 300 * MS)
    live.reach('LATCHED')
    assert ends_at_rest(live.trajectory(2))
    ros.status('trajectory_publisher: ladder', ERROR, 'got nothing for 0.201 s')
    live.advance(T0 + 1500 * MS)
    assert not ros.call(Trigger, '/trajectory_publisher/reset', Trigger.Request()).success
    say(False)
    response = ros.call(Trigger, '/trajectory_publisher/reset', Trigger.Request())
    assert not response.success and 'got false' in response.message
    say(True)
    assert ros.call(Trigger, '/trajectory_publisher/reset', Trigger.Request()).success


class Outputs(Live):
    """One with two controllers, of which the tester plays who is wanted."""

    def __init__(self, ros: Any, bundle: str) -> None:
        outputs = {
            'outputs__arm__topic': 'arm/joint_trajectory', 'outputs__arm__joints': ['pusher_y'],
            'outputs__hand__topic': 'hand/joint_trajectory', 'outputs__hand__joints': ['pusher_x'],
        }  # fmt: skip
        self.ros, self.sent, self.copies = ros, [], []
        self.node = ros.create(TrajectoryPublisher, bundle=bundle, use_sim_time=True, **LIMITS, **outputs)
        assert self.node.start()
        self.plans = ros.listen(JointTrajectory, '/trajectory_publisher/plan')
        ros.connected('/trajectory_publisher/plan')
        self.chunks = ros.talk(JointTrajectory, '/policy_executor/action_chunk', 1)
        self.joints = ros.talk(JointState, '/joint_states')
        self.time(EARLY)

    def play(self, name: str) -> list[Any]:
        """Be a controller; return what is sent to it."""
        topic = f'/{name}/joint_trajectory'
        heard, _ = self.hear(topic, 50)
        self.ros.wait(lambda: self.node.count_subscribers(topic), name)
        return heard

    def leave(self, name: str) -> None:
        """Be that controller no more."""
        topic = f'/{name}/joint_trajectory'
        for subscription in list(self.ros.tester.subscriptions):
            if subscription.topic_name == topic:
                self.ros.tester.destroy_subscription(subscription)
        self.ros.wait(lambda: not self.node.count_subscribers(topic), f'{name} to be gone')


def test_each_controller_gets_its_joints_and_all_must_listen(ros, tiny):
    live = Outputs(ros, tiny)
    arm = live.play('arm')
    live.measure(EARLY)
    live.send(live.chunk(EARLY))
    live.refused('/hand/joint_trajectory: got nobody who listens')
    hand = live.play('hand')
    live.begin()
    live.send(live.chunk(T0))
    ros.wait(lambda: len(arm) == len(hand) == 2, 'the point to hold and the trajectory at both')
    for to_arm, to_hand in zip(arm, hand, strict=True):
        assert to_arm.joint_names == ['pusher_y'] and to_hand.joint_names == ['pusher_x']
        assert to_arm.header == to_hand.header
        assert [p.time_from_start for p in to_arm.points] == [p.time_from_start for p in to_hand.points]


@pytest.mark.parametrize('follows', [True, False])
def test_where_one_controller_was_restarted_the_others_stop_on_the_plan_if_they_are_on_it(ros, tiny, follows):
    live = Outputs(ros, tiny)
    arm, _ = live.play('arm'), live.play('hand')
    live.begin()
    live.send(live.chunk(T0))
    ros.wait(lambda: len(arm) == 2, 'the plan')
    live.advance(T0 + 600 * MS)
    for now in (T0 + 650 * MS, T0 + 700 * MS):
        live.time(now)
        live.measure(now, None, 0.3 if follows else 0.33)
    live.node.tick()
    assert live.safety_state == ('RUN' if follows else 'WAIT')
    live.leave('hand')
    live.play('hand')
    live.node.tick()
    ros.status('trajectory_publisher: ladder', ERROR, '/tester was restarted')
    ros.spin(0.1)
    if follows:
        assert len(arm) == 3 and arm[-1].points[-1].velocities[0] == 0.0
    else:
        assert len(arm) == 2 or arm[-1].header.stamp.sec == 0, 'nothing that begins on the plan'


def test_a_robot_that_is_not_seen_to_move_on_gets_no_more_of_the_plan(ros, tiny):
    """Its controller may have been switched off as the plan began; by its lag it may follow as well."""
    live = started(ros, tiny)
    live.advance(T0 + 140 * MS)
    live.node.motion.planner.leap = lambda now: 'pusher_x may soon be 1 from it'
    live.send(live.chunk(T0 + 100 * MS))
    ros.status('trajectory_publisher: chunk', ERROR, 'pusher_x may soon be 1 from it')
    assert len(live.sent) == 1 and live.safety_state == 'RUN'
    live.copies.clear()
    ros.spin(0.05)
    assert live.copies == []
    live.node.motion.planner.leap = lambda now: ''
    live.send(live.chunk(T0 + 200 * MS))
    live.trajectory(2)


def test_a_robot_that_is_not_seen_to_move_on_is_stopped_where_it_is_and_not_along_the_plan(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 400 * MS)
    live.node.motion.planner.leap = lambda now: 'pusher_x may soon be 1 from it'
    assert ros.call(Trigger, '/trajectory_publisher/hold', Trigger.Request()).success
    held = live.trajectory(2)
    assert held.stamp == 0 and len(held.times) == 1


def test_a_jump_of_the_clock_while_the_robot_is_asked_to_hold_where_it_stands_moves_nothing(ros, tiny):
    live = Live(ros, tiny, at=EARLY)
    for now in range(EARLY + STEP, EARLY + 8 * STEP, STEP):
        live.time(now)
        live.measure(now, 0.2, 0.3)
    live.first(live.now, 0.2)
    ros.wait(lambda: live.sent, 'the point to hold')
    for now in (EARLY - 500 * MS, EARLY - 480 * MS, EARLY - 460 * MS):
        live.time(now)
        live.node.tick()
        live.measure(now, 0.4, 0.3)
    live.node.tick()
    ros.spin(0.1)
    assert not live.node.motion.unsettled
    assert len(live.sent) == 1


def slowly(live: Live, times: list[int]) -> None:
    """Let making messages take so long [ns], one time after the other, and then no time."""
    sender, passed = live.node.motion.parts.sender, [0]
    prepare, now = sender.prepare, sender.now

    def slow(trajectory: Trajectory, topics: Sequence[int] | None) -> Any:
        passed[0] += times.pop(0) if times else 0
        return prepare(trajectory, topics)

    sender.prepare, sender.now = slow, lambda: now() + passed[0]


def test_what_took_too_long_to_plan_is_planned_again_and_not_sent_late(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 440 * MS)
    slowly(live, [40 * MS, 45 * MS])
    live.send(live.chunk(T0 + 400 * MS))
    second = live.trajectory(2)
    knots = second.stamp + second.times
    assert T0 + 480 * MS + 30 * MS < knots[knots > T0 + 440 * MS][0] <= T0 + 600 * MS
    assert continues(live.trajectory(1), second, T0 + 510 * MS)


def test_what_never_is_planned_in_time_is_refused_and_the_plan_stays(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 440 * MS)
    plan = live.node.motion.planner.plan
    slowly(live, [20 * MS, 50 * MS, 110 * MS])
    live.send(live.chunk(T0 + 400 * MS))
    ros.status('trajectory_publisher: chunk', ERROR, 'planning: took 110.0 ms, allowed 100.0 ms')
    assert live.node.motion.planner.plan is plan
    assert len(live.sent) == 1


def test_a_stop_is_sent_however_long_it_took(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 440 * MS)
    slowly(live, [200 * MS, 450 * MS, 950 * MS])
    assert ros.call(Trigger, '/trajectory_publisher/hold', Trigger.Request()).success
    assert ends_at_rest(live.trajectory(2))


def test_the_heartbeat_says_the_rung_every_half_control_step(ros, tiny):
    live = started(ros, tiny)
    beats = ros.listen(DiagnosticStatus, '/trajectory_publisher/heartbeat')
    ros.connected('/trajectory_publisher/heartbeat')
    for now in range(T0 + 100 * MS, T0 + 500 * MS, 50 * MS):
        before = len(beats)
        live.time(now)
        ros.wait(lambda before=before: len(beats) > before, 'a heartbeat')
    assert beats[-1].message in ('run', 'tail')
    live.node.trigger_deactivate()
    count = len(beats)
    live.time(T0 + 1000 * MS)
    ros.spin(0.2)
    assert len(beats) == count


HOME = {'fallback': 'home', 'home__pusher_x': 0.1, 'home__pusher_y': 0.2, 'home_duration': 1.0}


def test_without_observations_the_arm_goes_home_and_is_latched_there(ros, tiny):
    live = started(ros, tiny, **HOME)
    live.advance(T0 + 2150 * MS)
    live.reach('HOME')
    way = live.trajectory(3)
    assert way.positions[-1].tolist() == [0.1, 0.2]
    assert ends_at_rest(way)
    assert check(way, live.node.planner.limits) is None
    assert continues(live.trajectory(2), way, T0 + 2160 * MS)
    ros.status('trajectory_publisher: ladder', ERROR, 'the robot goes home')
    live.advance(way.end + 50 * MS)
    live.reach('LATCHED')
    ros.status('trajectory_publisher: ladder', ERROR, 'at home: no chunk for')
    assert len(live.sent) == 3


def test_deactivation_on_the_way_home_brings_the_arm_to_rest_there(ros, tiny):
    live = started(ros, tiny, **HOME, tail_after=0.9, decelerate_after=1.0, hold_after=1.05)
    live.advance(T0 + 1300 * MS)
    live.reach('HOME')
    way = live.trajectory(3)
    live.node.trigger_deactivate()
    stop = live.trajectory(4)
    assert ends_at_rest(stop) and stop.end < way.end


@pytest.mark.parametrize('first', [True, False])
def test_each_chunk_s_entry_has_the_times_of_its_inference(ros, tiny, first):
    live = Live(ros, tiny, at=EARLY)
    live.begin()
    ledger = ros.talk(DiagnosticStatus, '/policy_executor/ledger')
    values = {'observation': T0, 'inference_start': T0 + 2 * MS, 'inference_end': T0 + 9 * MS, 'policy': 'tiny'}
    said = DiagnosticStatus(values=[KeyValue(key=k, value=str(v)) for k, v in values.items()])
    if first:
        ledger.publish(said)
        ros.wait(lambda: live.node.ledger.unread, 'the entry')
    live.send(live.chunk(T0))
    if not first:
        live.node.tick()  # a tick may come right behind the chunk, before what is said of it
        ros.spin(0.1)
        assert not any(s.name == 'trajectory_publisher: chunk' for s in ros.statuses)
        ledger.publish(said)
    entry = {v.key: v.value for v in ros.status('trajectory_publisher: chunk', OK, 'published').values}
    assert {key: entry[key] for key in values} == {key: str(value) for key, value in values.items()}
    assert 0 <= float(entry['cost_ms']) < 1000


def test_limits_and_joint_states_have_a_status_of_their_own(ros, tiny):
    live = started(ros, tiny)
    live.advance(T0 + 840 * MS)
    live.send(live.chunk(T0 + 800 * MS, 0.28, 0.05))
    live.node.refresh()
    limits = {v.key: v.value for v in ros.status('trajectory_publisher: limits', ERROR, 'pusher_x position').values}
    assert limits['stops'] == '1'
    joints = {v.key: v.value for v in ros.status('trajectory_publisher: joint states', OK, 'arriving').values}
    assert float(joints['age_ms']) == 0.0


def test_parameters_set_wildly_while_moving_are_refused_with_the_reason(ros, tiny):
    live = started(ros, tiny)
    names = list(live.node.values())
    wild = (float('nan'), float('inf'), -1.0, 1e300, 2**62, -1, '', 'nowhere', True, ['x'])
    for name in (*names, 'use_sim_time', 'nonsense'):
        request = SetParameters.Request(parameters=[Parameter(name, value=v).to_parameter_msg() for v in wild])
        results = ros.call(SetParameters, '/trajectory_publisher/set_parameters', request).results
        changeable = name in ('deadline', 'blend_steps')
        for value, result in zip(wild, results, strict=True):
            assert result.successful is False or changeable, (name, value)
            assert result.successful or result.reason
    live.advance(T0 + 400 * MS)
    live.send(live.chunk(T0 + 400 * MS))
    assert continues(live.trajectory(1), live.trajectory(2), T0 + 410 * MS)
    assert live.safety_state == 'RUN'


LIMITS_FILE = """
joint_limits:
  pusher_x: {has_position_limits: true, min_position: 0, max_position: 0.5, has_velocity_limits: true, max_velocity: 1}
  pusher_y: {has_position_limits: true, min_position: 0, max_position: 0.5, has_velocity_limits: true, max_velocity: 2}
"""


def test_limits_can_come_from_a_joint_limits_file(ros, tiny, tmp_path: Path):
    path = tmp_path / 'joint_limits.yaml'
    path.write_text(LIMITS_FILE)
    node = ros.create(TrajectoryPublisher, bundle=tiny, limits_file=str(path))
    assert node.start()
    assert node.planner.limits.velocity == (1.0, 2.0)


@pytest.mark.parametrize(
    ('parameters', 'reason'),
    [
        ({'bundle': ''}, "bundle: got ''"),
        ({'joints': ['shoulder', 'elbow']}, 'joints: got pusher_x, pusher_y in the bundle, allowed shoulder, elbow'),
        ({'joints': list(JOINTS), 'units': ['rad', 'rad']}, 'units: got m, m in the bundle, allowed rad, rad'),
        ({'joints': list(JOINTS), 'units': ['m']}, 'units: got m, m in the bundle, allowed m '),
        ({'continuous': ['elbow']}, 'continuous: got elbow, allowed some of pusher_x, pusher_y'),
        ({'limits__elbow__upper': 1.0}, 'limits: got'),
        ({'limits__pusher_x__lower': 0.6}, "'pusher_x': got positions 0.6 to 0.5, allowed lower < upper"),
        ({'limits__pusher_x__velocity': -1.0}, "'pusher_x': got velocity -1.0, allowed more than 0"),
        ({'limits_file': '/nowhere.yaml'}, 'allowed one or the other'),
        ({'tail_after': 2.0, 'decelerate_after': 1.0}, 'ladder: got tail_after 2.000 s, decelerate_after 1.000 s'),
        ({'fallback': 'home'}, "fallback: got 'home' without home.pusher_x, home.pusher_y"),
        ({**HOME, 'home__pusher_x': 0.7}, 'home.pusher_x: got 0.7, allowed 0.0 to 0.5'),
        ({**HOME, 'home__elbow': 0.7}, 'home: got'),
        (
            {'controller': 'arm controller'},
            "controller: got 'arm controller' for /arm_controller/joint_trajectory, allowed the name of a node",
        ),
    ],
)
def test_configure_is_refused_with_the_reason(ros, tiny, parameters, reason):
    node = ros.create(TrajectoryPublisher, **{'bundle': tiny, **LIMITS, **parameters})
    assert not node.start()
    ros.status('trajectory_publisher: lifecycle', ERROR, reason)
    assert ros.tester.count_publishers('/arm_controller/joint_trajectory') == 0


def test_without_limits_configure_is_refused(ros, tiny):
    node = ros.create(TrajectoryPublisher, bundle=tiny)
    assert not node.start()
    ros.status('trajectory_publisher: lifecycle', ERROR, 'one or more for each joint, limits_file or a URDF')


def test_a_bundle_of_another_control_dt_is_refused(ros, tiny):
    node = ros.create(TrajectoryPublisher, bundle=tiny, control_dt=0.05, **LIMITS)
    assert not node.start()
    reason = r'does not fit the robot: control_dt [ns]: got 100000000 in the bundle, allowed 50000000'
    ros.status('trajectory_publisher: lifecycle', ERROR, reason)


def test_the_control_dt_of_the_robot_is_that_of_a_policy_at_its_own_speed(ros, tiny):
    node = ros.create(TrajectoryPublisher, bundle=tiny, control_dt=0.1, policy_speed=1.4, **LIMITS)
    assert node.start()
