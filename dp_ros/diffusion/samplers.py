"""DDIM and DDPM as tables of coefficients, computed once per setting; a step is a few multiply-adds.

Both samplers, for all three prediction types, are one formula in the denoiser's output m, with z fresh noise:

    x_0    = clip(gain * (from_x * x_k + from_m * m))
    x_next = to_x_0 * x_0 + to_x * x_k + to_m * m + sigma * z

DDIM is Song et al. 2021 (equation 12) with eta = 0; DDPM is Ho et al. 2020 (equations 6 and 7). Both clip x_0
as diffusers does: the noise in DDIM's direction term stays the unclipped one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from dp_ros.diffusion.schedule import ScheduleSpec, alphas_cumprod, check_choice
from dp_ros.errors import ConfigError

Sampler = Literal['ddim', 'ddpm']
Spacing = Literal['trailing', 'leading']
Predict = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """How a chunk is sampled. Immutable: another thread changes it by putting a new one in its place.

    Attributes
    ----------
    sampling_steps
        Network calls per chunk, 1 to the schedule's ``diffusion_steps``.
    spacing
        Which noise levels are visited: ``trailing`` starts at pure noise, ``leading`` (diffusers' default) ends at
        level 0 and starts where the true signal is still far from noise.

    """

    sampler: Sampler = 'ddim'
    sampling_steps: int = 10
    spacing: Spacing = 'trailing'

    def __post_init__(self) -> None:
        check_choice('sampler', self.sampler, get_args(Sampler))
        check_choice('spacing', self.spacing, get_args(Spacing))
        if self.sampling_steps < 1:
            raise ConfigError(f'sampling_steps: got {self.sampling_steps}, allowed 1 or more')


@dataclass(frozen=True, kw_only=True, eq=False)
class Coefficients:
    """The table of one setting: noise levels and float32 coefficients, each (sampling_steps,), first step first.

    The names are those of the formula at the top of this file.
    """

    levels: np.ndarray
    gain: np.ndarray
    from_x: np.ndarray
    from_m: np.ndarray
    to_x_0: np.ndarray
    to_x: np.ndarray
    to_m: np.ndarray
    sigma: np.ndarray
    clip: bool

    def __post_init__(self) -> None:
        for name in ('levels', 'gain', 'from_x', 'from_m', 'to_x_0', 'to_x', 'to_m', 'sigma'):
            array = getattr(self, name).astype(np.int64 if name == 'levels' else np.float32)
            array.flags.writeable = False  # cached, and shared by every policy with this setting
            object.__setattr__(self, name, array)

    def step(self, i: int, x_k: np.ndarray, prediction: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Take step ``i`` from ``x_k`` and the denoiser's output for it, both float32 of one shape."""
        # The difference comes first: for epsilon, gain is about 2000 at the noisiest level.
        x_0 = self.gain[i] * (self.from_x[i] * x_k + self.from_m[i] * prediction)
        if self.clip:
            np.clip(x_0, -1.0, 1.0, out=x_0)
        x_next: np.ndarray = self.to_x_0[i] * x_0 + (self.to_x[i] * x_k + self.to_m[i] * prediction)
        if self.sigma[i] > 0:
            x_next += self.sigma[i] * rng.standard_normal(x_k.shape, dtype=np.float32)
        return x_next


def sample(coefficients: Coefficients, predict: Predict, noise: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn ``noise`` into x_0 by calling ``predict(x_k, k)`` once per step.

    Parameters
    ----------
    coefficients
        From `coefficients_for`.
    predict
        The denoiser: x_k and noise level to a prediction of x_k's shape.
    noise
        Standard normal, any shape, for instance (B, T, A). It is left as it is.
    rng
        Source of DDPM's noise; DDIM draws nothing from it.

    """
    x_k = noise.astype(np.float32)
    for i, k in enumerate(coefficients.levels.tolist()):
        x_k = coefficients.step(i, x_k, predict(x_k, k), rng)
    return x_k


def noise_levels(diffusion_steps: int, sampling_steps: int, spacing: Spacing) -> np.ndarray:
    """Return the noise levels that are visited, noisiest first (table 2 of Lin et al. 2024)."""
    if not 1 <= sampling_steps <= diffusion_steps:
        raise ConfigError(f'sampling_steps: got {sampling_steps}, allowed 1 to diffusion_steps ({diffusion_steps})')
    if spacing == 'leading':
        return np.arange(sampling_steps)[::-1] * (diffusion_steps // sampling_steps)
    stride = diffusion_steps / sampling_steps
    return np.round(diffusion_steps - stride * np.arange(sampling_steps)).astype(np.int64) - 1


@lru_cache(maxsize=64)
def coefficients_for(schedule: ScheduleSpec, settings: SamplerSettings) -> Coefficients:
    """Return the table for a setting. It is computed once, in float64."""
    levels = noise_levels(schedule.diffusion_steps, settings.sampling_steps, settings.spacing)
    alpha_bar = alphas_cumprod(schedule.name, schedule.diffusion_steps)
    now, after = alpha_bar[levels], _alpha_bar_after(alpha_bar, levels, settings.sampler)
    signal, noise = np.sqrt(now), np.sqrt(1 - now)
    zero, one = np.zeros_like(now), np.ones_like(now)
    # Per prediction type: x_0 = gain * (from_x * x_k + from_m * m) and noise = noise_x * x_k + noise_m * m.
    with np.errstate(divide='ignore'):  # without any signal, as in regression, only `sample` makes sense
        gain, from_x, from_m, noise_x, noise_m = {
            'epsilon': (1 / signal, one, -noise, zero, one),
            'sample': (one, zero, one, 1 / noise, -signal / noise),
            'velocity': (one, signal, -noise, noise, signal),
        }[schedule.prediction_type]
    if settings.sampler == 'ddim':
        direction = np.sqrt(1 - after)
        to_x_0, to_x, to_m, sigma = np.sqrt(after), direction * noise_x, direction * noise_m, zero
    else:
        alpha = now / after
        to_x_0, to_x = np.sqrt(after) * (1 - alpha) / (1 - now), np.sqrt(alpha) * (1 - after) / (1 - now)
        to_m, sigma = zero, np.sqrt((1 - after) / (1 - now) * (1 - alpha))
    return Coefficients(
        levels=levels, gain=gain, from_x=from_x, from_m=from_m, clip=schedule.clip,
        to_x_0=to_x_0, to_x=to_x, to_m=to_m, sigma=sigma,
    )  # fmt: skip


def _alpha_bar_after(alpha_bar: np.ndarray, levels: np.ndarray, sampler: Sampler) -> np.ndarray:
    """Return alpha_bar where each step lands; the last step lands on the clean x_0 (diffusers' ``set_alpha_to_one``).

    DDPM lands on the level visited next. DDIM lands a fixed stride lower, as in diffusers: where ``sampling_steps``
    does not divide ``diffusion_steps``, that is up to one level noisier than the level visited next.
    """
    if sampler == 'ddpm':
        landing = np.append(levels[1:], -1)
    else:
        landing = levels - len(alpha_bar) // len(levels)
        # diffusers stops at level 0 if its last level was rounded up (6 of 100 steps, say): that leaves noise in x_0.
        landing[-1] = -1
    return np.where(landing >= 0, alpha_bar[landing], 1.0)
