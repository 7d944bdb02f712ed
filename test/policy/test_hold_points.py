"""Points to hold: from wherever a controller may start its way to them, that is within the limits."""

from __future__ import annotations

import numpy as np
import pytest

from dp_ros.data import Chunk, Refusal
from dp_ros.motion.checks.limits import check
from dp_ros.motion.options import PlanOptions
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.motion.safety.hold_points import HoldPoints
from dp_ros.motion.safety.measured_states import MeasuredState
from dp_ros.motion.trajectory import Trajectory
from dp_ros.robot.joint_limits import JointLimits


@pytest.mark.parametrize(('velocity', 'acceleration'), [(9.0, 2.0), (0.3, 50.0), (2.0, 20.0)])
@pytest.mark.parametrize('held', [0.0, 1.5])
def test_the_way_to_a_beginning_is_within_the_limits(velocity, acceleration, held):
    limits = JointLimits(joints=('a',), lower=(-3.0,), upper=(3.0,), velocity=(velocity,), acceleration=(acceleration,))
    points = HoldPoints(('a',), 100_000_000, limits, PlanOptions())
    point = points.begin(np.zeros(1), [np.array([held])])
    assert isinstance(point, Trajectory)
    for start in (-0.2, 0.2, held):
        way = Trajectory(
            stamp=1,
            joints=('a',),
            times=np.array([0, int(point.times[0])]),
            positions=np.array([[start], [0.0]]),
            velocities=np.zeros((2, 1)),
        )
        assert check(way, limits) is None


@pytest.mark.parametrize('start', [-0.2, 0.26])
def test_a_beginning_leaves_time_for_a_robot_that_is_on_its_way_after_all(start):
    """A driver that repeats its last joint state shows a robot at rest, whatever it does."""
    limits = JointLimits(joints=('a',), lower=(-3.0,), upper=(3.0,), velocity=(2.0,), acceleration=(5.0,))
    points = HoldPoints(('a',), 100_000_000, limits, PlanOptions())
    point = points.begin(np.zeros(1), [np.array([0.26])], np.array([0.9]))
    assert isinstance(point, Trajectory)
    for speed in (-0.9, 0.9):
        way = Trajectory(
            stamp=1,
            joints=('a',),
            times=np.array([0, int(point.times[0])]),
            positions=np.array([[start], [0.0]]),
            velocities=np.array([[speed], [0.0]]),
        )
        assert check(way, limits) is None


def test_a_hold_is_reached_within_the_speed_limit_however_wrong_the_joint_state_is():
    limits = JointLimits(joints=('a',), lower=(-3.0,), upper=(3.0,), velocity=(1.0,), acceleration=(20.0,))
    points = HoldPoints(('a',), 50_000_000, limits, PlanOptions())
    state = MeasuredState(stamp=0, positions=np.zeros(1), velocities=np.zeros(1))
    for held in (0.2, 0.5):
        point = points.stop(state, 0, (np.array([[held]]), np.zeros((1, 1))))
        assert isinstance(point, Trajectory)
        way = Trajectory(
            stamp=1,
            joints=('a',),
            times=np.array([0, int(point.times[0])]),
            positions=np.array([[held], [0.0]]),
            velocities=np.zeros((2, 1)),
        )
        assert check(way, limits) is None


@pytest.mark.parametrize(('measured', 'planned'), [(2.0, -1.2), (-1.6, 0.0), (1.5, 0.4), (1.0, 1.0)])
def test_a_hold_counts_on_no_velocity_that_a_plan_contradicts(measured, planned):
    """A leap of the joint states looks like a velocity; so does one that a driver makes up."""
    limits = JointLimits(joints=('a',), lower=(-9.0,), upper=(9.0,), velocity=(2.0,), acceleration=(20.0,))
    points = HoldPoints(('a',), 100_000_000, limits, PlanOptions())
    state = MeasuredState(stamp=0, positions=np.zeros(1), velocities=np.array([measured]))
    point = points.stop(state, 0, (np.array([[-0.3]]), np.array([[planned]])))
    assert isinstance(point, Trajectory)
    assert bool(point.positions.any()) == (measured * planned > 0.0)
    for place, speed in ((0.0, measured), (-0.3, planned)):
        way = Trajectory(
            stamp=1,
            joints=('a',),
            times=np.array([0, int(point.times[0])]),
            positions=np.array([[place], point.positions[0]]),
            velocities=np.array([[speed], [0.0]]),
        )
        assert check(way, limits) is None


