"""The facts of ros2_controllers' sources, one by one, and what they do to a stream of messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dp_ros.data import Refusal
from dp_ros.errors import ConfigError
from dp_ros.simulation.controller.controller import (
    Accepted,
    ControllerDied,
    Ignored,
    JointTrajectoryController,
    TrajectoryCommand,
)

MS = 1_000_000
PERIOD = 10 * MS
NOW = 5_000 * MS
STILL = np.zeros(2)


def _controller(**options: Any) -> JointTrajectoryController:
    controller = JointTrajectoryController(('a', 'b'), **options)
    controller.reset(np.zeros(2))
    return controller


def _command(**changes: Any) -> TrajectoryCommand:
    fields: dict[str, Any] = {
        'stamp': 0,
        'joints': ('a', 'b'),
        'times': np.array([100, 200]) * MS,
        'positions': np.array([[1.0, 10.0], [2.0, 20.0]]),
    }
    return TrajectoryCommand(**(fields | changes))


def _cycles(controller: JointTrajectoryController, count: int, now: int = NOW) -> np.ndarray:
    """Return the set points of consecutive cycles on a robot that stays at 0."""
    return np.array([controller.update(now + i * PERIOD, STILL, STILL) for i in range(count)])


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'joints': ('a',), 'positions': np.zeros((2, 1))}, 'joints: got 1, allowed 2'),
        ({'joints': (), 'positions': np.zeros((2, 0))}, 'joints'),
        ({'joints': ('a', 'c')}, 'joints: got a, c, allowed a, b'),
        ({'times': np.zeros(0, dtype=np.int64), 'positions': np.zeros((0, 2))}, 'points: got none'),
        ({'times': np.array([100, 100]) * MS}, 'strictly'),
        ({'times': np.array([200, 100]) * MS}, 'strictly'),
        ({'positions': None}, 'positions'),
        ({'positions': np.zeros((1, 2))}, 'positions'),
        ({'positions': np.zeros((2, 3))}, 'positions'),
        ({'velocities': np.zeros((1, 2))}, 'velocities'),
        ({'velocities': np.zeros((2, 1))}, 'velocities'),
        ({'velocities': np.zeros((2, 2)), 'accelerations': np.zeros((1, 2))}, 'accelerations'),
        ({'velocities': np.array([[0.0, 0.0], [0.0, 0.1]])}, 'velocities of the last point'),
        ({'effort': np.zeros((2, 2))}, 'effort'),
        ({'stamp': NOW - 201 * MS}, 'ends in the past'),
    ],
)
def test_a_bad_message_is_rejected_with_its_reason_and_changes_nothing(changes: dict[str, Any], reason: str) -> None:
    controller = _controller()
    assert isinstance(controller.command(_command(), NOW), Accepted)
    answer = controller.command(_command(**changes), NOW)
    assert isinstance(answer, Refusal)
    assert reason in answer.reason
    np.testing.assert_allclose(_cycles(controller, 10)[-1], [1.0, 10.0])  # the one before is followed


def test_an_end_exactly_now_and_a_first_point_at_0_are_accepted() -> None:
    assert isinstance(_controller().command(_command(stamp=NOW - 200 * MS), NOW), Accepted)
    assert isinstance(_controller().command(_command(times=np.array([0, 200]) * MS), NOW), Accepted)


def test_the_order_of_joints_is_free() -> None:
    controller = _controller()
    controller.command(_command(joints=('b', 'a'), positions=np.array([[10.0, 1.0], [20.0, 2.0]])), NOW)
    np.testing.assert_allclose(_cycles(controller, 20)[-1], [2.0, 20.0])


def test_joints_left_out_stay_where_they_were_commanded_last() -> None:
    controller = _controller(allow_partial_joints_goal=True)
    controller.reset(np.array([3.0, 4.0]))
    partial = _command(joints=('b',), positions=np.array([[10.0], [20.0]]))
    assert isinstance(controller.command(partial, NOW), Accepted)
    np.testing.assert_allclose(_cycles(controller, 20)[-1], [3.0, 20.0])


def test_no_joints_at_all_are_rejected_even_where_some_may_be_left_out() -> None:
    answer = _controller(allow_partial_joints_goal=True).command(_command(joints=(), positions=np.zeros((2, 0))), NOW)
    assert isinstance(answer, Refusal)
    assert answer.reason.startswith('joints: got none')


def test_a_last_velocity_is_allowed_by_the_parameter() -> None:
    controller = _controller(allow_nonzero_velocity_at_trajectory_end=True)
    assert isinstance(controller.command(_command(velocities=np.ones((2, 2))), NOW), Accepted)


def test_each_cycle_commands_one_period_ahead_and_the_end_is_held() -> None:
    controller = _controller()
    controller.command(_command(times=np.array([0, 100]) * MS, positions=np.array([[0.0, 0.0], [1.0, 10.0]])), NOW)
    np.testing.assert_allclose(_cycles(controller, 15)[:, 0], np.minimum(np.arange(1, 16) / 10.0, 1.0))


def test_a_stamp_of_0_starts_at_the_first_cycle_however_late() -> None:
    controller = _controller()
    controller.command(_command(times=np.array([0, 100]) * MS, positions=np.array([[0.0, 0.0], [1.0, 10.0]])), NOW)
    assert controller.update(NOW + 500 * MS, STILL, STILL)[0] == pytest.approx(0.1)


def test_a_stamp_in_the_future_does_not_wait() -> None:
    controller = _controller()
    controller.command(_command(stamp=NOW + 100 * MS), NOW)  # first point due in 200 ms
    np.testing.assert_allclose(_cycles(controller, 20)[:, 0], np.arange(1, 21) / 20.0)


def test_a_stamp_in_the_past_squeezes_the_bridge() -> None:
    controller = _controller()
    controller.command(_command(stamp=NOW - 50 * MS), NOW)  # first point due in 50 ms
    np.testing.assert_allclose(_cycles(controller, 5)[:, 0], np.arange(1, 6) / 5.0)


def test_past_points_are_skipped_without_a_bridge() -> None:
    controller = _controller()
    controller.command(_command(stamp=NOW - 150 * MS), NOW)
    assert controller.update(NOW, STILL, STILL)[0] == pytest.approx(1.6)


def test_a_message_replaces_the_old_trajectory_whole_and_only_the_newest_counts() -> None:
    controller = _controller()
    controller.command(_command(positions=np.full((2, 2), 50.0)), NOW)
    controller.command(_command(positions=np.full((2, 2), 3.0)), NOW)
    assert _cycles(controller, 11)[-1, 0] == pytest.approx(3.0)
    controller.command(_command(times=np.array([50, 60]) * MS, positions=np.full((2, 2), 7.0)), NOW)
    assert _cycles(controller, 40, NOW + 200 * MS)[-1, 0] == pytest.approx(7.0)


def test_the_bridge_starts_at_the_measured_state_or_at_the_last_command() -> None:
    for from_desired, expected in ((False, 0.1 * 1.0), (True, 4.0 + 2 / 11 * (1.0 - 4.0))):
        controller = _controller(interpolate_from_desired_state=from_desired)
        controller.command(_command(times=np.array([0, 10]) * MS, positions=np.full((2, 2), 4.0)), NOW)
        controller.update(NOW, STILL, STILL)
        controller.command(_command(), NOW)
        # The last command is saved one period earlier than it is due, so the bridge has 110 ms and two are behind it.
        assert controller.update(NOW + PERIOD, STILL, STILL)[0] == pytest.approx(expected)


@pytest.mark.parametrize('given', [(), ('velocities',), ('velocities', 'accelerations')])
def test_what_the_points_have_sets_the_degree(given: tuple[str, ...]) -> None:
    """Points of a polynomial of degree 1, 3 or 5 give it back."""
    polynomial = np.polynomial.Polynomial([1.0, 2.0, -3.0, 4.0, -2.0, 5.0][: 2 + 2 * len(given)])
    times = np.array([0, 70, 200, 450]) * MS
    seconds = times / 1e9

    def rows(order: int) -> np.ndarray:
        values = polynomial.deriv(order)(seconds) if order else polynomial(seconds)
        return np.repeat(values[:, None], 2, axis=1)

    derivatives = {name: rows(order + 1) for order, name in enumerate(given)}
    controller = _controller(allow_nonzero_velocity_at_trajectory_end=True)
    controller.command(_command(times=times, positions=rows(0), **derivatives), NOW)
    expected = polynomial(np.arange(1, 46) * 0.01)
    np.testing.assert_allclose(_cycles(controller, 45)[:, 1], expected, atol=1e-9)


def test_accelerations_without_velocities_move_to_0() -> None:
    """The real controller has no rule for such segments, and leaves its output at 0 until the last point."""
    controller = _controller()
    controller.reset(np.array([5.0, 5.0]))
    controller.command(_command(times=np.array([0, 100]) * MS, accelerations=np.full((2, 2), 30.0)), NOW)
    np.testing.assert_allclose(_cycles(controller, 10)[:, 0], [0.0] * 9 + [2.0])


def test_it_holds_before_the_first_message() -> None:
    controller = _controller()
    controller.reset(np.array([0.3, 0.4]))
    np.testing.assert_allclose(_cycles(controller, 3), [[0.3, 0.4]] * 3)


@pytest.mark.parametrize(('joints', 'rate'), [((), 100.0), (('a', 'a'), 100.0), (('a',), 0.0), (('a',), np.nan)])
def test_a_controller_without_joints_or_an_impossible_rate_is_refused(joints: tuple[str, ...], rate: float) -> None:
    with pytest.raises(ConfigError, match=r'got .*, allowed'):
        JointTrajectoryController(joints, rate=rate)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'velocities': [[0.0], [0.0, 0.0]]}, 'velocities: got'),
        ({'velocities': []}, 'velocities: got'),
        ({'positions': [[0.1, np.nan], [0.2, 0.2]]}, 'positions: got NaN'),
        ({'positions': None}, 'positions: got'),
    ],
)
def test_a_malformed_command_is_rejected_and_not_raised(changes: dict[str, object], words: str) -> None:
    command = {
        'stamp': 0,
        'joints': ('x', 'y'),
        'times': np.array([1, 2]),
        'positions': [[0.1, 0.1], [0.2, 0.2]],
        'velocities': [[0.0, 0.0], [0.0, 0.0]],
        **changes,
    }
    controller = JointTrajectoryController(('x', 'y'))
    verdict = controller.command(TrajectoryCommand(**command), now=10)
    assert isinstance(verdict, Refusal) and words in verdict.reason
    assert (controller.update(10, np.zeros(2), np.zeros(2)) == 0).all()


# What ends the real one.


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'stamp': -1}, 'stamp: got -1 ns, allowed 0 or more'),
        ({'velocities': [[0.0, 0.0], [0.0, 0.0, 0.3]]}, 'velocities of the last point: got .* for 2 joints'),
    ],
)
@pytest.mark.parametrize('active', [True, False])
def test_what_ends_the_real_controller_is_no_rejection(changes: dict[str, Any], reason: str, active: bool) -> None:
    controller = _controller()
    if not active:
        controller.deactivate()
    with pytest.raises(ControllerDied, match=reason):
        controller.command(_command(**changes), NOW)


def test_what_is_rejected_before_the_stamp_is_looked_at_ends_nothing() -> None:
    assert isinstance(_controller().command(_command(stamp=-1, joints=('a', 'c')), NOW), Refusal)


# A joint named twice.


def test_of_a_joint_named_twice_the_last_value_counts_and_the_joint_left_out_goes_to_what_was_sorted_last() -> None:
    controller = _controller()
    controller.reset(np.array([3.0, 4.0]))
    twice = _command(joints=('a', 'a'), times=[0, 100 * MS], positions=[[1.0, 1.5], [2.0, 2.5]])
    assert isinstance(controller.command(twice, NOW), Accepted)
    np.testing.assert_allclose(_cycles(controller, 11)[-1], [2.5, 4.0])  # what was held
    # A message with velocities leaves the last of them behind.
    whole = _command(times=[0, 100 * MS], positions=[[2.5, 4.0], [2.5, 5.0]], velocities=np.zeros((2, 2)))
    controller.command(whole, NOW + 11 * PERIOD)
    np.testing.assert_allclose(_cycles(controller, 11, NOW + 11 * PERIOD)[-1], [2.5, 5.0])
    controller.command(twice, NOW + 22 * PERIOD)
    np.testing.assert_allclose(_cycles(controller, 11, NOW + 22 * PERIOD)[-1], [2.5, 0.0])


def test_of_too_many_names_where_some_may_be_left_out_nothing_is_put_in_order() -> None:
    controller = JointTrajectoryController(('a', 'b', 'c'), allow_partial_joints_goal=True)
    controller.reset(np.array([7.0, 8.0, 9.0]))
    twice = _command(joints=('c', 'c'), times=[100 * MS], positions=[[1.0, 2.0]])
    assert isinstance(controller.command(twice, NOW), Accepted)
    still = np.zeros(3)
    commands = [controller.update(NOW + i * PERIOD, still, still) for i in range(11)]
    np.testing.assert_allclose(commands[-1], [1.0, 2.0, 7.0])  # c, c, and a, which is left out


# Inactive.


def _under_way(**settings: Any) -> JointTrajectoryController:
    """Return one that is half-way to its first point, at 0.5 and 5, and has just been deactivated."""
    controller = _controller(**settings)
    controller.command(_command(times=[100 * MS], positions=[[1.0, 10.0]]), NOW)
    np.testing.assert_allclose(_cycles(controller, 5)[-1], [0.5, 5.0])
    controller.deactivate()
    return controller


def test_inactive_it_judges_messages_takes_none_and_leaves_its_last_command() -> None:
    controller = _under_way()
    assert (controller.active, controller.reason) == (False, 'inactive')
    assert isinstance(controller.command(_command(), NOW), Ignored)
    assert isinstance(controller.command(_command(joints=('a', 'c')), NOW), Refusal)
    np.testing.assert_allclose(_cycles(controller, 30, NOW + 5 * PERIOD), [[0.5, 5.0]] * 30)


@pytest.mark.parametrize(('last', 'held'), [(True, [0.5, 5.0]), (False, [0.3, 3.0])])
def test_activated_it_holds_and_knows_nothing_of_earlier_messages(last: bool, held: list[float]) -> None:
    controller = _under_way(set_last_command_interface_value_as_state_on_activation=last)
    controller.command(_command(), NOW)
    controller.activate(np.array([0.3, 3.0]))
    assert (controller.active, controller.reason) == (True, '')
    later = NOW + 100 * PERIOD
    np.testing.assert_allclose(_cycles(controller, 30, later), [held] * 30)
    # The next message is bridged to from what is measured, as ever.
    controller.command(_command(), later + 30 * PERIOD)
    np.testing.assert_allclose(_cycles(controller, 1, later + 30 * PERIOD), [[0.1, 1.0]])


def test_activated_again_it_goes_on_with_what_it_does() -> None:
    controller = _controller()
    controller.command(_command(), NOW)
    controller.activate(np.array([9.0, 9.0]))
    np.testing.assert_allclose(_cycles(controller, 10)[-1], [1.0, 10.0])


def test_an_anchored_plan_after_activation_makes_the_command_jump_to_it() -> None:
    controller = _under_way()
    controller.activate(np.array([0.5, 5.0]))
    anchored = _command(stamp=NOW, times=[0, 1000 * MS], positions=[[0.0, 0.0], [10.0, 100.0]])
    later = NOW + 50 * PERIOD
    assert isinstance(controller.command(anchored, later), Accepted)
    np.testing.assert_allclose(_cycles(controller, 1, later), [[5.1, 51.0]])


def test_a_reset_does_not_activate_it() -> None:
    controller = _under_way()
    controller.reset(np.array([1.0, 2.0]))
    assert not controller.active
    np.testing.assert_allclose(_cycles(controller, 3), [[1.0, 2.0]] * 3)


def test_a_cycle_that_comes_late_goes_on_where_the_trajectory_is_by_then() -> None:
    controller = _controller()
    controller.command(_command(times=[0, 1000 * MS], positions=[[0.0, 0.0], [1.0, 10.0]]), NOW)
    np.testing.assert_allclose(_cycles(controller, 2)[-1], [0.02, 0.2])
    np.testing.assert_allclose(_cycles(controller, 1, NOW + 50 * PERIOD), [[0.51, 5.1]])
