"""The demonstrator of the worlds with a point, behind the controller; and a short training on what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from dp_ros.errors import ConfigError
from dp_ros.evaluation.demonstrations import RecordSettings, demonstration
from dp_ros.simulation.registry import make_expert, make_world, world_spec
from dp_ros.simulation.robot import SimulatedRobot
from dp_ros.simulation.world import flat_pose
from dp_ros.simulation.worlds.point_navigation.expert import PointExpert
from dp_ros.simulation.worlds.point_navigation.spec import Obstacle, point_world

TICK = 100_000_000


def demonstrate(robot: SimulatedRobot, expert: PointExpert, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the point's way (T, 2), and the set points at the ticks (N, 2)."""
    robot.now = 0
    robot.reset(seed)
    places, commanded = [], []
    while not expert.finished and robot.episode.elapsed < 15.0:
        if robot.now % TICK == 0:
            command = expert.trajectory(robot.now, robot.world.joint_positions, robot.world.poses)
            robot.command(command)
            commanded.append(command.positions[-1])
        list(robot.step())
        places.append(robot.world.joint_positions)
    return np.array(places), np.array(commanded)


def test_without_an_obstacle_it_goes_straight_and_smoothly_and_stays() -> None:
    world = make_world('point_navigation')
    robot = SimulatedRobot(world, start=0)
    for seed in range(10):
        places, commanded = demonstrate(robot, PointExpert(np.random.default_rng(seed)), seed)
        start, target = places[0], np.array(world.poses['target'].position[:2])
        assert robot.success and np.linalg.norm(places[-80:] - target, axis=1).max() < 0.05
        across = np.array([[0.0, -1.0], [1.0, 0.0]]) @ (target - start) / np.linalg.norm(target - start)
        assert 0.002 < np.abs((places - start) @ across).max() < 0.07
        assert np.linalg.norm(np.diff(commanded, axis=0), axis=1).max() / 0.1 < 0.8
        assert np.abs(np.diff(commanded, n=2, axis=0)).max() / 0.1**2 < 4.0


def test_around_the_obstacle_it_takes_both_sides_evenly_and_never_touches() -> None:
    world = make_world('point_obstacle')
    robot = SimulatedRobot(world, start=0)
    sides = []
    for seed in range(24):
        expert = PointExpert(np.random.default_rng([0, seed]), radii=(0.2,))
        places, _ = demonstrate(robot, expert, seed)
        assert robot.success and np.linalg.norm(places, axis=1).min() > 0.26
        assert world.progress.details['side'] == ('left' if expert.sides[0] > 0 else 'right')
        sides.append(world.progress.details['side'])
    assert 6 <= sides.count('left') <= 18


def test_it_gets_by_several_obstacles() -> None:
    obstacles = tuple(Obstacle(centre=(x, y), radius=0.12, spread=0.05) for x, y in ((0, 0), (0.6, 0.5), (-0.5, -0.6)))
    spec = point_world('points', obstacles, parameter_file=Path('none.yaml'))
    robot = SimulatedRobot(spec.make_world(disturbance=0.0), start=0)
    for seed in range(10):
        expert = spec.make_expert(np.random.default_rng(seed), control_dt=0.1)
        demonstrate(robot, expert, seed)
        assert robot.success


def test_it_goes_to_two_targets_in_order_and_touches_none_of_five_obstacles() -> None:
    world = make_world('point_targets')
    robot = SimulatedRobot(world, start=0)
    sides = []
    for seed in range(30):
        expert = make_expert('point_targets', np.random.default_rng([0, seed]))
        robot.reset(seed)
        ends = [np.array(world.poses[name].position[:2]) for name in ('target', 'last_target')]
        places, commanded = demonstrate(robot, expert, seed)
        assert robot.success and world.progress.details['collisions'] == 0.0
        there = [int(np.argmin(np.linalg.norm(places - end, axis=1))) for end in ends]
        assert there[0] < there[1] and np.linalg.norm(places[-80:] - ends[1], axis=1).max() < 0.05
        assert np.linalg.norm(np.diff(commanded, axis=0), axis=1).max() / 0.1 < 0.8
        assert np.abs(np.diff(commanded, n=2, axis=0)).max() / 0.1**2 < 4.0
        sides.append(world.progress.details['side'])
    assert 8 <= sides.count('left') <= 22


