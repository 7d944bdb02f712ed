"""A sequence model plans chunks: deterministic, after what is asked, within bounds, and refuses what is no number."""

from dataclasses import replace

import numpy as np
import pytest

from dp_ros import Policy
from dp_ros.data import Chunk
from dp_ros.errors import BundleError, ConfigError, DataError
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.continuity import Continuation, Overlap
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.sequence.planner import Bounds, PlanSettings, SequencePlanner
from dp_ros.policy.sequence.policy import SequencePolicy
from dp_ros.policy.sequence.session import open_sequence
from dp_ros.policy.sequence.spec import SequenceSpec, quantile_edges

pytest.importorskip('torch', reason='the tiny bundle is exported from torch, which is not installed')
from test.tiny_bundle import write_tiny_bundle, write_tiny_sequence

FREE = Bounds(centres=np.zeros((4, 0, 2)), radii=np.zeros(0), low=np.full(2, -np.inf), high=np.full(2, np.inf))
# One joint: return 0 to 10, action -1 to 1, reward 0 to 1.
SPEC = SequenceSpec(
    states=(), step_cost=0.0, layers=1, width=2,
    edges=tuple(tuple(np.linspace(*ends, 11)) for ends in ((0.0, 10.0), (-1.0, 1.0), (0.0, 1.0))),
)  # fmt: skip


@pytest.fixture(scope='module')
def policy(tmp_path_factory):
    return Policy.load(write_tiny_sequence(tmp_path_factory.mktemp('bundles') / 'tiny'))


@pytest.fixture
def window(policy):
    return policy.window(joint_states=np.full((2, 2), 0.25), block_pose=np.array([[0.3, 0.25, 0.0, 1.0]] * 2))


class Scripted:
    """A model whose actions' rewards are known: the higher the action's token, the higher the reward's."""

    def __init__(self):
        self.seen = []

    def encode(self, inputs):
        raise AssertionError

    def step(self, token, offset, cond, past):
        self.seen.append(token.copy())
        logits = np.zeros((len(token), 10), dtype=np.float32)
        if len(past) % 3 == 2:  # a reward is next, as many tenths as the action's token
            logits[np.arange(len(token)), token - 10] = 50.0
        return logits, np.zeros((len(token), 1, 2, 2), dtype=np.float32)


def plan(settings, seed=0, backend=None):
    backend = backend or Scripted()
    planner = SequencePlanner(SPEC, backend, steps=4, actions=1)
    free = replace(FREE, low=FREE.low[:1], high=FREE.high[:1])
    return planner.plan(np.zeros((1, 2), np.float32), np.zeros(1), free, settings, np.random.default_rng(seed))


@pytest.mark.parametrize('planning', ['return', 'beam', 'likelihood'])
def test_the_same_window_and_seed_give_the_same_chunk(policy, window, planning):
    chosen = policy.with_settings(planning=planning, temperature=1.0)
    first, again = chosen.chunk(window), chosen.chunk(window)
    other = chosen.chunk(window, np.random.default_rng(7))
    np.testing.assert_array_equal(first.actions, again.actions)
    assert first.actions.shape == (4, 2)
    if planning == 'return':  # a search comes to the same in the end
        assert not np.array_equal(first.actions, other.actions)


def test_the_return_tokens_are_what_is_asked_less_what_was_gained():
    backend = Scripted()
    plan(PlanSettings(asked=7.5, temperature=0.0), backend=backend)
    returns = [int(token[0]) for token in backend.seen[1::3]]
    # All actions are equally likely, so the first is taken, which gains 0.05 a step.
    assert returns == [7, 7, 7, 7]
    backend = Scripted()
    plan(PlanSettings(asked=3.02, temperature=0.0), backend=backend)
    assert [int(token[0]) for token in backend.seen[1::3]] == [3, 2, 2, 2]


def test_a_return_that_is_not_plausible_is_asked_for_as_far_as_it_is():
    backend = Scripted()
    plan(PlanSettings(asked=99.0), backend=backend)
    assert int(backend.seen[1][0]) == 9
    best = Scripted()
    plan(PlanSettings(asked=None), backend=best)
    assert int(best.seen[1][0]) == 7  # the quantile 0.8 of ten equally likely ones


def test_beams_of_higher_predicted_reward_go_on():
    alone = np.mean([plan(PlanSettings(temperature=1.0), seed).rewards.sum() for seed in range(8)])
    searched = [plan(PlanSettings(planning='beam', beams=16, temperature=1.0), seed).rewards.sum() for seed in range(8)]
    assert min(searched) > 2.6 > 2.4 > alone  # of 4 at most, and 2 on average


def test_what_a_run_has_gained_is_what_its_executed_steps_were_predicted_to():
    def chunk(stamp, rewards):
        actions = np.zeros((len(rewards), 1))
        return Chunk(stamp=stamp, control_dt=10, joints=('j',), actions=actions, rewards=np.array(rewards))

    run = Continuation()
    assert run.gained(0) == 0.0
    run.take(chunk(100, [-1.0, -0.5, -0.25]), 0, 'none')
    assert run.gained(120) == -1.5
    run.take(chunk(120, [-0.2, -0.1, 0.0]), 0, 'none')
    assert run.gained(130) == pytest.approx(-1.7)
    assert run.gained(1000) == pytest.approx(-1.8)


