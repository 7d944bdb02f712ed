"""Check where moving obstacles can be against motions whose accelerations are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dp_ros.errors import ConfigError
from dp_ros.planning.forecast import LEAST_BASE, MOST_BASE, Forecast
from dp_ros.planning.scene import Box, Cylinder, LiveScene, Mesh, MovingObstacle, Scene, Sighting, Sphere

MS = 1_000_000
T0 = 1_700_000_000_000_000_000
CART = MovingObstacle(
    name='cart', shape=Sphere(radius=0.2), topic='cart', speed=1.0, max_age=0.2, acceleration=1.0, pose_error=0.001
)


def live(part: MovingObstacle) -> LiveScene:
    return LiveScene(Scene(frame='base', moving=(part,)))


def at(stamp: int, x: float, turn: float = 0.0, axis: int = 1) -> Sighting:
    orientation = [0.0, 0.0, 0.0, float(np.cos(turn / 2))]
    orientation[axis] = float(np.sin(turn / 2))
    return Sighting(stamp=stamp, position=(x, 0.0, 0.0), orientation=(*orientation,))


@pytest.mark.parametrize('shape', [Box(size=(0.3, 0.2, 0.1)), Cylinder(radius=0.3, length=0.05)])
@pytest.mark.parametrize('seed', range(8))
def test_every_point_is_within_the_spread_of_where_the_velocity_leads(seed, shape):
    """Swinging and turning about y, with the accelerations that its corners have, and wrong poses."""
    rng = np.random.default_rng(seed)
    rate, swing, phases = rng.uniform(0.5, 4.0, 2), rng.uniform(0.05, 0.5, 2), rng.uniform(0.0, 2 * np.pi, 2)
    half = np.array(shape.size) / 2 if isinstance(shape, Box) else np.array([shape.radius, 0.0, shape.length / 2])
    corners = half * [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]

    def motion(seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return tuple(swing[:, None] * np.sin(rate[:, None] * seconds + phases[:, None]))

    def places(seconds: np.ndarray) -> np.ndarray:
        """Return where the corners are (N, 8, 3)."""
        x, turn = (row[:, np.newaxis] for row in motion(np.atleast_1d(seconds)))
        c, s = np.cos(turn), np.sin(turn)
        rows = c * corners[:, 0] + s * corners[:, 2] + x, 0 * c + corners[:, 1], c * corners[:, 2] - s * corners[:, 0]
        return np.stack(rows, axis=-1)

    fine = np.arange(-0.5, 1.5, 0.001)
    there = places(fine)
    acceleration = float(np.linalg.norm(np.diff(there, n=2, axis=0), axis=-1).max()) / 0.001**2
    speed = float(np.linalg.norm(np.diff(there, axis=0), axis=-1).max()) / 0.001
    error = 0.002
    part = replace(CART, shape=shape, speed=speed * 1.01, acceleration=acceleration * 1.01, pose_error=error)
    scene = live(part)
    for seconds in np.arange(-0.4, 0.001, 0.04):
        x, turn = motion(np.array([seconds]))
        wrong = float(rng.uniform(-error, error) / 2)
        scene.see('cart', 'base', at(T0 + round(seconds * 1e9), float(x[0]) + wrong, float(turn[0])))
        assert not scene.fault(T0 + round(seconds * 1e9))
    forecast = scene.forecast('cart')
    assert forecast is not None
    x, turn = motion(np.zeros(1))
    (now,) = places(np.zeros(1))
    for seconds in np.arange(0.0, 1.5, 0.05):
        off = places(seconds)[0] - now - forecast.velocity * seconds
        assert np.linalg.norm(off, axis=1).max() <= forecast.spread(seconds)
    assert forecast.spread(0.2) <= 2.5 * (error + speed * 0.2), 'and it is no wider than it must be'


def test_a_velocity_is_known_from_two_poses_that_are_far_enough_apart_and_not_too_far():
    scene = live(CART)
    for stamp, known in ((0, False), (50, False), (100, True), (150, True), (150 + MOST_BASE // MS + 1, False)):
        scene.see('cart', 'base', at(T0 + stamp * MS, 0.5e-3 * stamp))
        forecast = scene.forecast('cart')
        assert (forecast is not None) == known
        if forecast is not None:
            assert np.allclose(forecast.velocity, [0.5, 0.0, 0.0])
    scene.forget()
    assert scene.forecast('cart') is None
    unknown = live(replace(CART, acceleration=None))
    for stamp in (0, 100):
        unknown.see('cart', 'base', at(T0 + stamp * MS, 0.0))
    assert unknown.forecast('cart') is None


def test_what_speeds_up_faster_than_its_bound_is_a_fault_until_it_does_not():
    scene = live(CART)
    for stamp in range(0, 400, 20):
        scene.see('cart', 'base', at(T0 + stamp * MS, 0.0))
    assert not scene.fault(T0 + 380 * MS)
    gone = [0.5 * 8.0 * (tick * 0.02) ** 2 for tick in range(1, 6)]
    for tick, x in enumerate(gone):
        scene.see('cart', 'base', at(T0 + (400 + 20 * tick) * MS, x))
    assert 'beyond its acceleration, 1 m/s^2' in scene.fault(T0 + 480 * MS)
    for tick in range(40):  # on and on at 0.8 m/s
        scene.see('cart', 'base', at(T0 + (500 + 20 * tick) * MS, gone[-1] + 0.016 * (tick + 1)))
    assert not scene.fault(T0 + 1280 * MS)


def test_a_spread_grows_with_what_is_not_known():
    still = np.zeros((1, 3))
    base = LEAST_BASE / 1e9
    known = Forecast.seen(still, still, base, acceleration=0.5, error=0.001)
    assert known.spread(0.0) == 0.001 and known.spread(1.0) == pytest.approx(0.001 + 0.25 + 0.25 * base + 0.002 / base)
    assert Forecast.within(0.5).spread(2.0) == 1.0


def test_a_mesh_whose_turns_are_not_known_has_no_bound_of_acceleration(tmp_path):
    with pytest.raises(ConfigError, match="'cart' acceleration: got one of a mesh, allowed of other shapes"):
        replace(CART, shape=Mesh(file=tmp_path / 'cart.stl'))
