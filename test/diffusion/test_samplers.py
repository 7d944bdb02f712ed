"""Oracles: diffusers, step by step, and the closed-form denoiser of Gaussian data."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from dp_ros.diffusion.coefficients import coefficients_for, default_settings, noise_levels
from dp_ros.diffusion.samplers import SamplerSettings, SamplerState, sample
from dp_ros.diffusion.schedule import ScheduleSpec, alphas_cumprod, amplitudes, beta_range
from dp_ros.errors import ConfigError

STEPS = (1, 2, 4, 8, 10, 16, 50, 100)
PREDICTION_TYPES = ('epsilon', 'sample', 'velocity')
SHAPE = (3, 16, 2)


def settings_grid():
    return list(itertools.product(('ddim', 'ddpm'), ('trailing', 'leading'), PREDICTION_TYPES, STEPS))


def network(x_k, k):
    """Stand in for a denoiser: bounded, smooth, and different at each level and channel."""
    mixed = x_k @ np.array([[0.5, -0.8], [0.6, 0.3]], np.float32)
    return np.tanh(mixed + np.float32(k / 50))


def diffusers_steps(monkeypatch, sampler, spacing, prediction_type, sampling_steps, seed):
    """Return diffusers' noise levels and its step (prediction, k, x_k), fed with our random numbers."""
    torch = pytest.importorskip('torch', reason='torch is needed by diffusers, the oracle')
    diffusers = pytest.importorskip('diffusers', reason='diffusers is the oracle')
    options = {
        'num_train_timesteps': 100,
        'beta_schedule': 'squaredcos_cap_v2',
        'clip_sample': True,
        'timestep_spacing': spacing,
        'prediction_type': 'v_prediction' if prediction_type == 'velocity' else prediction_type,
    }
    if sampler == 'ddim':
        scheduler = diffusers.DDIMScheduler(**options, set_alpha_to_one=True)
    else:
        scheduler = diffusers.DDPMScheduler(**options)
        rng = np.random.default_rng(seed)
        monkeypatch.setattr(
            'diffusers.schedulers.scheduling_ddpm.randn_tensor',
            lambda shape, **_: torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32)),
        )
    scheduler.set_timesteps(sampling_steps)

    def step(prediction, k, x_k):
        return scheduler.step(torch.from_numpy(prediction), k, torch.from_numpy(x_k)).prev_sample.numpy()

    return scheduler.timesteps.numpy(), step


@pytest.mark.parametrize(('sampler', 'spacing', 'prediction_type', 'sampling_steps'), settings_grid())
def test_every_step_of_a_trajectory_is_diffusers(monkeypatch, sampler, spacing, prediction_type, sampling_steps):
    levels, oracle_step = diffusers_steps(monkeypatch, sampler, spacing, prediction_type, sampling_steps, seed=1)
    settings = SamplerSettings(sampler=sampler, sampling_steps=sampling_steps, spacing=spacing)
    coefficients = coefficients_for(ScheduleSpec(prediction_type=prediction_type), settings)
    np.testing.assert_array_equal(coefficients.levels, levels)
    walk = SamplerState(coefficients, np.random.default_rng(1))
    ours = theirs = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    for k in levels.tolist():
        ours = walk.step(ours, network(ours, k))
        theirs = oracle_step(network(theirs, k), k, theirs)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert ours.dtype == np.float32


MULTISTEP = {
    'dpmsolver++': ('DPMSolverMultistepScheduler', {'algorithm_type': 'dpmsolver++'}),
    'unipc': ('UniPCMultistepScheduler', {}),
}


