from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_ros.errors import ConfigError, LimitError
from dp_ros.motion.checks.extrema import extrema
from dp_ros.motion.checks.limits import check, hull
from dp_ros.motion.trajectory import Trajectory
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.robot.limits_file import parse_joint_limits, read_joint_limits

SECOND = 1_000_000_000
INF = float('inf')


def limits(lower=-1.0, upper=1.0, velocity=INF, acceleration=INF, **others):
    given = {'lower': lower, 'upper': upper, 'velocity': velocity, 'acceleration': acceleration, **others}
    return JointLimits(joints=('a',), **{name: (value,) for name, value in given.items()})


def curve(positions, velocities=None, accelerations=None, seconds=(0.0, 1.0)):
    def column(values):
        return None if values is None else np.array(values, dtype=float)[:, None]

    return Trajectory(
        stamp=0,
        joints=('a',),
        times=np.rint(np.array(seconds) * SECOND).astype(np.int64),
        positions=column(positions),
        velocities=column(velocities),
        accelerations=column(accelerations),
    )


def test_a_cubic_that_leaves_the_limits_between_its_points_is_found():
    # 4 x (1 - x)^2 rises to 16/27 at x = 1/3.
    bump = curve([0.0, 0.0], [4.0, 0.0])
    assert check(bump, limits(upper=16 / 27 + 1e-12)) is None
    found = check(bump, limits(upper=0.59))
    assert (found.joint, found.quantity, found.at) == ('a', 'position', 333333333)
    assert str(found) == 'a position: got 0.592593 at 0.333 s, allowed up to 0.59'
    low = check(curve([0.0, 0.0], [-4.0, 0.0]), limits(lower=-0.5))
    assert str(low) == 'a position: got -0.592593 at 0.333 s, allowed from -0.5'


