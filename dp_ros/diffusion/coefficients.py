"""The table of each sampler.

========  =========================================================================================
symbol    meaning
========  =========================================================================================
a, s      amplitude of signal and noise at a visited level (`schedule.amplitudes`)
A, S      the same where the step lands; the last step lands on the clean x_0: A = 1, S = 0
l, h      log(a / s), and its growth in the step, log(A / S) - l
r         the step before's h, over this step's h
phi       exp(-h) - 1; -1 where the step lands on the clean x_0
========  =========================================================================================

DDIM is Song et al. 2021 (equations 12 and 16), DDPM Ho et al. 2020 (equations 6 and 7); both clip x_0 as diffusers
does: the noise in DDIM's direction term stays the unclipped one. DPM-Solver++ is 2M of Lu et al. 2022 (algorithm 2),
UniPC is Zhao et al. 2023 (order 2, B(h) = exp(h) - 1); both predict x_0 and end with a step of first order. Euler's
step along a straight line, x + (S - s) (noise - x_0), is the same formula as DDIM's. Regression lands on A x_0.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dp_ros.diffusion.samplers import Coefficients, Sampler, SamplerSettings, Spacing
from dp_ros.diffusion.schedule import ScheduleSpec, amplitudes
from dp_ros.errors import ConfigError, check_choice

SAMPLERS: dict[str, tuple[Sampler, ...]] = {'flow': ('euler',), 'none': ('regression',)}
DIFFUSION_SAMPLERS: tuple[Sampler, ...] = ('ddim', 'ddpm', 'dpmsolver++', 'unipc')
Table = dict[str, np.ndarray]


def samplers_for(schedule: ScheduleSpec) -> tuple[Sampler, ...]:
    """Return the samplers that suit a schedule; the first is the default."""
    return SAMPLERS.get(schedule.name, DIFFUSION_SAMPLERS)


def default_settings(schedule: ScheduleSpec, sampling_steps: int | None = None) -> SamplerSettings:
    """Return the schedule's usual sampler, with 10 steps, the fewer that it knows, or the number that is given."""
    steps = sampling_steps or schedule.only_steps or min(10, schedule.diffusion_steps)
    return SamplerSettings(sampler=samplers_for(schedule)[0], sampling_steps=steps)


