"""A critic: what it learns from, that it learns it, that it goes along in a bundle, and that it chooses."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')
import torch

from dp_ros.cli.main import main
from dp_ros.data import Window
from dp_ros.errors import BundleError, ConfigError, DataError
from dp_ros.evaluation.critic import learn as critic_command
from dp_ros.evaluation.critic.episodes import ExploringPolicy, nearness, rollouts, trained_mirror
from dp_ros.evaluation.critic.learn import CriticSettings, run_critic
from dp_ros.evaluation.scores import EvaluationSettings
from dp_ros.networks.critic import PESSIMISM, Critic, CriticInputs
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.bundle.parity import state_of
from dp_ros.policy.normalizer import ACTION
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.training.critic import fit as critic_fit
from dp_ros.training.critic.experience import Decisions, Experience, find_projection
from dp_ros.training.critic.fit import fit_critic, round_to_half, where_joints_are
from dp_ros.training.export.export import ExportSettings, export_run
from dp_ros.training.export.further_network import write_with_critic
from test.tiny_bundle import NORMALIZER, TASK, tiny_networks, write_tiny_bundle

MIRROR = {
    'joint_states': {'take': [1, 0], 'scale': [-1.0, -1.0], 'offset': [0.512, 0.512]},
    'block_pose': {'take': [1, 0, 3, 2], 'scale': [-1.0, -1.0, 1.0, 1.0], 'offset': [0.512, 0.512, 0.0, 0.0]},
    'action': {'take': [1, 0], 'scale': [-1.0, -1.0], 'offset': [0.512, 0.512]},
}


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_tiny_bundle(tmp_path_factory.mktemp('bundles') / 'tiny', torchscript=True))


def made_critic(cond_width: int = 8, joints: int = 2, state_width: int = 12, width: int = 32) -> Critic:
    torch.manual_seed(0)
    project = torch.randn(cond_width, 3).half().float()
    inputs = CriticInputs(
        torch.randn(cond_width), project, torch.randn(state_width, joints), torch.randn(joints), used=10
    )
    inputs.mean.normal_()
    inputs.scale.uniform_(0.5, 2.0)
    critic = Critic(inputs, width=width).eval()
    round_to_half(critic)
    return critic


@pytest.fixture(scope='module')
def with_critic(tiny: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp('bundles') / 'chosen'
    return write_with_critic(tiny, folder, made_critic(), critic_from=0.2, record={'episodes': 1})


def decisions(rng: np.random.Generator, success: bool, count: int = 12) -> Decisions:
    """Return an episode in which success comes by what the chunks' tenth action says."""
    actions = rng.uniform(-1, 1, (count, 16, 2)).astype(np.float32)
    actions[:, 9, 0] = np.abs(actions[:, 9, 0]) * (1 if success else -1)
    cond, state = (rng.standard_normal((count, width)).astype(np.float32) for width in (8, 12))
    near = np.full(count, 0.9 if success else 0.1, dtype=np.float32)
    return Decisions(taken=(cond, state, actions), near=near, success=success)


def test_a_value_is_the_mean_of_the_members_less_what_they_differ_by():
    critic = made_critic()
    inputs = critic.inputs
    cond, state, actions = torch.randn(5, 8), torch.randn(5, 12), torch.randn(5, 16, 2)
    here = state @ inputs.base + inputs.offset
    moves = torch.cat([actions[:, step] - here for step in range(10)], dim=1)
    raw = torch.cat(((cond - inputs.center) @ inputs.project, state, moves), dim=1)
    features = (raw - inputs.mean) / inputs.scale
    with torch.no_grad():
        values = torch.sigmoid(torch.stack([member(features)[:, 0] for member in critic.members])).numpy()
        got = critic(cond, state, actions).numpy()
        later = actions.clone()
        later[:, 10:] += 1.0
        np.testing.assert_array_equal(critic(cond, state, later).numpy(), got)  # those are not executed
    assert values.std(axis=0).min() > 1e-3
    np.testing.assert_allclose(got, values.mean(axis=0) - PESSIMISM * values.std(axis=0), atol=1e-6)