def test_the_fastest_instant_of_a_cubic_is_inside_it():
    # 3 x^2 - 2 x^3 is fastest, 1.5, at x = 1/2, where its points say 0.
    step = curve([0.0, 1.0], [0.0, 0.0])
    assert check(step, limits(velocity=1.5)) is None
    found = check(step, limits(velocity=1.49))
    assert (found.joint, found.quantity, found.at) == ('a', 'velocity', SECOND // 2)
    assert str(found) == 'a velocity: got 1.5 at 0.500 s, allowed up to 1.49'


def test_acceleration_is_taken_at_the_ends_of_a_cubic():
    step = curve([0.0, 1.0], [0.0, 0.0])
    assert check(step, limits(acceleration=6.0)) is None
    assert str(check(step, limits(acceleration=5.9))) == 'a acceleration: got 6 at 0.000 s, allowed up to 5.9'


def test_a_quintic_is_checked_between_its_points():
    # 10 x^3 - 15 x^4 + 6 x^5: 15/8 at 1/2, and 10/sqrt(3) at (3 - sqrt(3))/6.
    step = curve([0.0, 1.0], [0.0, 0.0], [0.0, 0.0])
    assert check(step, limits(velocity=1.8751, acceleration=5.7736)) is None
    assert check(step, limits(velocity=1.8749, acceleration=INF)).quantity == 'velocity'
    assert check(step, limits(velocity=1.8751, acceleration=5.7734)).quantity == 'acceleration'


def test_jerk_is_taken_inside_segments():
    # 3 x^2 - 2 x^3 has the third derivative -12; 10 x^3 - 15 x^4 + 6 x^5 has 60 at its ends and -30 in the middle.
    step = curve([0.0, 1.0], [0.0, 0.0])
    assert check(step, limits(jerk=12.0)) is None
    assert str(check(step, limits(jerk=11.9))) == 'a jerk: got 12 at 0.000 s, allowed up to 11.9'
    smooth = curve([0.0, 1.0], [0.0, 0.0], [0.0, 0.0])
    assert check(smooth, limits(jerk=60.001)) is None
    assert re.fullmatch(r'a jerk: got 60 at \S+ s, allowed up to 59.9', str(check(smooth, limits(jerk=59.9))))


@pytest.mark.parametrize('quintic', [False, True])
def test_braking_has_its_own_limit(quintic):
    # There and back: 4 x (1 - x), scaled. It brakes with 8 until x = 1/2 and speeds up with 8 from there.
    hill = curve([0.0, 0.0], [4.0, -4.0], [-8.0, -8.0] if quintic else None)
    assert check(hill, limits(upper=1.1, acceleration=8.1, deceleration=8.1)) is None
    assert str(check(hill, limits(upper=1.1, acceleration=9.0, deceleration=7.5))).startswith('a deceleration: got 8 ')
    assert check(hill, limits(upper=1.1, acceleration=7.5, deceleration=9.0)).quantity == 'acceleration'
    # The first half alone only brakes.
    half = curve([0.0, 1.0], [4.0, 0.0], [-8.0, -8.0] if quintic else None, (0.0, 0.5))
    assert check(half, limits(upper=1.1, acceleration=1.0, deceleration=8.1)) is None
    assert check(half, limits(upper=1.1, acceleration=9.0, deceleration=7.9)).quantity == 'deceleration'
    back = curve([1.0, 0.0], [0.0, -4.0], [-8.0, -8.0] if quintic else None, (0.0, 0.5))
    assert check(back, limits(upper=1.1, acceleration=8.1, deceleration=1.0)) is None


def test_where_braking_turns_into_speeding_up_between_points_both_count():
    # q = x^3 - 0.3 x has q'' = 6 x, and turns at x = 0.316, where the acceleration is 1.897.
    bowl = curve([0.0, 0.7], [-0.3, 2.7])
    assert check(bowl, limits(acceleration=6.1, deceleration=1.9)) is None
    found = check(bowl, limits(acceleration=6.1, deceleration=1.89))
    assert str(found).startswith('a deceleration: got 1.8973')


def test_corners_of_a_positions_only_trajectory_have_no_finite_acceleration():
    line = curve([0.0, 0.5])
    assert check(line, limits(velocity=0.5)) is None
    assert check(line, limits(velocity=0.49)).quantity == 'velocity'
    assert 'got inf' in str(check(line, limits(acceleration=1e9)))
    assert check(curve([0.5, 0.5]), limits(acceleration=1e-9)) is None


def test_a_single_point_is_checked_too():
    assert check(curve([0.5], seconds=(1.0,)), limits()) is None
    assert 'got 1.5' in str(check(curve([1.5], seconds=(1.0,)), limits()))


def test_an_overflow_is_an_excess():
    with np.errstate(all='ignore'):
        assert check(curve([-1e308, 1e308], [0.0, 0.0]), limits(-INF, INF, 1.0)) is not None


def test_limits_of_other_joints_are_an_error():
    other = JointLimits(joints=('b',), lower=(-1.0,), upper=(1.0,), velocity=(1.0,), acceleration=(1.0,))
    with pytest.raises(LimitError, match='got joints a, allowed b'):
        check(curve([0.0], seconds=(0.0,)), other)


NUMBERS = st.floats(-10, 10)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=2, max_size=4), st.booleans(), st.floats(0.01, 2.0))
def test_extremes_bound_every_sample_and_are_reached(points, quintic, spacing):
    positions, velocities, accelerations = zip(*points, strict=True)
    seconds = spacing * np.arange(len(points))
    trajectory = curve(positions, velocities, accelerations if quintic else None, seconds)
    found = extrema(trajectory)
    instants = np.linspace(0, trajectory.times[-1], 2001).astype(np.int64)
    for samples, (values, _) in zip(trajectory.sample(instants), (found.position, found.velocity), strict=True):
        scale = 1e-9 * (1 + np.abs(values).max())
        assert samples.max() <= values.max() + scale
        assert samples.min() >= values.min() - scale
        # Sampling comes close to the true extremes, so they are not larger than they need be.
        assert samples.max() >= values.max() - 0.01 * (1 + np.ptp(values))
    rough = extrema(trajectory, hull(limits(-100.0, 100.0, 100.0, 1000.0)))
    for name in ('position', 'velocity', 'acceleration', 'jerk'):
        # Where bounds suffice they are bounds, and not far from the extremes that they stand for.
        exact, bound = (np.abs(getattr(f, name)[0]).max() for f in (found, rough))
        assert exact <= bound * (1 + 1e-9) + 1e-9
    _, speeds = trajectory.sample(instants)
    slopes = np.diff(speeds[:, 0]) / np.diff(instants) * SECOND
    largest = np.abs(found.acceleration[0]).max()
    assert np.abs(slopes).max() <= largest * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'joints': ()}, 'allowed one or more different names'),
        ({'joints': ('a', 'b')}, 'got 1 for 2 joints'),
        ({'lower': (1.0,)}, "limits of 'a': got positions 1.0 to 1.0, allowed lower < upper"),
        ({'upper': (float('nan'),)}, 'allowed lower < upper'),
        ({'velocity': (0.0,)}, "limits of 'a': got velocity 0.0, allowed more than 0"),
        ({'acceleration': (float('nan'),)}, 'got acceleration nan'),
    ],
)
def test_impossible_limits_are_refused(changes, message):
    given = {'joints': ('a',), 'lower': (-1.0,), 'upper': (1.0,), 'velocity': (1.0,), 'acceleration': (1.0,)}
    with pytest.raises(ConfigError, match=message):
        JointLimits(**{**given, **changes})


