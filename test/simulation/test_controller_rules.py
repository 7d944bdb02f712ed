"""Start states, tolerances, time-outs and settings of the controller, each against a closed form or by its rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dp_ros.data import Refusal
from dp_ros.errors import ConfigError
from dp_ros.simulation.controller.controller import (
    Accepted,
    ControllerSpec,
    JointTrajectoryController,
    TrajectoryCommand,
)
from dp_ros.simulation.controller.playback import Playback, Point

MS = 1_000_000
PERIOD = 10 * MS
NOW = 5_000 * MS
STILL = np.zeros(1)


def _controller(at: float = 0.0, **settings: Any) -> JointTrajectoryController:
    controller = JointTrajectoryController(('a',), **settings)
    controller.reset(np.array([at]))
    return controller


def _command(times: list[int], positions: list[float], stamp: int = 0, **rows: Any) -> TrajectoryCommand:
    """Return a command of one joint; times in [ms]; in rows None stands for a point without."""
    derivatives = {name: [[] if v is None else [v] for v in values] for name, values in rows.items()}
    return TrajectoryCommand(
        stamp=stamp, joints=('a',), times=np.array(times) * MS, positions=[[p] for p in positions], **derivatives
    )


def _send(controller: JointTrajectoryController, now: int = NOW, **fields: Any) -> None:
    verdict = controller.command(_command(**fields), now)
    assert isinstance(verdict, Accepted), verdict


def _cycle(controller: JointTrajectoryController, now: int, at: float = 0.0, speed: float = 0.0) -> float:
    return float(controller.update(now, np.array([at]), np.array([speed]))[0])


def _curve(start: tuple[float, ...], end: tuple[float, ...], duration: float) -> np.polynomial.Polynomial:
    """Return the polynomial with these derivatives at 0 and at ``duration`` [s], by solving for it."""
    n = 2 * len(start)
    rows, values = [], []
    for x, state in ((0.0, start), (duration, end)):
        for order, value in enumerate(state):
            rows.append([np.polynomial.Polynomial.basis(k).deriv(order)(x) if order else x**k for k in range(n)])
            values.append(value)
    return np.polynomial.Polynomial(np.linalg.solve(np.array(rows, dtype=float), values))


# Validation: the controller's order, point by point.


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'joints': ('b', 'c'), 'times': [], 'positions': []}, 'joints: got 2'),
        ({'joints': ('b',), 'times': [], 'positions': []}, 'points: got none'),
        ({'joints': ('b',), 'velocities': [[1.0]] * 2}, 'joints: got b'),
        ({'velocities': [[1.0]] * 2, 'stamp': 1}, 'velocities of the last point'),
        ({'stamp': 1, 'times': [2, 1]}, 'ends in the past'),
        ({'times': [2, 1], 'positions': [[1.0], []]}, 'time_from_start'),
        ({'positions': [[1.0], []], 'accelerations': [[], [1.0, 2.0]]}, 'positions: got 0 values at point 1'),
        ({'velocities': [[], [0.0, 0.0]], 'effort': [[], [1.0]]}, 'velocities: got 2 values at point 1'),
        ({'accelerations': [[], [0.0, 0.0]], 'effort': [[], [1.0]]}, 'accelerations: got 2 values at point 1'),
        ({'effort': [[1.0], []], 'positions': [[np.nan], [0.0]]}, 'effort'),
        ({'positions': [[np.nan], [0.0]]}, 'positions: got NaN'),
    ],
)
def test_of_two_faults_the_one_that_the_controller_looks_for_first_is_told(changes: Any, reason: str) -> None:
    fields: dict[str, Any] = {'stamp': 0, 'joints': ('a',), 'times': [1, 2], 'positions': [[0.0], [0.0]]}
    verdict = _controller().command(TrajectoryCommand(**(fields | changes)), NOW)
    assert isinstance(verdict, Refusal)
    assert verdict.reason.startswith(reason)


def test_nan_is_let_through_where_that_is_asked_for_and_moves_the_robot() -> None:
    controller = _controller(reject_non_finite=False)
    _send(controller, times=[0, 100], positions=[0.0, np.nan])
    assert np.isnan(_cycle(controller, NOW))


def test_a_first_point_before_the_stamp_is_let_through() -> None:
    controller = _controller()
    _send(controller, times=[-50, 50], positions=[0.0, 1.0])
    assert _cycle(controller, NOW) == pytest.approx(0.6)


# Degrees.


def test_each_segment_has_the_degree_that_its_two_points_allow() -> None:
    controller = _controller()
    _send(
        controller,
        times=[0, 100, 200, 300],
        positions=[0.0, 1.0, 3.0, 3.0],
        velocities=[None, 4.0, 2.0, 0.0],
        accelerations=[None, None, 5.0, -3.0],
    )
    commands = np.array([_cycle(controller, NOW + i * PERIOD) for i in range(30)])
    x = np.arange(1, 11) / 100.0
    np.testing.assert_allclose(commands[:9], 10.0 * x[:9], atol=1e-12)
    np.testing.assert_allclose(commands[9:19], _curve((1.0, 4.0), (3.0, 2.0), 0.1)(x - 0.01), atol=1e-9)
    np.testing.assert_allclose(commands[19:29], _curve((3.0, 2.0, 5.0), (3.0, 0.0, -3.0), 0.1)(x - 0.01), atol=1e-9)


def test_without_interpolation_it_jumps_to_the_point_ahead() -> None:
    controller = _controller(at=9.0, interpolation_method='none')
    _send(controller, times=[20, 40, 60], positions=[1.0, 2.0, 3.0])
    assert [_cycle(controller, NOW + i * PERIOD, at=9.0) for i in range(6)] == [9.0, 2.0, 2.0, 3.0, 3.0, 3.0]


# Start states.


def test_the_bridge_starts_with_the_measured_velocity_and_without_acceleration() -> None:
    controller = _controller()
    _send(controller, times=[100, 200], positions=[1.0, 1.0], velocities=[3.0, 0.0], accelerations=[7.0, 0.0])
    commands = [_cycle(controller, NOW + i * PERIOD, at=0.2, speed=0.5) for i in range(9)]
    expected = _curve((0.2, 0.5, 0.0), (1.0, 3.0, 7.0), 0.1)(np.arange(1, 10) / 100.0)
    np.testing.assert_allclose(commands, expected, atol=1e-9)


def test_without_a_velocity_interface_the_bridge_starts_at_rest() -> None:
    controller = _controller(state_interfaces=('position',))
    _send(controller, times=[100, 200], positions=[1.0, 1.0], velocities=[3.0, 0.0])
    commands = [_cycle(controller, NOW + i * PERIOD, at=0.2, speed=0.5) for i in range(9)]
    np.testing.assert_allclose(commands, _curve((0.2, 0.0), (1.0, 3.0), 0.1)(np.arange(1, 10) / 100.0), atol=1e-9)


def test_the_desired_start_state_is_the_whole_last_command_one_period_too_early() -> None:
    controller = _controller(interpolate_from_desired_state=True)
    _send(controller, times=[0, 400], positions=[0.0, 4.0], velocities=[6.0, 0.0], accelerations=[8.0, 0.0])
    for i in range(5):
        _cycle(controller, NOW + i * PERIOD)
    first = _curve((0.0, 6.0, 8.0), (4.0, 0.0, 0.0), 0.4)
    state = first(0.05), first.deriv()(0.05), first.deriv(2)(0.05)  # commanded at 40 ms for 50 ms
    now = NOW + 5 * PERIOD
    _send(controller, now=now, times=[100, 200], positions=[1.0, 1.0], velocities=[3.0, 0.0], accelerations=[2.0, 0.0])
    bridge = _curve(state, (1.0, 3.0, 2.0), 0.11)  # from 40 ms
    np.testing.assert_allclose(
        [_cycle(controller, now + i * PERIOD) for i in range(9)], bridge(np.arange(2, 11) / 100.0), atol=1e-9
    )


def test_a_continuous_joint_takes_the_shorter_way() -> None:
    controller = _controller(at=3.0, continuous=('a',))
    _send(controller, times=[100], positions=[-3.0])
    measured = 3.0
    commands = [_cycle(controller, NOW + i * PERIOD, at=measured) for i in range(10)]
    np.testing.assert_allclose(commands[:9], np.linspace(3.0 - 2 * np.pi, -3.0, 11)[1:10])
    assert commands[-1] == -3.0


@pytest.mark.parametrize(('at', 'way'), [(0.0, np.pi), (np.pi, -np.pi)])
def test_a_half_turn_goes_the_way_that_the_numbers_say(at: float, way: float) -> None:
    controller = _controller(at=at, continuous=('a',))
    _send(controller, times=[100], positions=[at + way])
    assert _cycle(controller, NOW, at=at) == pytest.approx(at + way / 10.0)


def test_a_clock_behind_the_start_state_repeats_the_set_point() -> None:
    controller = _controller(at=0.3)
    _send(controller, times=[100], positions=[1.0])
    assert _cycle(controller, NOW, at=0.3) == pytest.approx(0.37)
    assert _cycle(controller, NOW - 2_000 * MS, at=0.3) == pytest.approx(0.37)


def test_jazzy_does_not_come_back_from_the_end() -> None:
    points = [Point(positions=np.array([1.0])), Point(positions=np.array([2.0]))]
    playback = Playback(NOW, [0, 100 * MS], points)
    playback.begin(NOW, NOW, points[0])
    playback.sample(NOW + 100 * MS)
    sample = playback.sample(NOW + 50 * MS)
    assert sample is not None
    assert sample.state.positions[0] == 2.0


# Tolerances and time-outs.


def test_a_violated_path_tolerance_writes_nothing_then_holds_what_is_measured_until_the_next_message() -> None:
    controller = _controller(trajectory_tolerance=0.2)
    _send(controller, times=[0, 1000], positions=[0.0, 10.0])
    commands = [_cycle(controller, NOW + i * PERIOD, at=0.02 * i) for i in range(8)]
    # 0.08 a cycle behind: beyond 0.2 in the fourth.
    np.testing.assert_allclose(commands, [0.1, 0.2, 0.3, 0.3, 0.06, 0.06, 0.06, 0.06])
    assert controller.held_up['path_tolerance'] == 1
    assert controller.reason == 'path_tolerance: a is 0.24 off, allowed 0.2'
    _send(controller, now=NOW + 8 * PERIOD, times=[0, 1000], positions=[0.1, 10.1])
    assert _cycle(controller, NOW + 8 * PERIOD, at=0.1) == pytest.approx(0.2)
    assert controller.reason == ''


def test_a_message_in_the_same_period_as_the_violation_wins_over_the_hold() -> None:
    controller = _controller(trajectory_tolerance=0.2)
    _send(controller, times=[0, 1000], positions=[1.0, 1.0])
    _cycle(controller, NOW, at=0.0)
    assert controller.held_up['path_tolerance'] == 1
    _send(controller, now=NOW + 1, times=[0, 1000], positions=[0.0, 10.0])
    assert _cycle(controller, NOW + PERIOD) == pytest.approx(0.1)


def test_the_path_tolerance_is_checked_on_the_first_cycle_even_past_the_last_point_and_not_after() -> None:
    controller = _controller(trajectory_tolerance=0.2)
    _send(controller, times=[0], positions=[1.0])
    _cycle(controller, NOW, at=0.0)
    assert controller.held_up['path_tolerance'] == 1
    controller = _controller(trajectory_tolerance=0.2)
    _send(controller, times=[0], positions=[0.1])
    for i in range(5):
        _cycle(controller, NOW + i * PERIOD, at=0.1 * i)
    assert controller.held_up['path_tolerance'] == 0


@pytest.mark.parametrize(('goal_time', 'held'), [(0.0, 0), (0.03, 1)])
def test_the_goal_tolerance_counts_after_goal_time_which_at_0_is_never(goal_time: float, held: int) -> None:
    controller = _controller(goal_tolerance=0.1, goal_time=goal_time)
    _send(controller, times=[0, 10], positions=[0.0, 1.0])
    commands = [_cycle(controller, NOW + i * PERIOD, at=0.5) for i in range(8)]
    assert controller.held_up['goal_tolerance'] == held
    # Past the last point by more than 30 ms from the fifth cycle on; the sixth holds.
    assert commands == ([1.0] * 6 + [0.5] * 2 if held else [1.0] * 8)


def test_before_the_last_point_the_goal_tolerance_does_not_count() -> None:
    controller = _controller(goal_tolerance=0.1, goal_time=0.03)
    _send(controller, times=[0, 1000], positions=[0.0, 1.0])
    for i in range(90):
        _cycle(controller, NOW + i * PERIOD, at=-0.5)
    assert controller.held_up['goal_tolerance'] == 0


def test_within_the_goal_tolerance_nothing_happens() -> None:
    controller = _controller(goal_tolerance=0.1, goal_time=0.03)
    _send(controller, times=[0, 10], positions=[0.0, 1.0])
    assert [_cycle(controller, NOW + i * PERIOD, at=0.95) for i in range(9)] == [1.0] * 9


@pytest.mark.parametrize(
    ('interfaces', 'held'), [(('position',), 0), (('position', 'velocity'), 1)], ids=['position', 'with velocity']
)
def test_the_stopped_velocity_only_counts_with_a_velocity_command(interfaces: tuple[str, ...], held: int) -> None:
    controller = _controller(goal_time=0.03, command_interfaces=interfaces)
    _send(controller, times=[0, 10], positions=[0.0, 1.0])
    for i in range(8):
        _cycle(controller, NOW + i * PERIOD, at=1.0, speed=0.02)
    assert controller.held_up['goal_tolerance'] == held


def test_cmd_timeout_counts_from_the_last_point_and_still_writes_its_own_cycle() -> None:
    controller = _controller(cmd_timeout=0.03)
    _send(controller, times=[0, 20], positions=[0.0, 1.0])
    commands = [_cycle(controller, NOW + i * PERIOD, at=0.5) for i in range(9)]
    # 30 ms past the last point is at 50 ms, and longer than that at 60 ms: held from 70 ms on.
    assert commands == pytest.approx([0.5] + [1.0] * 6 + [0.5] * 2)
    assert controller.held_up == {'path_tolerance': 0, 'goal_tolerance': 0, 'timeout': 1}
    assert controller.reason.startswith('timeout: no new trajectory for 0.040 s')


def test_a_cmd_timeout_that_is_not_longer_than_goal_time_is_ignored() -> None:
    controller = _controller(cmd_timeout=0.03, goal_time=0.03)
    _send(controller, times=[0], positions=[1.0])
    for i in range(20):
        _cycle(controller, NOW + i * PERIOD, at=0.9)
    assert controller.held_up['timeout'] == 0


def test_holding_is_never_judged() -> None:
    controller = _controller(trajectory_tolerance=0.1, goal_tolerance=0.1, goal_time=0.01, cmd_timeout=0.02)
    for i in range(10):
        assert _cycle(controller, NOW + i * PERIOD, at=5.0) == 0.0
    assert not any(controller.held_up.values())


def test_a_continuous_joint_is_judged_the_shorter_way_round() -> None:
    controller = _controller(at=3.1, continuous=('a',), trajectory_tolerance=0.2)
    _send(controller, times=[0, 1000], positions=[3.1, 3.1])
    _cycle(controller, NOW, at=-3.1)
    assert not any(controller.held_up.values())


def test_each_joint_may_have_its_own_tolerance() -> None:
    controller = JointTrajectoryController(('a', 'b'), trajectory_tolerance=(0.0, 0.5))
    controller.reset(np.zeros(2))
    for measured, held in (([9.0, 0.4], 0), ([9.0, 0.6], 1)):
        points = {'times': [0, MS], 'positions': [[0.0, 0.0]] * 2}
        controller.command(TrajectoryCommand(stamp=0, joints=('a', 'b'), **points), NOW)
        controller.update(NOW, np.array(measured), np.zeros(2))
        assert controller.held_up['path_tolerance'] == held


# Speed scaling.


def test_scaling_slows_the_trajectory_but_not_the_look_ahead() -> None:
    controller = _controller(initial_scaling_factor=0.5)
    _send(controller, times=[0, 1000], positions=[0.0, 10.0])
    commands = [_cycle(controller, NOW + i * PERIOD) for i in range(4)]
    np.testing.assert_allclose(commands, [0.1, 0.15, 0.2, 0.25])
    controller.set_speed_scaling(0.0)
    assert [_cycle(controller, NOW + i * PERIOD) for i in (4, 5)] == pytest.approx([0.25, 0.25])


def test_a_message_starts_on_the_true_time_again() -> None:
    controller = _controller(initial_scaling_factor=0.5)
    for sent in range(2):
        now = NOW + sent * 20 * PERIOD
        _send(controller, now=now, stamp=NOW, times=[0, 1000], positions=[0.0, 10.0])
        commands = [_cycle(controller, now + i * PERIOD) for i in range(20)]
    assert commands[0] == pytest.approx(2.1)  # not where the slowed one was, 1.1


def test_with_a_velocity_command_it_does_not_scale() -> None:
    controller = _controller(initial_scaling_factor=0.5, command_interfaces=('position', 'velocity'))
    _send(controller, times=[0, 1000], positions=[0.0, 10.0])
    assert [_cycle(controller, NOW + i * PERIOD) for i in range(3)] == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize('factor', [-0.1, np.nan, np.inf])
def test_an_impossible_scaling_is_refused(factor: float) -> None:
    with pytest.raises(ConfigError, match=r'speed scaling: got .*, allowed'):
        _controller().set_speed_scaling(factor)


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'interpolation_method': 'cubic'}, 'interpolation_method: got'),
        ({'state_interfaces': ('velocity',)}, 'state_interfaces: got'),
        ({'command_interfaces': ('effort',)}, 'command_interfaces: got'),
        ({'continuous': ('b',)}, 'continuous: got b, allowed some of a'),
        ({'cmd_timeout': -1.0}, 'cmd_timeout: got -1.0'),
        ({'goal_time': np.nan}, 'goal_time: got nan'),
        ({'trajectory_tolerance': (0.1, 0.2)}, 'trajectory_tolerance: got 2 numbers, allowed one or 1'),
        ({'goal_tolerance': (-0.1,)}, 'goal_tolerance: got -0.1'),
        ({'initial_scaling_factor': -1.0}, 'initial_scaling_factor: got -1.0'),
        ({'stopped_velocity_tolerance': np.inf}, 'stopped_velocity_tolerance: got inf'),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f'controller {words}'):
        JointTrajectoryController(('a',), **settings)


def test_settings_can_be_given_whole_and_changed_by_name() -> None:
    controller = JointTrajectoryController(('a',), spec=ControllerSpec(rate=500.0, cmd_timeout=1.0), cmd_timeout=2.0)
    assert (controller.period, controller.spec.cmd_timeout) == (2 * MS, 2.0)