@pytest.mark.parametrize('schedule', ['squaredcos_cap_v2', 'linear', 'scaled_linear'])
@pytest.mark.parametrize('prediction_type', PREDICTION_TYPES)
@pytest.mark.parametrize('sampling_steps', [1, 2, 3, 4, 10, 20])
@pytest.mark.parametrize('sampler', list(MULTISTEP))
def test_every_step_of_a_multistep_sampler_is_diffusers(sampler, sampling_steps, prediction_type, schedule):
    torch = pytest.importorskip('torch', reason='torch is needed by diffusers, the oracle')
    diffusers = pytest.importorskip('diffusers', reason='diffusers is the oracle')
    name, options = MULTISTEP[sampler]
    first, last = beta_range(100)
    oracle = getattr(diffusers, name)(
        num_train_timesteps=100, beta_schedule=schedule, beta_start=first, beta_end=last, timestep_spacing='trailing',
        prediction_type='v_prediction' if prediction_type == 'velocity' else prediction_type,
        thresholding=True, sample_max_value=1.0, **options,
    )  # fmt: skip
    oracle.set_timesteps(sampling_steps)
    spec = ScheduleSpec(name=schedule, prediction_type=prediction_type)
    coefficients = coefficients_for(spec, SamplerSettings(sampler=sampler, sampling_steps=sampling_steps))
    np.testing.assert_array_equal(coefficients.levels, oracle.timesteps.numpy())
    walk = SamplerState(coefficients, np.random.default_rng(0))
    ours = theirs = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    for k in coefficients.levels.tolist():
        ours = walk.step(ours, network(ours, k))
        theirs = oracle.step(torch.from_numpy(network(theirs, k)), k, torch.from_numpy(theirs)).prev_sample.numpy()
        # diffusers computes its coefficients in float32: alpha_bar is 2.4e-7 at the noisiest level.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize('eta', [0.3, 1.0])
@pytest.mark.parametrize('sampling_steps', [2, 10])
def test_ddim_with_noise_is_diffusers(eta, sampling_steps):
    torch = pytest.importorskip('torch', reason='torch is needed by diffusers, the oracle')
    diffusers = pytest.importorskip('diffusers', reason='diffusers is the oracle')
    oracle = diffusers.DDIMScheduler(
        num_train_timesteps=100, beta_schedule='squaredcos_cap_v2', timestep_spacing='trailing'
    )
    oracle.set_timesteps(sampling_steps)
    coefficients = coefficients_for(ScheduleSpec(), SamplerSettings(sampling_steps=sampling_steps, eta=eta))
    walk, rng = SamplerState(coefficients, np.random.default_rng(3)), np.random.default_rng(3)
    ours = theirs = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    for k in coefficients.levels.tolist():
        ours = walk.step(ours, network(ours, k))
        noise = torch.from_numpy(rng.standard_normal(SHAPE, dtype=np.float32)) if k != coefficients.levels[-1] else 0.0
        prediction = torch.from_numpy(network(theirs, k))
        theirs = oracle.step(prediction, k, torch.from_numpy(theirs), eta=eta, variance_noise=noise).prev_sample.numpy()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)  # diffusers computes in float32


@pytest.mark.parametrize('sampling_steps', [1, 2, 4, 10, 100])
def test_every_step_of_flow_matching_is_diffusers(sampling_steps):
    torch = pytest.importorskip('torch', reason='torch is needed by diffusers, the oracle')
    diffusers = pytest.importorskip('diffusers', reason='diffusers is the oracle')
    spec = ScheduleSpec(name='flow', prediction_type='velocity', clip=False)
    coefficients = coefficients_for(spec, default_settings(spec, sampling_steps))
    oracle = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=100)
    oracle.set_timesteps(sigmas=amplitudes(spec)[1][coefficients.levels].tolist())
    walk = SamplerState(coefficients, np.random.default_rng(0))
    ours = theirs = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    for k, t in zip(coefficients.levels.tolist(), oracle.timesteps, strict=True):
        ours = walk.step(ours, network(ours, k))
        theirs = oracle.step(torch.from_numpy(network(theirs, k)), t, torch.from_numpy(theirs)).prev_sample.numpy()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize('sampler', ['dpmsolver++', 'unipc'])
