"""A critic: what it learns from, that it learns it, that it goes along in a bundle, and that it chooses."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')
import torch

from dp_ros.cli import main
from dp_ros.data import Window
from dp_ros.errors import BundleError, ConfigError, DataError
from dp_ros.networks.critic import PESSIMISM, Critic, steps
from dp_ros.policy.backends import open_backend
from dp_ros.policy.bundle import Bundle, load_bundle
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.simulation.scores import EpisodeResult, EvaluationSettings
from dp_ros.training import critic as critic_command
from dp_ros.training.critic import CriticSettings, run_critic
from dp_ros.training.critic_bundle import write_with_critic
from dp_ros.training.critic_fit import fit_critic
from dp_ros.training.critic_rollouts import Decisions, ExploringPolicy, rollouts, trained_mirror
from dp_ros.training.experience import Experience, find_projection
from dp_ros.training.export import export_run
from test.tiny_bundle import write_tiny_bundle

MIRROR = {
    'joint_states': {'take': [1, 0], 'scale': [-1.0, -1.0], 'offset': [0.512, 0.512]},
    'block_pose': {'take': [1, 0, 3, 2], 'scale': [-1.0, -1.0, 1.0, 1.0], 'offset': [0.512, 0.512, 0.0, 0.0]},
    'action': {'take': [1, 0], 'scale': [-1.0, -1.0], 'offset': [0.512, 0.512]},
}


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_tiny_bundle(tmp_path_factory.mktemp('bundles') / 'tiny', torchscript=True))


def made_critic(cond_width: int = 8, width: int = 32) -> Critic:
    torch.manual_seed(0)
    project = torch.randn(cond_width, 3)
    return Critic(torch.randn(cond_width), project, torch.zeros(32), torch.ones(32), width=width).eval()


@pytest.fixture(scope='module')
def with_critic(tiny: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp('bundles') / 'chosen'
    return write_with_critic(tiny, folder, made_critic(), critic_from=0.2, record={'episodes': 1})


def result(success: bool) -> EpisodeResult:
    return EpisodeResult(
        seed=0, score=float(success), success=success, seconds=1.0, chunks=1, latency=[], deadline_misses=0
    )


def decisions(
    rng: np.random.Generator, success: bool, count: int = 12, cond: np.ndarray | None = None
) -> Decisions:
    """Return an episode in which success comes by what the chunks' last action says."""
    actions = rng.uniform(-1, 1, (count, 16, 2)).astype(np.float32)
    actions[:, -1, 0] = np.abs(actions[:, -1, 0]) * (1 if success else -1)
    made = rng.standard_normal((count, 8)).astype(np.float32) if cond is None else cond
    return Decisions(cond=made, actions=actions, result=result(success))


def test_a_value_is_the_mean_of_the_members_less_what_they_differ_by():
    critic = made_critic()
    cond, actions = torch.randn(5, 8), torch.randn(5, 16, 2)
    features = torch.cat(((cond - critic.center) @ critic.project, steps(actions)), dim=1)
    with torch.no_grad():
        values = torch.sigmoid(torch.cat([member(features) for member in critic.members], dim=1)).numpy()
        got = critic(cond, actions).numpy()
    assert values.std(axis=1).min() > 1e-3
    np.testing.assert_allclose(got, values.mean(axis=1) - PESSIMISM * values.std(axis=1), atol=1e-6)


def test_steps_are_the_first_action_and_the_others_from_there():
    actions = torch.tensor([[[1.0, 2.0], [1.5, 1.0], [0.0, 2.0]]])
    assert steps(actions).tolist() == [[1.0, 2.0, 0.5, -1.0, -1.0, 0.0]]


def test_a_chunk_is_worth_less_the_more_come_until_success_and_nothing_without():
    rng = np.random.default_rng(0)
    good, poor = decisions(rng, True, 4), decisions(rng, False, 4)
    np.testing.assert_allclose(good.worth(0.5), [0.125, 0.25, 0.5, 1.0])
    assert poor.worth(0.5).tolist() == [0.0, 0.0, 0.0, 0.0]
    # The last two of a failed episode might have led to success, had there been time.
    assert poor.known(2).tolist() == [True, True, False, False] and good.known(2).all()


