"""The point that goes to a target: physics, starts, and what counts."""

from __future__ import annotations

import numpy as np
import pytest

from dp_ros.errors import ConfigError, DataError
from dp_ros.simulation.registry import make_expert, make_world, world_spec
from dp_ros.simulation.robot import SimulatedRobot, controllers_of
from dp_ros.simulation.world import Scene, flat_pose
from dp_ros.simulation.worlds.point_navigation.spec import Obstacle, point_world
from dp_ros.simulation.worlds.point_navigation.world import ACCELERATION, AT_REST, FREQUENCY, VELOCITY, PointWorld

DT = 0.01


def placed(point: tuple[float, float], target: tuple[float, float], obstacles: tuple[Obstacle, ...] = ()) -> PointWorld:
    world = PointWorld(obstacles)
    poses = {f'obstacle_{i}': flat_pose(*obstacle.centre, 0.0) for i, obstacle in enumerate(obstacles)}
    world.set_scene(Scene(joints=point, poses={'target': flat_pose(*target, 0.0), **poses}))
    return world


def drive(world: PointWorld, *points: tuple[float, float], speed: float = 0.5) -> None:
    """Lead the set point along straight lines at a speed [m/s], and wait there until the point rests."""
    for point in points:
        here = world.joint_positions
        steps = max(1, round(float(np.linalg.norm(point - here)) / (speed * DT)))
        for share in np.linspace(0.0, 1.0, steps):
            world.step(here + share * (np.array(point) - here))
        for _ in range(60):
            world.step(np.array(point))


def test_the_drives_are_late_by_the_lag_of_a_damped_spring() -> None:
    world = placed((-0.8, 0.0), (0.8, 0.0))
    for step in range(1, 151):
        set_point = -0.8 + 0.4 * DT * step
        world.step(np.array([set_point, 0.0]))
    # The set point of a step is that of its end: it is a step less late.
    assert (set_point - world.joint_positions[0]) / 0.4 == pytest.approx(2.0 / FREQUENCY - DT, abs=1e-6)
    np.testing.assert_allclose(world.joint_velocities, [0.4, 0.0], atol=1e-6)
    np.testing.assert_allclose(world.joint_efforts, 0.0, atol=1e-4)


def test_a_step_of_the_set_point_keeps_the_limits_and_does_not_overshoot() -> None:
    world = placed((-1.0, 0.9), (0.8, 0.0))
    speeds, efforts, places = [], [], []
    for _ in range(300):
        world.step(np.array([0.9, -0.9]))
        speeds.append(np.abs(world.joint_velocities).max())
        efforts.append(np.abs(world.joint_efforts).max())
        places.append(world.joint_positions)
    assert max(speeds) == pytest.approx(VELOCITY) and max(efforts) == pytest.approx(ACCELERATION)
    np.testing.assert_allclose(places[-1], [0.9, -0.9], atol=1e-3)
    assert np.abs(places).max() <= 1.0


def test_walls_hold_the_point() -> None:
    world = placed((0.9, 0.0), (0.0, 0.0))
    for _ in range(100):
        world.step(np.array([1.5, -3.0]))
        assert np.abs(world.joint_positions).max() <= 1.0
    np.testing.assert_array_equal(world.joint_positions, [1.0, -1.0])
    np.testing.assert_array_equal(world.joint_velocities, 0.0)


@pytest.mark.parametrize('name', ['point_navigation', 'point_obstacle', 'point_targets'])
def test_a_seed_decides_the_start(name: str) -> None:
    first, second = make_world(name), make_world(name)
    starts = []
    for seed in range(40):
        first.reset(seed)
        second.reset(seed)
        np.testing.assert_array_equal(first.joint_positions, second.joint_positions)
        assert first.poses == second.poses
        starts.append((*first.joint_positions, *first.poses['target'].position[:2]))
    assert len(set(starts)) == 40 and np.abs(starts).max() <= 0.9