FILE = """
default_velocity_scaling_factor: 0.1
joint_limits:
  elbow:
    has_position_limits: true
    min_position: -1.5
    max_position: 2
    has_velocity_limits: true
    max_velocity: 3.0
    has_acceleration_limits: true
    max_acceleration: 5.0
    has_deceleration_limits: true
    max_deceleration: 4.0
    has_jerk_limits: true
    max_jerk: 50.0
  wheel:
    has_velocity_limits: false
    max_velocity: 1.0
    has_effort_limits: true
    max_effort: 12.0
  gripper:
    has_velocity_limits: false
"""


def test_a_joint_limits_file_is_read_in_the_joints_order(tmp_path):
    path = tmp_path / 'joint_limits.yaml'
    path.write_text(FILE)
    assert read_joint_limits(path, ('wheel', 'elbow')) == JointLimits(
        joints=('wheel', 'elbow'),
        lower=(-INF, -1.5),
        upper=(INF, 2.0),
        velocity=(INF, 3.0),
        acceleration=(INF, 5.0),
        deceleration=(INF, 4.0),
        jerk=(INF, 50.0),
    )


def test_whoever_gives_no_deceleration_brakes_as_he_may_accelerate():
    entry = {'has_acceleration_limits': True, 'max_acceleration': 5.0}
    found = parse_joint_limits({'joint_limits': {'a': entry}}, ('a',))
    assert (found.top_deceleration[0], found.brakes_alike) == (5.0, True)


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        ({'max_speed': 1.0}, "unknown key 'max_speed', allowed has_position_limits"),
        ({'max_velocity': 1.0}, 'max_velocity without has_velocity_limits'),
        ({'has_velocity_limits': 1, 'max_velocity': 1.0}, 'has_velocity_limits: got 1, allowed true or false'),
        ({'has_velocity_limits': True}, 'max_velocity: got nothing, allowed a finite number'),
        ({'has_velocity_limits': True, 'max_velocity': '1'}, "max_velocity: got '1'"),
        ({'has_velocity_limits': True, 'max_velocity': INF}, 'max_velocity: got inf'),
        ({'has_velocity_limits': True, 'max_velocity': True}, 'max_velocity: got True'),
        ({'has_velocity_limits': True, 'max_velocity': -1}, 'allowed more than 0'),
        ({'has_jerk_limits': True, 'max_jerk': 0.0}, 'got jerk 0.0, allowed more than 0'),
        ({'has_deceleration_limits': True, 'max_deceleration': -1.0}, 'got deceleration -1.0, allowed more than 0'),
        ([], 'got list, allowed a mapping'),
    ],
)
def test_an_entry_that_is_not_understood_is_refused(entry, message):
    with pytest.raises(ConfigError, match=message):
        parse_joint_limits({'joint_limits': {'a': entry}}, ('a',))


def test_a_file_without_the_joints_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='missing joint b; got a'):
        parse_joint_limits({'joint_limits': {'a': {}}}, ('a', 'b'))
    with pytest.raises(ConfigError, match="missing key 'joint_limits'"):
        parse_joint_limits({}, ('a',))
    with pytest.raises(ConfigError, match="unknown key 'limits'"):
        parse_joint_limits({'joint_limits': {}, 'limits': {}}, ('a',))
    with pytest.raises(ConfigError, match='cannot be read'):
        read_joint_limits(tmp_path / 'none.yaml', ('a',))
    (tmp_path / 'broken.yaml').write_text('a: [')
    with pytest.raises(ConfigError, match='not valid YAML'):
        read_joint_limits(tmp_path / 'broken.yaml', ('a',))


@pytest.mark.parametrize('speed', [0.0, 1e-12, -1e-12, 1e-10, -1e-10])
def test_a_start_that_all_but_rests_speeds_up_and_is_judged_by_acceleration_not_by_deceleration(speed):
    limits = JointLimits(
        joints=('a',), lower=(-9.0,), upper=(9.0,), velocity=(9.0,), acceleration=(1.0,), deceleration=(4.0,)
    )
    # Two times the limit of acceleration at its start, and half that of deceleration at its end.
    trajectory = Trajectory(
        stamp=0,
        joints=('a',),
        times=np.array([0, 1_000_000_000]),
        positions=np.array([[0.0], [1.0 / 3.0]]),
        velocities=np.array([[speed], [0.0]]),
    )
    found = check(trajectory, limits)
    assert found is not None and found.quantity == 'acceleration'
