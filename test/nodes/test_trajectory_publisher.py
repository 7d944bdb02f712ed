from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from dp_ros import messages  # noqa: E402
from dp_ros.data import Chunk  # noqa: E402
from dp_ros.nodes.trajectory_publisher import TrajectoryPublisher  # noqa: E402
from dp_ros.policy.limits import Within, check  # noqa: E402
from dp_ros.policy.trajectory import Trajectory  # noqa: E402

pytestmark = pytest.mark.ros

DT = 100_000_000
MS = 1_000_000
T0 = 1_700_000_000_000_000_000
JOINTS = ('pusher_x', 'pusher_y')
LIMITS = {
    f'limits__{joint}__{quantity}': value
    for joint in JOINTS
    for quantity, value in {'lower': 0.0, 'upper': 0.5, 'velocity': 1.0, 'acceleration': 10.0}.items()
}
OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE


class Live:
    """An active trajectory_publisher on a simulated clock, what it is told and what it sends."""

    def __init__(self, ros: Any, bundle: str, **parameters: Any) -> None:
        self.ros = ros
        self.node = ros.create(TrajectoryPublisher, bundle=bundle, use_sim_time=True, **{**LIMITS, **parameters})
        assert self.node.start()
        self.sent = ros.listen(JointTrajectory, '/arm_controller/joint_trajectory', 1)
        self.plans = ros.listen(JointTrajectory, '/trajectory_publisher/plan')
        ros.connected('/arm_controller/joint_trajectory')
        ros.connected('/trajectory_publisher/plan')
        self.chunks = ros.talk(JointTrajectory, '/policy_executor/action_chunk', 1)
        self.joints = ros.talk(JointState, '/joint_states')
        self.time(T0)

    def time(self, now: int) -> None:
        self.ros.set_clock(now, self.node)

    def measure(self, stamp: int, x: float = 0.2, y: float = 0.3, name: tuple[str, ...] = JOINTS) -> None:
        before = self.node._joint_state
        self.joints.publish(
            messages.to_joint_state(stamp=stamp, name=name, position=[x, y], velocity=[0.0, 0.0], effort=[])
        )
        self.ros.wait(lambda: self.node._joint_state is not before, 'the joint state')

    def chunk(self, stamp: int, x: float = 0.2, slope: float = 0.01, joints: tuple[str, ...] = JOINTS) -> Any:
        ramp = x + slope * np.arange(16)
        return messages.chunk_to_message(
            Chunk(stamp=stamp, control_dt=DT, joints=joints, actions=np.stack([ramp, np.full(16, 0.3)], axis=1))
        )

    def send(self, message: Any) -> None:
        count = self.node.counts['chunks']
        self.chunks.publish(message)
        self.ros.wait(lambda: self.node.counts['chunks'] > count, 'the chunk to be handled')

    def trajectory(self, count: int) -> Trajectory:
        """Return trajectory number ``count``, checked for what any controller demands."""
        self.ros.wait(lambda: len(self.sent) >= count and len(self.plans) >= count, f'trajectory {count}')
        assert self.plans[count - 1] == self.sent[count - 1]
        fields = messages.trajectory_value(self.sent[count - 1])
        assert fields.velocities is not None
        return Trajectory(
            stamp=fields.stamp,
            joints=fields.joints,
            times=fields.times,
            positions=fields.positions,
            velocities=fields.velocities,
        )

    def refused(self, reason: str) -> None:
        self.ros.status('trajectory_publisher: chunk', ERROR, reason)
        assert self.sent == []


def started(ros: Any, bundle: str, **parameters: Any) -> Live:
    """Return one that has taken its first chunk."""
    live = Live(ros, bundle, **parameters)
    live.measure(T0)
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
    assert isinstance(check(first, live.node._planner.limits), Within)


def test_the_next_chunk_is_spliced_into_the_plan(ros, tiny):
    live = started(ros, tiny)
    first = live.trajectory(1)
    live.time(T0 + 800 * MS)
    live.measure(T0 + 795 * MS, 0.275)
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