def test_the_projection_keeps_what_says_something_and_scales_it():
    rng = np.random.default_rng(0)
    said = rng.standard_normal((500, 3)) * [1.0, 10.0, 0.05]
    wide = (said @ rng.standard_normal((3, 40)) + 2.0).astype(np.float32)
    projection = find_projection(wide)
    assert projection.project.shape == (40, 3)
    low = projection(wide)
    np.testing.assert_allclose(low.std(axis=0), 1.0, rtol=0.02)
    again = np.linalg.lstsq(np.c_[low, np.ones(500)], said, rcond=None)
    assert np.all(again[1] / len(said) < 1e-4 * said.var(axis=0))  # nothing was lost
    half = projection.project.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(half, projection.project)


def test_rows_are_those_whose_outcome_is_known_and_their_mirror_images():
    rng = np.random.default_rng(0)
    experience = Experience(discount=0.5, unknown=2)
    plain, poor = decisions(rng, True, 4), decisions(rng, False, 4)
    turned = (rng.standard_normal((4, 8)).astype(np.float32), -plain.actions)
    experience.add(dataclasses.replace(plain, mirrored=turned))
    experience.add(poor)
    projection, low, moves, worth, episode = experience.tensors()
    assert worth.tolist() == [0.125, 0.25, 0.5, 1.0, 0.125, 0.25, 0.5, 1.0, 0.0, 0.0]
    assert episode.tolist() == [0] * 8 + [1] * 2
    np.testing.assert_allclose(low[4:8], projection(turned[0]), atol=1e-6)
    np.testing.assert_array_equal(moves[4:8], steps(torch.from_numpy(-plain.actions)))
    np.testing.assert_array_equal(moves[8:], steps(torch.from_numpy(poor.actions[:2])))


def test_a_critic_learns_which_chunks_lead_to_success():
    rng = np.random.default_rng(0)
    experience = Experience(discount=1.0, unknown=1)
    for number in range(200):
        experience.add(decisions(rng, bool(number % 3)))
    fitted = fit_critic(experience, epochs=20)
    assert fitted.correlation > 0.8
    new = [decisions(rng, success, 50) for success in (True, False)]
    with torch.no_grad():
        good, poor = (fitted.critic(torch.from_numpy(d.cond), torch.from_numpy(d.actions)).numpy() for d in new)
    assert (good[:, None] > poor[None]).mean() > 0.95


def test_no_success_is_nothing_to_learn_from():
    rng = np.random.default_rng(0)
    experience = Experience(discount=0.9, unknown=1)
    for _ in range(20):
        experience.add(decisions(rng, False))
    with pytest.raises(DataError, match='20 episodes: got no success, allowed one or more'):
        fit_critic(experience, epochs=1)


@pytest.mark.parametrize('backend', ['onnxruntime', 'torchscript'])
def test_it_goes_along_in_the_bundle(tiny, with_critic, backend):
    assert with_critic.has_critic and not tiny.has_critic
    assert (with_critic.name, with_critic.critic_from) == ('chosen', 0.2)
    assert with_critic.provenance == {**tiny.provenance, 'critic': {'episodes': 1}}
    parity = with_critic.parity()
    opened = open_backend(with_critic, backend=backend)
    cond, actions = np.repeat(parity.cond, 3, axis=0), np.repeat(parity.x_k, 3, axis=0)
    expected = made_critic()(torch.from_numpy(cond), torch.from_numpy(actions)).detach().numpy()
    np.testing.assert_allclose(opened.value(cond, actions), expected, atol=2e-3)  # float16 by then
    np.testing.assert_allclose(opened.value(cond, actions)[::3], parity.value, atol=1e-5)


def test_a_critic_that_gives_other_values_than_recorded_is_refused(tiny, with_critic, tmp_path):
    parity = with_critic.parity()
    networks = {f: with_critic.path(f) for f in with_critic.files if f != 'parity.npz'}
    shifted = dataclasses.replace(parity, value=parity.value + np.float32(1e-3))
    write_tiny_bundle(tmp_path / 'shifted', networks=networks, parity=shifted)
    with pytest.raises(BundleError, match=r'value by onnxruntime: got a difference of 0.001 from what was recorded'):
        open_backend(load_bundle(tmp_path / 'shifted'))
    with pytest.raises(BundleError, match=r'recorded value: got none with critic.onnx'):
        write_tiny_bundle(tmp_path / 'none', networks=networks, parity=dataclasses.replace(parity, value=None))
    del networks['critic.onnx']
    with pytest.raises(BundleError, match=r'recorded value: got one without critic.onnx'):
        write_tiny_bundle(tmp_path / 'one', networks=networks, parity=parity)
    with pytest.raises(BundleError, match=r'critic_from: got 2.0, allowed 0 to 1'):
        write_tiny_bundle(tmp_path / 'from', critic_from=2.0)