def test_second_order_samplers_need_fewer_steps_than_ddim(sampler):
    noise = np.linspace(-2, 2, 9)

    def error(sampler):
        settings = SamplerSettings(sampler=sampler, sampling_steps=10)
        predict = gaussian_denoiser(0.1, 0.3, ScheduleSpec())
        x_0 = sample(coefficients_for(ScheduleSpec(), settings), predict, noise, np.random.default_rng(0))
        return np.abs(x_0 - (0.1 + 0.3 * noise)).max()

    assert error(sampler) < 0.7 * error('ddim')


def test_euler_reaches_a_point_in_one_step_along_its_straight_line():
    spec = ScheduleSpec(name='flow', prediction_type='velocity')
    noise, target = np.array([0.7, -1.2], dtype=np.float32), np.array([0.3, 0.4], dtype=np.float32)
    for sampling_steps in (1, 3):
        x_0 = sample(
            coefficients_for(spec, default_settings(spec, sampling_steps)),
            lambda x_k, k: noise - target, noise, np.random.default_rng(0),
        )  # fmt: skip
        np.testing.assert_allclose(x_0, target, atol=1e-6)


@pytest.mark.parametrize('spacing', ['trailing', 'leading'])
def test_noise_levels_are_diffusers_for_every_count(spacing):
    diffusers = pytest.importorskip('diffusers', reason='diffusers is the oracle')
    oracle = diffusers.DDIMScheduler(num_train_timesteps=100, timestep_spacing=spacing)
    for sampling_steps in range(1, 101):
        oracle.set_timesteps(sampling_steps)
        levels = noise_levels(100, sampling_steps, spacing)
        # diffusers adds up floating-point strides: exact halves round either way, and a level -1 may follow the last.
        allowed = 1 if spacing == 'trailing' else 0
        np.testing.assert_allclose(levels, oracle.timesteps.numpy()[:sampling_steps], rtol=0, atol=allowed)
        assert len(levels) == sampling_steps
        assert (np.diff(levels) < 0).all()
        assert levels[-1] >= 0


def gaussian_denoiser(mean, deviation, schedule):
    """Return the exact denoiser of data N(mean, deviation ** 2): E[x_0 | x_k] is linear in x_k."""
    alpha_bar = alphas_cumprod(schedule.name, schedule.diffusion_steps)

    def predict(x_k, k):
        signal, noise = math.sqrt(alpha_bar[k]), math.sqrt(1 - alpha_bar[k])
        x_0 = mean + signal * deviation**2 / ((signal * deviation) ** 2 + noise**2) * (x_k - signal * mean)
        epsilon = (x_k - signal * x_0) / noise
        outputs = {'epsilon': epsilon, 'sample': x_0, 'velocity': signal * epsilon - noise * x_0}
        return outputs[schedule.prediction_type].astype(np.float32)

    return predict


@pytest.mark.parametrize('prediction_type', PREDICTION_TYPES)
@pytest.mark.parametrize('sampler', ['ddim', 'ddpm'])
def test_the_exact_denoiser_of_gaussian_data_gives_that_gaussian(sampler, prediction_type):
    mean, deviation = 0.2, 0.15
    # DDPM's variance is that of data known exactly, so it falls short by a share that shrinks with the steps.
    schedule = ScheduleSpec(prediction_type=prediction_type, diffusion_steps=1000)
    coefficients = coefficients_for(schedule, SamplerSettings(sampler=sampler, sampling_steps=1000))
    rng = np.random.default_rng(0)
    x_0 = sample(coefficients, gaussian_denoiser(mean, deviation, schedule), rng.standard_normal(20_000), rng)
    assert x_0.mean() == pytest.approx(mean, abs=0.01)
    assert x_0.std() == pytest.approx(deviation, rel=0.03)


def test_ddim_follows_the_exact_flow_of_a_gaussian():
    # The probability flow keeps a sample's place in the distribution: noise z becomes mean + deviation * z.
    noise = np.linspace(-2, 2, 9)
    coefficients = coefficients_for(ScheduleSpec(), SamplerSettings(sampling_steps=100))
    x_0 = sample(coefficients, gaussian_denoiser(0.1, 0.3, ScheduleSpec()), noise, np.random.default_rng(0))
    np.testing.assert_allclose(x_0, 0.1 + 0.3 * noise, atol=0.02)


