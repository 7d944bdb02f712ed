"""Reinforcement learning: what is learnt in the loop of an evaluation is what the bundle does, and what it refuses."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('gymnasium', reason='gymnasium is not installed (extra: sim)')
import torch

from dp_ros.cli.main import main
from dp_ros.data import Window
from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.errors import BundleError, ConfigError, DataError
from dp_ros.evaluation.reinforcement.checkpoint import TRANSITIONS, Checkpoint, model_state, restore_model
from dp_ros.evaluation.reinforcement.environment import DecisionEnv
from dp_ros.evaluation.reinforcement.export import write_line_bundle, write_with_noise_actor
from dp_ros.evaluation.reinforcement.learning_curve import LearningCurve
from dp_ros.evaluation.reinforcement.reinforce import Learning, ReinforceSettings
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.networks.noise_actor import Actor
from dp_ros.paths import locate
from dp_ros.policy.bundle.bundle import NOISE, Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.training.export.export import ExportSettings, export_run
from dp_ros.training.run_folder import load_checkpoint

WORLD = 'point_obstacle'
STATE = 12  # two observations of two joints, target and obstacle, x and y each
CHUNK = (16, 2)
SOURCE = load_bundle(locate('models/point_obstacle'))
SETTINGS = EvaluationSettings(bundle=SOURCE.folder, world=WORLD, seconds=6.0, threads=1, sampling_steps=2)


def actor(outputs: int, *, squashed: bool = True) -> Actor:
    torch.manual_seed(0)
    return Actor([STATE, 16, outputs], torch.nn.ReLU, squashed=squashed).eval()


def constant_actor(*outputs: float) -> Actor:
    made = actor(len(outputs))
    head = made.layers[-1]
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor(outputs))
    return made


def window(policy: DiffusionPolicy) -> Window:
    rng = np.random.default_rng(3)
    return policy.window(**{s.name: rng.uniform(-0.8, 0.8, (2, 2)) for s in policy.task.streams})


@pytest.fixture(scope='module')
def steered(tmp_path_factory) -> Bundle:
    folder = tmp_path_factory.mktemp('bundles') / 'steered'
    two = SamplerSettings(sampling_steps=2)
    return write_with_noise_actor(SOURCE, folder, actor(32), bound=1.2, defaults=two, record={'a': 1}, overwrite=False)


def test_a_steered_bundle_samples_from_the_noise_that_it_learnt_with(steered):
    env = DecisionEnv(SETTINGS, kind='noise', bound=1.2, seed=7)
    policy = DiffusionPolicy.load(steered.folder)
    observation, _ = env.reset()
    seen = env.window
    assert seen is not None and observation.shape == (STATE,)
    with torch.no_grad():
        action = actor(32)(torch.from_numpy(observation)[None])[0].numpy()
    chosen = env.chunk(action, seen).actions
    np.testing.assert_allclose(
        policy.chunk(seen, np.random.default_rng(1)).actions, chosen, atol=2e-3
    )  # half precision
    assert np.abs(DiffusionPolicy.load(SOURCE.folder, sampling_steps=2).chunk(seen).actions - chosen).max() > 0.01


def test_of_several_samples_the_noise_actor_chooses_the_first(steered):
    policy = DiffusionPolicy.load(steered.folder)
    seen = window(policy)
    # Without a last chunk, the first sample is taken.
    one, many = policy.chunk(seen), policy.with_settings(samples=4).chunk(seen)
    np.testing.assert_allclose(one.actions, many.actions, atol=1e-6)


def test_a_noise_actor_goes_along_and_must_be_what_was_exported(steered, tmp_path):
    again = export_run(steered.folder, tmp_path / 'again', ExportSettings(weights='float32'))
    assert NOISE in again.files
    seen = window(DiffusionPolicy.load(steered.folder))
    one, other = (DiffusionPolicy.load(folder).chunk(seen).actions for folder in (steered.folder, again.folder))
    np.testing.assert_allclose(one, other, atol=1e-4)
    with pytest.raises(BundleError, match=r'recorded noise: got none with noise\.onnx, allowed one with it only'):
        _without_recorded_noise(steered, tmp_path / 'without')


def _without_recorded_noise(bundle: Bundle, folder: Path) -> None:
    from dp_ros.policy.bundle.bundle import PARITY
    from dp_ros.policy.bundle.manifest import write_bundle

    networks = {file: bundle.path(file) for file in bundle.files if file != PARITY}
    write_bundle(
        folder, task=bundle.task, normalizer=bundle.normalizer, schedule=bundle.schedule, defaults=bundle.defaults,
        networks=networks, parity=dataclasses.replace(bundle.parity(), noise=None),
    )  # fmt: skip


def test_a_noise_that_is_not_finite_makes_no_chunk(steered, monkeypatch):
    policy = DiffusionPolicy.load(steered.folder)
    monkeypatch.setattr(policy.backend, 'noise', lambda _: np.full((1, *CHUNK), np.nan, np.float32))
    with pytest.raises(DataError, match='noise: got nan'):
        policy.chunk(window(policy))


@pytest.mark.parametrize('squashed', [True, False])
def test_a_line_bundle_does_what_it_learnt_with(tmp_path, squashed):
    two = dataclasses.replace(SETTINGS, sampling_steps=None, exec_horizon=2)
    env = DecisionEnv(two, kind='line', speed=0.7, seed=7)
    learnt = actor(2, squashed=squashed)
    bundle = write_line_bundle(SOURCE, tmp_path / 'line', learnt, speed=0.7, exec_horizon=2, record={}, overwrite=False)
    observation, _ = env.reset()
    seen = env.window
    assert seen is not None
    with torch.no_grad():
        action = learnt(torch.from_numpy(observation)[None])[0].numpy()
    actions = DiffusionPolicy.load(bundle.folder).chunk(seen).actions
    np.testing.assert_allclose(actions, env.chunk(action, seen).actions, atol=1e-5)
    here = seen.streams['joint_states'][-1]
    np.testing.assert_allclose(actions[0], here + 0.1 * 0.7 * action, atol=1e-5)
    # There by the next decision, and no farther.
    np.testing.assert_allclose(actions[1:], np.tile(here + 0.2 * 0.7 * action, (15, 1)), atol=1e-5)


def test_an_episode_pays_for_progress_and_ends_at_a_collision_or_at_success():
    env = DecisionEnv(
        dataclasses.replace(SETTINGS, sampling_steps=None, exec_horizon=2), kind='line', speed=1.0, seed=100_000
    )
    rewards, ends = [], []
    for through in ([], [(-0.3, 0.45), (0.3, 0.45)]):  # into the obstacle, and around it
        env.reset(seed=100_000)
        left, paid = [np.array(point) for point in through], []
        for _ in range(60):
            seen = env.window
            assert seen is not None
            here, target = seen.streams['joint_states'][-1], seen.streams['target' if through else 'obstacle_0'][-1]
            left = left if not left or np.linalg.norm(left[0] - here) > 0.15 else left[1:]
            off = (left[0] if left else target) - here
            observation, reward, ended, late, info = env.step(np.clip(2.0 * off, -0.6, 0.6).astype(np.float32))
            paid.append(reward)
            if ended or late:
                break
        rewards.append(sum(paid))
        ends.append((ended, info['collided'], info['success']))
    assert ends == [(True, True, False), (True, False, True)]
    assert rewards[0] < -0.2 and rewards[1] > 1.7
    assert np.isfinite(observation).all()


def test_a_light_episode_goes_where_a_full_one_goes():
    full, light = (
        DecisionEnv(
            dataclasses.replace(SETTINGS, sampling_steps=None, exec_horizon=4), kind='line', seed=100_001, loop=loop
        )
        for loop in ('full', 'light')
    )
    np.testing.assert_allclose(light.reset()[0], full.reset()[0], atol=1e-6)
    farthest, way = 0.0, []
    for action in [(0.1, 0.8), (0.5, 0.9), (0.9, 0.0), (0.4, -0.6), (0.0, 0.0), (0.0, 0.0)]:
        places = []
        for env in (full, light):
            env.step(np.array(action, dtype=np.float32))
            assert env._episode is not None
            places.append(env._episode.robot.world.joint_positions)
        farthest = max(farthest, float(np.abs(places[0] - places[1]).max()))
        way.append(places[0])
    # Nearly: the publisher leads in to its first chunk more slowly, and keeps limits.
    assert np.ptp(way, axis=0).min() > 0.2 and farthest < 0.1
    np.testing.assert_allclose(way[-1], way[-2], atol=0.02)  # at rest


def test_the_best_actor_is_kept_not_the_last():
    env = DecisionEnv(dataclasses.replace(SETTINGS, sampling_steps=None, exec_horizon=4, seconds=2.0), kind='line')
    curve = LearningCurve(8, 'test', env, 7)
    curve.look(4, constant_actor(0.1, 0.0))  # nearer to the target
    curve.look(8, constant_actor(0.0, 0.0))
    first, second = curve.rows
    assert first['trial_reward'] > second['trial_reward'] and first['trial_success'] == second['trial_success'] == 0.0
    assert curve.best is not None
    assert curve.best(torch.zeros(1, STATE)).tolist() == [[pytest.approx(np.tanh(0.1)), 0.0]]
    curve.bar.close()


def test_bundles_that_cannot_be_learnt_with_are_refused(steered, tmp_path, capsys):
    pytest.importorskip('stable_baselines3', reason='stable_baselines3 is not installed (extra: rl)')
    cases = [
        ('models/push_block_bc', 'dsrl', 'got regression, allowed one that samples'),
        ('models/pusht_goal', 'dsrl', 'got goals, guidance'),
        ('models/pusht_image', 'sac', 'got pictures, allowed streams of numbers; dsrl takes pictures'),
    ]
    for bundle, method, message in cases:
        assert main(['reinforce', bundle, str(tmp_path / 'out'), '--method', method]) == 1
        assert message in capsys.readouterr().err
    assert main(['reinforce', 'models/point_obstacle', str(steered.folder)]) == 1
    assert 'got a path that exists' in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"does not fit the world point_navigation: stream 'obstacle_0' topic"):
        DecisionEnv(dataclasses.replace(SETTINGS, world='point_navigation'), kind='noise')
    with pytest.raises(ConfigError, match='allowed none'):
        DecisionEnv(dataclasses.replace(SETTINGS, bundle=locate('models/pusht_goal'), world='pusht'), kind='noise')


# Too slow to reach or touch anything: each episode is of 3 decisions, which 2 s have begun.
SLOW = ['--envs', '2', '--width', '8', '--layers', '1', '--seconds', '2', '--speed', '0.05', '--world', WORLD]


@pytest.mark.slow
def test_learning_that_was_killed_goes_on_and_counts_no_episode_twice(tmp_path, capsys):
    pytest.importorskip('stable_baselines3', reason='stable_baselines3 is not installed (extra: rl)')
    out = tmp_path / 'learnt'
    checkpoint = tmp_path / 'learnt.checkpoint.pt'
    command = ['reinforce', 'models/point_obstacle', str(out), '--method', 'sac', '--steps', '192', *SLOW]
    learning = subprocess.Popen([sys.executable, '-m', 'dp_ros', *command], stderr=subprocess.DEVNULL)
    try:
        while not checkpoint.is_file():
            assert learning.poll() is None, 'it ended without a checkpoint'
            time.sleep(0.02)
    finally:
        learning.kill()
        learning.wait()
    assert not out.exists()
    before = load_checkpoint(checkpoint)
    done, episodes = before['model']['decisions'], before['curve']['episodes']
    assert 64 <= done < 192 and episodes == 2 * (done // 2 // 3)
    begun = [seed - 3_000_000 - 1_000_000 * env for env, seed in enumerate(before['seeds'])]
    assert begun == [episodes // 2 + 1] * 2  # seeds of their own

    other = [*command[:-2], '--world', WORLD, '--discount', '0.8']
    assert main(other) == 1
    assert 'got a checkpoint of learning with another discount, allowed the same settings' in capsys.readouterr().err
    assert main(command) == 0
    assert f'goes on after {done} decisions and {episodes} episodes' in capsys.readouterr().out
    record = load_bundle(out).provenance['reinforcement']
    # What was under way at the checkpoint is neither gone on with nor counted.
    assert record['steps'] == 192 and record['episodes'] == episodes + 2 * ((192 - done) // 2 // 3)
    rows = before['curve']['rows']
    assert record['curve'][: len(rows)] == rows and len(record['curve']) > len(rows)
    assert [row['step'] for row in record['curve']] == sorted({row['step'] for row in record['curve']} | {192})
    assert not checkpoint.exists()


@pytest.mark.parametrize('method', ['sac', 'ppo'])
def test_a_model_goes_on_from_what_it_has_learnt_and_what_it_learns_from(tmp_path, method):
    pytest.importorskip('stable_baselines3', reason='stable_baselines3 is not installed (extra: rl)')
    chosen = {'method': method, 'steps': 32, 'envs': 2, 'width': 8, 'seconds': 2.0}
    settings = ReinforceSettings(bundle=SOURCE.folder, out=tmp_path / 'out', world=WORLD, **chosen)
    learning, again = (Learning(settings, Checkpoint(settings, 'hash')) for _ in range(2))
    assert learning.run()
    checkpoint = Checkpoint(settings, 'hash')
    checkpoint.write({'model': model_state(learning.model)})
    saved = checkpoint.read()
    assert saved is not None
    restore_model(again.model, saved['model'])
    again.curve.bar.close()
    assert again.model.num_timesteps == learning.model.num_timesteps == 32
    for name, learnt in learning.model.policy.state_dict().items():
        torch.testing.assert_close(again.model.policy.state_dict()[name], learnt)
    optimizers = [name for name in learning.model.get_parameters() if 'optimizer' in name]
    assert len(optimizers) == (3 if method == 'sac' else 1)
    for name in optimizers:
        one, other = (each.model.get_parameters()[name]['state'] for each in (learning, again))
        assert one and one.keys() == other.keys()
        for key, moments in one.items():
            torch.testing.assert_close(other[key]['exp_avg'], moments['exp_avg'])
    if method == 'sac':
        buffers = [each.model.replay_buffer for each in (learning, again)]
        assert buffers[0].pos == buffers[1].pos == 16 and np.abs(buffers[1].observations[:16]).max() > 0.0
        for name in TRANSITIONS:
            np.testing.assert_array_equal(*(getattr(buffer, name)[:16] for buffer in buffers))
        assert again.model.log_ent_coef.item() == learning.model.log_ent_coef.item() != np.log(np.float32(0.02))


@pytest.mark.parametrize('method', ['dsrl', 'sac', 'ppo'])
def test_what_is_learnt_is_a_bundle_that_evaluate_scores(tmp_path, capsys, method):
    pytest.importorskip('stable_baselines3', reason='stable_baselines3 is not installed (extra: rl)')
    out = tmp_path / method
    small = ['--steps', '16', '--envs', '2', '--width', '8', '--layers', '1', '--sampling-steps', '2', '--seconds', '2']
    chosen = ['--world', WORLD]
    assert main(['reinforce', 'models/point_obstacle', str(out), '--method', method, *small, *chosen]) == 0
    bundle = load_bundle(out)
    record = bundle.provenance['reinforcement']
    assert (record['method'], record['policy']) == (method, 'point_obstacle')
    assert bundle.has_noise_actor == (method == 'dsrl')
    assert main(['evaluate', str(out), '--episodes', '1', '--seconds', '2', *chosen]) == 0
    assert 'success rate' in capsys.readouterr().out
    assert record['curve'][-1]['step'] == record['steps'] and 0.0 <= record['curve'][-1]['trial_success'] <= 1.0