@pytest.mark.parametrize('planning', ['return', 'beam', 'likelihood'])
def test_no_set_point_comes_into_a_disc_or_leaves_a_range(policy, window, planning):
    def nearest(chosen):
        chunks = [chosen.chunk(window, np.random.default_rng(seed)).actions for seed in range(8)]
        away = np.linalg.norm(np.concatenate(chunks) - [0.3, 0.25], axis=1).min()
        return away, np.concatenate(chunks)[:, 0].min()

    free = policy.with_settings(planning=planning, temperature=1.0, beams=2)
    kept = free.with_settings(keep_clear=['block_pose:0.045'], keep_within=['pusher_x:0.22:0.5'])
    assert nearest(kept)[0] >= 0.045 - 1e-9 and nearest(kept)[1] >= 0.22
    assert nearest(free)[0] < 0.045 or nearest(free)[1] < 0.22


def test_who_is_in_a_disc_already_goes_out_of_it(policy, window):
    inside = policy.with_settings(keep_clear=['block_pose:0.2'])
    actions = inside.chunk(window).actions
    assert (np.diff(np.linalg.norm(actions - [0.3, 0.25], axis=1), prepend=0.05) > 0.02).all()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'asked_return': -21.0}, r'asked_return: got -21, allowed -20 to 0'),
        ({'planning': 'guess'}, "planning: got 'guess', allowed return, beam, likelihood"),
        ({'beams': 0}, 'beams: got 0, allowed 1 to 64'),
        ({'keep_clear': ['joint_states:0.1']}, "keep_clear: got stream 'joint_states', allowed poses .* block_pose"),
        ({'keep_clear': ['block_pose']}, "keep_clear: got 'block_pose', allowed stream:radius"),
        ({'keep_clear': ['block_pose:nan']}, "keep_clear: got 'block_pose:nan', allowed stream:radius with finite"),
        ({'keep_within': ['pusher_z:0:1']}, "keep_within: got joint 'pusher_z', allowed pusher_x, pusher_y"),
        ({'sampling_steps': 4}, 'options of a sequence model: got sampling_steps, allowed planning'),
    ],
)
def test_options_that_do_not_fit_are_refused(policy, options, message):
    with pytest.raises(ConfigError, match=message):
        policy.with_settings(**options)


def test_what_only_a_diffusion_policy_can_is_refused_by_name(policy, window, tmp_path):
    with pytest.raises(ConfigError, match="continuity: got 'rtc' for bundle tiny of family sequence"):
        policy.check_continuity('rtc')
    with pytest.raises(DataError, match='got an overlap, allowed none'):
        policy.chunk(window, overlap=Overlap(actions=np.zeros((4, 2)), weights=np.ones(4)))
    with pytest.raises(BundleError, match='got one of family sequence, allowed one of family diffusion'):
        DiffusionPolicy.load(policy.bundle.folder)
    asked = EvaluationSettings(bundle=policy.bundle.folder, samples=4, sampler='ddim')
    with pytest.raises(ConfigError, match='sampler, samples: got for bundle tiny of family sequence'):
        asked.sampler_settings(policy.bundle)
    other = load_bundle(write_tiny_bundle(tmp_path / 'other'))
    with pytest.raises(ConfigError, match='asked_return: got for bundle other of family diffusion'):
        EvaluationSettings(bundle=other.folder, asked_return=-3.0).sampler_settings(other)


def test_windows_of_wrong_shape_or_without_numbers_are_refused(policy):
    with pytest.raises(DataError, match=r'joint_states.*shape \(3, 2\)'):
        policy.window(joint_states=np.zeros((3, 2)), block_pose=np.zeros((2, 4)))
    with pytest.raises(DataError, match="'joint_states': got nan at index"):
        policy.window(joint_states=np.full((2, 2), np.nan), block_pose=np.zeros((2, 4)))


def test_a_model_that_gives_no_numbers_is_refused(policy, window):
    class Broken:
        encode = policy.backend.encode

        def step(self, *inputs):
            logits, memory = policy.backend.step(*inputs)
            return np.where(len(inputs[3]) == 9, np.nan, logits), memory

    with pytest.raises(DataError, match='sequence model logits of token 9'):
        SequencePolicy(policy.bundle, Broken()).chunk(window)


def test_a_backend_that_does_not_give_the_recorded_tokens_is_refused(policy, monkeypatch):
    recorded = policy.bundle.sequence_parity()
    changed = replace(recorded, logits=recorded.logits + np.float32(0.01))
    monkeypatch.setattr(type(policy.bundle), 'sequence_parity', lambda bundle: changed)
    with pytest.raises(BundleError, match=r'logits by onnxruntime: got a difference of 0\.01'):
        open_sequence(policy.bundle)


def test_quantile_edges_are_of_different_values():
    values = np.concatenate([np.zeros(1000), np.linspace(-1.0, 1.0, 101)])
    edges = quantile_edges(values, 10)
    np.testing.assert_allclose(edges, np.linspace(-1.0, 1.0, 11), atol=1e-9)
