from __future__ import annotations

import numpy as np
import pytest

from dp_ros.simulation.controller.controller import JointTrajectoryController, TrajectoryCommand
from dp_ros.simulation.controller.plant import run_cycles

MS = 1_000_000
STEP = 10 * MS
NOW = 5_000 * MS


class Watched(JointTrajectoryController):
    """Remembers its cycles and what was measured in them."""

    def __init__(self, rate: float) -> None:
        super().__init__(('a',), rate=rate)
        self.cycles: list[tuple[int, float]] = []

    def update(self, now: int, measured: np.ndarray, velocities: np.ndarray | None = None) -> np.ndarray:
        self.cycles.append(((now - NOW) // 1000, float(measured[0])))
        return super().update(now, measured, velocities)


def _steps(controller: JointTrajectoryController, count: int, speed: float = 0.0) -> list[float]:
    found = []
    for i in range(count):
        begin = NOW + i * STEP
        set_point = run_cycles(controller, begin, begin + STEP, np.zeros(1), np.array([speed]))
        found.append(float(set_point[0]))
    return found


@pytest.mark.parametrize(
    ('rate', 'cycles'),
    [
        (100.0, [0, 10_000, 20_000]),
        (250.0, [0, 4_000, 8_000, 12_000, 16_000, 20_000, 24_000, 28_000]),
        (200.0, [0, 5_000, 10_000, 15_000, 20_000, 25_000]),
        (50.0, [0, 20_000]),
    ],
)
def test_cycles_fall_on_whole_multiples_of_the_controllers_period(rate: float, cycles: list[int]) -> None:
    controller = Watched(rate)
    _steps(controller, 3)
    assert [at for at, _ in controller.cycles] == cycles


@pytest.mark.parametrize('rate', [100.0, 200.0, 500.0, 1000.0])
def test_the_physics_gets_what_is_due_at_the_end_of_its_step(rate: float) -> None:
    controller = JointTrajectoryController(('a',), rate=rate)
    controller.reset(np.zeros(1))
    times, positions = np.array([0, 1000]) * MS, [[0.0], [10.0]]
    controller.command(TrajectoryCommand(stamp=0, joints=('a',), times=times, positions=positions), NOW)
    np.testing.assert_allclose(_steps(controller, 5), [0.1, 0.2, 0.3, 0.4, 0.5])


def test_between_measurements_the_joints_are_taken_to_go_on() -> None:
    controller = Watched(500.0)
    _steps(controller, 1, speed=2.0)
    np.testing.assert_allclose([at for _, at in controller.cycles], [0.0, 0.004, 0.008, 0.012, 0.016])


def test_a_step_without_a_cycle_keeps_the_set_point() -> None:
    controller = JointTrajectoryController(('a',), rate=50.0)
    controller.reset(np.zeros(1))
    times, positions = np.array([0, 1000]) * MS, [[0.0], [10.0]]
    controller.command(TrajectoryCommand(stamp=0, joints=('a',), times=times, positions=positions), NOW)
    np.testing.assert_allclose(_steps(controller, 4), [0.2, 0.2, 0.4, 0.4])


@pytest.mark.parametrize('rate', [100.0, 250.0, 500.0, 1000.0])
def test_a_robot_gets_there_at_every_rate_and_along_the_same_way(rate: float) -> None:
    pytest.importorskip('gym_pusht', reason='the simulation is not installed')
    from dp_ros.simulation.robot import SimulatedRobot
    from dp_ros.simulation.worlds.pusht.world import PushTWorld

    def way(rate: float) -> np.ndarray:
        world = PushTWorld()
        robot = SimulatedRobot(world, start=NOW, camera=False, controllers=[controller_of(world.joints, rate)])
        robot.reset(3)
        points = {'times': np.array([300, 1000]) * MS, 'positions': [[0.1, 0.1], [0.4, 0.1]]}
        robot.command(TrajectoryCommand(stamp=0, joints=world.joints, **points))
        found = []
        for _ in range(250):
            robot.step()
            found.append(world.joint_positions)
        return np.array(found)

    def controller_of(joints: tuple[str, ...], rate: float) -> JointTrajectoryController:
        return JointTrajectoryController(joints, rate=rate)

    np.testing.assert_allclose(way(rate)[-1], [0.4, 0.1], atol=1e-3)
    # 250 Hz does not divide the physics' 100 Hz: its set points are up to 2 ms apart from the others'.
    np.testing.assert_allclose(way(rate), way(100.0), atol=0.004)