@pytest.mark.parametrize('towards', [1.0, -1.0])
@pytest.mark.parametrize('speed', [0.3, 1.0, 2.0])
@pytest.mark.parametrize('room', [1.2, 1.5, 3.0])
def test_a_hold_near_a_position_limit_does_not_shoot_beyond_it(towards, speed, room):
    limits = JointLimits(joints=('a',), lower=(-1.0,), upper=(1.0,), velocity=(2.0,), acceleration=(8.0,))
    place = 1.0 - room * (speed**2 / 16.0 + 0.03 * speed)  # from where it can stop yet, after `splice_margin`
    state = MeasuredState(stamp=0, positions=np.array([towards * place]), velocities=np.array([towards * speed]))
    points = HoldPoints(('a',), 100_000_000, limits, PlanOptions())
    for planned in (None, (state.positions[None], state.velocities[None]), (np.zeros((1, 1)), np.zeros((1, 1)))):
        point = points.stop(state, 0, planned)
        assert isinstance(point, Trajectory)
        for late in (0.0, 0.015, 0.03):
            start, duration = place + late * speed, point.times[0] / 1e9
            share, way = np.linspace(0.0, 1.0, 200), towards * float(point.positions[0, 0]) - start
            passed = start + speed * duration * share * (1 - share) ** 2 + way * share**2 * (3 - 2 * share)
            assert passed.max() <= 1.0 + 1e-6
            assert max(abs(6 * way / duration - 4 * speed), abs(2 * speed - 6 * way / duration)) <= 16.0 * duration
            assert np.abs(np.diff(passed)).max() <= 2.0 * duration / 199


@pytest.mark.parametrize('speed', [0.1, -0.1])
def test_a_hold_of_a_short_joint_stays_between_its_limits(speed):
    """Far enough back from the one to stop before it may be beyond the other, as of a finger."""
    limits = JointLimits(joints=('a',), lower=(0.0,), upper=(0.04,), velocity=(0.2,), acceleration=(2.0,))
    points = HoldPoints(('a',), 100_000_000, limits, PlanOptions())
    state = MeasuredState(stamp=0, positions=np.array([0.02]), velocities=np.array([speed]))
    point = points.stop(state, 0, (np.array([[0.5]]), np.array([[speed]])))
    assert isinstance(point, Trajectory)
    assert 0.0 <= point.positions[0, 0] <= 0.04


@pytest.mark.parametrize(('place', 'allowed'), [(0.5, True), (0.99, False)])
def test_nothing_begins_where_a_plan_that_was_given_up_may_lead_beyond_a_position_limit(place, allowed):
    """The robot is seen at rest, and its controller may be on the plan after all."""
    limits = JointLimits(joints=('a',), lower=(-1.0,), upper=(1.0,), velocity=(2.0,), acceleration=(2.0,))
    planner = Planner(('a',), 100_000_000, limits)
    planner.measured(1_000_000_000, np.array([place - 0.8]))
    planner.rest_at(np.array([place - 0.8]), 1_000_000_000)
    planner.measured(1_010_000_000, np.array([place - 0.8]))
    steps = np.linspace(place - 0.8, place, 16)[:, None]
    chunk = Chunk(stamp=1_010_000_000, control_dt=100_000_000, joints=('a',), actions=steps)
    planned = planner.accept(chunk, 1_010_000_000)
    assert isinstance(planned, Planned)
    moving = planned.trajectory.end - 500_000_000
    planner.lose('a hand')
    for i in range(40):
        planner.measured(moving - 400_000_000 + 10_000_000 * i, np.array([place - 0.02]))
    point = planner.begin(moving)
    if allowed:
        assert isinstance(point, Trajectory)
        return
    assert isinstance(point, Refusal)
    assert point.reason == 'a plan that was given up may lead beyond a position limit: it ends first'
    for i in range(80):
        planner.measured(moving + 10_000_000 * i, np.array([place - 0.02]))
    assert isinstance(planner.begin(moving + 800_000_000), Trajectory)