def noise_levels(diffusion_steps: int, sampling_steps: int, spacing: Spacing) -> np.ndarray:
    """Return the noise levels that are visited, noisiest first (table 2 of Lin et al. 2024)."""
    if not 1 <= sampling_steps <= diffusion_steps:
        raise ConfigError(f'sampling_steps: got {sampling_steps}, allowed 1 to diffusion_steps ({diffusion_steps})')
    if spacing == 'leading':
        return np.arange(sampling_steps)[::-1] * (diffusion_steps // sampling_steps)
    stride = diffusion_steps / sampling_steps
    return np.round(diffusion_steps - stride * np.arange(sampling_steps)).astype(np.int64) - 1


@lru_cache(maxsize=64)
def coefficients_for(
    schedule: ScheduleSpec, settings: SamplerSettings, *, steered: bool = False, warm: bool = False
) -> Coefficients:
    """Return the table for a setting, computed once in float64.

    ``steered``: for an estimate of x_0 that is moved; ``warm``: of the last ``warm_steps`` alone.
    """
    check_choice(f'sampler with schedule {schedule.name!r}', settings.sampler, samplers_for(schedule))
    _check_distilled(schedule, settings)
    levels = noise_levels(schedule.diffusion_steps, settings.sampling_steps, settings.spacing)
    signal, noise = amplitudes(schedule)
    landing = _landing(schedule.diffusion_steps, levels, settings.sampler)
    if warm:
        if not settings.warm_steps:
            raise ConfigError('warm: got warm_steps 0, allowed 1 to sampling_steps')
        levels, landing = levels[-settings.warm_steps :], landing[-settings.warm_steps :]
    a, s = signal[levels], noise[levels]
    clean = landing < 0
    after = np.where(clean, 1.0, signal[landing]), np.where(clean, 0.0, noise[landing])
    zero = np.zeros(len(levels))
    table: Table = dict.fromkeys(('to_m', 'to_1', 'fix_x', 'fix_0', 'fix_1', 'fix_2', 'sigma', 'corrects'), zero)
    estimate, direction = _estimates(schedule, a, s)
    if settings.sampler in ('dpmsolver++', 'unipc'):
        table |= _multistep(a, s, *after, corrector=settings.sampler == 'unipc')
    elif settings.sampler == 'regression':
        table |= {'to_x_0': after[0], 'to_x': zero}
    elif settings.sampler == 'ddpm':
        table |= _ddpm(a, s, *after)
    else:
        table |= _ddim(a, s, *after, direction, settings.eta)
        if steered:
            # The noise of x_k, given the moved estimate: (x_k - a x_0) / s.
            share = np.sqrt(np.maximum(after[1] ** 2 - table['sigma'] ** 2, 0.0)) / s
            table |= {'to_x_0': after[0] - share * a, 'to_x': share, 'to_m': zero}
    return Coefficients(levels=levels, a=a, s=s, clip=schedule.clip, steered=steered, **estimate, **table)


def _check_distilled(schedule: ScheduleSpec, settings: SamplerSettings) -> None:
    """Refuse any way but the one that a distilled denoiser knows: at other levels it was never trained."""
    if not schedule.only_steps:
        return
    usual = SamplerSettings(sampler=samplers_for(schedule)[0], sampling_steps=schedule.only_steps)
    for name in ('sampling_steps', 'sampler', 'spacing', 'eta'):
        got, allowed = getattr(settings, name), getattr(usual, name)
        if got != allowed:
            raise ConfigError(f'{name}: got {got!r}, allowed {allowed!r}, which this denoiser was distilled for')


def _estimates(schedule: ScheduleSpec, a: np.ndarray, s: np.ndarray) -> tuple[Table, tuple[np.ndarray, np.ndarray]]:
    """Return how x_0 follows from x_k and the denoiser's output, and how the noise does: noise = x * x_k + m * m."""
    one = np.ones_like(a)
    with np.errstate(divide='ignore'):  # without any signal, as in regression, only some can be asked for
        if schedule.name == 'flow':
            gain, from_x, from_m, noise_x, noise_m = one, one, -s, one, a
        else:
            gain, from_x, from_m, noise_x, noise_m = {
                'epsilon': (1 / a, one, -s, 0 * one, one),
                'sample': (one, 0 * one, one, 1 / s, -a / s),
                'velocity': (one, a, -s, s, a),
            }[schedule.prediction_type]
    return {'gain': gain, 'from_x': from_x, 'from_m': from_m}, (noise_x, noise_m)


def _ddim(
    a: np.ndarray, s: np.ndarray, after_a: np.ndarray, after_s: np.ndarray,
    noise: tuple[np.ndarray, np.ndarray], eta: float,
) -> Table:  # fmt: skip
    sigma = eta * _ddpm_deviation(a, s, after_a, after_s) if eta else np.zeros_like(a)
    direction = np.sqrt(np.maximum(after_s**2 - sigma**2, 0.0))
    return {'to_x_0': after_a, 'to_x': direction * noise[0], 'to_m': direction * noise[1], 'sigma': sigma}


def _ddpm(a: np.ndarray, s: np.ndarray, after_a: np.ndarray, after_s: np.ndarray) -> Table:
    alpha = (a / after_a) ** 2
    return {
        'to_x_0': after_a * (1 - alpha) / s**2,
        'to_x': np.sqrt(alpha) * after_s**2 / s**2,
        'sigma': _ddpm_deviation(a, s, after_a, after_s),
    }


def _ddpm_deviation(a: np.ndarray, s: np.ndarray, after_a: np.ndarray, after_s: np.ndarray) -> np.ndarray:
    return np.asarray(after_s / s * np.sqrt(1 - (a / after_a) ** 2))


def _multistep(a: np.ndarray, s: np.ndarray, after_a: np.ndarray, after_s: np.ndarray, *, corrector: bool) -> Table:
    steps = len(a)
    level = np.log(a) - np.log(s)
    h = np.append(np.diff(level), np.inf)
    phi = np.expm1(-h)
    second = (np.arange(steps) > 0) & (np.arange(steps) < steps - 1)
    r = np.ones(steps)
    r[1:-1] = h[:-2] / h[1:-1]
    past = np.where(second, -after_a * phi / (2 * r), 0.0)
    table = {'to_x': after_s / s, 'to_x_0': -after_a * phi + past, 'to_1': -past}
    return table | (_corrector(a, s, h, r) if corrector else {})


def _corrector(a: np.ndarray, s: np.ndarray, h: np.ndarray, r: np.ndarray) -> Table:
    """UniC: step i - 1 taken again, now that the estimate at its end, D_i, is known."""
    steps = len(a)
    table = {name: np.zeros(steps) for name in ('fix_x', 'fix_0', 'fix_1', 'fix_2')}
    for i in range(1, steps):
        hh, ratio = -h[i - 1], -r[i - 1]
        phi = np.expm1(hh)
        first = phi / hh - 1
        new, old = 0.5, 0.0
        if i >= 2:
            sums = np.array([first / phi, 2 * (first / hh - 0.5) / phi])
            old, new = np.linalg.solve(np.array([[1.0, 1.0], [ratio, 1.0]]), sums)
        table['fix_x'][i] = s[i] / s[i - 1]
        table['fix_0'][i] = -a[i] * phi * new
        table['fix_1'][i] = -a[i] * phi * (1 - new - old / ratio)
        table['fix_2'][i] = -a[i] * phi * old / ratio
    return table | {'corrects': np.arange(steps) > 0}


def _landing(diffusion_steps: int, levels: np.ndarray, sampler: Sampler) -> np.ndarray:
    """Return the level on which each step lands; -1, for the last, is the clean x_0 (diffusers' ``set_alpha_to_one``).

    It is the level visited next. DDIM's lies a fixed stride lower, as in diffusers: where ``sampling_steps`` does not
    divide ``diffusion_steps``, that is up to one level noisier than the level visited next.
    """
    if sampler != 'ddim':
        return np.append(levels[1:], -1)
    landing = levels - diffusion_steps // len(levels)
    # diffusers stops at level 0 if its last level was rounded up (6 of 100 steps, say): that leaves noise in x_0.
    landing[-1] = -1
    return landing