@pytest.mark.parametrize(('aside', 'sides'), [(0.01, {1.0, -1.0}), (0.05, {1.0}), (-0.05, {-1.0})])
def test_among_several_obstacles_a_coin_decides_only_where_no_side_is_nearer(aside: float, sides: set[float]) -> None:
    places = [(0.0, -aside), (0.45, 0.5), (0.45, -0.5), (-0.45, 0.5), (-0.45, -0.5)]
    poses = {f'obstacle_{number}': flat_pose(*place, 0.0) for number, place in enumerate(places)}
    poses |= dict.fromkeys(('target', 'last_target'), flat_pose(0.8, 0.0, 0.0))
    taken = set()
    for seed in range(12):
        expert = make_expert('point_targets', np.random.default_rng(seed), noise=0.0)
        commands = [expert.trajectory(0, (-0.8, 0.0), poses) for _ in range(12)]
        taken.add(float(np.sign(commands[-1].positions[-1][1])))
    assert taken == sides


def test_its_randomness_is_the_generators() -> None:
    robot = SimulatedRobot(make_world('point_obstacle'), start=0)
    ways = [demonstrate(robot, PointExpert(np.random.default_rng(n), radii=(0.2,)), 3)[1] for n in (1, 1, 2)]
    np.testing.assert_array_equal(ways[0], ways[1])
    assert not np.array_equal(ways[0][10], ways[2][10])


def test_a_rate_it_cannot_keep_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'expert control_dt: got 1.0, allowed 0.02 to 0.5 s'):
        PointExpert(np.random.default_rng(0), control_dt=1.0)


@pytest.mark.parametrize('name', ['point_navigation', 'point_obstacle', 'point_targets'])
def test_its_recordings_train_the_shipped_configuration(name: str, tmp_path: Path) -> None:
    pytest.importorskip('torch', reason='torch is not installed (extra: train)')
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    from dp_ros.cli.main import main

    text = world_spec(name).training.read_text()
    config = tmp_path / 'train.yaml'
    text = re.sub(r'^steps: \d+', 'steps: 50', text, flags=re.MULTILINE)
    config.write_text(text.replace('warmup_steps: 500', 'warmup_steps: 5'))
    bags, run, bundle = (str(tmp_path / part) for part in ('bags', 'run', 'bundle'))
    assert main(['record', bags, '--world', name, '--through', 'direct', '--episodes', '6']) == 0
    assert main(['train', '--config', str(config), '--data', bags, '--run', run]) == 0
    assert main(['export', run, bundle]) == 0
    assert main(['evaluate', bundle, '--world', name, '--episodes', '1', '--seconds', '2', '--threads', '1']) == 0


def test_fewer_readings_are_the_same_episode(tmp_path: Path) -> None:
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    from dp_ros.cli.main import main
    from dp_ros.recordings.episodes.builder import Episode
    from dp_ros.recordings.episodes.readers import read_recordings
    from dp_ros.task.yaml_reader import read_yaml
    from dp_ros.training.settings import TrainSettings

    task = read_yaml(world_spec('point_targets').training, TrainSettings).task
    episodes: list[Episode] = []
    sizes: list[int] = []
    for fewer in ([], ['--readings', '20']):
        bags = tmp_path / f'bags_{len(episodes)}'
        asked = ['record', str(bags), '--world', 'point_targets', '--through', 'direct', '--seed', '5', *fewer]
        assert main(asked) == 0
        episodes += read_recordings(bags, task)
        sizes.append(sum(file.stat().st_size for file in bags.rglob('*.mcap')))
    one, other = episodes
    assert sizes[1] < sizes[0] / 3
    np.testing.assert_array_equal(one.actions, other.actions)
    for name, values in one.streams.items():
        np.testing.assert_array_equal(values, other.streams[name])


def test_a_demonstration_is_what_a_robot_would_have_recorded(tmp_path: Path) -> None:
    from dp_ros.task.yaml_reader import read_yaml
    from dp_ros.training.settings import TrainSettings

    spec = world_spec('point_obstacle')
    task = read_yaml(spec.training, TrainSettings).task
    settings = RecordSettings(out=tmp_path / 'bags', task=task, world=spec.name)
    robot = SimulatedRobot(make_world(spec.name), start=0)
    topics = {topic for topic, _, _, _ in demonstration(robot, settings, seed=1).whole().messages}
    assert topics == {'/joint_states', '/target', '/obstacle_0', '/arm_controller/joint_trajectory'}
