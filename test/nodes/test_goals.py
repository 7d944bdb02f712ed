"""Goals on topics: none, and there is no chunk; one, and chunks are for it; guidance while it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('wordllama', reason='wordllama is not installed (extra: language)')

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rcl_interfaces.msg import Log
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String

from dp_ros.data import Goal
from dp_ros.messages import encoding
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.task.spec import GoalImage, GoalPose, Instruction, TaskSpec
from test.nodes.conftest import load_tiny
from test.nodes.test_policy_executor import Live

pytestmark = pytest.mark.ros
WARN, ERROR = DiagnosticStatus.WARN, DiagnosticStatus.ERROR
LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
POSE = GoalPose(features=('x', 'y'), source='topic')
WORDS = Instruction()
PHRASED = Instruction(
    phrasings={side: (f'go {side}', f'{side}', f'to the {side}', f'the {side} side') for side in ('left', 'right')}
)


def bundle(folder: Any, *goals: Any, guidance: Any = 'goal') -> str:
    """Write a tiny bundle of a task with goals."""
    tiny = load_tiny()
    task: TaskSpec = replace(tiny.TASK, goals=goals, guidance=guidance if goals else '')
    extrema = {g.name: (0.0, 0.0) for g in goals if isinstance(g, GoalPose)}
    normalizer = replace(
        tiny.NORMALIZER,
        low=tiny.NORMALIZER.low | extrema,
        high=tiny.NORMALIZER.high | {name: (0.5, 0.5) for name in extrema},
    )
    return str(tiny.write_tiny_bundle(folder / 'asked', task=task, normalizer=normalizer))


def pose(x: float, y: float, norm: float = 1.0) -> PoseStamped:
    return encoding.to_pose(stamp=0, position=(x, y, 0), orientation=(0, 0, 0, norm), frame_id='table')


def expected(live: Live, tick: int, number: int, goal: Goal, **settings: Any) -> np.ndarray:
    policy = DiffusionPolicy(live.bundle, open_backend(live.bundle)).with_settings(**settings)
    return policy.chunk(live.window(tick), np.random.default_rng([0, number]), goal=goal).actions


def test_without_a_goal_there_is_no_chunk_and_diagnostics_say_which_is_missing(ros, tmp_path):
    live = Live(ros, bundle(tmp_path, POSE, WORDS))
    for tick in range(3):
        live.send(tick)
    said = ros.status('policy_executor: inference', ERROR, 'no goal: goal_pose never came on /goal_pose').message
    assert '(geometry_msgs/msg/PoseStamped); no goal: instruction never came on /instruction (std_msgs/msg/Str' in said
    ros.talk(PoseStamped, '/goal_pose').publish(pose(0.1, 0.2))
    ros.wait(lambda: 'goal_pose' in live.node.goals.goal.streams, 'the pose')
    live.send(3)
    assert live.chunks == [] and live.node.inference.number == 0
    ros.talk(String, '/instruction').publish(String(data='push the  block '))
    ros.wait(lambda: live.node.goals.goal.instruction, 'the instruction')
    live.send(4)
    (chunk,) = live.wait_for(1)
    goal = Goal(streams={'goal_pose': np.array([0.1, 0.2])}, instruction='push the block')
    assert np.array_equal(chunk.actions, expected(live, 4, 0, goal))
    assert not np.array_equal(chunk.actions, expected(live, 4, 0, replace(goal, instruction='lift it')))


def test_a_new_goal_counts_from_the_next_chunk_on_and_a_bad_one_is_refused(ros, tmp_path):
    live = Live(ros, bundle(tmp_path, POSE), exec_horizon=1)
    goals = ros.talk(PoseStamped, '/goal_pose')
    for number, place in enumerate(((0.1, 0.2), (0.3, 0.4))):
        goals.publish(pose(*place))
        ros.wait(lambda p=place: live.node.goals.goal.streams.get('goal_pose', np.zeros(2))[0] == p[0], 'the goal')
        for tick in range(2 * number, 2 * number + 2):
            live.send(tick)
            live.wait_for(max(0, tick))
        goal = Goal(streams={'goal_pose': np.array(place)})
        last = live.node.inference.number - 1
        assert np.array_equal(live.wait_for(last + 1)[last].actions, expected(live, 2 * number + 1, last, goal))
    goals.publish(pose(0.5, 0.5, norm=0.0))
    ros.wait(lambda: live.node.goals.refused, 'the goal to be refused')
    assert live.node.goals.goal.streams['goal_pose'].tolist() == [0.3, 0.4]


def test_a_goal_far_from_those_of_training_is_refused_and_diagnostics_show_which_counts(ros, tmp_path):
    live = Live(ros, bundle(tmp_path, POSE, WORDS))
    logged = ros.listen(Log, '/rosout')
    goals, words = ros.talk(PoseStamped, '/goal_pose'), ros.talk(String, '/instruction')
    ros.connected('/rosout')
    goals.publish(pose(0.1, 0.2))
    for _ in range(3):
        words.publish(String(data='push'))
    ros.wait(lambda: live.node.goals.missing() == '', 'goals')
    goals.publish(pose(450.0, 0.2))
    ros.wait(lambda: live.node.goals.refused, 'the goal to be refused')
    assert live.node.goals.goal.streams['goal_pose'].tolist() == [0.1, 0.2]
    text = "/goal_pose: goal 'goal_pose' x: got 450 m, allowed -0.25 to 0.75 m; the goal is left as it was"
    ros.wait(lambda: text in [m.msg for m in logged], 'the refusal in the log')
    said = "/goal_pose: goal accepted: x 0.1, y 0.2 (frame 'table')"
    ros.wait(lambda: {said, '/instruction: goal accepted: push'} <= {m.msg for m in logged}, 'goals in the log')
    ros.statuses.clear()
    status = ros.status('policy_executor: inference', WARN, 'no complete observation')
    values = {v.key: v.value for v in status.values}
    assert (values['goal_pose'], values['instruction']) == ("x 0.1, y 0.2 (frame 'table')", 'push')
    assert (values['accepted_goals'], values['refused_goals']) == ('2', '1')


def test_an_instruction_that_training_does_not_know_is_refused_and_no_chunk_is_made(ros, tmp_path):
    live = Live(ros, bundle(tmp_path, PHRASED), exec_horizon=1)
    logged, words = ros.listen(Log, '/rosout'), ros.talk(String, '/instruction')
    ros.connected('/rosout')
    words.publish(String(data='make me a coffee'))
    ros.wait(lambda: live.node.goals.refused, 'the refusal')
    text = "/instruction: instruction 'make me a coffee': got 'make', a word like none of training"
    ros.wait(lambda: any(m.msg.startswith(text) for m in logged), 'the refusal in the log')
    for tick in range(3):
        live.send(tick)
    said = ros.status('policy_executor: inference', ERROR, f'no goal: {text}').message
    assert "allowed what means one of left ('go left', ...), right ('go right', ...)" in said
    assert live.chunks == [] and live.node.inference.number == 0
    words.publish(String(data='to the right, go'))
    ros.wait(lambda: live.node.goals.missing() == '', 'the instruction')
    live.send(3)
    (chunk,) = live.wait_for(1)
    for same in ('to the right, go', 'go right'):
        assert np.array_equal(chunk.actions, expected(live, 3, 0, Goal(instruction=same)))
    assert not np.array_equal(chunk.actions, expected(live, 3, 0, Goal(instruction='go left')))
    assert live.node.goals.values()['instruction'] == 'to the right, go (right)'


def test_an_instruction_that_is_not_understood_ends_the_last_one(ros, tmp_path):
    live = Live(ros, bundle(tmp_path, PHRASED), exec_horizon=1)
    words = ros.talk(String, '/instruction')
    words.publish(String(data='go left'))
    ros.wait(lambda: live.node.goals.missing() == '', 'the instruction')
    for tick in range(2):
        live.send(tick)
    live.wait_for(1)
    words.publish(String(data='stop'))
    ros.wait(lambda: live.node.goals.refused, 'the refusal')
    for tick in range(2, 5):
        live.send(tick)
    ros.status('policy_executor: inference', ERROR, "no goal: /instruction: instruction 'stop': got 'stop'")
    assert live.node.goals.goal.instruction == '' and live.node.inference.number == 1


def test_a_goal_in_another_frame_is_refused(ros, tmp_path):
    live = Live(ros, bundle(tmp_path, replace(POSE, frame='base_link')))
    ros.talk(PoseStamped, '/goal_pose').publish(pose(0.2, 0.3))
    ros.wait(lambda: live.node.goals.refused, 'the refusal')
    assert not live.node.goals.goal.streams


def test_more_than_one_publisher_of_goals_is_warned_of(ros, tmp_path):
    Live(ros, bundle(tmp_path, POSE))
    one, _ = ros.talk(PoseStamped, '/goal_pose'), ros.talk(PoseStamped, '/goal_pose')
    ros.status('policy_executor: inference', ERROR, 'never came on /goal_pose')
    one.publish(pose(0.1, 0.2))
    text = '/goal_pose: more than one publisher, the newest goal counts: /tester, /tester'
    assert 'no complete observation' in ros.status('policy_executor: inference', WARN, text).message


def test_a_latched_goal_from_before_is_found(ros, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    latched = ros.tester.create_publisher(Image, '/goal_image', LATCHED)
    latched.publish(encoding.to_image(stamp=0, pixels=picture, frame_id=''))
    live = Live(ros, bundle(tmp_path, GoalImage(height=8, width=8, source='topic')))
    ros.wait(lambda: live.node.goals.goal.streams, 'the picture')
    for tick in range(2):
        live.send(tick)
    goal = Goal(streams={'goal_image': picture})
    assert np.array_equal(live.wait_for(1)[0].actions, expected(live, 1, 0, goal))


def test_guidance_is_changed_live(ros, tmp_path):
    live = Live(ros, bundle(tmp_path, POSE), exec_horizon=1)
    ros.talk(PoseStamped, '/goal_pose').publish(pose(0.1, 0.2))
    ros.wait(lambda: live.node.goals.goal.streams, 'the pose')
    (answer,) = live.set(guidance_scale=3.0)
    assert answer.successful, answer.reason
    for tick in range(2):
        live.send(tick)
    goal = Goal(streams={'goal_pose': np.array([0.1, 0.2])})
    (chunk,) = live.wait_for(1)
    assert np.array_equal(chunk.actions, expected(live, 1, 0, goal, guidance_scale=3.0))
    assert not np.array_equal(chunk.actions, expected(live, 1, 0, goal))


def test_guidance_of_a_bundle_trained_without_it_is_refused(ros, tiny, tmp_path):
    live = Live(ros, tiny)
    (answer,) = live.set(guidance_scale=2.0)
    assert not answer.successful
    assert 'guidance_scale: got 2.0, allowed 1 for bundle tiny, which was trained without guidance' in answer.reason
