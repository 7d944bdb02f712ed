"""What is sent is judged when it is sent, however long planning took."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from dp_ros.data import Chunk, Refusal
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.motion.trajectory import Trajectory
from dp_ros.nodes.trajectory_publisher.command_sender import CommandSender
from dp_ros.nodes.trajectory_publisher.motion_start import Beginning
from dp_ros.nodes.trajectory_publisher.motion_stop import Stops
from dp_ros.robot.joint_limits import JointLimits

MS = 1_000_000
START = 1_000_000 * MS
NOW = START + 100 * MS
LIMITS = JointLimits(joints=('a',), lower=(-3.0,), upper=(3.0,), velocity=(1.0,), acceleration=(10.0,))


def chunk(stamp):
    places = np.linspace(0.0, 0.3, 16) + (stamp - START) / (5_000 * MS)
    return Chunk(stamp=stamp, control_dt=100 * MS, joints=('a',), actions=places[:, None])


@pytest.fixture
def planner():
    """A planner whose plan has just begun to move, and whose controller is off: the robot stands where it stood."""
    made = Planner(('a',), 100 * MS, LIMITS, splice_margin=30 * MS)
    made.measured(START - 100 * MS, np.zeros(1))
    made.rest_at(np.zeros(1), START)
    made.measured(START, np.zeros(1))
    assert isinstance(made.accept(chunk(START), START), Planned)
    for tick in range(1, 11):
        made.measured(START + 10 * tick * MS, np.zeros(1))
    assert not made.astray() and not made.leap(NOW)
    return made


def sender(planner, costs):
    """Return one whose planning takes ``costs`` [ns] one after the other, and what it sends."""
    clock = SimpleNamespace(now=NOW)
    sent: list[Any] = []

    def prepared(trajectory, topics):
        clock.now += costs.pop(0)
        return trajectory if topics is None else (trajectory, topics)

    made = CommandSender(planner, prepared, sent.append, lambda: clock.now, steady=lambda: clock.now)
    return made, sent


@pytest.mark.parametrize(('costs', 'allowed'), [((2,), True), ((6, 2), True), ((120, 2), False)])
def test_a_plan_that_took_long_is_not_sent_where_the_robot_may_have_been_left_behind_meanwhile(planner, costs, allowed):
    made, sent = sender(planner, [cost * MS for cost in costs])
    plan = planner.plan
    verdict = made.send_before_deadline(partial(planner.accept, chunk(START + 50 * MS)), must=False)
    assert isinstance(verdict, Planned if allowed else Refusal), verdict
    assert len(sent) == allowed
    assert (planner.plan is plan) != allowed


def test_what_has_ended_is_not_sent_again(planner):
    again, clock = list[int](), SimpleNamespace(now=NOW)
    end = NOW + 40 * MS
    ending = Trajectory(
        stamp=START, joints=('a',), times=np.array([0, end - START]), positions=np.zeros((2, 1)),
        velocities=np.zeros((2, 1)),
    )  # fmt: skip
    made = CommandSender(
        planner, lambda trajectory, _: trajectory, lambda _: None, lambda: clock.now, steady=lambda: clock.now,
        repeat=lambda _: again.append(clock.now),
    )  # fmt: skip
    planner.leap = lambda now: ''
    made.send_before_deadline(lambda at: ending, must=True)
    while made.again():
        clock.now += 5 * MS
    assert len(again) > 5 and again[-1] <= end < NOW + 55 * MS


@pytest.mark.parametrize(('costs', 'on_path'), [((2,), True), ((120, 2, 2), False)])
def test_a_stop_that_took_long_becomes_a_hold_where_the_robot_may_have_been_left_behind_meanwhile(
    planner, costs, on_path
):
    made, sent = sender(planner, [cost * MS for cost in costs])
    Stops(planner, made, pytest.fail).brake(NOW)
    assert [trajectory.stamp != 0 for trajectory in sent] == [on_path]


@pytest.mark.parametrize(('listening', 'again'), [((1,), True), ((0, 1), True), ((0,), False), ((), False)])
def test_where_a_controller_is_gone_a_stop_goes_to_the_others_alone_and_again_while_they_listen(
    planner, listening, again
):
    made, sent = sender(planner, [2 * MS])
    stops = Stops(planner, made, pytest.fail)
    end = planner.plan.end
    stops.brake(NOW, (1,))
    assert sent == [(planner.plan, (1,))] and planner.plan.end < end
    assert not stops.under_way
    made.silence(but=listening)
    assert made.again() == again


@pytest.mark.parametrize('meanwhile', ['nothing', 'another plan', 'the end'])
def test_a_stop_that_joint_states_were_missing_for_is_made_when_they_come_again(planner, meanwhile):
    made, sent = sender(planner, [0] * 9)
    said = list[str]()
    stops = Stops(planner, made, said.append)
    planner.lose('it does not follow')
    rests_at, blind = planner.plan.end, NOW + 300 * MS
    made.now = lambda: blind
    stops.brake(blind)
    stops.again(rests_at, blind)
    assert not sent and len(said) == 1 and 'no way to stop' in said[0]
    planner.measured(blind + 10 * MS, np.zeros(1))
    if meanwhile == 'another plan':
        stops.forget()
    now = rests_at if meanwhile == 'the end' else blind + 10 * MS
    for _ in range(2):
        stops.again(rests_at, now)
    assert [trajectory.stamp for trajectory in sent] == ([0] if meanwhile == 'nothing' else [])


@pytest.mark.parametrize(
    ('copies', 'slope', 'seen', 'unsure'),
    [(1, 3.0, None, True), (3, 3.0, None, False), (1, 1.0, None, False), (1, 3.0, 'new', False), (1, 3.0, 'old', True)],
    ids=['lost maybe', 'sent often', 'hardly another one', 'followed', 'not followed'],
)
def test_a_plan_that_a_stall_left_with_one_copy_is_not_gone_on_with_before_it_shows(
    planner, copies, slope, seen, unsure
):
    clock, sent = SimpleNamespace(now=NOW), list[Any]()
    made = CommandSender(
        planner, lambda trajectory, _: trajectory, sent.append, lambda: clock.now, steady=lambda: clock.now,
        repeat=sent.append,
    )  # fmt: skip
    old = planner.plan

    def measure(plan, until):
        for now in range(clock.now, until + 1, 10 * MS):
            planner.measured(now, plan.positions_at(np.array([now - 40 * MS - plan.stamp]))[0])
        clock.now = until

    measure(old, NOW)
    steeper = chunk(START + 50 * MS)
    steeper = replace(steeper, actions=slope * steeper.actions)
    assert isinstance(made.send_before_deadline(partial(planner.accept, steeper), must=True), Planned)
    for _ in range(copies - 1):
        clock.now += 5 * MS
        assert made.again()
    assert len(sent) == copies and not made.objection(), 'copies are due still'
    if seen is None:
        clock.now = NOW + 400 * MS
    else:
        measure(planner.plan if seen == 'new' else old, NOW + 600 * MS)
    assert bool(made.objection()) == unsure


def test_a_point_to_hold_is_sent_again_half_as_often_as_a_plan_with_the_time_that_is_left(planner):
    """So a controller that takes them all comes there in one way, and at the time of which `held_at` tells."""
    clock, again = SimpleNamespace(now=NOW), list[Any]()
    made = CommandSender(
        planner, lambda trajectory, _: trajectory, lambda _: None, lambda: clock.now, steady=lambda: clock.now,
        repeat=again.append,
    )  # fmt: skip
    point = planner.hold(NOW)
    made.send(point)
    for _ in range(6):
        clock.now += 5 * MS
        assert made.again()
    assert [copy.stamp for copy in again] == [0, 0, 0]
    assert [int(copy.times[0] - point.times[0]) for copy in again] == [-10 * MS, -20 * MS, -30 * MS]
    assert made.held_at == NOW + int(point.times[0]) + planner.options.splice_margin


def test_a_copy_of_a_point_to_hold_that_took_long_to_make_is_not_sent(planner):
    """It would leave the controller more time than is left, and lead an arm in motion beyond the point."""
    costs, late = [0, 0, 60 * MS, 0], list[int]()
    made, _ = sender(planner, costs)
    now, point = made.now, planner.hold(NOW)

    def sent_again(copy):
        late.append(now() - NOW - int(point.times[0] - copy.times[0]))

    made = CommandSender(planner, made.prepare, lambda _: None, now, steady=now, repeat=sent_again)
    made.send(point)
    while costs:
        assert made.again()
    assert late == [0, 0]


@pytest.mark.parametrize(('looks', 'lost'), [(1, True), (3, True), (4, False), (30, False)])
def test_a_point_to_hold_of_which_a_stall_left_few_copies_may_have_been_in_vain(planner, looks, lost):
    """Send it at once, and at every second look."""
    clock, again = SimpleNamespace(now=NOW), list[Any]()
    made = CommandSender(
        planner, lambda trajectory, _: trajectory, lambda _: None, lambda: clock.now, steady=lambda: clock.now,
        repeat=again.append,
    )  # fmt: skip
    made.send(planner.hold(NOW))
    while made.again():
        assert not made.hold_may_be_lost, 'there is time yet'
        looks -= 1
        clock.now += (5 if looks else 99) * MS
    assert made.copies == 1 + len(again) and made.hold_may_be_lost == lost
    made.silence()
    assert not made.hold_may_be_lost


@pytest.mark.parametrize(
    ('meanwhile', 'last', 'begins'),
    [
        ([0.0] * 48, 0.0, True),
        ([0.0] * 20 + ['held'] + [0.0] * 27, 0.0, False),  # it was sent somewhere else
        ([0.0] * 10 + [None] * 30 + [0.0] * 8, 0.0, True),  # joint states were missing for a while
        ([0.0] * 20 + [0.1] * 10 + [0.0] * 18, 0.0, True),  # or false
        ([0.0] * 10 + [None] * 38, None, False),
        ([0.0] * 48, 0.1, False),  # it is elsewhere
        ([0.0] * 40 + [0.003] * 8, None, False),  # it moved just before
    ],
)
def test_a_plan_begins_where_the_robot_stands_once_its_controller_has_come_there(meanwhile, last, begins):
    planner = Planner(('a',), 100 * MS, LIMITS, splice_margin=30 * MS)
    for tick in range(-30, 1):
        planner.measured(START + 10 * tick * MS, np.zeros(1))
    clock = SimpleNamespace(now=START)
    made = CommandSender(planner, lambda trajectory, _: trajectory, lambda _: None, lambda: clock.now)
    beginning = Beginning(planner, made, lambda _: None, pytest.fail, lambda _: None)
    refused = beginning.request(START)
    assert refused is not None and 480 <= (made.held_at - START) / MS < 500, 'of which the pattern is made'
    for tick, place in enumerate([*meanwhile, *[last] * 30], start=1):
        clock.now = START + tick * 10 * MS
        if place == 'held':
            made.send(Trajectory(stamp=0, joints=('a',), times=[80 * MS], positions=[[0.001]], velocities=[[0.0]]))
        elif place is not None:
            planner.measured(clock.now, np.array([place]))
        beginning.progress(clock.now)
        assert planner.plan is None or clock.now >= made.held_at
    assert (planner.plan is not None) == begins