@pytest.mark.parametrize('relative', [False, True])
def test_actions_count_from_where_the_joints_are(tmp_path, relative):
    task = dataclasses.replace(TASK, action=dataclasses.replace(TASK.action, relative=relative))
    normalizer = dataclasses.replace(NORMALIZER, low={**NORMALIZER.low, ACTION: (-0.1, 0.2)})
    bundle = load_bundle(write_tiny_bundle(tmp_path / 'tiny', task=task, normalizer=normalizer))
    base, offset = where_joints_are(bundle)
    inputs = DiffusionPolicy(bundle, open_backend(bundle)).inputs(window())
    here = (torch.from_numpy(state_of(bundle.task, inputs)) @ base + offset).numpy()
    expected = np.zeros((1, 2)) if relative else normalizer.normalize(ACTION, window().streams['joint_states'][-1:])
    np.testing.assert_allclose(here, expected, atol=1e-6)


def test_nearness_is_the_best_score_until_the_chunk_after_the_next():
    scores = [(0, 0.99), (1, 0.2), (1, 0.5), (2, 0.4), (3, 0.8), (3, 1.5), (4, 0.1)]
    np.testing.assert_allclose(nearness(scores, 4), [0.5**4, 1.0, 1.0, 0.1**4], rtol=1e-5)


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
    assert np.isfinite(find_projection(wide * np.float32(1e-6)).project).all()
    again = np.linalg.lstsq(np.c_[low, np.ones(500)], said, rcond=None)
    assert np.all(again[1] / len(said) < 1e-4 * said.var(axis=0))  # nothing was lost
    half = projection.project.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(half, projection.project)


def test_rows_are_those_whose_outcome_is_known_and_their_mirror_images():
    rng = np.random.default_rng(0)
    experience = Experience(discount=0.5, unknown=2)
    plain, poor = decisions(rng, True, 4), decisions(rng, False, 4)
    turned = (*(array + 1.0 for array in plain.taken[:2]), -plain.taken[2])
    experience.add(dataclasses.replace(plain, mirrored=turned))
    experience.add(poor)
    projection, rows = experience.rows()
    assert rows.worth.tolist() == [0.125, 0.25, 0.5, 1.0, 0.125, 0.25, 0.5, 1.0, 0.0, 0.0]
    np.testing.assert_allclose(rows.near, [0.9] * 8 + [0.1] * 2, rtol=1e-6)
    assert rows.episode.tolist() == [0] * 8 + [1] * 2
    np.testing.assert_allclose(rows.low[4:8], projection(turned[0]), atol=1e-6)
    np.testing.assert_array_equal(rows.state[4:8], turned[1])
    np.testing.assert_array_equal(rows.actions[4:8], turned[2])
    np.testing.assert_array_equal(rows.actions[8:], poor.taken[2][:2])


def test_a_critic_learns_which_chunks_lead_to_success(tiny):
    rng = np.random.default_rng(0)
    experience = Experience(discount=1.0, unknown=1)
    for number in range(200):
        experience.add(decisions(rng, bool(number % 3)))
    fitted = fit_critic(experience, tiny, epochs=20)
    assert fitted.correlation > 0.8
    new = [decisions(rng, success, 50).taken for success in (True, False)]
    with torch.no_grad():
        good, poor = (fitted.critic(*map(torch.from_numpy, taken)).numpy() for taken in new)
    assert (good[:, None] > poor[None]).mean() > 0.95
    halves = [p.half().float() for p in fitted.critic.parameters()]
    assert all(torch.equal(p, half) for p, half in zip(fitted.critic.parameters(), halves, strict=True))


def test_what_is_held_out_is_not_learnt_from(tiny, monkeypatch):
    learnt = []
    monkeypatch.setattr(critic_fit, '_fit', lambda member, features, outcome, total, bar: learnt.append(len(features)))
    rng = np.random.default_rng(0)
    experience = Experience(discount=0.9, unknown=1)
    for _ in range(100):
        experience.add(decisions(rng, True))
    fit_critic(experience, tiny, epochs=1)
    assert learnt == [90 * 12] * 4


