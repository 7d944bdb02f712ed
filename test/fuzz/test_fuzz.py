"""The judge, the controller and the attack, each tried by itself: a judge that cannot find a fault proves nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from .controller import Controller, Setup
from .curves import SECOND, Curve, Message, extrema
from .events import drawn
from .judge import Box, Limits, Marks, judged

JOINTS = ('a', 'b')
START = 1_700_000_000 * SECOND
LIMITS = Limits(
    lower=np.full(2, -2.0), upper=np.full(2, 2.0), velocity=np.full(2, 1.0), acceleration=np.full(2, 4.0)
)  # fmt: skip
QUIET = Marks()


def controller(**settings) -> Controller:
    return Controller(Setup(joints=JOINTS, **settings), np.zeros(2), START)


def moved(stamp: int, to: float, seconds: float = 1.0, *, since: float = 0.0) -> Message:
    """From ``since`` to ``to``, at rest at both ends."""
    places = np.array([[since, 0.0], [to, 0.0]])
    times = np.array([0, round(seconds * SECOND)])
    return Message(stamp=stamp, joints=JOINTS, times=times, positions=places, velocities=np.zeros((2, 2)))


def held(place: float, after: float = 0.0) -> Message:
    return Message(
        stamp=0, joints=JOINTS, times=np.array([round(after * SECOND)]), positions=np.array([[place, 0.0]]),
        velocities=np.zeros((1, 2)),
    )  # fmt: skip


def kinds(tried: Controller, marks: Marks = QUIET, box: Box | None = None, seconds: float = 3.0) -> set[str]:
    return {fault.kind for fault in judged(tried, LIMITS, marks, START, START + round(seconds * SECOND), box)}


@pytest.mark.parametrize('rate', [100, 250, 1000])
@pytest.mark.parametrize('from_desired', [False, True])
def test_a_plan_within_its_limits_is_right_at_every_rate_and_one_beyond_them_by_little_is_not(rate, from_desired):
    # A cubic from rest to rest: greatest speed 1.5 d / T, greatest acceleration 6 d / T^2.
    just = controller(rate=rate, from_desired=from_desired)
    just.hear(moved(START + 1, 2 / 3), START + 1000)
    assert not kinds(just)
    for excess, wrong in ((1e-4, {'message'}), (0.1, {'message', 'velocity', 'acceleration'})):
        over = controller(rate=rate, from_desired=from_desired)
        over.hear(moved(START + 1, 2 / 3 * (1 + excess)), START + 1000)
        assert kinds(over) >= wrong


@pytest.mark.parametrize('order', ['cubic', 'quintic'])
def test_extremes_are_those_of_dense_samples(order):
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.integers(10_000_000, 300_000_000, 9))
    columns = [rng.standard_normal((9, 2)) for _ in range(3)]
    message = Message(
        stamp=0, joints=JOINTS, times=times, positions=columns[0], velocities=columns[1],
        accelerations=columns[2] if order == 'quintic' else None,
    )  # fmt: skip
    curve = Curve.through(message, 0)
    found = extrema(curve)
    for segment, (begin, end) in enumerate(pairwise(times)):
        place, speed, bend = curve.sample(np.linspace(begin, end - 1, 5001).astype(np.int64))
        dense = (place.min(axis=0), place.max(axis=0), np.abs(speed).max(axis=0), np.abs(bend).max(axis=0))
        for value, wanted in zip(found, dense, strict=True):
            np.testing.assert_allclose(value[segment], wanted, rtol=1e-3, atol=1e-5)


def test_one_state_is_what_sampling_many_gives():
    curve = Curve.through(moved(0, 1.0), 5).led_by(-SECOND, Curve.held(np.ones(2)).state(0), moved(0, 1.0))
    for at in (-2 * SECOND, -SECOND, -SECOND // 3, 5, SECOND // 2, 2 * SECOND):
        state, many = curve.state(at), curve.sample(np.array([at]))
        for one, row in zip((state.positions, state.velocities, state.accelerations), many, strict=True):
            np.testing.assert_allclose(one, row[0], atol=1e-12)


def test_a_plan_that_the_robot_is_not_on_makes_the_command_leap():
    tried = controller()
    tried.hear(moved(START, 1.0, 4.0, since=0.5), START + 1000)
    assert kinds(tried) == {'velocity'}


@pytest.mark.parametrize('from_desired', [False, True])
def test_a_bridge_that_is_too_short_is_a_fault_and_a_long_one_is_not(from_desired):
    for seconds, wrong in ((0.1, True), (1.0, False)):
        tried = controller(from_desired=from_desired)
        tried.hear(held(0.5, after=seconds), START + 1000)
        assert bool(kinds(tried)) == wrong


def test_a_lie_excuses_the_margin_on_a_bridge_and_no_more():
    marks = Marks()
    marks.add('lie', START)
    # 6 d / T^2 and 1.5 d / T: acceleration 1.5 times, then 3 times what is allowed.
    for seconds, wrong in ((0.45, False), (0.32, True)):
        tried = controller()
        tried.hear(held(0.2, after=seconds), START + 1000)
        assert kinds(tried) != set()
        assert bool(kinds(tried, marks)) == wrong


@pytest.mark.parametrize(('lost', 'wrong'), [(7, True), (8, False)])
def test_a_plan_of_which_every_copy_was_lost_excuses_the_step_to_the_next(lost, wrong):
    tried, marks = controller(), Marks()
    tried.hear(moved(START, 0.5, 2.0), START + 1000)
    tried.advance(START + SECOND // 2)
    for number in range(lost):
        marks.add('lost', START + SECOND // 2 + number)
    tried.hear(moved(START, 0.9, 2.0), START + SECOND)
    assert kinds(tried, marks) == ({'velocity'} if wrong else set())


def test_a_bridge_in_motion_is_not_blamed_for_the_controllers_own_step_back():
    tried = controller(lag=0.05)
    tried.hear(moved(START, 0.6), START + 1000)
    begun = START + SECOND // 2
    place = float(tried.measured(begun).positions[0])
    tried.advance(begun)
    tried.hear(held(place + 0.25, after=0.6), begun)
    assert not kinds(tried)


def test_of_two_messages_in_a_cycle_only_the_newer_counts_and_what_has_ended_moves_nothing():
    tried = controller(rate=100)
    tried.hear(held(1.9), START + 1000)
    tried.hear(held(0.0), START + 2000)
    assert not kinds(tried)
    tried = controller()
    tried.hear(moved(START - 2 * SECOND, 0.5), START + 1000)
    assert not kinds(tried)
    assert tried.commanded(np.array([START + SECOND]))[0].max() == 0.0


def test_what_the_real_controller_rejects_is_found():
    tried = controller()
    tried.hear(replace(moved(START, 0.5), joints=('a', 'c')), START + 1000)
    assert kinds(tried) == {'rejected by the controller'}


def test_an_inactive_controller_takes_nothing_and_holds_what_is_measured_when_it_comes_back():
    tried = controller(lag=0.05)
    tried.hear(moved(START, 1.0, 2.0), START + 1000)
    tried.deactivate(START + SECOND // 2)
    tried.hear(held(-1.0), START + 6 * SECOND // 10)
    tried.activate(START + SECOND)
    place = tried.commanded(np.array([START + 2 * SECOND]))[0][0, 0]
    assert 0.15 < place < 0.17
    assert tried.heard.ignored == 1
    assert not kinds(tried)
    # The plan goes on as if nothing had happened.
    tried.hear(moved(START, 1.0, 2.0), START + 11 * SECOND // 10)
    assert kinds(tried) == {'velocity'}


def test_a_step_of_the_clock_is_nobodys_fault_and_what_follows_is():
    tried = controller()
    tried.hear(moved(START, 0.6), START + 1000)
    tried.step_clock(START + SECOND // 4, SECOND // 4)
    assert not kinds(tried)
    tried.hear(moved(START, 0.6), START + SECOND // 2)
    assert not kinds(tried)
    tried.hear(moved(START + SECOND, 0.6), START + 13 * SECOND // 10)
    assert kinds(tried) != set()


def test_what_the_controller_makes_of_its_own_trajectory_when_its_time_comes_again_is_nobodys_fault():
    tried = controller()
    tried.hear(moved(START + SECOND // 2, 0.6), START + SECOND // 2)
    tried.step_clock(START + 51 * SECOND // 100, -SECOND // 20)
    assert not kinds(tried)
    places = tried.commanded(np.arange(START, START + SECOND, tried.setup.period))[0][:, 0]
    assert np.abs(np.diff(places)).max() > 0.5  # to the end, 40 ms after the step


@pytest.mark.parametrize(('stepped', 'wrong'), [(0.1, False), (-0.1, True)])
def test_a_bridge_to_a_message_that_was_under_way_when_the_clock_was_set_is_nobodys_fault(stepped, wrong):
    marks, tried = Marks(), controller()
    marks.add('clock', START + round(stepped * SECOND))
    tried.step_clock(START + SECOND // 10, -SECOND // 20)
    tried.hear(moved(START + SECOND // 10, 0.3, since=0.05), START + 11 * SECOND // 100)
    tried.hear(held(0.05, after=0.5), START + 12 * SECOND // 100)
    assert ('acceleration' in kinds(tried, marks)) == wrong


@pytest.mark.parametrize(('off', 'wrong'), [(0.003, False), (0.003, True), (0.4, False), (0.4, True)])
def test_a_leap_by_the_clock_excuses_itself_and_one_that_throws_the_robot_what_follows(off, wrong):
    """The controller leaps to its trajectory's end when the time of that comes again; then a hold is too hasty."""
    tried = controller()
    tried.hear(moved(START + SECOND // 2, 0.4 + off, since=0.4), START + SECOND // 2)
    tried.step_clock(START + 51 * SECOND // 100, -SECOND // 20)
    if wrong:
        tried.hear(held(0.5 + off, after=0.1), START + 7 * SECOND // 10)
    assert ('acceleration' in kinds(tried)) == (wrong and off < 0.005)


def test_a_message_under_way_when_the_clock_was_set_throws_the_robot_where_it_makes_it_leap_and_only_there():
    for since, wrong in ((0.0, True), (0.2, False)):
        marks, tried = Marks(), controller(lag=0.02)
        marks.add('clock', START + SECOND // 10)
        tried.step_clock(START + SECOND // 10, -SECOND // 20)
        tried.hear(moved(START, since, since=since), START + 11 * SECOND // 100)
        tried.hear(held(since + 0.3, after=0.2), START + 3 * SECOND // 10)
        assert ('acceleration' in kinds(tried, marks)) == wrong


@pytest.mark.parametrize(('seconds', 'wrong'), [(0.56, False), (0.45, True)])
def test_the_first_cycle_of_a_bridge_from_the_last_command_is_twice_its_acceleration(seconds, wrong):
    """6 d / T^2: 3.8, and 5.9 of 4."""
    tried = controller(from_desired=True)
    tried.hear(held(0.2, after=seconds), START + SECOND // 10)
    assert kinds(tried) == ({'acceleration'} if wrong else set())


def test_what_does_not_rest_after_an_ending_is_found():
    tried = controller()
    tried.hear(moved(START, 0.6, 2.5), START + 1000)
    marks = Marks()
    marks.add('ended', START, START + 3 * SECOND)
    assert kinds(tried, marks) == {'not at rest'}
    assert not kinds(tried)


@pytest.mark.parametrize('before', [0.0, 0.4])
@pytest.mark.parametrize(('seconds', 'wrong'), [(0.9, False), (1.4, True)])
def test_where_the_robot_is_held_away_from_its_plan_it_has_the_time_of_the_way_there(seconds, wrong, before):
    """0.675 s as ever, 0.55 s for 0.2 rad, and 0.1 s; from the ending on, where it was held before that."""
    tried, marks = controller(), Marks()
    tried.hear(held(0.2, after=seconds + before), START + 1000 - round(before * SECOND))
    marks.add('ended', START, START + 3 * SECOND)
    assert ('not at rest' in kinds(tried, marks)) == wrong


def test_a_tool_outside_its_box_is_found():
    box = Box(tool=lambda places: places[:, :1], lower=np.array([-1.0]), upper=np.array([0.5]))
    tried = controller()
    tried.hear(moved(START, 0.6, 2.0), START + 1000)
    assert kinds(tried, box=box) == {'box'}


def test_events_follow_from_the_seed():
    weights = {'chunk': 3.0, 'lie': 2.0, 'stall': 1.0}
    first, second, other = (drawn(np.random.default_rng(seed), weights, 3) for seed in (1, 1, 2))
    assert [str(event) for event in first] == [str(event) for event in second] != [str(event) for event in other]
    assert 30 <= len(first) <= 60


@pytest.mark.parametrize(('lost', 'lied', 'wrong'), [(8, 1.0, False), (7, 1.0, True), (0, 0.1, False), (0, 1.0, True)])
def test_an_ending_of_which_nothing_could_be_heard_is_the_end_of_the_plan(lost, lied, wrong):
    tried, marks = controller(), Marks()
    tried.hear(moved(START, 0.6, 2.5), START + 1000)
    begun = START + SECOND
    tried.heard.lost += [(begun + number, moved(START, 0.6, 1.5)) for number in range(lost)]
    marks.add('lie', begun - round(lied * SECOND))
    marks.add('ended', begun, START + 3 * SECOND)
    assert ('not at rest' in kinds(tried, marks)) == wrong