@pytest.mark.parametrize('sampling_steps', [3, 6, 7, 13, 60, 99])
def test_the_last_step_lands_on_the_clean_clipped_x_0(sampling_steps):
    for sampler, spacing in itertools.product(('ddim', 'ddpm'), ('trailing', 'leading')):
        settings = SamplerSettings(sampler=sampler, spacing=spacing, sampling_steps=sampling_steps)
        coefficients = coefficients_for(ScheduleSpec(prediction_type='sample'), settings)
        x_0 = sample(coefficients, lambda x, k: np.full_like(x, 3.0), np.zeros(4), np.random.default_rng(0))
        np.testing.assert_array_equal(x_0, np.ones(4))


def test_without_clipping_x_0_is_left_alone():
    coefficients = coefficients_for(ScheduleSpec(prediction_type='sample', clip=False), SamplerSettings())
    x_0 = sample(coefficients, lambda x, k: np.full_like(x, 3.0), np.zeros(4), np.random.default_rng(0))
    np.testing.assert_allclose(x_0, 3.0)


def test_regression_is_one_call_on_zeros_whose_answer_is_clipped():
    spec = ScheduleSpec(name='none', diffusion_steps=1, prediction_type='sample')
    coefficients = coefficients_for(spec, default_settings(spec))
    seen = []

    def predict(x_k, k):
        seen.append((x_k.copy(), k))
        return np.array([[-3.0, 0.25]], dtype=np.float32)

    x_0 = sample(coefficients, predict, np.zeros((1, 2)), np.random.default_rng(0))
    assert len(seen) == 1 and seen[0][1] == 0
    np.testing.assert_array_equal(seen[0][0], 0.0)
    np.testing.assert_array_equal(x_0, [[-1.0, 0.25]])


@pytest.mark.parametrize('changes', [{'diffusion_steps': 2}, {'prediction_type': 'epsilon'}])
def test_regression_has_one_level_and_predicts_the_sample(changes):
    with pytest.raises(ConfigError, match=r"schedule 'none'.*: got .*, allowed (1|sample)"):
        ScheduleSpec(**({'name': 'none', 'diffusion_steps': 1, 'prediction_type': 'sample'} | changes))


@pytest.mark.parametrize(
    ('sampler', 'prediction_type'),
    [('ddim', 'epsilon'), ('ddpm', 'epsilon'), ('ddim', 'velocity'), ('euler', 'velocity')],
)
def test_a_warm_start_takes_the_last_steps_of_the_whole_way(sampler, prediction_type):
    name = 'flow' if sampler == 'euler' else 'squaredcos_cap_v2'
    spec = ScheduleSpec(name=name, prediction_type=prediction_type)
    settings = SamplerSettings(sampler=sampler, sampling_steps=10, warm_steps=4)
    whole, warm = (coefficients_for(spec, settings, warm=w) for w in (False, True))
    assert warm.levels.tolist() == whole.levels.tolist()[-4:]
    rngs = [np.random.default_rng(1) for _ in range(2)]
    walks = [SamplerState(table, rng) for table, rng in zip((whole, warm), rngs, strict=True)]
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    for k in whole.levels.tolist()[:6]:
        x = walks[0].step(x, network(x, k))
    y = x.copy()
    rngs[1].bit_generator.state = rngs[0].bit_generator.state
    for k in warm.levels.tolist():
        x, y = walks[0].step(x, network(x, k)), walks[1].step(y, network(y, k))
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize('sampler', ['ddim', 'ddpm', 'dpmsolver++', 'unipc', 'euler'])
def test_a_warm_start_is_as_noisy_as_its_first_level_and_ends_at_the_estimate(sampler):
    spec = ScheduleSpec(name='flow' if sampler == 'euler' else 'squaredcos_cap_v2', prediction_type='velocity')
    table = coefficients_for(spec, SamplerSettings(sampler=sampler, sampling_steps=10, warm_steps=5), warm=True)
    a, s = (amplitude[table.levels[0]] for amplitude in amplitudes(spec))
    generator = np.random.default_rng(0)
    noise, start, end = (generator.uniform(-1, 1, SHAPE).astype(np.float32) for _ in range(3))
    seen = []

    def predict(x_k, k):
        seen.append(x_k)
        signal, amount = (amplitude[k] for amplitude in amplitudes(spec))
        left = (x_k - signal * end) / amount  # the noise that would make x_k of end
        return (left - end if sampler == 'euler' else signal * left - amount * end).astype(np.float32)

    x_0 = sample(table, predict, noise, np.random.default_rng(1), start=start)
    np.testing.assert_allclose(seen[0], a * start + s * noise, atol=1e-6)
    assert len(seen) == 5
    np.testing.assert_allclose(x_0, end, atol=2e-3)


