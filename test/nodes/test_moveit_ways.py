"""Ways around that MoveIt plans, with its own messages; a service of this test plays move_group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('pinocchio', reason='the extra planning is not installed')

from rclpy.task import Future

from dp_ros.data import Refusal
from dp_ros.errors import ConfigError
from dp_ros.messages import encoding
from dp_ros.motion.settings.obstacles import ObstacleOptions
from dp_ros.nodes.trajectory_publisher.obstacles.moveit_ways import LATER, MoveItWays
from dp_ros.planning.path_planner import Way
from dp_ros.ros.lifecycle import ManagedNode
from test.nodes.test_obstacles import RADIUS, scene
from test.nodes.test_trajectory_publisher import EARLY, JOINTS, MS, Live, known_at_once

pytestmark = pytest.mark.ros
__all__ = ['known_at_once']  # pytest finds the fixture by it

OPTIONS = ObstacleOptions(planning_group='arm')
START, BLOCKED, GOAL = np.array([0.2, 0.3]), np.array([0.3, 0.3]), np.array([0.4, 0.3])


class MoveGroup:
    """Answers with a path of its own making."""

    def __init__(self, ros: Any, path: Callable[[np.ndarray, np.ndarray], Any]) -> None:
        services = pytest.importorskip('moveit_msgs.srv', reason='moveit_msgs is not installed')
        self._points: Any = pytest.importorskip('trajectory_msgs.msg').JointTrajectoryPoint
        self._path, self.names, self.code = path, tuple(reversed(JOINTS)), 1
        self.asked: list[Any] = []
        self.service = ros.tester.create_service(services.GetMotionPlan, '/plan_kinematic_path', self._answer)

    def _answer(self, request: Any, response: Any) -> Any:
        wanted = request.motion_plan_request
        self.asked.append(wanted)
        (goal,) = wanted.goal_constraints
        assert tuple(wanted.start_state.joint_state.name) == JOINTS and wanted.start_state.is_diff
        places = [each.position for each in goal.joint_constraints]
        self.wanted = tuple(each.joint_name for each in goal.joint_constraints)
        answer = response.motion_plan_response
        answer.error_code.val = self.code
        answer.trajectory.joint_trajectory.joint_names = list(self.names)
        for place in self._path(np.array(wanted.start_state.joint_state.position), np.array(places)):
            answer.trajectory.joint_trajectory.points.append(self._points(positions=[*reversed(place)]))
        return response


def straight(start: np.ndarray, goal: np.ndarray) -> Any:
    return [start, (start + goal) / 2, goal]


class Check:
    """Clear everywhere but at one place; its robot has no fingers."""

    robot = SimpleNamespace(robot=SimpleNamespace(fingers=lambda joints: ()))

    def free(self, place: np.ndarray, *_: Any, **__: Any) -> bool:
        return not np.array_equal(place, BLOCKED)


@pytest.fixture
def ways(ros: Any) -> Any:
    pytest.importorskip('moveit_msgs.srv', reason='moveit_msgs is not installed')
    node = ros.create(lambda **options: ManagedNode('asker', [], **options))
    check: Any = Check()
    return MoveItWays(node, OPTIONS, JOINTS, check)


def answered(ros: Any, ways: Any, goals: Any = (BLOCKED, GOAL)) -> Way | Refusal:
    ros.wait(ways._client.service_is_ready, 'move_group')
    ways.request(START, list(goals))
    found = ros.wait(ways.answer, 'the answer')
    assert ways.answer() is None, 'once'
    assert isinstance(found, Way | Refusal)
    return found


def test_a_path_comes_in_the_order_of_the_joints_to_the_first_goal_that_is_clear(ros, ways):
    group = MoveGroup(ros, straight)
    found = answered(ros, ways)
    assert isinstance(found, Way)
    np.testing.assert_allclose(found.points, [START, START, (START + GOAL) / 2, GOAL])
    (asked,) = group.asked
    assert (asked.group_name, asked.allowed_planning_time) == ('arm', OPTIONS.planning_time)


@pytest.mark.parametrize(
    ('path', 'names', 'code', 'reason'),
    [
        (straight, JOINTS, -12, 'MoveIt found none, GOAL_IN_COLLISION'),
        (straight, JOINTS, 12345, 'MoveIt found none, 12345'),
        (straight, ('a', 'b'), 1, 'got a path of a, b, allowed one of pusher_x, pusher_y, with grippers or without'),
        (lambda start, goal: [], JOINTS, 1, 'got a path of 0 points'),
        (lambda start, goal: [goal, goal], tuple(reversed(JOINTS)), 1, 'got a path from elsewhere'),
        (lambda start, goal: [start, goal * np.nan], JOINTS, 1, 'numbers that are not finite'),
    ],
)
def test_a_path_that_cannot_be_used_is_a_refusal_with_its_reason(ros, ways, path, names, code, reason):
    group = MoveGroup(ros, path)
    group.names, group.code = names, code
    found = answered(ros, ways)
    assert isinstance(found, Refusal) and reason in found.reason


@pytest.mark.parametrize('names', [JOINTS[:1], tuple(reversed(JOINTS))], ids=['arm_alone', 'both'])
def test_a_gripper_stays_as_it_is_whether_the_path_has_it_or_not(ros, ways, names):
    ways.close()
    gripping = replace(OPTIONS, grippers=JOINTS[1:])
    ways = MoveItWays(ways._node, gripping, JOINTS, ways._check)
    open_hand = GOAL + np.array([0.0, 0.2])

    def path(start: np.ndarray, goal: np.ndarray) -> Any:
        return [[x, 0.7][: len(names)] for x in (start[0], *goal)]

    group = MoveGroup(ros, path)
    group.names = names
    found = answered(ros, ways, [open_hand])
    assert isinstance(found, Way) and group.wanted == JOINTS[:1]
    np.testing.assert_allclose(found.points, [START, START, (GOAL[0], START[1])])
    group.names = JOINTS[1:]
    group._path = lambda *_: [[0.0]]
    refused = answered(ros, ways, [open_hand])
    assert isinstance(refused, Refusal) and 'allowed one of pusher_x, with grippers or without' in refused.reason


def test_without_an_answer_or_a_goal_that_is_clear_there_is_no_way(ros, ways, monkeypatch):
    ways.request(START, [GOAL])
    assert 'got nobody who serves' in ways.answer().reason
    group = MoveGroup(ros, straight)
    found = answered(ros, ways, [BLOCKED])
    assert isinstance(found, Refusal) and 'got 1 places to go on at' in found.reason
    assert group.asked == []
    ros.wait(ways._client.service_is_ready, 'move_group')
    monkeypatch.setattr(ways._client, 'call_async', lambda _: Future())
    ways.request(START, [GOAL])
    assert ways.answer() is None
    steady = ways._node.steady
    monkeypatch.setattr(ways._node, 'steady', lambda: steady() + round(OPTIONS.planning_time * 1000) * MS + LATER)
    assert 'got no answer' in ways.answer().reason
    assert ways.answer() is None


def test_a_move_group_that_ends_with_a_question_has_no_answer_and_one_that_comes_back_is_asked_again(ros, ways):
    group = MoveGroup(ros, straight)
    ros.wait(ways._client.service_is_ready, 'move_group')
    ways.request(START, [GOAL])
    ros.tester.destroy_service(group.service)  # before it has looked at the question
    found = ros.wait(ways.answer, 'that it has ended')
    assert isinstance(found, Refusal) and 'plan_kinematic_path: whoever served it ended' in found.reason
    ways.request(START, [GOAL])
    assert 'got nobody who serves' in ways.answer().reason
    again = MoveGroup(ros, straight)
    assert isinstance(answered(ros, ways), Way) and len(again.asked) == 1
    assert group.asked == []


def test_without_a_group_or_the_package_it_is_refused_by_name(ros, monkeypatch):
    node: Any = ros.create(lambda **options: ManagedNode('asker', [], **options))
    check: Any = Check()
    with pytest.raises(ConfigError, match="planning_group: got none with path_planner 'moveit'"):
        MoveItWays(node, ObstacleOptions(), JOINTS, check)
    import sys

    monkeypatch.setitem(sys.modules, 'moveit_msgs', None)
    monkeypatch.setitem(sys.modules, 'moveit_msgs.srv', None)
    with pytest.raises(ConfigError, match="path_planner: got 'moveit' without moveit_msgs"):
        MoveItWays(node, OPTIONS, JOINTS, check)


def test_a_way_of_moveits_is_checked_and_followed_and_one_through_the_post_is_not(ros, tiny, tmp_path: Path):
    def around(start: np.ndarray, goal: np.ndarray) -> Any:
        aside = np.array([0.0, 0.12])
        return [start, start + aside, goal + aside, goal]

    group = MoveGroup(ros, straight)
    post = '{name: post, shape: {kind: cylinder, radius: 0.03, length: 1.0}, position: [0.32, 0.3, 0.0]}'
    planned = {'path_planner': 'moveit', 'planning_group': 'arm', 'blocked_after': 0.3}
    live = Live(ros, tiny, at=EARLY, **scene(tmp_path, standing=post), **planned)
    detour = live.node.motion.parts.detour
    ros.wait(detour.ways._client.service_is_ready, 'move_group')
    live.begin()

    def go_on() -> None:
        live.advance(live.now + 200 * MS)
        live.send(live.chunk(live.now - 40 * MS, slope=0.017))  # behind the post
        ros.spin(0.05)

    while not detour.failed:
        go_on()
    assert not detour.planned and group.asked
    group._path = around
    while not detour.planned:
        go_on()
    ways = [p for p in map(encoding.trajectory_value, live.plans) if np.asarray(p.positions)[:, 1].max() > 0.4]
    positions = np.asarray(ways[-1].positions)
    assert np.hypot(positions[:, 0] - 0.32, positions[:, 1] - 0.3).min() >= 0.03 + RADIUS + 0.02
    assert live.safety_state == 'RUN'
