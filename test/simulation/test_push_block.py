"""The world push_block: starts, physics, success and score, cameras."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')

from dp_ros.errors import ConfigError, DataError
from dp_ros.robot.urdf import parse_urdf
from dp_ros.simulation.arm.kinematics import ELBOW, Arm, ToolPose
from dp_ros.simulation.world import Scene, flat_pose
from dp_ros.simulation.worlds.push_block.spec import BLOCK_HALF, GOAL, POST
from dp_ros.simulation.worlds.push_block.way import AROUND, way_left
from dp_ros.simulation.worlds.push_block.world import PushBlockWorld, model


@pytest.fixture(scope='module')
def world() -> PushBlockWorld:
    return PushBlockWorld()


@pytest.fixture(scope='module')
def arm() -> Arm:
    return Arm(model())


def put(world: PushBlockWorld, block: tuple[float, float], tool: tuple[float, float, float] = (0.3, 0.0, 0.0)) -> None:
    joints = Arm(model()).solve(ToolPose(x=tool[0], y=tool[1], yaw=tool[2]))
    world.set_scene(Scene(joints=tuple(joints), poses={'block': flat_pose(*block, 0.0, BLOCK_HALF)}))


def test_a_seed_gives_the_same_start_near_the_middle(world: PushBlockWorld) -> None:
    starts = []
    for seed in range(20):
        world.reset(seed)
        first = world.poses['block'], world.joint_positions
        world.reset(seed)
        np.testing.assert_array_equal(world.joint_positions, first[1])
        assert world.poses['block'] == first[0]
        starts.append(first[0].position[:2])
    assert 0.01 < np.abs(np.array(starts)[:, 1]).max() <= 0.025
    assert world.progress.score == 0.0 and not world.progress.success


def test_it_rests_where_it_is_put(world: PushBlockWorld) -> None:
    world.reset(5)
    joints, block = world.joint_positions, world.poses['block']
    for _ in range(100):
        world.step(joints)
    np.testing.assert_allclose(world.joint_positions, joints, atol=2e-4)
    np.testing.assert_allclose(world.poses['block'].position, block.position, atol=2e-4)
    assert world.poses['block'].yaw == pytest.approx(block.yaw, abs=1e-3)


def test_the_joints_follow_a_ramp_with_the_lag_of_critically_damped_drives(world: PushBlockWorld) -> None:
    put(world, (0.42, 0.2))
    start = world.joint_positions
    for step in range(60):
        world.step(start + 0.5 * 0.01 * (step + 1) * np.eye(7)[0])
    late = (start[0] + 0.5 * 0.6 - world.joint_positions[0]) / 0.5
    assert late == pytest.approx(2 / 35, abs=0.006)
    assert world.joint_velocities[0] == pytest.approx(0.5, rel=0.05)
    assert world.joint_efforts.shape == (7,)


@pytest.mark.parametrize(
    ('offset', 'success'), [((0.0, 0.0), True), ((0.0, 0.029), True), ((-0.029, 0.0), True), ((0.0, 0.031), False)]
)
def test_success_is_the_block_at_the_goal(world: PushBlockWorld, offset: tuple[float, float], success: bool) -> None:
    put(world, (GOAL[0] + offset[0], GOAL[1] + offset[1]))
    assert world.progress.success is success
    assert (world.progress.score == 1.0) is success


def test_an_arm_that_ran_into_the_post_does_not_succeed(world: PushBlockWorld, arm: Arm) -> None:
    put(world, GOAL, (POST[0] - 0.06, 0.0, 0.0))
    assert world.progress.success
    ahead = arm.solve(ToolPose(x=POST[0] + 0.03, y=0.0, yaw=0.0))
    for _ in range(30):
        world.step(ahead)
    assert world.progress.details['collided'] == 'True'
    assert not world.progress.success and world.progress.score < 1.0
    put(world, GOAL)
    assert world.progress.success


@pytest.mark.parametrize(('y', 'side'), [(0.11, 'left'), (-0.11, 'right')])
def test_the_side_is_where_the_block_passed_the_post(world: PushBlockWorld, arm: Arm, y: float, side: str) -> None:
    put(world, (POST[0] - 0.01, y), (POST[0] - 0.055, y, 0.0))
    assert world.progress.details['side'] == ''
    ahead = arm.solve(ToolPose(x=POST[0] - 0.01, y=y, yaw=0.0), world.joint_positions)
    for _ in range(60):
        world.step(ahead)
    assert world.progress.details['side'] == side
    assert world.poses['block'].position[0] > POST[0] + 0.02


def test_the_score_grows_along_the_way(world: PushBlockWorld) -> None:
    world.reset(0)
    start = np.array(world.poses['block'].position[:2])
    whole = way_left(start) - 0.03
    assert whole > np.hypot(*(start - GOAL)) - 0.03
    lengths = [way_left(np.array(p)) for p in ((0.42, 0.0), (0.5, 0.09), (0.575, 0.11), (0.66, 0.09), (0.72, 0.02))]
    assert lengths == sorted(lengths, reverse=True)


def test_the_shortest_way_is_straight_where_the_post_is_not_in_it() -> None:
    assert way_left(np.array([0.6, 0.2])) == pytest.approx(np.hypot(0.13, 0.2))


def test_the_shortest_way_around_the_post_is_a_tight_string() -> None:
    start = np.array([2 * POST[0] - GOAL[0], 0.0])
    turn = np.linspace(0.0, 2 * np.pi, 4000)
    circle = np.array(POST) + AROUND * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    string = cv2.convexHull(np.concatenate([circle, [start, GOAL]]).astype(np.float32))
    assert way_left(start) == pytest.approx(cv2.arcLength(string, True) / 2, rel=1e-4)


def test_what_is_no_scene_or_setting_is_refused(world: PushBlockWorld) -> None:
    with pytest.raises(DataError, match=r'joints: got shape \(2,\), allowed \(7\)'):
        world.set_scene(Scene(joints=(0.0, 0.0), poses={'block': flat_pose(0.4, 0.0, 0.0)}))
    with pytest.raises(ConfigError, match=r'disturbance: got 3\.0, allowed 0 to 2'):
        PushBlockWorld(disturbance=3.0)


def test_a_disturbance_moves_the_tool_by_millimetres_and_keeps_its_height(arm: Arm) -> None:
    rough = PushBlockWorld(disturbance=1.0)
    rough.reset(2)
    joints = rough.joint_positions
    seen = []
    for _ in range(400):
        rough.step(joints)
        seen.append(arm.tool(rough.joint_positions)[0])
    spread = np.std(np.array(seen), axis=0)
    assert 0.001 < spread[0] < 0.02 and 0.001 < spread[1] < 0.02
    assert np.ptp(np.array(seen)[:, 2]) < 0.003


# The arm.


@pytest.mark.parametrize('y', [-0.18, -0.05, 0.0, 0.12])
@pytest.mark.parametrize('x', [0.28, 0.5, 0.74])
def test_the_joints_put_the_tool_upright_where_it_is_asked_for(arm: Arm, x: float, y: float) -> None:
    joints = arm.solve(ToolPose(x=x, y=y, yaw=0.7))
    position, turn = arm.tool(joints)
    np.testing.assert_allclose(position, [x, y, 0.010], atol=1e-8)
    np.testing.assert_allclose(turn[:, 2], [0.0, 0.0, -1.0], atol=1e-8)
    assert arm.pose(joints).yaw == pytest.approx(0.7)
    assert joints[2] == pytest.approx(ELBOW * y, abs=1e-8), 'of all that do, the one with the elbow out'


def test_joints_do_not_depend_on_where_the_search_began_and_do_not_jump(arm: Arm) -> None:
    before = arm.solve(ToolPose(x=0.4, y=0.0, yaw=0.0))
    for t in np.linspace(0.0, 1.0, 60):
        pose = ToolPose(x=0.4 + 0.3 * t, y=0.15 * np.sin(np.pi * t), yaw=1.2 * np.cos(np.pi * t) - 1.2)
        joints = arm.solve(pose, before)
        np.testing.assert_allclose(joints, arm.solve(pose), atol=1e-6)
        assert np.abs(joints - before).max() < 0.12
        before = joints


def test_a_pose_out_of_reach_is_an_error(arm: Arm) -> None:
    with pytest.raises(DataError, match=r'arm: no joints found for the tool at .*x=2\.0'):
        arm.solve(ToolPose(x=2.0, y=0.0, yaw=0.0))


def test_the_urdf_says_what_the_physics_do(world: PushBlockWorld, arm: Arm) -> None:
    robot = parse_urdf(world.robot_description)
    chain = robot.chain(world.joints, 'tool')
    ahead = robot.chain(world.joints, 'tool', point=(0.1, 0.02, 0.03))
    draw = np.random.default_rng(0)
    for joints in draw.uniform(world.lower, world.upper, (20, 7)):
        position, turn = arm.tool(joints)
        np.testing.assert_allclose(chain.points(joints[np.newaxis])[0], position, atol=1e-6)
        np.testing.assert_allclose(ahead.points(joints[np.newaxis])[0], position + turn @ [0.1, 0.02, 0.03], atol=1e-6)
    limits = robot.limits(world.joints)
    np.testing.assert_allclose(limits.lower, world.lower)
    np.testing.assert_allclose(limits.upper, world.upper)
    assert limits.velocity == (2.0,) * 6 + (3.0,)


# The cameras.


def test_cameras_see_the_scene(world: PushBlockWorld) -> None:
    put(world, (0.65, 0.1))
    far = world.render('camera')
    assert far.shape == (96, 96, 3) and far.dtype == np.uint8

    def share(picture: np.ndarray, channel: int) -> float:
        others = np.delete(picture.astype(int), channel, axis=2).max(axis=2)
        return float((picture[..., channel] > others + 60).mean())

    assert 0.002 < share(far, 0) < 0.1, 'the post is red'
    assert 0.002 < share(far, 1) < 0.1, 'the goal is green'
    assert 0.001 < share(far, 2) < 0.1, 'the block is blue'
    put(world, (0.9, 0.3))
    assert share(world.render('wrist_camera'), 2) == 0.0
    put(world, (0.45, 0.0), (0.41, 0.0, 0.0))
    assert share(world.render('wrist_camera'), 2) > 0.05, 'the wrist camera sees the block in front of the plough'
    np.testing.assert_array_equal(world.render('camera'), world.render('camera'))


def test_a_point_is_drawn_where_the_picture_shows_it(world: PushBlockWorld, arm: Arm) -> None:
    put(world, (0.42, 0.25), (0.70, 0.16, 0.0))
    joints = arm.solve(ToolPose(x=GOAL[0], y=GOAL[1], yaw=0.0), height=0.0)
    column, row = world.tool_pixels(joints[np.newaxis], 240)[0]
    picture = world.render_large(240)
    assert picture.shape == (240, 320, 3)
    r, g, b = picture[round(row), round(column)].astype(int)
    assert g > r + 40 and g > b + 40, 'the goal is green'


def test_a_camera_that_is_not_there_is_named(world: PushBlockWorld) -> None:
    with pytest.raises(ConfigError, match="camera: got 'left_eye', allowed camera, wrist_camera"):
        world.render('left_eye')


@pytest.mark.parametrize('name', ['push_block', 'pusht'])
def test_a_world_offers_what_the_robot_needs(name: str) -> None:
    if name == 'pusht':
        pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')
    from dp_ros.simulation.registry import make_world

    made: Any = make_world(name)
    assert len(made.units) == len(made.lower) == len(made.upper) == len(made.joints)
    assert set(made.poses) == set(made.tracked)
    made.reset(3)
    scene = Scene(joints=tuple(made.joint_positions), poses=made.poses)
    made.reset(4)
    made.set_scene(scene)
    np.testing.assert_allclose(made.joint_positions, scene.joints)
    np.testing.assert_allclose(made.poses['block'].position, scene.poses['block'].position, atol=1e-9)
    assert made.poses['block'].yaw == pytest.approx(scene.poses['block'].yaw)
    for camera in made.cameras:
        assert made.render(camera).shape == (96, 96, 3)
    assert made.render_large(120).shape[0] == 120
    assert 0.0 <= made.progress.score <= 1.0
