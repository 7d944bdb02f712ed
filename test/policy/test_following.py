from __future__ import annotations

import numpy as np
import pytest

from dp_ros.motion.safety.following import LEAP, CommandedPath, Following
from dp_ros.motion.safety.measured_states import MeasuredStates
from dp_ros.motion.trajectory import Trajectory

MS = 1_000_000
START = 1000 * 1000 * MS
TOLERANCE = np.array([0.008])


def sine(seconds):
    """From rest and back, at up to 0.75 rad/s."""
    return 0.5 * (1.0 - np.cos(1.5 * np.asarray(seconds)))


def plan_of(curve, seconds=4.0):
    times = np.arange(0.0, seconds, 0.05)
    h = 1e-5
    return Trajectory(
        stamp=START,
        joints=('a',),
        times=np.rint(times * 1e9).astype(np.int64),
        positions=curve(times)[:, None],
        velocities=((curve(times + h) - curve(times - h)) / (2 * h))[:, None],
    )


def watched(position, until=2.0, curve=sine):
    """Return the distances (N,) that were found while a robot moved like ``position`` (of seconds)."""
    path, states = CommandedPath(), MeasuredStates(np.array([False]), 10**9)
    path.add(plan_of(curve), START)
    following = Following(TOLERANCE, 50 * MS, 150 * MS, np.array([False]))
    found = []
    for tick in range(1, round(until * 100)):
        states.take(START + 10 * tick * MS, np.array([position(tick / 100)]), None)
        found.append(float(following.distance(states, path)[0]))
    return np.array(found), following


@pytest.mark.parametrize('lag', [0.0, 0.02, 0.045])
def test_a_lag_is_following(lag):
    found, following = watched(lambda t: sine(max(t - lag, 0.0)))
    assert found.max() < TOLERANCE[0] / 2
    assert following.lag[0] == pytest.approx(lag, abs=0.01)


def test_a_long_lag_is_following_once_motion_has_shown_it():
    found, following = watched(lambda t: sine(max(t - 0.12, 0.0)))
    assert found.max() > TOLERANCE[0] and found[100:].max() < TOLERANCE[0] / 2
    assert following.lag[0] == pytest.approx(0.12, abs=0.01)


@pytest.mark.parametrize('lag', [0.0, 0.02, 0.06])
@pytest.mark.parametrize('stopped', [0.5, 1.0, 1.5, 2.4])
def test_a_robot_that_stops_is_noticed_before_the_plan_is_far(lag, stopped):
    """By then a controller that listens again would jump by less than twice the tolerance, and what lag hides."""
    found, _ = watched(lambda t: sine(max(min(t, stopped) - lag, 0.0)), until=3.5)
    first = int(np.argmax(found > TOLERANCE)) + 1
    assert found.max() > TOLERANCE[0]
    assert abs(sine(first / 100 - lag) - sine(stopped - lag)) < 2 * TOLERANCE[0] + 0.75 * 0.01 + 0.01


def test_a_robot_off_by_more_than_the_tolerance_does_not_follow():
    found, _ = watched(lambda t: sine(t) + (0.0 if t < 1.0 else 0.012))
    assert found[:90].max() < TOLERANCE[0] < found[100:].max()


def test_a_trajectory_that_was_lost_is_noticed():
    """The robot goes on with the trajectory before, which the new one leaves at 1 s."""
    path, states = CommandedPath(), MeasuredStates(np.array([False]), 10**9)
    path.add(plan_of(sine), START)
    path.add(plan_of(lambda t: sine(t) + np.where(np.asarray(t) > 1.0, 0.4 * (t - 1.0) ** 2, 0.0)), START + 1000 * MS)
    following = Following(TOLERANCE, 50 * MS, 150 * MS, np.array([False]))
    found = []
    for tick in range(1, 180):
        states.take(START + 10 * tick * MS, sine([tick / 100]), None)
        found.append(float(following.distance(states, path)[0]))
    assert max(found[:99]) < TOLERANCE[0]
    first = (int(np.argmax(np.array(found) > TOLERANCE)) + 1) / 100 - 1.0
    assert 0.0 < first < 0.5
    assert 0.4 * first**2 < 6 * TOLERANCE[0]


def test_a_whole_turn_is_no_distance():
    path, states = CommandedPath(), MeasuredStates(np.array([True]), 10**9)
    path.add(plan_of(sine), START)
    following = Following(TOLERANCE, 50 * MS, 150 * MS, np.array([True]))
    for tick in range(1, 50):
        states.take(START + 10 * tick * MS, sine([tick / 100]) - 2 * np.pi, None)
    assert following.distance(states, path)[0] < 1e-4