@pytest.mark.parametrize('successes', [(), (9, 19, 29)])
def test_no_success_is_nothing_to_learn_from(tiny, successes):
    rng = np.random.default_rng(0)
    experience = Experience(discount=0.9, unknown=1)
    for number in range(100):
        experience.add(decisions(rng, number in successes))  # these would be held out
    with pytest.raises(DataError, match='100 episodes: got 0 successes in 990 chunks to learn from, allowed one'):
        fit_critic(experience, tiny, epochs=1)


@pytest.mark.parametrize('backend', ['onnxruntime', 'torchscript'])
def test_it_goes_along_in_the_bundle(tiny, with_critic, backend):
    assert with_critic.has_critic and not tiny.has_critic
    assert (with_critic.name, with_critic.critic_from) == ('chosen', 0.2)
    assert with_critic.provenance == {**tiny.provenance, 'critic': {'episodes': 1}}
    parity = with_critic.parity()
    opened = open_backend(with_critic, backend=backend)
    given = [np.repeat(a, 3, axis=0) for a in (parity.cond, state_of(with_critic.task, parity.inputs), parity.x_k)]
    expected = made_critic()(*map(torch.from_numpy, given)).detach().numpy()
    np.testing.assert_allclose(opened.value(*given), expected, atol=1e-5)
    np.testing.assert_allclose(opened.value(*given)[::3], parity.value, atol=1e-5)


def test_a_critic_that_gives_other_values_than_recorded_is_refused(tiny, with_critic, tmp_path):
    parity = with_critic.parity()
    networks = {f: with_critic.path(f) for f in with_critic.files if f != 'parity.npz'}
    shifted = dataclasses.replace(parity, value=parity.value + np.float32(1e-3))
    write_tiny_bundle(tmp_path / 'shifted', networks=networks, parity=shifted)
    with pytest.raises(BundleError, match=r'value by onnxruntime: got a difference of 0.001 from what was recorded'):
        open_backend(load_bundle(tmp_path / 'shifted'))
    with pytest.raises(BundleError, match=r'recorded value: got none with critic.onnx'):
        write_tiny_bundle(tmp_path / 'none', networks=networks, parity=dataclasses.replace(parity, value=None))
    with pytest.raises(BundleError, match=r'critic_from: got 2.0, allowed 0 to 1'):
        write_tiny_bundle(tmp_path / 'from', networks=networks, parity=parity, critic_from=2.0)
    del networks['critic.onnx']
    with pytest.raises(BundleError, match=r'recorded value: got one without critic.onnx'):
        write_tiny_bundle(tmp_path / 'one', networks=networks, parity=parity)


def test_a_critic_of_another_shape_is_refused(tiny, tmp_path):
    other = write_with_critic(tiny, tmp_path / 'other', made_critic(), critic_from=0.0, record={})
    networks = {f: other.path(f) for f in other.files if f != 'parity.npz'}
    networks['critic.onnx'] = networks['denoiser.onnx']
    write_tiny_bundle(tmp_path / 'wrong', networks=networks, parity=other.parity())
    with pytest.raises(BundleError, match=r'critic.onnx: got inputs cond, k, x_k, allowed actions, cond, state'):
        open_backend(load_bundle(tmp_path / 'wrong'))


class Judge:
    """A backend whose critic says what it is told to."""

    def __init__(self, bundle: Bundle, values: list[float]) -> None:
        self.backend, self.values, self.asked = open_backend(bundle), values, 0
        self.encode, self.predict = self.backend.encode, self.backend.predict

    def value(self, cond: np.ndarray, state: np.ndarray, actions: np.ndarray) -> np.ndarray:
        self.asked += 1
        self.given = (cond, state)
        assert len(cond) == len(state) == len(actions) == len(self.values)
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


