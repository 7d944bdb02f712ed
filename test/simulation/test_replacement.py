"""What the newer controllers do with a message: splice it into what they follow, or keep it back until its stamp."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dp_ros.simulation.controller.controller import Accepted, JointTrajectoryController, TrajectoryCommand

MS = 1_000_000
PERIOD = 10 * MS
NOW = 5_000 * MS


def _controller(count: int = 1, version: str = 'replacement', **settings: Any) -> JointTrajectoryController:
    controller = JointTrajectoryController(tuple('ab'[:count]), version=version, **settings)
    controller.reset(np.zeros(count))
    return controller


def _send(controller: JointTrajectoryController, now: int, times: list[int], positions: Any, **fields: Any) -> None:
    rows = np.asarray(positions, dtype=float)
    rows = rows[:, None] if rows.ndim == 1 else rows
    fields = {'stamp': 0, 'joints': controller.joints, **fields}
    verdict = controller.command(TrajectoryCommand(times=np.array(times) * MS, positions=rows, **fields), now)
    assert isinstance(verdict, Accepted), verdict


def _cycles(controller: JointTrajectoryController, first: int, count: int) -> np.ndarray:
    """Return the set points of cycles ``first`` on, counted from NOW; the robot stays at 0."""
    still = np.zeros(len(controller.joints))
    return np.array([controller.update(NOW + (first + i) * PERIOD, still, still) for i in range(count)])


def test_the_first_message_is_taken_whole_as_by_the_older_one() -> None:
    controller = _controller()
    _send(controller, NOW, [100, 200], [1.0, 2.0])
    np.testing.assert_allclose(_cycles(controller, 0, 20)[:, 0], np.arange(1, 21) / 10.0)


def test_a_message_for_later_leaves_what_is_followed_until_then() -> None:
    controller = _controller()
    _send(controller, NOW, [0, 50, 1000], [0.0, 0.5, 10.0])
    _cycles(controller, 0, 1)
    # At 10 ms: to start at 210 ms. On the old trajectory the controller is at 0, one period back.
    _send(controller, NOW + PERIOD, [100, 200], [5.0, 5.0], stamp=NOW + 21 * PERIOD)
    commands = _cycles(controller, 1, 40)[:, 0]
    # Until the old knot, at 50 ms of the old trajectory and now due at 60 ms, it bridges from the measured 0 at 10 ms.
    np.testing.assert_allclose(commands[:5], np.arange(1, 6) / 10.0)
    # From there on the old trajectory, one period late, up to its state at 200 ms ...
    old = np.interp(np.arange(60, 210, 10), [50, 1000], [0.5, 10.0])
    np.testing.assert_allclose(commands[5:20], old)
    # ... and over to the first new point, due at its own time: 310 ms.
    np.testing.assert_allclose(commands[20:30], np.linspace(old[-1], 5.0, 11)[1:])
    np.testing.assert_allclose(commands[30:], 5.0)


@pytest.mark.parametrize('stamp', [0, NOW - 150 * MS])
def test_a_stamp_of_0_or_in_the_past_is_put_off_until_now(stamp: int) -> None:
    controller = _controller()
    _send(controller, NOW, [0, 1000], [0.0, 10.0])
    before = _cycles(controller, 0, 5)[-1, 0]
    _send(controller, NOW + 5 * PERIOD, [100, 300], [3.0, 3.0], stamp=stamp)
    commands = _cycles(controller, 5, 12)[:, 0]
    # It begins where the old trajectory was in the cycle before, 0.4, and its first point is a whole 100 ms away.
    np.testing.assert_allclose(commands[:10], np.linspace(before - 0.1, 3.0, 11)[1:])
    np.testing.assert_allclose(commands[10:], 3.0)


def test_past_points_that_the_older_one_would_skip_are_played() -> None:
    """Why an anchored plan and this controller don't go together."""
    plan = {'times': [0, 100, 200, 300], 'positions': [0.0, 1.0, 2.0, 3.0], 'stamp': NOW}
    older = JointTrajectoryController(('a',))
    older.reset(np.zeros(1))
    newer = _controller()
    for controller, expected in ((older, [1.6, 1.7, 1.8]), (newer, [0.1, 0.2, 0.3])):
        _send(controller, NOW, **plan)
        _cycles(controller, 0, 15)
        _send(controller, NOW + 15 * PERIOD, **plan)
        np.testing.assert_allclose(_cycles(controller, 15, 3)[:, 0], expected)


def test_joints_that_a_message_leaves_out_go_on_as_before_also_after_its_end() -> None:
    controller = _controller(2, allow_partial_joints_goal=True)
    _send(controller, NOW, [0, 1000], [[0.0, 0.0], [10.0, 20.0]])
    _cycles(controller, 0, 5)
    _send(controller, NOW + 5 * PERIOD, [100, 200], [5.0, 6.0], joints=('a',))
    commands = _cycles(controller, 5, 100)
    np.testing.assert_allclose(commands[9], [5.0, 2.0 * 1.4])  # at 140 ms of the old trajectory
    np.testing.assert_allclose(commands[19], [6.0, 2.0 * 2.4])
    np.testing.assert_allclose(commands[59], [6.0, 2.0 * 6.4])
    np.testing.assert_allclose(commands[-1], [6.0, 20.0])


