from __future__ import annotations

import numpy as np
import pytest

from dp_ros.motion.safety.measured_states import MeasuredState, MeasuredStates, Plausibility, slip_allowed
from dp_ros.robot.joint_limits import JointLimits

MS = 1_000_000
START = 1000 * 1000 * MS
LIMITS = JointLimits(
    joints=('a', 'b'), lower=(-3.0,) * 2, upper=(3.0,) * 2, velocity=(2.0, 1.0), acceleration=(8.0,) * 2
)
NEITHER = np.array([False, False])


def state(milliseconds, a, b=0.0, velocities=(0.0, 0.0)):
    stamp = START + round(milliseconds * MS)
    return MeasuredState(stamp=stamp, positions=np.array([a, b]), velocities=np.array(velocities))


def states_of(path, every=10, count=30, velocities=None):
    states = MeasuredStates(NEITHER, 250 * MS)
    for tick in range(count):
        states.take(START + tick * every * MS, np.array(path(tick * every / 1000)), velocities)
    return states


def test_a_robot_stands_when_it_has_not_moved_for_a_while():
    slip = slip_allowed(LIMITS, 2)
    assert states_of(lambda t: [0.3, 0.1]).standing(slip)
    assert states_of(lambda t: [0.3 + 0.001 * np.sin(900 * t), 0.1]).standing(slip)  # an encoder's noise
    assert not states_of(lambda t: [0.3 + 0.02 * t, 0.1]).standing(slip)
    assert not states_of(lambda t: [0.3, 0.1], count=14).standing(slip)  # not for so long
    assert not states_of(lambda t: [0.3, 0.1 + (0.02 if t > 0.25 else 0.0)]).standing(slip)
    assert not MeasuredStates(NEITHER, 250 * MS).standing(slip)


def test_velocities_are_what_positions_tell():
    np.testing.assert_allclose(states_of(lambda t: [0.5 * t, -0.2 * t]).velocities(LIMITS), [0.5, -0.2], atol=1e-9)
    told = np.array([0.52, -0.2])
    np.testing.assert_array_equal(states_of(lambda t: [0.5 * t, -0.2 * t], velocities=told).velocities(LIMITS), told)
    wrong = states_of(lambda t: [0.0, 0.0], velocities=np.array([12.0, 1e200]))
    np.testing.assert_array_equal(wrong.velocities(LIMITS), [0.0, 0.0])


def test_no_joint_is_taken_to_be_faster_than_it_can():
    np.testing.assert_allclose(states_of(lambda t: [9.0 * t, -7.0 * t]).velocities(LIMITS), [2.0, -1.0])


def test_one_joint_state_alone_is_believed_what_the_joint_can_do():
    one = states_of(lambda t: [0.0, 0.0], count=1, velocities=np.array([1.5, 9.0]))
    np.testing.assert_array_equal(one.velocities(LIMITS), [1.5, 0.0])


def test_a_joint_that_turns_without_end_is_remembered_unwrapped():
    states = MeasuredStates(np.array([True, False]), 250 * MS)
    for tick in range(20):
        angle = 3.1 + 0.01 * tick
        states.take(START + tick * 10 * MS, np.array([(angle + np.pi) % (2 * np.pi) - np.pi, 0.0]), None)
    np.testing.assert_allclose(states.velocities(None), [1.0, 0.0], atol=1e-9)


@pytest.mark.parametrize(
    ('milliseconds', 'a', 'plausible'),
    [(10, 0.09, True), (10, 0.11, False), (10, 0.8, False), (100, 0.3, True), (100, 0.4, False), (1000, 2.9, True)],
)
def test_what_a_joint_cannot_have_reached_is_refused(milliseconds, a, plausible):
    judge = Plausibility(LIMITS, NEITHER)
    assert judge.fault(state(0, 0.0), START) == ''
    fault = judge.fault(state(milliseconds, a), START + milliseconds * MS)
    assert (fault == '') == plausible
    if not plausible:
        assert f'a: got a move of {a:.4g} in {milliseconds / 1000:.3f} s, allowed' in fault


def test_a_refused_state_is_no_measure_for_the_next():
    judge = Plausibility(LIMITS, NEITHER)
    judge.fault(state(0, 0.0), START)
    for tick in range(1, 4):
        assert judge.fault(state(10 * tick, 0.8), START + 10 * tick * MS)
    assert (judge.refused, judge.agreeing) == (3, 20 * MS)
    assert judge.fault(state(40, 0.01), START + 40 * MS) == ''
    assert judge.refused == 0


def test_refused_states_that_contradict_each_other_do_not_agree():
    judge = Plausibility(LIMITS, NEITHER)
    judge.fault(state(0, 0.0), START)
    for tick in range(1, 9):
        assert judge.fault(state(10 * tick, 0.8 if tick % 2 else -0.8), START + 10 * tick * MS)
    assert (judge.refused, judge.agreeing) == (8, 0)


def test_what_was_refused_again_and_again_is_not_believed_because_time_has_passed():
    judge = Plausibility(LIMITS, NEITHER)
    judge.fault(state(0, 0.0), START)
    for milliseconds in range(10, 1000, 10):
        assert judge.fault(state(milliseconds, 0.8), START + milliseconds * MS)
    assert judge.fault(state(1000, 0.01), START + 1000 * MS) == ''


def test_after_a_pause_the_robot_is_near_where_it_was():
    judge = Plausibility(LIMITS, NEITHER)
    judge.fault(state(0, 0.0), START)
    judge.fault(state(10, 2.0), START + 10 * MS)
    judge.resume()
    assert judge.refused == 0
    assert judge.fault(state(100, 0.8), START + 100 * MS)
    assert judge.fault(state(500, 0.8), START + 500 * MS) == ''


def test_a_state_that_comes_late_may_have_gone_farther():
    judge = Plausibility(LIMITS, NEITHER)
    judge.fault(state(0, 0.0), START)
    # Stamps that stand still, and an arrival that doesn't.
    assert judge.fault(state(0, 0.5), START + 200 * MS) == ''


def test_nonsense_is_refused_where_nothing_is_known_before():
    free = JointLimits(
        joints=('a', 'b'), lower=(-np.inf,) * 2, upper=(np.inf,) * 2, velocity=(np.inf,) * 2, acceleration=(8.0,) * 2
    )
    assert 'a: got a position of 1e+200' in Plausibility(free, NEITHER).fault(state(0, 1e200), START)