def test_a_velocity_that_false_joint_states_show_leads_no_arm_that_is_held_away_from_there():
    limits = JointLimits(joints=('a',), lower=(-3.0,), upper=(3.0,), velocity=(2.0,), acceleration=(20.0,))
    planner = Planner(('a',), 100_000_000, limits)
    planner.measured(1_000_000_000, np.zeros(1))
    planner.rest_at(np.zeros(1), 1_000_000_000)
    planner.forget_plan()
    planner.forget_states()
    for i in range(4):
        planner.measured(2_000_000_000 + 10_000_000 * i, np.array([-0.8 - 0.02 * i]))
    point = planner.hold(2_030_000_000)
    assert isinstance(point, Trajectory)
    for start in ((0.0, 0.0), (-0.86, -2.0)):
        way = Trajectory(
            stamp=1,
            joints=('a',),
            times=np.array([0, int(point.times[0])]),
            positions=np.array([[start[0]], point.positions[0]]),
            velocities=np.array([[start[1]], [0.0]]),
        )
        assert check(way, limits) is None


def fastest(point, start, speed):
    """Return the greatest speed on the way to a point, from a position and a speed."""
    share, duration = np.linspace(0.0, 1.0, 1001), point.times[0] / 1e9
    way = float(point.positions[0, 0]) - start
    return np.abs(speed * (1 - share) * (1 - 3 * share) + 6 * way / duration * share * (1 - share)).max()


@pytest.mark.parametrize('away', [0.2, 1.0])
@pytest.mark.parametrize('speed', [0.0, 0.4, 1.0])
def test_a_hold_in_motion_is_reached_within_four_thirds_of_the_speed_limit(away, speed):
    limits = JointLimits(joints=('a',), lower=(-9.0,), upper=(9.0,), velocity=(1.0,), acceleration=(50.0,))
    points = HoldPoints(('a',), 100_000_000, limits, PlanOptions())
    state = MeasuredState(stamp=0, positions=np.zeros(1), velocities=np.array([speed]))
    point = points.stop(state, 0, (np.array([[-away]]), np.array([[speed]])))
    assert isinstance(point, Trajectory)
    for start in (-away, 0.0, 0.2):
        assert fastest(point, start, speed) <= 4.0 / 3.0 + 1e-6


def test_a_leap_of_joint_states_over_a_gap_may_be_false_and_shows_no_velocity():
    limits = JointLimits(joints=('a',), lower=(-9.0,), upper=(9.0,), velocity=(1.0,), acceleration=(20.0,))
    planner = Planner(('a',), 100_000_000, limits)
    for i in range(20):
        planner.measured(10_000_000 * i, np.zeros(1))
    for i in range(3):
        planner.measured(500_000_000 + 10_000_000 * i, np.array([-0.7 - 0.01 * i]))
    point = planner.hold(520_000_000)
    assert isinstance(point, Trajectory)
    for start, speed in ((0.0, 0.0), (-0.72, -1.0)):
        assert fastest(point, start, speed) <= 4.0 / 3.0


def test_a_robot_on_a_plan_that_is_measured_beyond_a_limit_is_held_within():
    limits = JointLimits(joints=('a',), lower=(-1.0,), upper=(1.0,), velocity=(2.0,), acceleration=(20.0,))
    points = HoldPoints(('a',), 100_000_000, limits, PlanOptions())
    state = MeasuredState(stamp=0, positions=np.array([1.3]), velocities=np.array([2.0]))
    point = points.stop(state, 0, (np.array([[0.5]]), np.array([[1.0]])))
    assert isinstance(point, Trajectory) and point.positions[0, 0] <= 1.0
    for start, speed in ((0.5, 1.0), (1.3, 0.0)):
        assert fastest(point, start, speed) <= 8.0 / 3.0
    refused = points.stop(state, 0, None)
    assert isinstance(refused, Refusal) and 'allowed -1 to 1' in refused.reason
