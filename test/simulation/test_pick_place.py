"""The world pick_place: starts, contact by friction, success and score, cameras, URDF, demonstrator."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')

import mujoco

from dp_ros.errors import ConfigError, DataError
from dp_ros.robot.urdf import parse_urdf
from dp_ros.simulation.arm.kinematics import BENT, Arm, ToolPose
from dp_ros.simulation.robot import SimulatedRobot, controllers_of
from dp_ros.simulation.world import Scene, flat_pose
from dp_ros.simulation.worlds.pick_place.expert import PickPlaceExpert
from dp_ros.simulation.worlds.pick_place.model import model
from dp_ros.simulation.worlds.pick_place.spec import (
    BOX,
    CYLINDER,
    FINGER,
    HALF_HEIGHT,
    HALF_WIDTHS,
    JOINTS,
    OBJECTS,
    OPEN,
    PICK_PLACE,
    TRAY,
    USUAL,
)
from dp_ros.simulation.worlds.pick_place.world import PickPlaceWorld

HIGHEST_FORCE = 15.0  # of a pad [N]: half of the finger drive's
STIFFNESS = 6000.0  # of the finger drive [N/m]
GRASP_HEIGHT = 0.012


@pytest.fixture(scope='module')
def world() -> PickPlaceWorld:
    return PickPlaceWorld()


@pytest.fixture(scope='module')
def arm() -> Arm:
    return Arm(model())


def joints(arm: Arm, x: float, y: float, z: float, finger: float = OPEN) -> np.ndarray:
    return np.array([*arm.solve(ToolPose(x=x, y=y, yaw=0.0), BENT, z), finger])


def put(world: PickPlaceWorld, arm: Arm, box: tuple[float, float], tool: tuple[float, float, float]) -> None:
    z = HALF_HEIGHT + (0.004 if np.abs(np.array(box) - TRAY).max() < 0.085 else 0.0)
    poses = {BOX: flat_pose(*box, 0.0, z), CYLINDER: flat_pose(0.40, 0.0, 0.0, HALF_HEIGHT)}
    world.set_scene(Scene(joints=tuple(joints(arm, *tool)), poses=poses))


def drive(world: PickPlaceWorld, goal: np.ndarray, seconds: float, ramp: float = 0.7) -> None:
    """Lead the set point to ``goal`` within a share of the time."""
    start, steps = world.joint_positions, round(seconds * 100)
    start[-1] = goal[-1] if ramp == 0.0 else start[-1]
    for step in range(steps):
        share = 1.0 if ramp == 0.0 else min(1.0, (step + 1) / (ramp * steps))
        world.step(start + (goal - start) * share)


def grasp(world: PickPlaceWorld, arm: Arm, depth: float = 0.008) -> np.ndarray:
    """Grasp the box, and return the set point that holds it."""
    put(world, arm, (0.45, -0.1), (0.45, -0.1, GRASP_HEIGHT))
    held = joints(arm, 0.45, -0.1, GRASP_HEIGHT, HALF_WIDTHS[BOX] - depth)
    drive(world, held, 0.6)
    return held


def pad_forces(world: PickPlaceWorld) -> dict[str, float]:
    """Return what each pad presses with [N]."""
    physics, data = world._model, world._data
    forces = dict.fromkeys(('left_pad', 'right_pad'), 0.0)
    wrench = np.zeros(6)
    for number in range(data.ncon):
        for geom in data.contact[number].geom:
            name = physics.geom(int(geom)).name
            if name in forces:
                mujoco.mj_contactForce(physics, data, number, wrench)
                forces[name] += wrench[0]
    return forces


def test_a_seed_gives_the_same_start_with_the_objects_apart(world: PickPlaceWorld) -> None:
    places = []
    for seed in range(20):
        world.reset(seed)
        first = world.poses, world.joint_positions
        world.reset(seed)
        np.testing.assert_array_equal(world.joint_positions, first[1])
        assert world.poses == first[0]
        box, cylinder = (np.array(world.poses[name].position[:2]) for name in OBJECTS)
        assert np.hypot(*(box - cylinder)) > 0.1
        places.append(box)
    assert np.ptp(places, axis=0).min() > 0.1
    assert world.progress.score < 0.3 and not world.progress.success


def test_nothing_moves_by_itself(world: PickPlaceWorld) -> None:
    world.reset(5)
    start, poses = world.joint_positions, world.poses
    for _ in range(100):
        world.step(start)
    np.testing.assert_allclose(world.joint_positions, start, atol=2e-4)
    for name in OBJECTS:
        np.testing.assert_allclose(world.poses[name].position, poses[name].position, atol=2e-4)


@pytest.mark.parametrize('depth', [0.008, 0.003, 0.001], ids=['saturated', 'firm', 'gentle'])
def test_a_pad_presses_with_the_force_that_is_set(world: PickPlaceWorld, arm: Arm, depth: float) -> None:
    grasp(world, arm, depth)
    wanted = min(HIGHEST_FORCE, STIFFNESS * (world.joint_positions[-1] - (HALF_WIDTHS[BOX] - depth)) / 2)
    assert wanted == pytest.approx(min(HIGHEST_FORCE, STIFFNESS * depth / 2), rel=0.15)
    for force in pad_forces(world).values():
        assert force == pytest.approx(wanted, rel=0.1)


def test_what_is_held_does_not_drift_and_gains_no_energy(world: PickPlaceWorld, arm: Arm) -> None:
    held = grasp(world, arm)
    drive(world, joints(arm, 0.45, -0.1, 0.12, held[-1]), 1.0)
    data = world._data

    def in_hand() -> np.ndarray:
        site = data.site('tool')
        return np.asarray(site.xmat.reshape(3, 3).T @ (data.body(BOX).xpos - site.xpos))

    drive(world, joints(arm, 0.45, -0.1, 0.12, held[-1]), 0.5, ramp=0.0)
    before = in_hand()
    energy = []
    for _ in range(10):
        drive(world, joints(arm, 0.45, -0.1, 0.12, held[-1]), 1.0, ramp=0.0)
        mujoco.mj_energyVel(world._model, data)
        energy.append(float(data.energy[1]))
    np.testing.assert_allclose(in_hand(), before, atol=2e-4)
    assert max(energy) < 1e-6  # [J]
    assert world.progress.details['side'] == 'along' and world.progress.details['drops'] == 0.0


def test_it_is_friction_that_holds(arm: Arm) -> None:
    """Greased, the same grasp lets the box slip out of the hand, and that is a drop."""
    slippery = PickPlaceWorld()
    slippery._model = copy(slippery._model)
    for name in ('left_pad', 'right_pad', BOX):
        slippery._model.geom(name).friction[0] = 0.02
    held = grasp(slippery, arm)
    drive(slippery, joints(arm, 0.45, -0.1, 0.15, held[-1]), 1.0)
    assert slippery.poses[BOX].position[2] < 0.06


@pytest.mark.parametrize(
    ('box', 'tool', 'success'),
    [
        (TRAY, (0.48, 0.24, 0.15), True),
        (TRAY, (0.48, 0.24, 0.035), False),  # still at it
        ((0.48, 0.10), (0.48, 0.24, 0.15), False),  # beside the tray
    ],
)
def test_success_is_the_box_in_the_tray_and_the_hand_away(
    world: PickPlaceWorld, arm: Arm, box: tuple[float, float], tool: tuple[float, float, float], success: bool
) -> None:
    put(world, arm, box, tool)
    assert world.progress.success is success
    assert (world.progress.score == 1.0) is success


def test_a_closed_hand_is_no_success(world: PickPlaceWorld, arm: Arm) -> None:
    put(world, arm, TRAY, (0.48, 0.24, 0.15))
    drive(world, joints(arm, 0.48, 0.24, 0.15, 0.01), 0.6)
    assert not world.progress.success


def test_what_is_dropped_is_counted(world: PickPlaceWorld, arm: Arm) -> None:
    held = grasp(world, arm)
    drive(world, joints(arm, 0.45, -0.1, 0.12, held[-1]), 1.0)
    drive(world, joints(arm, 0.45, -0.1, 0.12, OPEN), 0.8)
    assert world.progress.details['drops'] == 1.0 and not world.progress.success


def test_cameras_see_what_moves(world: PickPlaceWorld) -> None:
    world.reset(3)
    first = {name: world.render(name) for name in world.cameras}
    world.reset(4)
    for name, picture in first.items():
        assert picture.shape == (96, 96, 3) and picture.dtype == np.uint8
        assert (world.render(name) != picture).any(axis=-1).mean() > 0.02
    with pytest.raises(ConfigError, match="camera: got 'front', allowed camera, wrist_camera"):
        world.render('front')


def test_the_urdf_has_the_arm_and_a_finger_that_the_other_mimics(world: PickPlaceWorld, arm: Arm) -> None:
    robot = parse_urdf(world.robot_description)
    limits = robot.limits(JOINTS)
    assert limits.upper[-1] == OPEN and limits.lower[-1] == 0.0
    assert '<mimic joint="finger_joint"' in world.robot_description
    positions = joints(arm, 0.5, 0.1, 0.2)
    tip = robot.chain(JOINTS, 'tool', frame='', point=[0.0, 0.0, 0.0]).points(positions[None])[0]
    np.testing.assert_allclose(tip, (0.5, 0.1, 0.2), atol=1e-6)


def test_other_shapes_of_a_scene_are_refused(world: PickPlaceWorld) -> None:
    with pytest.raises(DataError, match='joints'):
        world.set_scene(Scene(joints=(0.0,) * 7, poses={}))


def play(seed: int, disturbance: float = 0.0, wanted: str = BOX) -> Iterator[tuple[SimulatedRobot, PickPlaceExpert]]:
    """Yield robot and demonstrator at each control step of an episode."""
    world = PickPlaceWorld(disturbance=disturbance)
    robot = SimulatedRobot(world, start=0, camera=False, controllers=controllers_of(PICK_PLACE, world))
    robot.reset(seed)
    world.wanted = wanted
    expert = PickPlaceExpert(np.random.default_rng(seed), asked=replace(USUAL, wanted=wanted))
    while not expert.finished and robot.episode.elapsed < 20.0:
        for _ in range(10):
            list(robot.step())
        yield robot, expert
        robot.command(expert.trajectory(robot.now, world.joint_positions, world.poses))


@pytest.mark.parametrize('wanted', OBJECTS)
def test_the_demonstrator_grasps_either_way(wanted: str) -> None:
    ways = set()
    for seed in range(3):
        *_, (robot, expert) = play(seed, wanted=wanted)
        assert robot.world.progress.success and robot.episode.elapsed < 10.0
        ways.add(robot.world.progress.details['side'])
        assert robot.world.progress.details['side'] == ('across' if expert.across else 'along')
    assert ways == {'along', 'across'}


def test_the_demonstrator_corrects_what_disturbs_it() -> None:
    *_, (robot, _) = play(0, disturbance=1.5)
    assert robot.world.progress.success


def missed(world: PickPlaceWorld, arm: Arm, seed: int) -> bool:
    """Tell whether an episode begins with the hand low beside the box or over it."""
    world.reset(seed)
    apart = np.subtract(arm.tool(world.joint_positions[:-1])[0], world.poses[BOX].position)
    return bool(np.abs(apart[:2]).max() < 0.075 and apart[2] < 0.12)


def touched(world: PickPlaceWorld) -> set[str]:
    """Return which bodies other than itself the arm touches."""
    physics, data = model(), mujoco.MjData(model())
    values = {name: [float(value)] for name, value in zip(JOINTS, world.joint_positions, strict=True)}
    values['mimic_joint'] = values[FINGER]
    for name, (x, y, z, w) in ((name, pose.orientation) for name, pose in world.poses.items()):
        values[name] = [*world.poses[name].position, w, x, y, z]
    for name, value in values.items():
        data.joint(name).qpos[:] = value
    mujoco.mj_forward(physics, data)
    others = {'table', 'tray', *OBJECTS}
    pairs = [{physics.body(physics.geom_bodyid[geom]).name for geom in pair} for pair in data.contact.geom]
    return {name for pair in pairs if not pair <= others for name in pair & others}


def test_disturbed_episodes_begin_within_limits_without_contact_and_some_as_a_missed_grasp_ends(arm: Arm) -> None:
    world, plain = PickPlaceWorld(disturbance=1.0), PickPlaceWorld()
    ranges = model().jnt_range[[model().joint(name).id for name in JOINTS]]
    begun = 0
    for seed in range(150):
        begun += missed(world, arm, seed)
        assert (world.joint_positions >= ranges[:, 0]).all() and (world.joint_positions <= ranges[:, 1]).all()
        assert not touched(world)
        assert not missed(plain, arm, seed)
    assert 8 <= begun <= 40


def test_the_demonstrator_gets_up_from_a_missed_grasp(arm: Arm) -> None:
    world = PickPlaceWorld(disturbance=1.0)
    for seed in [seed for seed in range(100) if missed(world, arm, seed)][:3]:
        *_, (robot, _) = play(seed, disturbance=1.0)
        assert robot.world.progress.success


def test_the_demonstrator_follows_a_box_that_is_moved() -> None:
    moved = False
    for robot, _ in play(1):
        if not moved and robot.now >= 1_000_000_000:
            world, moved = robot.world, True
            poses = dict(world.poses)
            poses[BOX] = flat_pose(0.40, -0.18, 0.3, HALF_HEIGHT)
            world.set_scene(Scene(joints=tuple(world.joint_positions), poses=poses))
    assert robot.world.progress.success


def test_the_demonstrator_grasps_anew_what_slipped_out() -> None:
    dropped = False
    for robot, _ in play(2):
        world = robot.world
        if not dropped and world.poses[BOX].position[2] > 0.08:
            dropped = True
            poses = dict(world.poses)
            poses[BOX] = flat_pose(0.5, 0.0, 0.0, HALF_HEIGHT)
            world.set_scene(Scene(joints=tuple(world.joint_positions), poses=poses))
    assert dropped and robot.world.progress.success


def test_the_commands_go_to_two_controllers() -> None:
    assert [output.topic for output in PICK_PLACE.controllers] == [
        'arm_controller/joint_trajectory', 'gripper_controller/joint_trajectory',
    ]  # fmt: skip
    assert PICK_PLACE.controllers[1].joints == (FINGER,)