def test_the_obstacle_is_between_start_and_target() -> None:
    world = make_world('point_obstacle')
    for seed in range(40):
        world.reset(seed)
        start, target = world.joint_positions, np.array(world.poses['target'].position[:2])
        assert world.poses['obstacle_0'] == flat_pose(0.0, 0.0, 0.0)
        ways = start + np.linspace(0.0, 1.0, 500)[:, np.newaxis] * (target - start)
        assert np.linalg.norm(ways, axis=1).min() < 0.201
        assert min(np.linalg.norm(start), np.linalg.norm(target)) >= 0.35


def test_success_is_to_be_at_rest_at_the_target() -> None:
    world = placed((-0.5, 0.0), (0.5, 0.0))
    assert world.progress.score == 0.0
    best = 0.0
    for step in range(200):  # by it, too fast
        world.step(np.array([-0.5 + 0.01 * step, 0.0]))
        assert not world.progress.success
        best = max(best, world.progress.score)
    assert best == 0.99
    drive(world, (0.53, 0.0))
    assert np.linalg.norm(world.joint_velocities) < AT_REST
    assert world.progress.success and world.progress.score == 1.0
    assert world.progress.details == {'distance': pytest.approx(0.03, abs=1e-3)}
    drive(world, (0.57, 0.0))
    assert not world.progress.success


def test_a_collision_is_counted_and_ends_success() -> None:
    world = placed((-0.5, 0.0), (0.5, 0.0), (Obstacle(),))
    drive(world, (0.0, 0.0), (-0.4, 0.0), (0.5, 0.0))
    assert world.progress.details['collisions'] == 2.0 and world.progress.details['collided'] == 'True'
    assert not world.progress.success and world.progress.score == pytest.approx(0.495)


@pytest.mark.parametrize(('aside', 'side'), [(0.3, 'left'), (-0.3, 'right')])
def test_the_side_is_as_seen_from_the_start(aside: float, side: str) -> None:
    world = placed((-0.5, 0.0), (0.5, 0.0), (Obstacle(),))
    drive(world, (-0.2, aside), (0.2, aside), (0.5, 0.0))
    assert world.progress.success
    assert world.progress.details['side'] == side and world.progress.details['collisions'] == 0.0


def test_obstacles_may_be_drawn_and_may_move() -> None:
    moving = Obstacle(centre=(0.1, 0.0), radius=0.1, spread=0.1, swing=(0.2, 0.0), period=4.0)
    spec = point_world('points', (moving, Obstacle(centre=(0.0, 0.6), radius=0.1)), parameter_file='none.yaml')
    world = spec.make_world(disturbance=0.0)
    assert world.tracked == tuple(spec.pose_topics) == ('target', 'obstacle_0', 'obstacle_1')
    places = []
    for seed in range(5):
        world.reset(seed)
        begin = world.poses
        places.append(begin['obstacle_0'].position[:2])
        for _ in range(100):
            world.step(world.joint_positions)
        there = world.poses
        assert there['obstacle_0'].position[0] == pytest.approx(begin['obstacle_0'].position[0] + 0.2)
        assert there['obstacle_1'] == begin['obstacle_1'] and there['target'] == begin['target']
    assert len(set(places)) == 5 and np.abs(np.array(places) - (0.1, 0.0)).max() <= 0.1


def two(point: tuple[float, float], first: tuple[float, float], last: tuple[float, float]) -> PointWorld:
    """Return a world with two targets and an obstacle at the origin."""
    world = PointWorld([Obstacle()], two_targets=True)
    poses = {'target': flat_pose(*first, 0.0), 'last_target': flat_pose(*last, 0.0)}
    world.set_scene(Scene(joints=point, poses={**poses, 'obstacle_0': flat_pose(0.0, 0.0, 0.0)}))
    return world


