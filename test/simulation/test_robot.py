from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dp_ros.data import Refusal
from dp_ros.errors import ConfigError

pytest.importorskip('gym_pusht', reason='the simulation is not installed')

from dp_ros.motion.trajectory import Trajectory
from dp_ros.simulation.controller.controller import (
    Accepted,
    Ignored,
    JointTrajectoryController,
    TrajectoryCommand,
)
from dp_ros.simulation.robot import ImageReading, JointReading, PoseReading, Reading, SimulatedRobot
from dp_ros.simulation.worlds.pusht.world import PushTWorld

MS = 1_000_000
START = 1_700_000_000_000 * MS + 30 * MS  # not on a tick of 100 ms


def _hold(position: tuple[float, float], stamp: int = 0) -> Trajectory:
    return Trajectory(
        stamp=stamp,
        joints=('pusher_x', 'pusher_y'),
        times=np.array([100 * MS]),
        positions=np.array([position]),
    )


def _run(robot: SimulatedRobot, steps: int) -> list[Reading]:
    return [reading for _ in range(steps) for reading in robot.step()]


def _stamps(readings: list[Reading], kind: type) -> list[int]:
    return [reading.stamp for reading in readings if isinstance(reading, kind)]


def test_readings_fall_on_whole_multiples_of_their_period() -> None:
    robot = SimulatedRobot(PushTWorld(), start=START)
    readings = _run(robot, 30)
    assert _stamps(readings, JointReading) == [START + 10 * MS * i for i in range(1, 31)]
    assert _stamps(readings, PoseReading) == _stamps(readings, JointReading)
    images = _stamps(readings, ImageReading)
    assert images == [START + 70 * MS + 100 * MS * i for i in range(3)]
    assert all(stamp % (100 * MS) == 0 for stamp in images)
    assert robot.now == START + 300 * MS


def test_rates_can_be_changed_and_the_camera_left_out() -> None:
    robot = SimulatedRobot(PushTWorld(), start=0, camera=False, joint_rate=50.0, pose_rate=20.0)
    readings = _run(robot, 20)
    assert (len(_stamps(readings, JointReading)), len(_stamps(readings, PoseReading))) == (10, 4)
    assert not _stamps(readings, ImageReading)


def test_readings_of_a_period_that_is_no_whole_number_of_steps_come_at_the_next_step() -> None:
    robot = SimulatedRobot(PushTWorld(), start=0, joint_rate=30.0, camera=False)
    assert _stamps(_run(robot, 20), JointReading) == [MS * t for t in (40, 70, 100, 140, 170, 200)]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'start': 5}, 'start: got 5 ns, allowed'),
        ({'camera_rate': -1.0}, 'camera rate: got -1.0 Hz, allowed up to that of the physics, 100 Hz'),
        ({'joint_rate': 500.0}, 'joints rate: got 500.0 Hz, allowed'),
        ({'controllers': [JointTrajectoryController(('pusher_y', 'pusher_x'))]}, 'controller joints: got'),
    ],
)
def test_times_that_do_not_fit_the_physics_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SimulatedRobot(PushTWorld(), **{'start': 0, **options})


def test_it_holds_until_commanded_and_then_goes_there() -> None:
    robot = SimulatedRobot(PushTWorld(), start=START, camera=False)
    robot.reset(4)
    before = robot.world.joint_positions
    _run(robot, 50)
    np.testing.assert_allclose(robot.world.joint_positions, before)
    goal = (0.03, 0.03)
    assert isinstance(robot.command(_hold(goal)), Accepted)
    _run(robot, 300)
    np.testing.assert_allclose(robot.world.joint_positions, goal, atol=1e-4)


def test_a_rejected_trajectory_moves_nothing_and_says_why() -> None:
    robot = SimulatedRobot(PushTWorld(), start=START, camera=False)
    before = robot.world.joint_positions
    answer = robot.command(_hold((0.1, 0.1), stamp=START - 200 * MS))
    assert isinstance(answer, Refusal) and 'ends in the past' in answer.reason
    _run(robot, 50)
    np.testing.assert_array_equal(robot.world.joint_positions, before)


def test_a_reset_forgets_the_trajectory_and_the_score_while_time_goes_on() -> None:
    robot = SimulatedRobot(PushTWorld(), start=START, camera=False)
    robot.command(_hold((0.03, 0.03)))
    _run(robot, 20)
    robot.command(_hold((0.4, 0.03)))  # not applied yet: it must not survive either
    robot.reset(9)
    start = robot.world.joint_positions
    _run(robot, 40)
    np.testing.assert_allclose(robot.world.joint_positions, start)
    assert robot.now == START + 600 * MS
    assert robot.episode.seed == 9
    assert robot.episode.elapsed == pytest.approx(0.4)


