"""The box of config/push_block.yaml, and what the shipped policy asks for: they agree, with room to spare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('mujoco', reason='mujoco is not installed')

from dp_ros.data import Chunk
from dp_ros.evaluation.episodes import DirectRunner, make_runner
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.simulation.arm.kinematics import Arm, ToolPose
from dp_ros.simulation.registry import make_world
from dp_ros.simulation.robot import SimulatedRobot
from dp_ros.simulation.world import Scene
from dp_ros.simulation.worlds.push_block.world import model

MS = 1_000_000
NOW = 1_700_000_000_000 * MS
SEEDS = range(200_000, 200_024)
SIDES = 0.05  # [m] that the commanded tool keeps from every side of the box but the floor
FLOOR = 0.002  # [m] from the floor


def _runner() -> DirectRunner:
    return make_runner(EvaluationSettings(bundle=Path('models/push_block_state'), world='push_block', threads=1))


@pytest.fixture(scope='module')
def played() -> list[tuple[str, np.ndarray]]:
    """Play some seeds that the policy was not tuned on; return why each stopped, and the set points of its ticks."""
    runner = _runner()
    found = []
    for seed in SEEDS:
        set_points: list[np.ndarray] = []

        def watch(robot: SimulatedRobot, into: list[np.ndarray] = set_points) -> None:
            into.append(robot.controller.set_point)

        found.append((runner.run(seed, watch).stop, np.array(set_points)))
    return found


@pytest.mark.slow
def test_the_policy_is_never_stopped_by_the_box(played: list[tuple[str, np.ndarray]]) -> None:
    assert [stop for stop, _ in played if stop] == []


def test_the_commanded_tool_keeps_away_from_the_sides_of_the_box(played: list[tuple[str, np.ndarray]]) -> None:
    box = _runner().planner().options.workspace
    assert box is not None
    tool = np.concatenate([box.chain.points(set_points) for _, set_points in played])
    room = np.minimum(tool - box.lower, box.upper - tool).min(axis=0)
    assert (room[:2] > SIDES).all(), room
    assert room[2] > FLOOR, room


def test_pressed_as_deep_as_the_floor_allows_the_plough_stays_within_the_drives_forces() -> None:
    world: Any = make_world('push_block')
    world.reset(0)
    box = _runner().planner().options.workspace
    assert box is not None
    arm = Arm(model())
    for x, y in ((0.33, 0.1), (0.5, 0.12), (0.72, 0.05)):
        above = arm.solve(ToolPose(x=x, y=y, yaw=0.0))
        below = arm.solve(ToolPose(x=x, y=y, yaw=0.0), above, height=box.lower[2])
        world.set_scene(Scene(joints=above, poses=dict(world.poses)))
        for i in range(150):
            world.step(above + (below - above) * min(1.0, i / 50))
        assert arm.tool(world.joint_positions)[0][2] > -0.001, 'the table is in the way'
        assert np.abs(world.joint_efforts).max() < 60.0, 'of 150 Nm'


# A chunk that dips into the table.


def _planner_and_chunk(step: int) -> tuple[Planner, Chunk]:
    """Return a planner at rest, and a chunk along the table of which one step is 15 mm below it."""
    runner = _runner()
    planner, arm = runner.planner(), Arm(model())
    poses = [ToolPose(x=0.45 + 0.005 * i, y=0.1, yaw=0.0) for i in range(runner.task.pred_horizon)]
    actions = [arm.solve(poses[0])]
    for i, pose in enumerate(poses[1:], start=1):
        actions.append(arm.solve(pose, actions[-1], height=-0.015 if i == step else 0.010))
    for ago in range(30, -1, -10):
        planner.measured(NOW - ago * MS, actions[0], np.zeros(7))
    joints = tuple(runner.task.action.joints)
    return planner, Chunk(stamp=NOW, joints=joints, control_dt=runner.control_dt, actions=np.array(actions))


@pytest.mark.parametrize('step', [15, 11, 8])
def test_a_chunk_that_dips_behind_its_sixth_step_is_followed_up_to_there(step: int) -> None:
    planner, chunk = _planner_and_chunk(step)
    planner.rest_at(chunk.actions[0], NOW)
    planned = planner.accept(chunk, NOW + 50 * MS)
    assert isinstance(planned, Planned), planned
    assert chunk.actions.shape[0] - step <= planned.left_out_steps <= chunk.actions.shape[0] - 6
    assert planner.options.workspace is not None
    assert planner.options.workspace.first_violation(planned.trajectory) is None