def test_two_targets_are_reached_in_order() -> None:
    first, last = (0.6, 0.6), (-0.6, 0.6)
    world = two((-0.6, -0.6), first, last)
    assert (world.poses['target'], world.poses['last_target']) == (flat_pose(*first, 0.0), flat_pose(*last, 0.0))
    drive(world, last)  # the second before the first: that counts for nothing
    assert not world.progress.success and world.progress.details['targets_reached'] == 0.0
    assert world.poses['target'] == flat_pose(*first, 0.0)
    drive(world, first)
    assert not world.progress.success and world.progress.details['targets_reached'] == 1.0
    assert world.poses['target'] == world.poses['last_target'] == flat_pose(*last, 0.0)
    drive(world, last)
    assert world.progress.success and world.progress.score == 1.0
    assert world.progress.details['targets_reached'] == 2.0


def test_of_two_targets_the_first_need_not_be_rested_at_and_is_not_missed_by_more_than_the_tolerance() -> None:
    for aside, reached in ((0.04, 1.0), (0.07, 0.0)):
        world = two((-0.6, -0.6), (0.0, -0.6), (-0.6, 0.6))
        for x in np.linspace(-0.6, 0.6, 240):  # by it at 0.5 m/s
            world.step(np.array([x, -0.6 + aside]))
        assert world.progress.details['targets_reached'] == reached


def test_the_score_is_the_share_of_both_ways_and_never_jumps() -> None:
    world = two((-0.6, -0.6), (0.6, -0.6), (0.6, 0.6))
    scores = []
    for x in np.linspace(-0.6, 0.6, 240):
        world.step(np.array([x, -0.6]))
        scores.append(world.progress.score)
    drive(world, (0.6, -0.6))
    assert scores[0] == 0.0 and world.progress.score == pytest.approx(0.5, abs=0.05)
    assert np.abs(np.diff(scores)).max() < 0.06  # what the tolerance of the first target is of the whole
    drive(world, (0.6, 0.6))
    assert world.progress.score == 1.0


def test_a_collision_on_the_way_to_either_target_ends_success() -> None:
    first, last = (0.6, 0.0), (-0.6, 0.0)
    for way in ([first, (0.0, 0.5), last], [(0.0, 0.5), first, last], [(0.0, 0.5), first, (0.0, 0.5), last]):
        world = two((-0.6, 0.0), first, last)
        drive(world, *way)
        through = way.count((0.0, 0.5)) < 2
        assert world.progress.details['targets_reached'] == (1.0 if through else 2.0)
        assert world.progress.details['collisions'] == float(through)
        assert world.progress.success is not through


def test_a_scene_with_both_targets_in_one_place_is_the_second_half_of_an_episode() -> None:
    world = two((0.6, 0.6), (-0.6, 0.6), (-0.6, 0.6))
    assert world.progress.details['targets_reached'] == 1.0 and world.progress.score == 0.0
    drive(world, (-0.6, 0.6))
    assert world.progress.success


def test_starts_of_point_targets_are_free_with_an_obstacle_in_each_way() -> None:
    world = make_world('point_targets')
    obstacles = [f'obstacle_{number}' for number in range(5)]
    assert world.tracked == ('target', 'last_target', *obstacles)
    for seed in range(100):
        world.reset(seed)
        centres = np.array([world.poses[name].position[:2] for name in obstacles])
        start, first, last = world.joint_positions, *(np.array(world.poses[n].position[:2]) for n in world.tracked[:2])
        ends = np.linalg.norm(np.stack([start, first, last])[:, np.newaxis] - centres, axis=-1)
        assert ends.min() >= 0.12 + 0.15
        for one, other in ((start, first), (first, last)):
            way = one + np.linspace(0.0, 1.0, 500)[:, np.newaxis] * (other - one)
            assert np.linalg.norm(way[:, np.newaxis] - centres, axis=-1).min() < 0.121
        # Discs apart by more than the point needs: there is a way.
        apart = np.linalg.norm(centres[:, np.newaxis] - centres, axis=-1)[np.triu_indices(5, k=1)]
        assert apart.min() > 0.4


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'disturbance: got 0.5, allowed 0 or 1 in the world point_obstacle'):
        make_world('point_obstacle', disturbance=0.5)
    with pytest.raises(ConfigError, match=r'obstacles: got none of 1000 starts that is free of them, allowed ones t'):
        PointWorld([Obstacle(centre=(x, y), radius=0.5) for x in (-0.5, 0.5) for y in (-0.5, 0.5)])
    with pytest.raises(ConfigError, match=r'obstacle radius: got 0.0, allowed 0.01 to 0.5 m'):
        Obstacle(radius=0.0)
    with pytest.raises(ConfigError, match="camera: got 'camera', allowed none in this world"):
        make_world('point_navigation').render('camera')
    with pytest.raises(DataError, match=r'joints: got shape \(3,\)'):
        placed((0.0, 0.0, 0.0), (0.5, 0.0))


