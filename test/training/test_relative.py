"""Actions that count from where the joints are: the same in training, in the bundle and on the robot."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch

from dp_ros.data import Window
from dp_ros.errors import ConfigError
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.continuity import overlap_with
from dp_ros.policy.normalizer import ACTION
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.recordings.episodes.episode import Episode
from dp_ros.task.spec import ActionSpec, JointStream, TaskSpec
from dp_ros.task.yaml_reader import parse, to_plain
from dp_ros.training.export.export import export_run
from dp_ros.training.samples.windows import WindowDataset, fit_normalizer
from dp_ros.training.settings import ObjectiveSettings
from dp_ros.training.trainer import Trainer
from test.training.test_trainer import SETTINGS

# Velocities stand before positions, and the joints in another order than the action's.
STREAM = JointStream(
    name='joints', topic='/joint_states', joints=('b', 'a'), units=('m', 'rad'), fields=('velocity', 'position')
)
TASK = TaskSpec(
    streams=(STREAM,), action=ActionSpec(topic='/command', joints=('a', 'b'), units=('rad', 'm'), relative=True)
)
STEP = np.array([0.1, -0.05])


def episodes() -> list[Episode]:
    """Joints a and b that go on and on, from another place in each episode; each command is the next position."""
    made = []
    for start in range(6):
        positions = start * 10.0 + np.arange(31)[:, None] * STEP
        streams = {'joints': np.concatenate([np.zeros((30, 2)), positions[:-1, ::-1]], axis=1)}
        stamps = np.arange(1, 31, dtype=np.int64) * 100_000_000
        made.append(Episode(name=f'e{start}', stamps=stamps, streams=streams, actions=positions[1:]))
    return made


def test_samples_count_from_the_newest_observation():
    made = episodes()
    normalizer = fit_normalizer(made, TASK)
    data = WindowDataset(made, TASK, normalizer)
    assert np.allclose(normalizer.low[ACTION], [0.1, -0.8]) and np.allclose(normalizer.high[ACTION], [1.6, -0.05])
    _, actions = data.batch(torch.arange(len(data)))
    found = normalizer.denormalize(ACTION, actions.numpy())
    expected = (np.arange(16)[:, None] + 1) * STEP
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    per_episode = len(data) // len(made)
    np.testing.assert_allclose(found[0::per_episode], np.tile(expected, (6, 1, 1)), atol=1e-6)
    assert float(actions.abs().max()) == pytest.approx(1.0)


@pytest.fixture(scope='module')
def policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp('relative')
    objective = ObjectiveSettings(schedule='flow', prediction_type='velocity')
    settings = dataclasses.replace(SETTINGS, task=TASK, objective=objective, steps=4)
    Trainer(settings, episodes(), folder / 'run').run()
    bundle = export_run(folder / 'run', folder / 'bundle')
    return DiffusionPolicy(bundle, open_backend(bundle))


def window_at(positions: np.ndarray, tick: int = 10) -> Window:
    streams = {'joints': np.concatenate([np.zeros((2, 2)), positions[:, ::-1]], axis=1)}
    return Window(stamps=np.array([tick, tick + 1]) * 100_000_000, streams=streams)


def test_a_chunk_is_absolute_and_follows_the_joints(policy):
    assert policy.bundle.task.action.relative
    here = np.array([[3.0, 7.0], [3.1, 6.95]])
    chunk = policy.chunk(window_at(here), np.random.default_rng(0))
    inputs = policy.inputs(window_at(here))
    sampled = policy.bundle.normalizer.denormalize(ACTION, policy.sample(inputs, np.random.default_rng(0)).actions[0])
    np.testing.assert_allclose(chunk.actions, sampled + here[1], atol=1e-12)


def test_a_chunk_goes_on_from_the_last_one_although_the_joints_moved(policy):
    here = np.array([[3.0, 7.0], [3.1, 6.95]])
    last = policy.chunk(window_at(here), np.random.default_rng(0))
    overlap = overlap_with(last, last.stamp + 4 * last.control_dt, 6)
    moved = window_at(here + 4 * STEP, 14)
    chunk = policy.chunk(moved, np.random.default_rng(1), overlap)
    np.testing.assert_allclose(chunk.actions[:6], last.actions[4:10], atol=1e-5)


def test_relative_actions_need_a_stream_of_the_joints():
    for change in ({'fields': ('velocity',)}, {'joints': ('b', 'c')}, {'units': ('m', 'm')}):
        with pytest.raises(ConfigError, match=r'action relative: no stream has the positions of a \[rad\], b \[m\]'):
            dataclasses.replace(TASK, streams=(dataclasses.replace(STREAM, **change),))


def test_a_task_from_before_counts_absolutely():
    plain = to_plain(TASK)
    del plain['action']['relative']
    assert not parse(TaskSpec, plain).action.relative
