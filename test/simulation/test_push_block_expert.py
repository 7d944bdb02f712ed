"""The demonstrator of push_block, behind the controller."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')

from dp_ros.errors import ConfigError
from dp_ros.simulation.controller.controller import Accepted
from dp_ros.simulation.robot import SimulatedRobot
from dp_ros.simulation.worlds.push_block.expert import PushBlockExpert
from dp_ros.simulation.worlds.push_block.world import PushBlockWorld

TICK = 100_000_000


def demonstrate(world: PushBlockWorld, seed: int) -> tuple[SimulatedRobot, PushBlockExpert, np.ndarray]:
    """Return how it ended, and the set points at the ticks (N, 7)."""
    robot = SimulatedRobot(world, start=0, camera=False)
    robot.reset(seed)
    expert = PushBlockExpert(np.random.default_rng([0, seed]))
    commanded = []
    while not expert.finished and robot.episode.elapsed < 20.0:
        if robot.now % TICK == 0:
            command = expert.trajectory(robot.now, world.joint_positions, world.poses)
            assert isinstance(robot.command(command), Accepted)
            commanded.append(command.positions[-1])
        robot.step()
    return robot, expert, np.stack(commanded)


def test_it_succeeds_on_both_sides_with_smooth_commands() -> None:
    world = PushBlockWorld()
    sides = []
    for seed in range(12):
        robot, expert, commanded = demonstrate(world, seed)
        assert robot.episode.success and expert.finished, seed
        assert robot.episode.details['side'] == ('left' if expert.side > 0 else 'right')
        sides.append(robot.episode.details['side'])
        assert robot.episode.elapsed < 12.0
        bends = np.abs(np.diff(commanded, n=2, axis=0)) / 0.01
        assert bends.max() < 10.0, 'set points change speed gently [rad/s^2]'
    assert 2 < sides.count('left') < 10


def test_it_finds_back_from_disturbances() -> None:
    world = PushBlockWorld(disturbance=1.0)
    successes = [demonstrate(world, seed)[0].episode.success for seed in range(12)]
    assert sum(successes) >= 10


def test_its_randomness_is_the_generators() -> None:
    world = PushBlockWorld()
    first, again = (demonstrate(world, 3)[2] for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_time_between_commands_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'expert control_dt: got 1.0, allowed 0.02 to 0.5 s'):
        PushBlockExpert(np.random.default_rng(0), control_dt=1.0)