def test_velocities_are_carried_over_the_splice() -> None:
    controller = _controller()
    _send(controller, NOW, [0, 1000], [0.0, 1.0], velocities=np.array([[1.0], [0.0]]))
    _cycles(controller, 0, 10)
    _send(controller, NOW + 10 * PERIOD, [100, 200], [0.2, 0.2], velocities=np.array([[0.0], [0.0]]))
    # The old one is x + x^2 - x^3; it is left at 90 ms, for 0.2 at rest in 100 ms.
    position, speed = 0.09 + 0.09**2 - 0.09**3, 1.0 + 2.0 * 0.09 - 3.0 * 0.09**2
    s = np.arange(1, 11) / 10.0
    expected = position * (1 - 3 * s**2 + 2 * s**3) + 0.1 * speed * (s - 2 * s**2 + s**3) + 0.2 * (3 * s**2 - 2 * s**3)
    np.testing.assert_allclose(_cycles(controller, 10, 10)[:, 0], expected, atol=1e-12)


def test_an_old_point_that_was_just_played_does_not_replace_the_bridge() -> None:
    controller = _controller()
    _send(controller, NOW, [0, 50, 1000], [0.0, 0.5, 10.0])
    _cycles(controller, 0, 6)  # the last cycle was at the second point
    _send(controller, NOW + 6 * PERIOD, [100, 200], [5.0, 5.0], stamp=NOW + 16 * PERIOD)
    # From the measured 0, not from 0.5.
    assert _cycles(controller, 6, 1)[0, 0] < 0.1


def test_a_first_point_at_the_stamp_is_bridged_to_and_not_the_old_trajectory_there() -> None:
    controller = _controller()
    _send(controller, NOW, [0, 1000], [0.0, 10.0])
    _cycles(controller, 0, 1)
    _send(controller, NOW + PERIOD, [0, 200], [5.0, 5.0], stamp=NOW + 11 * PERIOD)
    np.testing.assert_allclose(_cycles(controller, 1, 12)[:, 0], [*np.linspace(0.0, 5.0, 11)[1:], 5.0, 5.0])


def test_a_hold_is_replaced_whole() -> None:
    controller = _controller()
    _send(controller, NOW, [0], [4.0])
    _cycles(controller, 0, 3)
    _send(controller, NOW + 3 * PERIOD, [100, 200], [1.0, 1.0])
    assert _cycles(controller, 3, 1)[0, 0] == pytest.approx(0.1)  # a bridge from the measured 0, not from 4


def test_scaling_slows_the_way_to_a_later_start_too() -> None:
    controller = _controller(initial_scaling_factor=0.5)
    _send(controller, NOW, [0, 1000], [0.0, 10.0])
    _cycles(controller, 0, 11)  # played: 50 ms
    _send(controller, NOW + 11 * PERIOD, [100, 200], [9.0, 9.0], stamp=NOW + 31 * PERIOD)
    # 200 ms from now are 100 ms of the trajectory, where the old one is left at 1.5.
    commands = _cycles(controller, 11, 40)[:, 0]
    played = np.arange(40) * 5 + 10  # [ms], one period ahead
    assert (np.diff(commands[:19]) > 0.0).all()
    np.testing.assert_allclose(commands[18:], np.interp(played[18:], [100, 200], [1.5, 9.0]))


def test_with_deferral_a_message_for_later_waits_for_its_stamp_and_then_replaces_whole() -> None:
    controller = _controller(version='deferral')
    _send(controller, NOW, [0, 1000], [0.0, 10.0])
    _cycles(controller, 0, 5)
    _send(controller, NOW + 5 * PERIOD, [0, 200], [7.0, 5.0], stamp=NOW + 15 * PERIOD)
    commands = _cycles(controller, 5, 20)[:, 0]
    np.testing.assert_allclose(commands[:10], np.arange(6, 16) / 10.0)
    np.testing.assert_allclose(commands[10:], 7.0 - np.arange(1, 11) / 10.0)


def test_with_deferral_a_newer_message_takes_the_waiting_ones_place() -> None:
    for stamp, expected in ((NOW + 20 * PERIOD, [1.0, 4.0]), (0, [4.0, 4.0])):
        controller = _controller(version='deferral')
        _send(controller, NOW, [0, 10], [0.0, 1.0])
        _cycles(controller, 0, 5)
        _send(controller, NOW + 5 * PERIOD, [0], [9.0], stamp=NOW + 10 * PERIOD)
        _cycles(controller, 5, 1)
        _send(controller, NOW + 6 * PERIOD, [0], [4.0], stamp=stamp)
        commands = _cycles(controller, 6, 20)[:, 0]
        assert [commands[8], commands[-1]] == expected


def test_with_deferral_a_hold_does_not_call_off_what_waits() -> None:
    controller = _controller(version='deferral', cmd_timeout=0.02)
    _send(controller, NOW, [0, 10], [0.0, 1.0])
    _cycles(controller, 0, 2)
    _send(controller, NOW + 2 * PERIOD, [0, 1000], [3.0, 3.0], stamp=NOW + 20 * PERIOD)
    commands = _cycles(controller, 2, 20)[:, 0]
    assert controller.held_up['timeout'] == 1
    assert commands[10] == 0.0  # the measured position
    assert commands[18] == 3.0
    assert controller.reason == ''
