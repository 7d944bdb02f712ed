"""The worlds as Gymnasium environments."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dp_ros.errors import ConfigError, DataError

gymnasium = pytest.importorskip('gymnasium', reason='gymnasium is not installed (extra: sim)')
pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')

from gymnasium.utils.env_checker import check_env

import dp_ros.simulation.gymnasium_env  # registers the environments
from dp_ros.simulation.registry import make_expert, make_world
from dp_ros.simulation.world import Pose
from dp_ros.simulation.worlds import BUILT_IN


@pytest.fixture(params=BUILT_IN, ids=lambda spec: spec.name)
def spec(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def env(spec: Any) -> Iterator[Any]:
    env = gymnasium.make(spec.environment)
    yield env
    env.close()


def test_one_line_registers_and_makes_an_environment() -> None:
    script = 'import gymnasium; gymnasium.make("dp_ros.simulation.gymnasium_env:dp_ros/PushT-v0").reset(seed=0)'
    done = subprocess.run([sys.executable, '-W', 'error', '-c', script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings('ignore:.*Box observation space m.*imum value is.*infinity')
@pytest.mark.parametrize('cameras', [False, True])
def test_gymnasium_s_own_check_is_passed(spec: Any, cameras: bool) -> None:
    check_env(gymnasium.make(spec.environment, cameras=cameras, render_mode='rgb_array').unwrapped)


def test_a_seed_gives_the_world_s_start(spec: Any, env: Any) -> None:
    world = make_world(spec.name)
    for seed in (3, 100_000):
        world.reset(seed)
        observation, info = env.reset(seed=seed)
        assert info['seed'] == seed
        np.testing.assert_array_equal(observation['joint_positions'], world.joint_positions)
        for name, pose in world.poses.items():
            np.testing.assert_array_equal(observation[f'{name}_pose'], [*pose.position, *pose.orientation])
    drawn = env.reset()[1]['seed']
    env.reset(seed=100_000)
    assert env.reset()[1]['seed'] == drawn != 100_000


def test_the_same_actions_give_the_same_episode(env: Any) -> None:
    def play() -> list[Any]:
        start = env.reset(seed=5)[0]['joint_positions']
        shifts = np.linspace(0.0, 0.05, 8)
        return [env.step(np.clip(start + s, env.action_space.low, env.action_space.high)) for s in shifts]

    first, again = play(), play()
    for a, b in zip(first, again, strict=True):
        np.testing.assert_equal(a, b)
    assert not np.array_equal(first[0][0]['joint_positions'], first[-1][0]['joint_positions'])


def test_the_demonstrator_succeeds_and_that_ends_the_episode(spec: Any, env: Any) -> None:
    seed = 1
    observation, _ = env.reset(seed=seed)
    expert = make_expert(spec.name, np.random.default_rng([0, seed]))
    terminated = truncated = False
    steps = 0
    while not terminated and not truncated:
        poses = {}
        for name in spec.pose_topics:
            x, y, z, *orientation = observation[f'{name}_pose']
            poses[name] = Pose(position=(x, y, z), orientation=tuple(orientation))
        command = expert.trajectory(steps * 100_000_000, observation['joint_positions'], poses)
        observation, reward, terminated, truncated, info = env.step(command.positions[-1])
        steps += 1
        assert 0.0 <= reward == info['score'] <= 1.0
        assert terminated or not info['success']
    assert terminated and not truncated


def test_time_is_limited(env: Any) -> None:
    observation, _ = env.reset(seed=0)
    outcomes = [env.step(observation['joint_positions'])[2:4] for _ in range(300)]
    assert outcomes == [(False, False)] * 299 + [(False, True)]


def test_a_wrong_action_is_refused(env: Any) -> None:
    env = env.unwrapped
    observation, _ = env.reset(seed=0)
    here, high = observation['joint_positions'], env.action_space.high
    with pytest.raises(DataError, match=r'action: got shape \(3,\), allowed'):
        env.step(np.zeros(3))
    with pytest.raises(DataError, match=r'action: got nan at index \(1,\), allowed finite numbers only'):
        env.step(np.where(np.arange(len(here)) == 1, np.nan, here))
    with pytest.raises(DataError, match=rf'action {env.world.joints[0]}: got .*, allowed .* to {high[0]:g}'):
        env.step(high + 0.1)
    np.testing.assert_array_equal(env.world.joint_positions, here)
    env.step(here.astype(np.float32))


def test_pictures_are_what_the_cameras_see(spec: Any) -> None:
    env = gymnasium.make(spec.environment, cameras=True, render_mode='rgb_array').unwrapped
    observation, _ = env.reset(seed=2)
    world = make_world(spec.name)
    world.reset(2)
    for camera in spec.camera_topics:
        np.testing.assert_array_equal(observation[camera], world.render(camera))
    np.testing.assert_array_equal(env.render(), world.render_large(480))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'render_mode': 'human'}, "render_mode: got 'human', allowed rgb_array or None"),
        ({'control_dt': 0.015}, r'control_dt: got 0.015 s, allowed whole multiples of 0.01 s'),
        ({'control_dt': 0.0}, r'control_dt: got 0.0 s, allowed whole multiples of 0.01 s'),
        ({'world': 'moon'}, r"world: got 'moon', allowed"),
    ],
)
def test_a_wrong_setting_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dp_ros.simulation.gymnasium_env.WorldEnv(**{'world': 'pusht', **options})


def test_reset_options_are_refused(env: Any) -> None:
    with pytest.raises(ConfigError, match=r"reset options: got {'far': 1}, allowed none"):
        env.unwrapped.reset(seed=0, options={'far': 1})