@pytest.mark.parametrize(
    ('settings', 'allowed'),
    [({'warm_steps': 11}, '0 to 10'), ({'warm_steps': -1}, '0 to 1000'),
     ({'sampler': 'regression', 'sampling_steps': 2, 'warm_steps': 1}, '0 to 0')],
)  # fmt: skip
def test_warm_steps_that_cannot_be_are_refused(settings, allowed):
    with pytest.raises(ConfigError, match=rf'warm_steps.*: got .*, allowed {allowed}$'):
        SamplerSettings(**settings)


def test_the_denoiser_is_called_once_per_level_and_the_noise_is_left_as_it_was():
    called = []
    noise = np.ones(SHAPE, np.float32)

    def predict(x_k, k):
        called.append(k)
        return network(x_k, k)

    sample(coefficients_for(ScheduleSpec(), SamplerSettings()), predict, noise, np.random.default_rng(0))
    assert called == [99, 89, 79, 69, 59, 49, 39, 29, 19, 9]
    assert (noise == 1).all()


def test_ddim_draws_nothing_and_ddpm_is_repeated_by_its_seed():
    noise = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)

    def run(sampler, seed):
        coefficients = coefficients_for(ScheduleSpec(), SamplerSettings(sampler=sampler))
        return sample(coefficients, network, noise, np.random.default_rng(seed))

    np.testing.assert_array_equal(run('ddim', 1), run('ddim', 2))
    np.testing.assert_array_equal(run('ddpm', 1), run('ddpm', 1))
    assert np.abs(run('ddpm', 1) - run('ddpm', 2)).max() > 0.01


def test_coefficients_are_computed_once_per_setting_and_cannot_be_changed():
    first = coefficients_for(ScheduleSpec(), SamplerSettings(sampling_steps=7))
    assert coefficients_for(ScheduleSpec(), SamplerSettings(sampling_steps=7)) is first
    assert coefficients_for(ScheduleSpec(), SamplerSettings(sampling_steps=9)) is not first
    with pytest.raises(ValueError, match='read-only'):
        first.gain[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.clip = False


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'sampler': 'heun'}, "sampler: got 'heun', allowed ddim, ddpm, dpmsolver\\+\\+, unipc, euler, regression"),
        ({'eta': 1.5}, 'eta: got 1.5, allowed 0 to 1'),
        ({'sampler': 'unipc', 'eta': 0.5}, 'eta with sampler unipc: got 0.5, allowed 0'),
        ({'spacing': 'linspace'}, "spacing: got 'linspace', allowed trailing, leading"),
        ({'sampling_steps': 0}, 'sampling_steps: got 0, allowed 1 to 1000'),
    ],
)
def test_settings_that_do_not_exist_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        SamplerSettings(**wrong)


def test_more_sampling_steps_than_diffusion_steps_are_refused():
    with pytest.raises(ConfigError, match=r'sampling_steps: got 101, allowed 1 to diffusion_steps \(100\)'):
        coefficients_for(ScheduleSpec(), SamplerSettings(sampling_steps=101))
