from __future__ import annotations

import numpy as np
import pytest
from numpy.polynomial import polynomial as poly

from dp_ros.errors import DataError
from dp_ros.motion.trajectory import Trajectory

SECOND = 1_000_000_000
CURVE = np.array([0.3, -1.0, 0.7, 2.0, -3.0, 1.1])
KNOTS = np.array([0.0, 0.25, 0.75, 1.0])


def build(curve, *, degree=5, **changes):
    def at(order):
        return poly.polyval(KNOTS, poly.polyder(curve, order) if order else curve)[:, None]

    given = {
        'stamp': 0,
        'joints': ('a',),
        'times': np.rint(KNOTS * SECOND).astype(np.int64),
        'positions': at(0),
        'velocities': at(1) if degree >= 3 else None,
        'accelerations': at(2) if degree == 5 else None,
    }
    return Trajectory(**{**given, **changes})


INSTANTS = np.arange(0, SECOND + 1, SECOND // 64)


@pytest.mark.parametrize('degree', [3, 5])
def test_a_polynomial_of_the_segments_degree_is_sampled_exactly(degree):
    curve = CURVE[: degree + 1]
    positions, velocities = build(curve, degree=degree).sample(INSTANTS)
    np.testing.assert_allclose(positions[:, 0], poly.polyval(INSTANTS / SECOND, curve), atol=1e-12)
    np.testing.assert_allclose(velocities[:, 0], poly.polyval(INSTANTS / SECOND, poly.polyder(curve)), atol=1e-11)


def test_positions_alone_are_joined_by_lines():
    trajectory = build(CURVE, degree=1)
    positions, velocities = trajectory.sample(INSTANTS)
    np.testing.assert_allclose(
        positions[:, 0], np.interp(INSTANTS / SECOND, KNOTS, trajectory.positions[:, 0]), atol=1e-12
    )
    assert velocities[1, 0] == pytest.approx((trajectory.positions[1, 0] - trajectory.positions[0, 0]) / 0.25)


def test_points_are_met_exactly_and_the_ends_are_held():
    trajectory = build(CURVE, times=np.rint(KNOTS * SECOND).astype(np.int64) + SECOND)
    positions, _ = trajectory.sample(trajectory.times)
    np.testing.assert_array_equal(positions, trajectory.positions)
    positions, velocities = trajectory.sample(np.array([0, 5 * SECOND]))
    np.testing.assert_array_equal(positions, trajectory.positions[[0, -1]])
    np.testing.assert_array_equal(velocities, np.zeros((2, 1)))


@pytest.mark.parametrize('degree', [1, 3, 5])
def test_places_are_the_positions_of_the_states(degree):
    trajectory = build(CURVE[: degree + 1], degree=degree)
    at = np.arange(-SECOND // 2, 2 * SECOND, SECOND // 64)
    np.testing.assert_allclose(trajectory.positions_at(at), trajectory.states(at)[0], atol=1e-15)
    np.testing.assert_array_equal(trajectory.positions_at(at[-2:]), trajectory.positions[[-1, -1]])


def test_a_single_point_is_held():
    point = Trajectory(stamp=5, joints=('a', 'b'), times=np.array([SECOND]), positions=np.array([[1.0, 2.0]]))
    positions, velocities = point.sample(np.array([0, SECOND, 2 * SECOND]))
    np.testing.assert_array_equal(positions, np.tile([1.0, 2.0], (3, 1)))
    assert not velocities.any()
    assert point.end == SECOND + 5


def test_a_trajectory_keeps_its_own_unchangeable_copy():
    source = np.zeros((4, 1))
    trajectory = build(CURVE, positions=source, degree=3)
    source[0] = 7.0
    assert trajectory.positions[0, 0] == 0.0
    with pytest.raises(ValueError, match='read-only'):
        trajectory.positions[0] = 1.0


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'stamp': -1}, 'stamp: got -1 ns, allowed 0 or more'),
        ({'joints': ('a', 'a')}, 'allowed one or more different names'),
        ({'joints': ('a', 'b')}, r'positions: got shape \(4, 1\), allowed \(4, 2\)'),
        ({'times': KNOTS}, 'got float64, allowed whole nanoseconds'),
        ({'times': np.array([0, 1, 1, 2])}, 'strictly increasing'),
        ({'times': np.array([-1, 1, 2, 3])}, 'from 0 up'),
        ({'times': np.array([], dtype=np.int64)}, 'got 0 points'),
        ({'positions': np.full((4, 1), np.nan)}, 'positions: got nan'),
        ({'velocities': np.full((4, 1), np.inf)}, 'velocities: got inf'),
        ({'velocities': None}, 'accelerations without velocities'),
    ],
)
def test_what_no_controller_should_get_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        build(CURVE, **changes)