def test_with_guidance_the_critic_is_given_what_is_asked_for(tmp_path):
    task = dataclasses.replace(TASK, guidance='observation')
    bundle = load_bundle(write_tiny_bundle(tmp_path / 'guided', task=task, networks=tiny_networks(task)[0],
                                           parity=tiny_networks(task)[1]))  # fmt: skip
    bundle = write_with_critic(bundle, tmp_path / 'judged', made_critic(), critic_from=0.0, record={})
    judge = Judge(bundle, [0.1, 0.9, 0.2])
    policy = DiffusionPolicy(bundle, judge, guidance_scale=2.0, samples=3)
    policy.chunk(window(), np.random.default_rng(0))
    inputs = policy.inputs(window())
    asked = judge.encode({**inputs, 'given': np.ones((1, 1), np.float32)})
    np.testing.assert_allclose(judge.given[0], np.repeat(asked, 3, axis=0), atol=1e-6)
    np.testing.assert_array_equal(judge.given[1], np.repeat(state_of(bundle.task, inputs), 3, axis=0))


def test_what_was_decided_is_kept_with_its_mirror_image(tmp_path):
    folder = write_tiny_bundle(tmp_path / 'mirrored', provenance={'config': {'mirror': MIRROR}})
    settings = EvaluationSettings(bundle=folder, episodes=3, seed=3, seconds=2.0, samples=3)
    alone = list(rollouts(settings, 0.5, 'alone'))
    shared = list(rollouts(dataclasses.replace(settings, workers=2), 0.5, 'shared'))
    for one, other in zip(alone, shared, strict=True):
        assert one.success == other.success and len(one.near) >= 2
        np.testing.assert_array_equal(one.near, other.near)
        np.testing.assert_array_equal(one.taken[2], other.taken[2])
        assert one.mirrored is not None and other.mirrored is not None
        np.testing.assert_array_equal(one.mirrored[0], other.mirrored[0])
        # x -> 0.512 - y is, normalized from 0 to 0.512, x -> -y.
        np.testing.assert_allclose(one.mirrored[2], -one.taken[2][..., ::-1], atol=1e-5)
        assert np.abs(one.mirrored[0] - one.taken[0]).max() > 0.1
    plain = dataclasses.replace(settings, bundle=write_tiny_bundle(tmp_path / 'plain'), episodes=1)
    assert [d.mirrored for d in rollouts(plain, 0.0, 'plain')] == [None]


@pytest.mark.parametrize('relative', [False, True])
def test_the_mirror_image_is_of_what_was_observed(tmp_path, relative):
    task = dataclasses.replace(TASK, action=dataclasses.replace(TASK.action, relative=relative))
    bundle = load_bundle(write_tiny_bundle(tmp_path / 'mirrored', task=task, provenance={'config': {'mirror': MIRROR}}))
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
    actions = policy.chunk(seen, np.random.default_rng(0)).actions
    policy.chunk(turned, np.random.default_rng(0))
    base = turned.streams['joint_states'][-1] if relative else 0.0
    expected = NORMALIZER.normalize(ACTION, 0.512 - actions[:, ::-1] - base)
    np.testing.assert_allclose(policy.mirrored[0][2], expected, atol=1e-6)
    for own, other in ((0, 1), (1, 0)):
        for what in (0, 1):  # cond, state
            np.testing.assert_allclose(policy.mirrored[own][what], policy.decided[other][what], atol=1e-6)


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
        return (decisions(rng, bool(number % 3), 36) for number in range(settings.episodes))

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
    with pytest.raises(BundleError, match=r'got a path that exists'):
        run_critic(settings, said.append)


def test_without_a_success_nothing_is_written(tiny, tmp_path, capsys):
    command = ['critic', str(tiny.folder), str(tmp_path / 'out'), '--episodes', '20', '--seconds', '3',
               '--discount', '0.5']  # fmt: skip
    assert main(command) == 1
    assert 'got 0 successes in' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
    assert main([*command, '--rounds', '0']) == 1
    assert 'rounds: got 0, allowed 1 to 20' in capsys.readouterr().err