def test_a_critic_of_another_shape_is_refused(tiny, tmp_path):
    other = write_with_critic(tiny, tmp_path / 'other', made_critic(), critic_from=0.0, record={})
    networks = {f: other.path(f) for f in other.files if f != 'parity.npz'}
    networks['critic.onnx'] = networks['denoiser.onnx']
    write_tiny_bundle(tmp_path / 'wrong', networks=networks, parity=other.parity())
    with pytest.raises(BundleError, match=r'critic.onnx: got inputs cond, k, x_k, allowed actions, cond'):
        open_backend(load_bundle(tmp_path / 'wrong'))


class Judge:
    """A backend whose critic says what it is told to."""

    def __init__(self, bundle: Bundle, values: list[float]) -> None:
        self.backend, self.values, self.asked = open_backend(bundle), values, 0
        self.encode, self.predict = self.backend.encode, self.backend.predict

    def value(self, cond: np.ndarray, actions: np.ndarray) -> np.ndarray:
        self.asked += 1
        assert len(cond) == len(actions) == len(self.values)
        return np.array(self.values, dtype=np.float32)


def window() -> Window:
    return Window(
        stamps=100_000_000 * np.arange(10, 12),
        streams={
            'joint_states': np.array([[0.1, 0.2], [0.15, 0.25]]),
            'block_pose': np.array([[0.3, 0.3, 0.0, 1.0], [0.31, 0.29, 0.1, 0.99]]),
        },
    )


def drawn(bundle: Bundle, values: list[float], start: np.ndarray | None = None) -> np.ndarray:
    policy = DiffusionPolicy(bundle, Judge(bundle, values), samples=3)
    return policy.chunk(window(), np.random.default_rng(0), start=start).actions


def test_the_critic_takes_the_sample_of_the_highest_value(tiny, with_critic):
    taken = [drawn(with_critic, [0.9 if i == best else 0.1 for i in range(3)]) for best in range(3)]
    assert not np.allclose(taken[0], taken[1]) and not np.allclose(taken[1], taken[2])
    # Without a critic, and where all values are low, it is the one that goes on from the last chunk.
    for bundle, values in ((tiny, [0.9, 0.9, 0.9]), (with_critic, [0.0, 0.0, 0.5])):
        for best in range(3):
            np.testing.assert_array_equal(drawn(bundle, values, start=taken[best]), taken[best])
        np.testing.assert_array_equal(drawn(bundle, values), taken[0])


def test_one_sample_needs_no_critic_and_a_value_that_is_no_number_is_refused(with_critic):
    judge = Judge(with_critic, [0.5])
    DiffusionPolicy(with_critic, judge).chunk(window(), np.random.default_rng(0))
    assert judge.asked == 0
    with pytest.raises(DataError, match='value'):
        drawn(with_critic, [0.5, np.nan, 0.5])


def test_what_was_decided_is_kept_with_its_mirror_image(tmp_path):
    folder = write_tiny_bundle(tmp_path / 'mirrored', provenance={'config': {'mirror': MIRROR}})
    settings = EvaluationSettings(bundle=folder, episodes=3, seed=3, seconds=2.0, samples=3)
    alone = list(rollouts(settings, 0.5, 'alone'))
    shared = list(rollouts(dataclasses.replace(settings, workers=2), 0.5, 'shared'))
    for one, other in zip(alone, shared, strict=True):
        assert one.result.score == other.result.score and len(one.cond) >= 2
        np.testing.assert_array_equal(one.actions, other.actions)
        assert one.mirrored is not None and other.mirrored is not None
        np.testing.assert_array_equal(one.mirrored[0], other.mirrored[0])
        # x -> 0.512 - y is, normalized from 0 to 0.512, x -> -y.
        np.testing.assert_allclose(one.mirrored[1], -one.actions[..., ::-1], atol=1e-5)
        assert np.abs(one.mirrored[0] - one.cond).max() > 0.1
    plain = dataclasses.replace(settings, bundle=write_tiny_bundle(tmp_path / 'plain'), episodes=1)
    assert [d.mirrored for d in rollouts(plain, 0.0, 'plain')] == [None]


