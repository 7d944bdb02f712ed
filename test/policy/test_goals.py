"""What a policy makes of goals and of guidance."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp_ros.data import Goal, Window
from dp_ros.errors import ConfigError, DataError
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.goal_inputs import blank_goal, check_goal_pose
from dp_ros.policy.language import embed
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.task.spec import GoalImage, GoalPose, Instruction, TaskSpec
from dp_ros.task.yaml_reader import parse, to_plain
from test.nodes.conftest import load_tiny

torch = pytest.importorskip('torch', reason='torch is not installed')
ROOT = Path(__file__).parents[2]
POSE = GoalPose(features=('x', 'y'), source='topic')
PICTURE = GoalImage(height=8, width=8, source='topic')
needs_words = pytest.mark.skipif(
    importlib.util.find_spec('wordllama') is None, reason='wordllama is not installed (extra: language)'
)


def policy(folder: Path, *goals: Any, guidance: Any = '', **changes: Any) -> DiffusionPolicy:
    tiny = load_tiny()
    task = replace(tiny.TASK, goals=goals, guidance=guidance)
    asked = {g.name: (0.0, 0.0) for g in goals if isinstance(g, GoalPose)}
    normalizer = replace(
        tiny.NORMALIZER,
        low=tiny.NORMALIZER.low | asked,
        high=tiny.NORMALIZER.high | {name: (0.5, 0.5) for name in asked},
    )
    made = load_bundle(tiny.write_tiny_bundle(folder / 'asked', task=task, normalizer=normalizer, **changes))
    return DiffusionPolicy(made, open_backend(made))


def window() -> Window:
    streams = {'joint_states': np.full((2, 2), 0.2), 'block_pose': np.full((2, 4), 0.3)}
    return Window(stamps=np.array([1, 2]) * 100_000_000, streams=streams)


def act(asked: DiffusionPolicy, goal: Goal) -> np.ndarray:
    return asked.chunk(window(), np.random.default_rng(0), goal=goal).actions


@pytest.mark.parametrize(
    ('goal', 'message'),
    [
        (Goal(), 'goal: got none for goal_pose, goal_image, allowed only with goal_pose, goal_image'),
        (Goal(streams={'goal_pose': np.zeros(2)}), 'goal: got none for goal_image'),
        (
            Goal(streams={'goal_pose': np.zeros(3), 'goal_image': np.zeros((8, 8, 3), np.uint8)}),
            r"goal 'goal_pose': got shape \(3",
        ),
    ],
)
def test_a_goal_that_is_missing_or_of_another_shape_is_refused(tmp_path: Path, goal: Goal, message: str) -> None:
    with pytest.raises(DataError, match=message):
        act(policy(tmp_path, POSE, PICTURE), goal)


@pytest.mark.parametrize(
    ('x', 'message'),
    [(-0.25, ''), (0.75, ''), (0.76, r"'goal_pose' x: got 0\.76 m, allowed -0\.25 to 0\.75 m"), (450, 'got 450 m')],
)
def test_a_goal_pose_far_from_those_of_training_is_refused(tmp_path: Path, x: float, message: str) -> None:
    asked, goal = policy(tmp_path, POSE), Goal(streams={'goal_pose': np.array([x, 0.2])})
    if not message:
        assert act(asked, goal).shape == (16, 2)
        return
    with pytest.raises(DataError, match=message):
        act(asked, goal)


def test_a_goal_pose_where_training_knew_one_place_has_some_room_and_a_turn_has_its_own() -> None:
    spec = GoalPose(features=('z', 'sin_yaw'), source='topic')
    known = load_tiny().NORMALIZER
    normalizer = replace(known, low=known.low | {'goal_pose': (2.0, 0.1)}, high=known.high | {'goal_pose': (2.0, 0.2)})
    check_goal_pose(spec, normalizer, np.array([2.04, -1.0]))
    for far in ([2.06, 0.0], [2.0, 1.1]):
        with pytest.raises(DataError, match="goal 'goal_pose'"):
            check_goal_pose(spec, normalizer, np.array(far))
    task = replace(load_tiny().TASK, goals=(spec,))
    assert blank_goal(task, normalizer).streams['goal_pose'] == pytest.approx([2.0, 0.15])


def test_a_goal_holds_no_number_that_is_not_finite() -> None:
    with pytest.raises(DataError, match="goal 'goal_pose'"):
        Goal(streams={'goal_pose': np.array([np.nan, 0.0])})


def test_a_policy_without_goals_does_not_look_at_them(tmp_path: Path) -> None:
    asked = policy(tmp_path)
    assert np.array_equal(act(asked, Goal()), act(asked, Goal(streams={'goal_pose': np.ones(2)}, instruction='go')))


def test_guidance_goes_from_the_one_without_the_goal_to_the_one_with_it_and_beyond(tmp_path: Path) -> None:
    from dp_ros.diffusion.samplers import SamplerSettings
    from dp_ros.diffusion.schedule import ScheduleSpec

    schedule = ScheduleSpec(name='flow', prediction_type='velocity', clip=False)
    once = SamplerSettings(sampler='euler', sampling_steps=1)
    asked = policy(tmp_path, POSE, guidance='goal', schedule=schedule, defaults=once)
    goal, other = (Goal(streams={'goal_pose': np.array(p)}) for p in ([0.4, 0.1], [0.1, 0.4]))
    without, plain, doubled = (act(asked.with_settings(guidance_scale=s), goal) for s in (0.0, 1.0, 2.0))
    assert np.array_equal(plain, act(asked, goal))
    assert np.abs(plain - without).max() > 1e-4
    # One step of flow matching is linear in the prediction.
    assert np.allclose(doubled, without + 2.0 * (plain - without), atol=1e-6)
    assert np.abs(plain - act(asked, other)).max() > 1e-4
    several = asked.with_settings(guidance_scale=2.0, samples=3)
    assert np.allclose(act(several, goal), doubled, atol=1e-6), 'without a last chunk, the first of them'


@pytest.mark.parametrize(
    ('guidance', 'scale', 'message'),
    [
        ('', 2.0, r'guidance_scale: got 2\.0, allowed 1 for bundle asked, which was trained without guidance'),
        ('observation', -1.0, r'guidance_scale: got -1\.0, allowed 0 to 20'),
    ],
)
def test_guidance_that_cannot_be_is_refused(tmp_path: Path, guidance: Any, scale: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        policy(tmp_path, guidance=guidance).with_settings(guidance_scale=scale)


# The task.


def task(**changes: Any) -> TaskSpec:
    return replace(load_tiny().TASK, **changes)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'goals': (replace(POSE, name='block_pose'),)}, 'goals: got names joint_states, block_pose, block_pose'),
        ({'goals': (Instruction(), Instruction(name='b'))}, 'goals: got more than one instruction'),
        ({'goals': (replace(POSE, source='hindsight'),)}, r"goal 'goal_pose' stream: got '', allowed one of the same"),
        (
            {'goals': (replace(PICTURE, source='hindsight', stream='block_pose'),)},
            r"got 'block_pose', allowed .*\(none\)",
        ),
        ({'guidance': 'goal'}, "guidance: got 'goal' without goals"),
    ],
)
def test_a_task_whose_goals_contradict_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(**changes)


def test_goals_travel_in_configuration(tmp_path: Path) -> None:
    asked = task(goals=(POSE, PICTURE, Instruction()), guidance='observation')
    assert parse(TaskSpec, to_plain(asked)) == asked


# Words.


@needs_words
def test_words_that_mean_alike_are_nearer_than_others() -> None:
    near, far = (
        embed('pick up the red cube') @ embed('grasp the crimson block'),
        embed('pick up the red cube') @ embed('drive home slowly'),
    )
    assert near > far
    assert np.mean(embed('push') ** 2) == pytest.approx(1.0)
    assert np.array_equal(embed('push  the block'), embed(' push the block'))


@needs_words
@pytest.mark.parametrize('text', ['', '  '])
def test_no_words_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="instruction: got '', allowed words"):
        embed(text)


@needs_words
def test_a_blank_goal_is_of_the_task_s_shape(tmp_path: Path) -> None:
    asked = policy(tmp_path, POSE, PICTURE, Instruction())
    assert act(asked, blank_goal(asked.bundle.task, asked.bundle.normalizer)).shape == (16, 2)


@needs_words
def test_asking_for_words_sets_up_no_logging() -> None:
    # In a process of its own: here pytest has set it up already.
    asked = 'import logging; from dp_ros.policy.language import embed; embed("go"); print(logging.getLogger().handlers)'
    answer = subprocess.run([sys.executable, '-c', asked], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == '[]'
