from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dp_ros.errors import DataError

pytest.importorskip('gym_pusht', reason='the simulation is not installed')

from gym_pusht.envs.pusht import PushTEnv
from pymunk import ShapeFilter

from dp_ros.simulation.worlds.pusht.world import SUCCESS_COVERAGE, PushTWorld

ZARR = Path(
    os.environ.get('DP_ROS_PUSHT_ZARR')
    or Path(__file__).resolve().parents[2] / '../shared/data/pusht_cchi_v7_replay.zarr'
)


def _world_state(world: PushTWorld) -> np.ndarray:
    block = world.poses['block']
    (x, y, _), (_, _, z, w) = block.position, block.orientation
    return np.array([*world.joint_positions * 1e3, x * 1e3, y * 1e3, 2.0 * np.arctan2(z, w) % (2.0 * np.pi)])


def test_a_reset_gives_gyms_state_for_the_seed() -> None:
    env, world = PushTEnv(obs_type='state'), PushTWorld()
    for seed in (0, 7, 100_003):
        state, _ = env.reset(seed=seed)
        world.reset(seed)
        np.testing.assert_allclose(_world_state(world), state, atol=1e-9)


def test_ten_steps_are_one_of_gyms() -> None:
    env, world = PushTEnv(obs_type='state'), PushTWorld()
    env.reset(seed=3)
    world.reset(3)
    rng = np.random.default_rng(0)
    for _ in range(40):
        target = rng.uniform(50.0, 450.0, size=2)
        state, reward, _, _, info = env.step(target)
        for _ in range(10):
            world.step(target / 1e3)
        np.testing.assert_allclose(_world_state(world), state, atol=1e-6)
        assert world.coverage == pytest.approx(info['coverage'], abs=1e-9)
        assert min(1.0, world.coverage / SUCCESS_COVERAGE) == pytest.approx(reward, abs=1e-9)
    np.testing.assert_allclose(world.joint_velocities * 1e3, info['vel_agent'], atol=1e-6)


def test_the_picture_is_gyms_observation() -> None:
    env, world = PushTEnv(obs_type='pixels', render_mode='rgb_array'), PushTWorld()
    for seed in (1, 2):
        pixels, _ = env.reset(seed=seed)
        world.reset(seed)
        image = world.render()
        assert image.shape == (96, 96, 3) and image.dtype == np.uint8
        np.testing.assert_array_equal(image, pixels)
    assert world.render_large(320).shape == (320, 320, 3)


def test_efforts_are_the_pd_law_for_one_kilogram() -> None:
    world = PushTWorld()
    world.set_state(pusher=np.array([0.1, 0.1]), block=np.array([0.4, 0.4]), yaw=0.0)
    world.step(np.array([0.2, 0.1]))
    np.testing.assert_allclose(world.joint_efforts, [10.0, 0.0])
    np.testing.assert_allclose(world.joint_velocities, [0.1, 0.0])
    world.reset(0)
    assert not world.joint_efforts.any()


def test_a_state_that_is_set_is_the_state_that_is_read() -> None:
    world = PushTWorld()
    for yaw in (0.0, 1.0, 3.0, 4.0, 6.2):
        world.set_state(pusher=np.array([0.05, 0.06]), block=np.array([0.3, 0.25]), yaw=yaw)
        np.testing.assert_allclose(_world_state(world), [50.0, 60.0, 300.0, 250.0, yaw], atol=1e-9)


def test_the_shapes_follow_a_state_that_is_set() -> None:
    world = PushTWorld()
    world.set_state(pusher=np.array([0.05, 0.05]), block=np.array([0.256, 0.256]), yaw=np.pi / 4)
    assert world.coverage == pytest.approx(1.0, abs=1e-9)
    world.set_state(pusher=np.array([0.05, 0.05]), block=np.array([0.4, 0.4]), yaw=0.8)
    found = world.env.space.point_query((400.0, 410.0), 0.0, ShapeFilter())  # far from where a reset puts it
    assert [hit.shape.body for hit in found] == [world.env.block]
    world.set_state(pusher=np.array([0.05, 0.05]), block=np.array([0.256, 0.256]), yaw=np.pi / 4)
    for _ in range(80):  # the pusher is driven into the block where it lies now
        world.step(np.array([0.256, 0.256]))
    assert world.coverage < 0.9


@pytest.mark.parametrize(
    'change',
    [{'pusher': np.zeros(3)}, {'block': np.array([0.1, np.nan])}, {'pusher': np.array([np.inf, 0.0])}],
)
def test_a_state_of_wrong_shape_or_not_finite_is_refused(change: dict[str, np.ndarray]) -> None:
    state = {'pusher': np.array([0.1, 0.1]), 'block': np.array([0.3, 0.3])} | change
    with pytest.raises(DataError, match=f'{next(iter(change))}.*got.*allowed'):
        PushTWorld().set_state(**state, yaw=0.0)


def test_recorded_demonstrations_replay_within_a_pixel() -> None:
    """Open loop: each target held for 100 ms; all 206 give 205, here every sixth."""
    if not ZARR.is_dir():
        pytest.skip(f'no demonstrations at {ZARR}; set DP_ROS_PUSHT_ZARR')
    zarr = pytest.importorskip('zarr', reason='zarr is not installed')
    group = zarr.open_group(str(ZARR), mode='r')
    states, actions = group['data/state'][:].astype(np.float64), group['data/action'][:].astype(np.float64)
    ends = group['meta/episode_ends'][:].tolist()
    world = PushTWorld()
    episodes = list(zip([0, *ends[:-1]], ends, strict=True))[::6]
    within = [_worst_error(world, states[a:b], actions[a:b]) < 1.0 for a, b in episodes]
    assert np.mean(within) >= 0.95, f'{sum(within)} of {len(within)} within 1 px'


def _worst_error(world: PushTWorld, states: np.ndarray, actions: np.ndarray) -> float:
    """Return the largest distance of pusher and block from the recording [px]."""
    first = states[0]
    world.set_state(pusher=first[:2] / 1e3, block=first[2:4] / 1e3, yaw=float(first[4]))
    worst = 0.0
    for action, expected in zip(actions[:-1], states[1:], strict=True):
        for _ in range(10):
            world.step(action / 1e3)
        difference = (_world_state(world) - expected)[:4]
        worst = max(worst, float(np.hypot(*difference[:2])), float(np.hypot(*difference[2:])))
    return worst
