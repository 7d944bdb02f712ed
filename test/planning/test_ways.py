"""Ways around of an arm with a gripper, in a workspace, and as wholes."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')
pytest.importorskip('ompl', reason='the extra planning is not installed')
pytest.importorskip('pinocchio', reason='the extra planning is not installed')

from dp_ros.data import Chunk, Refusal
from dp_ros.errors import ConfigError
from dp_ros.motion.checks.workspace import Workspace
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.motion.settings.obstacles import ObstacleOptions
from dp_ros.planning.collision import CollisionCheck
from dp_ros.planning.detour import FURTHER, Detour
from dp_ros.planning.path_planner import Way, plan_way
from dp_ros.planning.robot_geometry import robot_geometry
from dp_ros.planning.rule import keep_clear
from dp_ros.planning.scene import Box, LiveScene, Obstacle, Scene
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.robot.urdf import parse_urdf
from dp_ros.simulation.arm.kinematics import BENT, Arm, ToolPose
from dp_ros.simulation.worlds.pick_place.model import model
from dp_ros.simulation.worlds.pick_place.spec import JOINTS, TRAY
from dp_ros.simulation.worlds.pick_place.world import PickPlaceWorld

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
GRIP, OPEN = 0.012, 0.04


@pytest.fixture(scope='module')
def robot() -> Any:
    return parse_urdf(PickPlaceWorld().robot_description)


@pytest.fixture(scope='module')
def check(robot: Any) -> CollisionCheck:
    box = Obstacle(name='box', shape=Box(size=(0.05, 0.03, 0.18)), position=(0.47, 0.115, 0.09))
    scene = Scene(frame=robot.root, obstacles=(box,))
    return CollisionCheck(robot_geometry(robot, JOINTS, scene), LiveScene(scene), clearance=0.02)


def over(x: float, y: float, finger: float) -> np.ndarray:
    return np.array([*Arm(model()).solve(ToolPose(x=x, y=y, yaw=0.3), BENT, 0.12), finger])


@pytest.mark.parametrize('seed', range(2))
def test_a_gripper_holds_what_it_holds_all_the_way_and_the_tool_stays_in_its_workspace(robot, check, seed):
    start, goal = over(0.46, -0.05, GRIP), over(*TRAY, OPEN)
    assert not check.free_way(start, np.array([*goal[:-1], GRIP]), 0.0), 'the straight way is blocked'
    chain = robot.chain(JOINTS, 'tool')
    box = Workspace(chain=chain, lower=(0.2, -0.4, 0.05), upper=(0.75, 0.42, 0.30))
    way = plan_way(check, start, [goal], robot.limits(JOINTS), seconds=8.0, seed=seed, workspace=box)
    assert isinstance(way, Way)
    assert (way.points[:, -1] == GRIP).all() and np.allclose(way.points[-1, :-1], goal[:-1])
    fine = np.concatenate([np.linspace(one, two, 30) for one, two in pairwise(way.points)])
    assert all(check.free(place, 0.0) for place in fine)
    tool = chain.points(fine)
    assert (tool >= box.lower).all() and (tool <= box.upper).all()


def test_a_gripper_of_one_jaw_that_is_named_stays_as_it_is(robot, check):
    limits, start = robot.limits(JOINTS), over(0.46, -0.05, GRIP)
    turned = start + np.array([0, 0, 0, 0, 0, 0, 0.3, 0.01])
    for grippers, moved in (((), (True, False)), ((JOINTS[6],), (False, False))):
        way = plan_way(check, start, [turned], limits, seconds=4.0, seed=0, grippers=grippers)
        assert isinstance(way, Way)
        assert tuple((np.ptp(way.points[:, 6:], axis=0) > 0).tolist()) == moved


def test_a_gripper_that_is_no_joint_of_the_policy_is_refused(robot):
    planner: Any = Planner(JOINTS, 100 * MS, robot.limits(JOINTS))
    options, scene = ObstacleOptions(grippers=(JOINTS[7], 'jaw')), Scene(frame=robot.root)
    with pytest.raises(ConfigError, match='grippers: got jaw, allowed joint_1'):
        keep_clear(planner, options, robot, scene=scene)


def test_a_place_outside_of_the_workspace_or_the_limits_is_none_to_go_on_at(robot, check):
    start, goal = over(0.46, -0.05, GRIP), over(*TRAY, GRIP)
    low = Workspace(chain=robot.chain(JOINTS, 'tool'), lower=(0.2, -0.4, 0.0), upper=(0.75, 0.2, 0.3))
    limits = robot.limits(JOINTS)
    refused = plan_way(check, start, [goal], limits, seconds=1.0, seed=0, workspace=low)
    assert isinstance(refused, Refusal) and 'got 0 places to go on at' in refused.reason
    turned = goal + np.array([4.0, 0, 0, 0, 0, 0, 0, 0])
    refused = plan_way(check, start, [turned], limits, seconds=1.0, seed=0)
    assert isinstance(refused, Refusal) and 'got 0 places to go on at' in refused.reason


LIMITS = JointLimits(
    joints=('x', 'y'), lower=(-1.0, -1.0), upper=(1.0, 1.0), velocity=(1.0, 1.0), acceleration=(4.0, 4.0),
)  # fmt: skip


def resting() -> Planner:
    planner = Planner(LIMITS.joints, 100 * MS, LIMITS, max_joint_age=10**9, keep_steps=4)
    for now in (T0 - 100 * MS, T0):
        planner.measured(now, np.zeros(2), np.zeros(2))
    planner.rest_at(np.zeros(2), T0)
    return planner


def test_a_way_that_would_leave_the_limits_is_refused_instead_of_followed_in_part():
    actions = np.stack([np.minimum(np.arange(12) * 0.05, 0.4), np.append(np.zeros(11), 3.0)], axis=1)
    chunk = Chunk(stamp=T0, control_dt=100 * MS, joints=LIMITS.joints, actions=actions)
    part = resting().accept(chunk, T0)
    assert isinstance(part, Planned) and part.left_out_steps
    planner = resting()
    before = planner.plan
    assert isinstance(planner.accept(chunk, T0, whole=True), Refusal)
    assert planner.plan is before


@pytest.mark.parametrize(('end', 'count'), [(0.6, FURTHER), (0.0, 0)])
def test_where_a_chunk_ends_before_it_is_past_the_obstacle_it_is_prolonged_unless_it_comes_to_rest(end, count):
    asked: list[np.ndarray] = []

    class Ways:
        def request(self, start: np.ndarray, goals: Any) -> None:
            asked.extend(goals)

        def answer(self) -> None:
            return None

    planner = resting()
    detour = Detour(planner, Ways(), blocked_after=0)
    steps = np.stack([np.linspace(0.0, end, 16), np.full(16, 0.2)], axis=1)
    chunk = Chunk(stamp=T0, control_dt=100 * MS, joints=LIMITS.joints, actions=steps)
    blocked: Any = SimpleNamespace(blocked=SimpleNamespace(at=T0 - MS))
    detour.taken(chunk, blocked, T0)
    detour.step(T0 + MS)
    assert len(asked) == 16 + count and np.array_equal(asked[:16], steps[::-1])
    step = end / 15
    assert np.allclose([place[0] for place in asked[16:]], end + step * np.arange(1, count + 1))
