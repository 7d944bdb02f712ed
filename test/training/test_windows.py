"""Edges of episodes, and the numbers that training sees."""

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch

from dp_ros.errors import DataError
from dp_ros.recordings.episodes.episode import Episode, window_indices
from dp_ros.task.spec import ActionSpec, JointStream, TaskSpec
from dp_ros.training.samples.windows import WindowDataset, data_hash, fit_normalizer

TASK = TaskSpec(
    streams=(JointStream(name='joints', topic='/joint_states', joints=('a',), units=('rad',)),),
    action=ActionSpec(topic='/command', joints=('a',), units=('rad',)),
    obs_horizon=3,
    pred_horizon=8,
    exec_horizon=4,
)


def episode(length: int, offset: float = 0.0) -> Episode:
    steps = np.arange(length, dtype=np.float64)[:, None]
    return Episode(
        name='e',
        stamps=np.arange(1, length + 1, dtype=np.int64) * 100_000_000,
        streams={'joints': steps + offset},
        actions=steps + offset + 0.5,
    )


def test_before_the_start_the_first_observation_is_copied():
    observed, _ = window_indices(20, TASK)
    assert observed[0].tolist() == [0, 0, 0]
    assert observed[1].tolist() == [0, 0, 1]
    assert observed[2].tolist() == [0, 1, 2]


def test_every_tick_is_the_newest_observation_of_a_window():
    observed, acted = window_indices(20, TASK)
    assert observed[:, -1].tolist() == list(range(20))
    assert (acted[:, 0] == observed[:, -1]).all()


def test_a_chunk_that_reaches_beyond_the_end_repeats_the_last_action():
    _, acted = window_indices(20, TASK)
    assert acted[12].tolist() == [12, 13, 14, 15, 16, 17, 18, 19]
    assert acted[15].tolist() == [15, 16, 17, 18, 19, 19, 19, 19]
    assert acted[-1].tolist() == [19] * 8


def test_an_episode_shorter_than_a_chunk_counts_with_all_its_ticks():
    observed, acted = window_indices(2, TASK)
    assert observed.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert acted.tolist() == [[0, 1, 1, 1, 1, 1, 1, 1], [1] * 8]


def test_windows_never_reach_into_another_episode():
    episodes = [episode(10), episode(12, offset=100.0)]
    normalizer = fit_normalizer(episodes, TASK)
    dataset = WindowDataset(episodes, TASK, normalizer)
    (streams,), actions = dataset.batch(torch.arange(len(dataset)))
    observed = normalizer.denormalize('joints', streams.numpy())
    acted = normalizer.denormalize('action', actions.numpy())
    first = observed[:, -1, 0] < 50
    assert (observed[first] < 50).all() and (observed[~first] > 50).all()
    assert (acted[first] < 50).all() and (acted[~first] > 50).all()
    np.testing.assert_allclose(acted[:, 0], observed[:, -1] + 0.5, atol=1e-4)


def test_the_hash_tells_data_apart_and_ignores_names():
    assert data_hash([episode(10)]) != data_hash([episode(10, offset=1e-9)])
    renamed = episode(10)
    renamed = Episode(name='other', stamps=renamed.stamps, streams=renamed.streams, actions=renamed.actions)
    assert data_hash([episode(10)]) == data_hash([renamed])


def test_no_episodes_are_refused():
    with pytest.raises(DataError, match='got 0 episodes'):
        WindowDataset([], TASK, fit_normalizer([episode(5)], TASK))
