"""Rewards from recordings to a sequence model: recorded, aligned, tokenized, learnt, exported."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch

from dp_ros import Policy
from dp_ros.errors import ConfigError, DataError
from dp_ros.evaluation.demonstrations import RecordSettings, write_demonstrations
from dp_ros.networks.sequence import SequenceNetwork
from dp_ros.paths import share_folder
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.episode import read_episodes
from dp_ros.recordings.episodes.rewards import RewardTrack, returns_to_go
from dp_ros.task.spec import RewardSpec
from dp_ros.task.yaml_reader import read_yaml
from dp_ros.training.export.export import export_run
from dp_ros.training.run_folder import make_network
from dp_ros.training.samples.windows import data_hash
from dp_ros.training.settings import TrainSettings
from dp_ros.training.trainer import Trainer
from test.tiny_bundle import TASK, sequence_settings

CONFIG = read_yaml(share_folder() / 'config/train/point_obstacle_sequence.yaml', TrainSettings)


def episode(number, length=12):
    rng = np.random.default_rng(number)
    x = np.linspace(0.1, 0.4, length)[:, None] + rng.normal(0.0, 0.002, (length, 2))
    pose = np.tile([0.3, 0.2, 0.0, 1.0], (length, 1))
    rewards = np.linspace(0.0, 1.0, length)[:, None]
    return Episode(
        name=f'episode_{number}',
        stamps=np.arange(length) * 100_000_000,
        streams={'joint_states': x, 'block_pose': pose, 'reward': rewards},
        actions=x + 0.02,
    )


def test_a_world_records_its_score_and_training_reads_it_at_each_tick(tmp_path):
    settings = RecordSettings(out=tmp_path / 'bags', task=CONFIG.task, world='point_obstacle', seed=3)
    write_demonstrations(settings, lambda text: None)
    (read,) = read_episodes(tmp_path / 'bags', CONFIG.task)
    rewards = read.streams['reward'][:, 0]
    target, start = read.streams['target'][0], read.streams['joint_states'][0]
    away = np.linalg.norm(read.streams['joint_states'] - target, axis=1)
    # The world's formula, of what was observed at the same ticks.
    share = 1.0 - np.maximum(away - 0.05, 0.0) / (np.linalg.norm(start - target) - 0.05)
    moving = rewards < 0.99
    np.testing.assert_allclose(rewards[moving], share[moving].clip(0.0, 0.99), atol=1e-3)
    assert rewards[-1] == 1.0


def test_recordings_without_rewards_are_refused(tmp_path):
    plain = replace(CONFIG.task, reward=None)
    settings = RecordSettings(out=tmp_path / 'bags', task=plain, world='point_obstacle', seed=3)
    write_demonstrations(settings, lambda text: None)
    with pytest.raises(DataError, match='lacks topic /reward; it has /arm_controller/joint_trajectory, /joint_states'):
        list(read_episodes(tmp_path / 'bags', CONFIG.task))


def test_the_reward_at_a_tick_is_the_newest_that_may_have_arrived():
    track = RewardTrack(RewardSpec(max_age=1e-7), wait=20)
    assert track.at(0) is None and 'no message on /reward' in track.missing()
    for received, value in ((100, 1.0), (115, 2.0), (125, 3.0)):
        track.push(received, SimpleNamespace(data=value))
    assert track.at(80) == [1.0] and track.at(100) == [2.0] and track.at(200) == [3.0]
    assert track.at(226) is None
    with pytest.raises(DataError, match='reward: got nan, allowed finite numbers'):
        track.push(300, SimpleNamespace(data=float('nan')))


def test_the_return_is_what_is_still_to_come():
    np.testing.assert_allclose(returns_to_go(np.array([0.0, 0.5, 1.0]), 1.0), [-1.5, -0.5, 0.0])


def test_set_points_do_not_drift_from_being_rounded():
    network = make_network(sequence_settings())
    assert isinstance(network, SequenceNetwork)
    network.edges.copy_(torch.linspace(-0.1, 0.1, 21, dtype=torch.float64).repeat(6, 1))
    values = torch.zeros(1, 4, 6, dtype=torch.float64)
    values[0, :, 1] = torch.tensor([0.033, 0.066, 0.099, 0.132])
    tokens, offsets = network.tokens(values)
    assert (offsets[0, :, -1, 0] - values[0, :, 1]).abs().max() <= 0.005 + 1e-9
    assert tokens[0, :, 1].unique().numel() > 1  # the same step each time, rounded differently
    assert offsets[0, 1, 0, 0] != offsets[0, 1, 1, 0]  # known from the action's token on


def test_it_learns_from_episodes_and_the_bundle_plans_as_shown(tmp_path):
    settings = sequence_settings(steps=60, batch=32, checkpoint_every=60, validate_every=60, threads=1)
    settings = replace(settings, optimizer=replace(settings.optimizer, learning_rate=1e-2, warmup_steps=5, ema_max=0.9))
    episodes = [episode(number) for number in range(8)]
    result = Trainer(settings, episodes, tmp_path / 'run').run()
    assert result.validation_loss < 2.2  # from log 20 = 3.0
    export_run(tmp_path / 'run', tmp_path / 'bundle')
    policy = Policy.load(tmp_path / 'bundle', temperature=0.0)
    shown = episode(99)
    observed = {name: shown.streams[name][4:6] for name in ('joint_states', 'block_pose')}
    chunk = policy.chunk(policy.window(**observed))
    np.testing.assert_allclose(chunk.actions, shown.actions[5:9], atol=0.05)
    # Trained further from its own weights, it begins where it was.
    again = Trainer(replace(settings, start=str(tmp_path / 'bundle'), steps=1), episodes, tmp_path / 'more')
    assert again.learner.validate(again.validation_set) == pytest.approx(result.validation_loss, abs=0.02)


def test_rewards_are_part_of_what_was_learnt():
    one, other = episode(0), episode(0)
    other.streams['reward'] = other.streams['reward'] / 2
    assert data_hash([one]) != data_hash([other])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'task': TASK}, 'task.reward: got none with family sequence'),
        ({'network': replace(CONFIG.network, denoiser='mlp', heads=4, dropout=0.1)}, 'network.denoiser: got .mlp.'),
        ({'sequence': replace(CONFIG.sequence, states=('camera',))}, 'sequence.states: got camera, allowed the vector'),
        ({'objective': replace(CONFIG.objective, diffusion_steps=50)}, 'objective: got one with family sequence'),
        ({'family': 'diffusion'}, 'sequence: got .* with family diffusion'),
    ],
)
def test_configurations_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        sequence_settings(**changes)


def test_the_coverage_of_a_pose_is_that_of_the_benchmark():
    pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')
    from dp_ros.recordings.datasets.zarr import coverage
    from dp_ros.simulation.worlds.pusht.world import PushTWorld

    world, rng = PushTWorld(), np.random.default_rng(0)
    for _ in range(10):
        block = np.array([256.0, 256.0, np.pi / 4]) + rng.normal(0.0, [40.0, 40.0, 0.5])
        world.set_state(pusher=(0.02, 0.02), block=block[:2] / 1000.0, yaw=block[2])
        assert coverage(block) == pytest.approx(world.coverage, abs=1e-9)