def test_the_picture_shows_where_things_are() -> None:
    world = placed((-0.5, 0.5), (0.5, -0.5), (Obstacle(),))
    picture = world.render_large(200)
    column, row = np.round(world.tool_pixels(np.array([[-0.5, 0.5]]), 200)[0]).astype(int)
    assert (column, row) == (50, 50)
    assert picture.shape == (200, 200, 3) and picture.dtype == np.uint8
    point, obstacle, ring, ground = picture[50, 50], picture[100, 100], picture[150, 150 + 4], picture[10, 10]
    assert point.argmax() == 2 and obstacle.argmax() == 0 and ring.argmax() == 1 and ground.min() > 240
    assert picture[150, 150].min() > 240  # inside of the ring


@pytest.mark.parametrize('name', ['point_navigation', 'point_obstacle', 'point_targets'])
def test_disturbed_demonstrations_begin_elsewhere_too_free_of_obstacles_and_arrive(name: str) -> None:
    usual, world = (make_world(name, disturbance=disturbance) for disturbance in (0.0, 1.0))
    elsewhere, later = 0, 0
    for seed in range(60):
        usual.reset(seed)
        world.reset(seed)
        poses = world.poses
        apart = float(np.linalg.norm(world.joint_positions - usual.joint_positions))
        elsewhere += apart > 0.0
        last = 'last_target' in poses and poses['target'] == poses['last_target']
        later += last
        if not last:
            assert poses == usual.poses, 'only the point begins elsewhere'
        for obstacle in (pose for place, pose in poses.items() if place.startswith('obstacle_')):
            assert np.linalg.norm(world.joint_positions - np.array(obstacle.position[:2])) > 0.12 + 0.04
    assert 25 < elsewhere < 55
    assert (later > 10) is (name == 'point_targets')
    controllers = controllers_of(world_spec(name), world)
    for seed in range(12):
        robot = SimulatedRobot(world, start=0, camera=False, controllers=controllers)
        robot.reset(seed)
        expert = make_expert(name, np.random.default_rng(seed))
        while not expert.finished and robot.episode.elapsed < 20.0:
            for _ in range(10):
                list(robot.step())
            robot.command(expert.trajectory(robot.now, world.joint_positions, world.poses))
        assert robot.episode.success, seed


def test_most_disturbed_starts_among_five_obstacles_have_one_in_their_way() -> None:
    usual, world = (make_world('point_targets', disturbance=disturbance) for disturbance in (0.0, 1.0))
    blocked = []
    for seed in range(300):
        usual.reset(seed)
        world.reset(seed)
        start, target = world.joint_positions, np.array(world.poses['target'].position[:2])
        if (start == usual.joint_positions).all() or (np.abs(start - target) < 0.2).all():
            continue  # as usual, or beside a target
        ways = start + np.linspace(0.0, 1.0, 200)[:, np.newaxis] * (target - start)
        discs = np.array([world.poses[f'obstacle_{number}'].position[:2] for number in range(5)])
        blocked.append(np.linalg.norm(ways[:, np.newaxis] - discs, axis=-1).min() < 0.121)
    assert len(blocked) > 80 and all(blocked)
