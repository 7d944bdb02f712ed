from __future__ import annotations

import dataclasses
import doctest
import threading

import numpy as np
import pytest

from dp_ros import Policy
from dp_ros.data import Window
from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.errors import ConfigError, DataError
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.normalizer import ACTION
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.task.spec import ImageStream

DT = 100_000_000


class Recorder:
    """A backend that keeps what it is asked, and may put a number into what it answers."""

    def __init__(self, backend, into=None, number=0.0):
        self.backend = backend
        self.inputs = []
        self.levels = []
        self.into = into
        self.number = number

    def _answer(self, what, array):
        array = array.copy()
        if self.into == what:
            array.flat[3] = self.number
        return array

    def encode(self, inputs):
        self.inputs.append(inputs)
        return self._answer('cond', self.backend.encode(inputs))

    def predict(self, x_k, k, cond):
        self.levels.append(k.tolist())
        return self._answer('prediction', self.backend.predict(x_k, k, cond))


def window(**changes):
    streams = {
        'joint_states': np.array([[0.1, 0.2], [0.15, 0.25]]),
        'block_pose': np.array([[0.3, 0.3, 0.0, 1.0], [0.31, 0.29, 0.1, 0.99]]),
    }
    streams = {name: value for name, value in {**streams, **changes}.items() if value is not None}
    length = len(next(iter(streams.values())))
    return Window(stamps=DT * np.arange(10, 10 + length), streams=streams)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def bundle(original):
    return load_bundle(original)


@pytest.fixture
def recorder(bundle):
    return Recorder(open_backend(bundle))


@pytest.fixture
def policy(bundle, recorder):
    return DiffusionPolicy(bundle, recorder)


def test_a_chunk_is_due_from_the_newest_observation_on(policy):
    chunk = policy.chunk(window(), rng())
    assert chunk.stamp == 11 * DT
    assert chunk.control_dt == DT
    assert chunk.joints == ('pusher_x', 'pusher_y')
    assert chunk.actions.shape == (16, 2)
    assert chunk.actions.dtype == np.float64


def test_actions_lie_in_the_range_of_the_training_data(policy):
    actions = np.concatenate([policy.chunk(window(), rng(seed)).actions for seed in range(20)])
    assert actions.min() >= 0.0
    assert actions.max() <= 0.512
    assert np.unique(actions.round(6)).size > 100


def test_the_window_is_encoded_once_and_the_denoiser_runs_sampling_steps_times(policy, recorder):
    policy.with_settings(sampling_steps=4).chunk(window(), rng())
    assert len(recorder.inputs) == 1
    assert recorder.levels == [[99], [74], [49], [24]]


def test_streams_are_normalized(policy, recorder, bundle):
    policy.chunk(window(), rng())
    (inputs,) = recorder.inputs
    assert {name: (value.shape, value.dtype) for name, value in inputs.items()} == {
        'joint_states': ((1, 2, 2), np.float32),
        'block_pose': ((1, 2, 4), np.float32),
    }
    np.testing.assert_allclose(inputs['joint_states'][0], np.array([[0.1, 0.2], [0.15, 0.25]]) / 0.256 - 1, atol=1e-6)


def test_the_result_is_the_denormalized_x_0(policy, recorder, bundle):
    chunk = policy.chunk(window(), rng(5))
    x_0 = policy.sample(recorder.inputs[0], rng(5)).actions
    assert x_0.shape == (1, 16, 2)
    np.testing.assert_array_equal(chunk.actions, bundle.normalizer.denormalize(ACTION, x_0[0]))


@pytest.mark.parametrize('sampler', ['ddim', 'ddpm'])
def test_a_seed_gives_one_chunk_and_another_seed_another(policy, sampler):
    policy = policy.with_settings(sampler=sampler)
    first = policy.chunk(window(), rng(1)).actions
    np.testing.assert_array_equal(policy.chunk(window(), rng(1)).actions, first)
    assert np.abs(policy.chunk(window(), rng(2)).actions - first).max() > 1e-3