def test_the_score_is_the_best_so_far_and_success_stays() -> None:
    world = PushTWorld()
    robot = SimulatedRobot(world, start=0, camera=False)
    assert not robot.episode.success
    world.set_state(pusher=np.array([0.05, 0.05]), block=np.array([0.256, 0.256]), yaw=np.pi / 4)
    _run(robot, 10)
    assert (robot.episode.score, robot.episode.success) == (1.0, True)
    world.set_state(pusher=np.array([0.05, 0.05]), block=np.array([0.4, 0.4]), yaw=0.0)
    _run(robot, 10)
    assert float(robot.episode.details['coverage']) < 0.1
    assert (robot.episode.score, robot.episode.success) == (1.0, True)


def test_the_same_seed_and_commands_give_the_same_readings() -> None:
    def readings() -> list[np.ndarray]:
        robot = SimulatedRobot(PushTWorld(), start=START)
        robot.reset(11)
        robot.command(_hold((0.3, 0.35)))
        found = _run(robot, 150)
        joints = [np.concatenate([r.position, r.velocity, r.effort]) for r in found if isinstance(r, JointReading)]
        return [*joints, *(r.pixels for r in found if isinstance(r, ImageReading))]

    for first, again in zip(readings(), readings(), strict=True):
        np.testing.assert_array_equal(first, again)


def test_inactive_the_controller_takes_nothing_and_the_robot_stays_at_the_last_command() -> None:
    robot = SimulatedRobot(PushTWorld(), start=START, camera=False)
    robot.reset(4)
    robot.command(_hold((0.3, 0.3)))
    _run(robot, 5)
    robot.set_controller_active(False)
    held = robot.controller.set_point
    assert isinstance(robot.command(_hold((0.1, 0.1))), Ignored)
    _run(robot, 300)
    np.testing.assert_allclose(robot.world.joint_positions, held, atol=1e-4)
    robot.set_controller_active(True)
    _run(robot, 50)
    np.testing.assert_allclose(robot.world.joint_positions, held, atol=1e-4)
    assert isinstance(robot.command(_hold((0.1, 0.1))), Accepted)
    _run(robot, 300)
    np.testing.assert_allclose(robot.world.joint_positions, 0.1, atol=1e-4)


def test_time_that_is_left_out_moves_nothing_but_the_controllers_time() -> None:
    robot = SimulatedRobot(PushTWorld(), start=START, camera=False)
    robot.reset(4)
    slow = Trajectory(
        stamp=START,
        joints=('pusher_x', 'pusher_y'),
        times=np.array([0, 10_000 * MS]),
        positions=np.array([robot.world.joint_positions, [0.25, 0.25]]),
    )
    begin = slow.positions[0]
    robot.command(slow)
    _run(robot, 100)
    before, elapsed = robot.world.joint_positions, robot.episode.elapsed
    robot.skip_to(robot.now + 3_000 * MS)
    np.testing.assert_array_equal(robot.world.joint_positions, before)
    assert robot.episode.elapsed == elapsed
    (reading, *_) = robot.step()
    assert reading.stamp == START + 4_010 * MS
    np.testing.assert_allclose(robot.controller.set_point, begin + 0.401 * (0.25 - begin))


@pytest.mark.parametrize('later', [-10 * MS, 5])
def test_time_goes_on_at_a_step_of_the_physics_and_never_back(later: int) -> None:
    robot = SimulatedRobot(PushTWorld(), start=START, camera=False)
    with pytest.raises(ConfigError, match='time to go on at: got'):
        robot.skip_to(START + later)


def test_drives_take_no_command_that_is_not_a_number() -> None:
    controller = JointTrajectoryController(('pusher_x', 'pusher_y'), reject_non_finite=False)
    robot = SimulatedRobot(PushTWorld(), start=START, camera=False, controllers=[controller])
    robot.reset(4)
    start = robot.world.joint_positions
    command = TrajectoryCommand(
        stamp=0, joints=controller.joints, times=np.array([100 * MS]), positions=[[0.3, float('nan')]]
    )
    assert isinstance(robot.command(command), Accepted)
    _run(robot, 200)
    assert np.isnan(controller.set_point[1])
    np.testing.assert_allclose(robot.world.joint_positions, [0.3, start[1]], atol=1e-4)
