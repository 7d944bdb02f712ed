from __future__ import annotations

import numpy as np
import pytest

from dp_ros.diffusion.schedule import ScheduleSpec, alphas_cumprod, beta_range
from dp_ros.errors import ConfigError


@pytest.mark.parametrize('name', ['linear', 'scaled_linear'])
@pytest.mark.parametrize('diffusion_steps', [20, 100, 1000])
def test_linear_schedules_are_diffusers_and_end_in_noise(name, diffusion_steps):
    diffusers = pytest.importorskip('diffusers', reason='diffusers is the oracle')
    first, last = beta_range(diffusion_steps)
    oracle = diffusers.DDPMScheduler(
        num_train_timesteps=diffusion_steps, beta_schedule=name, beta_start=first, beta_end=last
    )
    got = alphas_cumprod(name, diffusion_steps)
    np.testing.assert_allclose(got, oracle.alphas_cumprod.numpy(), rtol=1e-4)
    assert got[-1] < 2e-3 and (np.diff(got) < 0).all()


@pytest.mark.parametrize('diffusion_steps', [1, 10, 100, 1000])
def test_alphas_cumprod_are_diffusers_numbers(diffusion_steps):
    diffusers = pytest.importorskip('diffusers', reason='diffusers is the oracle')
    oracle = diffusers.DDPMScheduler(num_train_timesteps=diffusion_steps, beta_schedule='squaredcos_cap_v2')
    got = alphas_cumprod('squaredcos_cap_v2', diffusion_steps)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, oracle.alphas_cumprod.numpy().astype(np.float64))


def test_signal_falls_from_almost_all_to_almost_none():
    alpha_bar = alphas_cumprod()
    assert (np.diff(alpha_bar) < 0).all()
    assert alpha_bar[0] > 0.999
    assert alpha_bar[-1] == pytest.approx(2.4e-7, rel=0.05)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'name': 'cosine'}, "schedule name: got 'cosine', allowed squaredcos_cap_v2, linear"),
        ({'name': 'flow'}, "prediction_type with schedule 'flow': got 'epsilon', allowed velocity"),
        ({'prediction_type': 'noise'}, "prediction_type: got 'noise', allowed epsilon, sample, velocity"),
        ({'diffusion_steps': 0}, 'diffusion_steps: got 0, allowed 1 to 1000'),
        ({'diffusion_steps': 1001}, 'diffusion_steps: got 1001, allowed 1 to 1000'),
    ],
)
def test_what_it_does_not_know_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        ScheduleSpec(**wrong)


def test_an_unknown_schedule_has_no_numbers():
    with pytest.raises(ConfigError, match='schedule name'):
        alphas_cumprod('sigmoid', 100)