@pytest.mark.parametrize('sampler', ['ddim', 'ddpm'])
def test_backends_give_the_same_chunk(bundle, sampler):
    policies = [DiffusionPolicy(bundle, open_backend(bundle, name)) for name in ('onnxruntime', 'torchscript')]
    one, other = (p.with_settings(sampler=sampler).chunk(window(), rng()).actions for p in policies)
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_it_starts_with_the_bundles_settings(tiny, tmp_path):
    defaults = SamplerSettings(sampler='ddpm', sampling_steps=3, spacing='leading')
    bundle = load_bundle(tiny.write_tiny_bundle(tmp_path / 'tiny', defaults=defaults))
    assert DiffusionPolicy(bundle, open_backend(bundle)).settings == defaults


def test_changed_settings_make_a_policy_that_shares_the_networks(policy, recorder):
    changed = policy.with_settings(sampling_steps=2, spacing='leading')
    assert changed.settings == SamplerSettings(sampling_steps=2, spacing='leading')
    assert policy.settings == SamplerSettings()
    changed.chunk(window(), rng())
    assert recorder.levels == [[50], [0]]


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'sampler': 'euler'}, "sampler with schedule 'squaredcos_cap_v2': got 'euler', allowed ddim, ddpm"),
        ({'sampling_steps': 0}, 'sampling_steps: got 0'),
        ({'sampling_steps': 101}, r'sampling_steps: got 101, allowed 1 to diffusion_steps \(100\)'),
        ({'spacing': 'linspace'}, "spacing: got 'linspace', allowed trailing, leading"),
    ],
)
def test_settings_out_of_range_are_refused(policy, wrong, message):
    with pytest.raises(ConfigError, match=message):
        policy.with_settings(**wrong)


def test_another_thread_may_change_settings_between_chunks(policy):
    """Every chunk is that of one setting or the other, never of a mixture."""
    both = [policy.with_settings(sampling_steps=2), policy.with_settings(sampling_steps=7, sampler='ddpm')]
    expected = [p.chunk(window(), rng()).actions for p in both]
    current = both[0]
    done = threading.Event()

    def change():
        nonlocal current
        while not done.is_set():
            current = both[1] if current is both[0] else both[0]

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(50):
            actions = current.chunk(window(), rng()).actions
            assert any(np.array_equal(actions, e) for e in expected)
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'block_pose': None}, 'window streams: got joint_states, allowed block_pose, joint_states'),
        ({'gripper': np.zeros((2, 1))}, 'window streams: got block_pose, gripper, joint_states, allowed'),
        ({'block_pose': np.zeros((2, 3))}, r"window stream 'block_pose': got shape \(2, 3\), allowed \(2, 4\)"),
        (
            {'joint_states': np.zeros((3, 2)), 'block_pose': np.zeros((3, 4))},
            r"window stream 'joint_states': got shape \(3, 2\), allowed \(2, 2\)",
        ),
        ({'joint_states': np.zeros((2, 2), int)}, "window stream 'joint_states': got int64, allowed float64"),
    ],
)
def test_a_window_of_another_task_is_refused(policy, recorder, changes, message):
    with pytest.raises(DataError, match=message):
        policy.chunk(window(**changes), rng())
    assert not recorder.inputs


@pytest.mark.parametrize('number', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ('into', 'message'), [('cond', 'tiny cond: got'), ('prediction', 'tiny prediction at k = 99: got')]
)
def test_a_network_that_gives_no_finite_number_makes_no_chunk(bundle, into, message, number):
    policy = DiffusionPolicy(bundle, Recorder(open_backend(bundle), into, number))
    with pytest.raises(DataError, match=message):
        policy.chunk(window(), rng())


@pytest.fixture
def seeing(tiny, tmp_path):
    """A policy with a camera, and what its backend is asked."""
    camera = ImageStream(name='camera', topic='/camera', height=8, width=12)
    task = dataclasses.replace(tiny.TASK, streams=(*tiny.TASK.streams, camera))
    bundle = load_bundle(tiny.write_tiny_bundle(tmp_path / 'tiny', task=task))
    recorder = Recorder(open_backend(bundle))
    return DiffusionPolicy(bundle, recorder), recorder