def test_what_was_commanded_is_the_trajectory_that_counted_then():
    path = CommandedPath()
    rest, moved = plan_of(np.zeros_like), plan_of(lambda t: np.ones_like(t))
    path.add(rest, START)
    path.add(moved, START + 500 * MS)
    at = START + np.array([0, 499, 500, 900]) * MS
    np.testing.assert_array_equal(path.positions_at(at)[:, 0], [0.0, 0.0, 1.0, 1.0])
    before = path.pieces
    path.add(rest, START + 700 * MS)
    path.pieces = before
    assert path.positions_at(at)[-1, 0] == 1.0


def test_a_lag_that_is_known_explains_no_robot_that_stands():
    """A slow plan is behind any standing robot for long, if any lag may be taken."""

    def curve(seconds):
        t = np.asarray(seconds)
        return np.where(t < 2.0, sine(np.minimum(t, 2.0)), sine(2.0) + 0.15 * (t - 2.0))

    found, _ = watched(lambda t: float(curve(max(min(t, 3.0) - 0.02, 0.0))), until=3.9, curve=curve)
    first = int(np.argmax(found[280:] > TOLERANCE)) + 281
    assert found[280:].max() > TOLERANCE[0]
    assert float(curve(first / 100)) - float(curve(2.98)) < TOLERANCE[0] + 0.15 * 0.05


@pytest.mark.parametrize('lag', [0.0, 0.02, 0.045])
def test_a_robot_that_follows_is_expected_to_leap_nowhere(lag):
    found = expected_leaps(lambda t: sine(max(t - lag, 0.0)), known=lag)
    assert found.max() < LEAP * TOLERANCE[0]


@pytest.mark.parametrize('known', [None, 0.0, 0.045])
@pytest.mark.parametrize('stopped', [0.0, 0.02, 1.0, 1.8])
def test_a_robot_left_behind_is_expected_to_leap_before_it_does_however_late_it_may_follow(known, stopped):
    """A controller that was switched off as the plan began, or on the way: the next message comes 40 ms later."""
    lag = known or 0.0
    found = expected_leaps(lambda t: sine(max(min(t, stopped) - lag, 0.0)), known=known)
    seconds = np.arange(1, len(found) + 1) / 100
    true = sine(seconds + 0.04) - sine(stopped)
    late = seconds > stopped + lag + 0.06
    unexpected = (found <= LEAP * TOLERANCE[0]) & (seconds > stopped)
    assert unexpected[late & (true > LEAP * TOLERANCE[0])].sum() == 0


@pytest.mark.parametrize('slowness', [0.05, 0.1, 0.15])
def test_a_loose_drive_that_is_followed_loosely_is_expected_to_leap_nowhere(slowness):
    """A lag of the first order, at up to 0.6 m/s."""

    def curve(seconds):
        return 0.2 * (1.0 - np.cos(3.0 * np.asarray(seconds)))

    places = [0.0]
    for tick in range(1, 4000):
        places.append(places[-1] + (float(curve(tick / 1000)) - places[-1]) * 0.001 / slowness)
    found = expected_leaps(lambda t: places[round(1000 * t)], None, 3.9, curve, np.array([0.05]), 200)
    assert found.max() < LEAP * 0.05


@pytest.mark.parametrize('stopped', [None, 0.9])
def test_the_first_joint_state_after_a_gap_tells_a_robot_that_follows_from_one_that_stands(stopped):
    """One joint state alone would say that a robot has stood all the while."""
    found = expected_leaps(lambda t: sine(t if stopped is None else min(t, stopped)), known=0.0, gap=(1.0, 1.3))
    first = round(1.3 * 100) - round(0.3 * 100)  # those of the gap are not among those found
    assert (found[first] < LEAP * TOLERANCE[0]) == (stopped is None)


def expected_leaps(position, known, until=2.0, curve=sine, tolerance=TOLERANCE, lag=50, gap=(9.0, 9.0)):
    """Return (N,) how far a robot that moved like ``position`` (of seconds) may be from the plan 40 ms later.

    No joint state comes in the ``gap`` from one time to another [s].
    """
    path, states = CommandedPath(), MeasuredStates(np.array([False]), 10**9)
    path.add(plan_of(curve), START)
    following = Following(tolerance, lag * MS, 250 * MS, np.array([False]))
    following.lag = np.array([np.nan if known is None else known])
    found = []
    for tick in range(1, round(until * 100)):
        if gap[0] < tick / 100 < gap[1]:
            continue
        now = START + 10 * tick * MS
        states.take(now, np.array([position(tick / 100)]), None)
        found.append(float(following.leap(states, path, now + 40 * MS)[0]))
    return np.array(found)