@pytest.mark.parametrize('weights', ['float16', 'float32', 'int8'])
def test_export_takes_the_critic_along_and_it_says_the_same(tmp_path, weights):
    bundle = load_bundle('models/push_block_state')
    parity = bundle.parity()
    rng = np.random.default_rng(0)
    noise = [{name: rng.uniform(-1, 1, (64, *v.shape[1:])).astype(np.float32) for name, v in parity.inputs.items()}]
    backend = open_backend(bundle)
    cond, state = backend.encode(noise[0]), state_of(bundle.task, noise[0])
    projection = find_projection(cond)
    joints = len(bundle.task.action.joints)
    inputs = CriticInputs(
        torch.from_numpy(projection.center), torch.from_numpy(projection.project), *where_joints_are(bundle), used=10
    )
    raw = inputs.raw_of(torch.from_numpy(projection(cond)), torch.from_numpy(state), torch.zeros(64, 16, joints))
    inputs.scale.copy_(raw.std(dim=0).clamp(min=0.1))
    critic = Critic(inputs, width=32).eval()
    round_to_half(critic)
    judged = write_with_critic(bundle, tmp_path / 'judged', critic, critic_from=0.3, record={})
    again = export_run(judged.folder, tmp_path / 'again', ExportSettings(weights=weights))
    assert again.has_critic and again.critic_from == 0.3
    actions = rng.uniform(-1, 1, (64, 16, joints)).astype(np.float32)
    values = [b.value(b.encode(noise[0]), state, actions) for b in (open_backend(judged), open_backend(again))]
    assert values[0].std() > 1e-3
    np.testing.assert_allclose(values[1], values[0], atol=1e-4)


def test_what_is_refused_leaves_the_bundle_that_was_there(tiny, tmp_path):
    folder = write_tiny_bundle(tmp_path / 'tiny')
    before = (folder / 'bundle.json').read_bytes()
    wrong = made_critic(joints=2)
    wrong.inputs.offset.fill_(float('nan'))
    dropping = made_critic().train()  # its graph drops nothing: it gives other values
    for critic, message in ((wrong, 'recorded value'), (dropping, 'value by onnxruntime: got a difference')):
        with pytest.raises(BundleError, match=message):
            write_with_critic(load_bundle(folder), folder, critic, critic_from=0.0, record={}, overwrite=True)
    assert (folder / 'bundle.json').read_bytes() == before


def test_a_bundle_without_a_critic_is_as_it_was_before_there_were_any(tiny):
    assert 'critic' not in (tiny.folder / 'bundle.json').read_text()


def test_what_cannot_be_is_refused_before_anything_is_played(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(critic_command, 'rollouts', lambda *_: pytest.fail('played'))
    settings = CriticSettings(bundle=tiny.folder, out=tmp_path / 'out', world='pusht', rounds=2)
    with pytest.raises(ConfigError, match=r'discount and seconds: got 0.98, .* 60 chunks later .* 38 chunks'):
        run_critic(dataclasses.replace(settings, discount=0.98), print)
    with pytest.raises(ConfigError, match='seed: got'):
        dataclasses.replace(settings, seed=2**31 - 500)
    (tmp_path / 'other').mkdir()
    with pytest.raises(BundleError, match=r'got a path without bundle.json'):
        run_critic(dataclasses.replace(settings, out=tmp_path / 'other', overwrite=True), print)
    behaviour = CriticSettings(bundle=Path('models/push_block_bc'), out=tmp_path / 'out', world='push_block')
    with pytest.raises(ConfigError, match='got regression, allowed one that samples'):
        run_critic(behaviour, print)
    played = dataclasses.replace(settings, policy_speed=1.4, seconds=12.0, workers=2).round_settings(1, tiny.folder)
    assert (played.policy_speed, played.seconds, played.workers, played.threads) == (1.4, 12.0, 2, 1)