def test_each_chunk_has_an_entry_in_the_ledger(ros, tiny):
    live = started(ros, tiny)
    values = {v.key: v.value for v in ros.status('trajectory_publisher: chunk', OK, 'published').values}
    assert int(values['observation']) == T0
    assert int(values['received']) == int(values['published']) == T0 + 40 * MS
    assert (int(values['first_executed']) - T0) // DT == int(values['dropped_steps'])
    assert float(values['latency_ms']) == 40.0
    assert values['reseeded'] == 'True'
    assert values['total_deadline_misses'] == '0'
    live.time(T0 + 910 * MS)
    live.measure(T0 + 900 * MS, 0.28)
    live.send(live.chunk(T0 + 800 * MS, 0.28))
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
        (lambda live: live.chunk(T0 - 1600 * MS), 'chunk is stale'),
    ],
)
def test_a_chunk_that_cannot_be_followed_is_refused(ros, tiny, make, reason):
    live = Live(ros, tiny)
    live.measure(T0)
    live.send(make(live))
    live.refused(reason)


def test_a_chunk_beyond_a_position_limit_stops_until_reset(ros, tiny):
    live = started(ros, tiny)
    live.time(T0 + 840 * MS)
    live.measure(T0 + 840 * MS, 0.28)
    live.send(live.chunk(T0 + 800 * MS, 0.28, 0.05))
    stop = live.trajectory(2)
    assert stop.velocities is not None
    assert stop.velocities[-1].tolist() == [0.0, 0.0]
    assert isinstance(check(stop, live.node._planner.limits), Within)
    assert stop.end < T0 + 2000 * MS
    ros.status('trajectory_publisher: plan', ERROR, 'stopped: ')

    live.time(T0 + 1600 * MS)
    live.measure(T0 + 1600 * MS, 0.3)
    live.send(live.chunk(T0 + 1600 * MS, 0.3))
    ros.status('trajectory_publisher: chunk', ERROR, 'stopped until ~/reset is called')
    assert len(live.sent) == 2

    response = ros.call(Trigger, '/trajectory_publisher/reset', Trigger.Request())
    assert response.success and 'pusher_x position' in response.message
    live.measure(T0 + 1600 * MS + 1, 0.3)
    live.send(live.chunk(T0 + 1600 * MS, 0.3))
    assert live.trajectory(3).positions[0].tolist() == [0.3, 0.3]


def test_when_chunks_stop_coming_the_diagnostics_say_how_long_the_plan_goes_on(ros, tiny):
    live = started(ros, tiny)
    ros.status('trajectory_publisher: plan', OK, 'following chunks')
    live.time(T0 + 1300 * MS)
    live.node.refresh()
    ros.status('trajectory_publisher: plan', WARN, 'the plan ends in')
    live.time(T0 + 5000 * MS)
    live.node.refresh()
    ros.status('trajectory_publisher: plan', STALE, 'the robot holds at the end of the plan')
    assert len(live.sent) == 1


def test_deactivation_brings_the_robot_to_rest_and_activation_starts_without_a_plan(ros, tiny):
    live = started(ros, tiny)
    live.time(T0 + 800 * MS)
    live.node.trigger_deactivate()
    stop = live.trajectory(2)
    assert stop.end < live.trajectory(1).end
    assert stop.velocities is not None
    assert stop.velocities[-1].tolist() == [0.0, 0.0]
    live.node.trigger_activate()
    ros.wait(lambda: live.chunks.get_subscription_count() and live.joints.get_subscription_count(), 'subscriptions')
    live.time(T0 + 3000 * MS)
    live.measure(T0 + 3000 * MS, 0.25)
    live.send(live.chunk(T0 + 3000 * MS, 0.25))
    assert live.trajectory(3).positions[0].tolist() == [0.25, 0.3]


def test_deactivated_before_any_chunk_it_sends_nothing(ros, tiny):
    live = Live(ros, tiny)
    live.node.trigger_deactivate()
    live.node.trigger_activate()
    ros.wait(live.chunks.get_subscription_count, 'the subscription')
    live.send(live.chunk(T0))
    live.refused('no joint state yet')


def test_a_clock_that_jumps_back_starts_a_new_plan(ros, tiny):
    live = started(ros, tiny)
    live.time(T0 - 10_000 * MS)
    live.measure(T0 - 10_000 * MS, 0.4)
    live.send(live.chunk(T0 - 10_000 * MS, 0.4, 0.001))
    second = live.trajectory(2)
    assert second.stamp <= T0 - 10_000 * MS
    assert second.positions[0].tolist() == [0.4, 0.3]


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
    assert node._planner.limits.velocity == (1.0, 2.0)


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
    ros.status('trajectory_publisher: lifecycle', ERROR, 'one or more for each joint, or limits_file')