def test_the_mirror_image_is_of_what_was_observed(tmp_path):
    bundle = load_bundle(write_tiny_bundle(tmp_path / 'mirrored', provenance={'config': {'mirror': MIRROR}}))
    policy = ExploringPolicy(bundle, open_backend(bundle))
    policy.mirror = trained_mirror(bundle)
    seen = window()
    turned = Window(
        stamps=seen.stamps,
        streams={
            'joint_states': 0.512 - seen.streams['joint_states'][:, ::-1],
            'block_pose': np.c_[0.512 - seen.streams['block_pose'][:, 1::-1], seen.streams['block_pose'][:, :1:-1]],
        },
    )
    policy.chunk(seen, np.random.default_rng(0))
    policy.chunk(turned, np.random.default_rng(0))
    np.testing.assert_allclose(policy.mirrored[0][0], policy.decided[1][0], atol=1e-6)
    np.testing.assert_allclose(policy.mirrored[1][0], policy.decided[0][0], atol=1e-6)


def test_exploring_takes_any_sample(with_critic):
    rng_runs = []
    for explore in (0.0, 1.0):
        policy = ExploringPolicy(with_critic, Judge(with_critic, [0.1, 0.9, 0.8]), samples=3)
        policy.explore = explore
        rng_runs.append({policy.chunk(window(), np.random.default_rng(0)).actions.tobytes() for _ in range(20)})
    assert [len(run) for run in rng_runs] == [1, 3]


def test_the_command_plays_learns_and_writes_a_bundle(tiny, tmp_path, monkeypatch):
    asked = []

    def played(settings, explore, what):
        asked.append((settings.seed, settings.samples, explore, load_bundle(settings.bundle).has_critic))
        rng = np.random.default_rng(settings.seed)
        return (decisions(rng, bool(number % 3)) for number in range(settings.episodes))

    monkeypatch.setattr(critic_command, 'rollouts', played)
    said: list[str] = []
    settings = CriticSettings(
        bundle=tiny.folder, out=tmp_path / 'out', world='pusht', episodes=21, rounds=3, seed=5, samples=4, epochs=2
    )
    assert run_critic(settings, said.append) == 0
    assert asked == [(5, 1, 0.0, False), (26, 4, 0.25, True), (47, 4, 0.25, True)]
    bundle = load_bundle(tmp_path / 'out')
    record = bundle.provenance['critic']
    assert bundle.has_critic and bundle.critic_from == 0.1 and len(record['told']) == 3
    assert record['policy'] == 'tiny' and record['told'][0]['success_rate'] == pytest.approx(2 / 3)
    assert 'round 3 of 3: 66.7% succeed' in said[2]
    with pytest.raises(ConfigError, match=r'out .*: got a path that exists'):
        run_critic(settings, said.append)


def test_without_a_success_nothing_is_written(tiny, tmp_path, capsys):
    command = ['critic', str(tiny.folder), str(tmp_path / 'out'), '--episodes', '20', '--seconds', '1']
    assert main(command) == 1
    assert 'got no success' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
    assert main([*command, '--rounds', '0']) == 1
    assert 'rounds: got 0, allowed 1 to 20' in capsys.readouterr().err


def test_export_takes_the_critic_along(tmp_path):
    source = Path('models/push_block_state')
    bundle = load_bundle(source)
    width, chunk = bundle.parity().cond.shape[1], 16 * len(bundle.task.action.joints)
    torch.manual_seed(0)
    critic = Critic(
        torch.zeros(width), torch.randn(width, 3) / width, torch.zeros(chunk), torch.ones(chunk), width=16
    ).eval()
    judged = write_with_critic(bundle, tmp_path / 'judged', critic, critic_from=0.3, record={})
    again = export_run(judged.folder, tmp_path / 'again', weights='int8')
    assert again.has_critic and again.critic_from == 0.3
    assert again.files['critic.onnx'] == judged.files['critic.onnx']