def test_images_go_in_channels_first_from_minus_one_to_one(seeing):
    policy, recorder = seeing
    pixels = rng().integers(0, 256, (2, 8, 12, 3), dtype=np.uint8)
    pixels[0, 0, 0] = (0, 255, 51)
    policy.chunk(window(camera=pixels), rng())
    image = recorder.inputs[0]['camera']
    assert (image.shape, image.dtype) == ((1, 2, 3, 8, 12), np.float32)
    np.testing.assert_allclose(image[0, 0, :, 0, 0], [-1.0, 1.0, -0.6], atol=1e-6)


@pytest.mark.parametrize(
    ('pixels', 'message'),
    [
        (np.zeros((2, 12, 8, 3), np.uint8), r"'camera': got shape \(2, 12, 8, 3\), allowed \(2, 8, 12, 3\)"),
        (np.zeros((2, 8, 12, 3), np.float32), "'camera': got float32, allowed uint8"),
    ],
)
def test_images_of_another_kind_are_refused(seeing, pixels, message):
    with pytest.raises(DataError, match=message):
        seeing[0].chunk(window(camera=pixels), rng())


# Python, not only commands.


def test_a_policy_is_loaded_in_one_line_and_is_a_function_of_window_and_seed(original):
    loaded = Policy.load(original, sampling_steps=3, seed=5)
    streams = {name: values.tolist() for name, values in window().streams.items()}
    chunk = loaded.chunk(loaded.window(**streams))
    assert chunk.joints == loaded.task.action.joints and chunk.actions.shape == (loaded.task.pred_horizon, 2)
    again = DiffusionPolicy.load(original).with_settings(sampling_steps=3).chunk(window(), rng(5))
    assert np.array_equal(chunk.actions, again.actions)
    assert np.array_equal(chunk.actions, loaded.chunk(window()).actions)
    assert not np.array_equal(chunk.actions, loaded.with_settings(seed=6).chunk(window()).actions)


@pytest.mark.parametrize(
    ('streams', 'message'),
    [
        ({'joint_states': np.zeros((3, 2))}, r"'joint_states': got shape \(3, 2\), allowed \(2, 2\)"),
        ({'joint_states': [['a', 'b']] * 2}, r"'joint_states': got could not convert string"),
        ({'joint_states': [[1.0, 2.0], [1.0]]}, r"'joint_states': got .* allowed numbers"),
        ({'joint_states': np.full((2, 2), np.nan)}, r"'joint_states': got nan at index \(0, 0\)"),
        ({'joints': np.zeros((2, 2))}, 'got block_pose, joint_states, joints, allowed block_pose, joint_states'),
    ],
)
def test_a_window_of_wrong_arrays_is_refused_by_name_and_shape(original, streams, message):
    with pytest.raises(DataError, match=message):
        Policy.load(original).window(**{**window().streams, **streams})


def test_pictures_are_eight_bit():
    policy = Policy.load('models/pusht_image', sampling_steps=2)
    blank = policy.blank_window().streams
    assert policy.window(**blank).streams['camera'].dtype == np.uint8
    with pytest.raises(DataError, match="'camera': got float64, allowed uint8"):
        policy.window(joint_states=blank['joint_states'], camera=blank['camera'] / 255.0)


def test_a_policy_played_faster_has_less_time_between_actions(original):
    assert Policy.load(original, policy_speed=2.0).chunk(window()).control_dt == DT // 2


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'sampler': 'magic'}, "sampler: got 'magic', allowed ddim"),
        ({'sampling_steps': 0}, 'sampling_steps: got 0'),
        ({'threads': 0}, 'threads: got 0, allowed 1 to 64'),
        ({'backend': 'tensorflow'}, "backend: got 'tensorflow'"),
    ],
)
def test_options_that_no_policy_has_are_refused_at_load(original, options, message):
    with pytest.raises(ConfigError, match=message):
        Policy.load(original, **options)


def test_a_bundle_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"path: got 'models/nothing', which does not exist"):
        Policy.load('models/nothing')


def test_the_example_of_the_docstring_runs():
    found = doctest.DocTestFinder(recurse=False).find(Policy, globs={})
    runner = doctest.DocTestRunner()
    for example in found:
        runner.run(example)
    assert runner.summarize() == (0, 5)
