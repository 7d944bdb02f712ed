"""Samplers as tables of coefficients, computed once per setting; a step is a few multiply-adds.

Every sampler, for every prediction type, is one formula in the denoiser's output m, with z fresh noise. At step i, with
D_i the estimate of x_0 there, D_-1 and D_-2 those of the two steps before, and x_-1 the step before's x_k:

    D_i    = steer(clip(gain * (from_x * x_k + from_m * m)))
    x_k    = fix_x * x_-1 + fix_0 * D_i + fix_1 * D_-1 + fix_2 * D_-2                  where the sampler corrects
    x_next = to_x_0 * D_i + (to_x * x_k + to_m * m) + to_1 * D_-1 + sigma * z

`dp_ros.diffusion.coefficients` fills the table. ``steer`` may move the estimate, towards what is known of x_0 already;
the noise in DDIM's step must then follow from the moved estimate, which the table for ``steered`` sampling does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from dp_ros.diffusion.schedule import MAX_DIFFUSION_STEPS
from dp_ros.errors import ConfigError
from dp_ros.options import check_options, option

Sampler = Literal['ddim', 'ddpm', 'dpmsolver++', 'unipc', 'euler', 'regression']
Spacing = Literal['trailing', 'leading']
Predict = Callable[[np.ndarray, int], np.ndarray]
Steer = Callable[[np.ndarray], np.ndarray]


# fmt: off
@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """How a chunk is sampled. Immutable: another thread changes it by putting a new one in its place."""

    sampler: Sampler = option(
        'ddim', '`ddim`, `ddpm`, `dpmsolver++` and `unipc` (both multistep, second order) for diffusion, `euler` for '
        'flow matching, `regression` for a network that needs one call.',
    )
    sampling_steps: int = option(
        10, "Network calls per chunk, 1 to the schedule's `diffusion_steps`.", low=1, high=MAX_DIFFUSION_STEPS
    )
    spacing: Spacing = option(
        'trailing', "Which noise levels are visited: `trailing` starts at pure noise, `leading` (diffusers' default) "
        'ends at level 0 and starts where the true signal is still far from noise.',
    )
    eta: float = option(
        0.0, "Share of DDPM's noise that DDIM adds; 0 for the other samplers.", low=0.0, high=1.0
    )
    warm_steps: int = option(
        0, 'Network calls for a chunk that starts from the last one instead of from noise: it takes only the last so '
        'many of the `sampling_steps`, from what the last chunk says, made as noisy as it must be there (after Meng et '
        'al. 2022). 0: every chunk starts from noise. Not for regression.', low=0, high=MAX_DIFFUSION_STEPS,
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.eta and self.sampler != 'ddim':
            raise ConfigError(f'eta with sampler {self.sampler}: got {self.eta}, allowed 0')
        most = 0 if self.sampler == 'regression' else self.sampling_steps
        if self.warm_steps > most:
            raise ConfigError(
                f'warm_steps with sampler {self.sampler} and sampling_steps {self.sampling_steps}: '
                f'got {self.warm_steps}, allowed 0 to {most}'
            )
# fmt: on


@dataclass(frozen=True, kw_only=True, eq=False)
class Coefficients:
    """The table of one setting: noise levels and float32 coefficients, each (sampling_steps,), first step first.

    The names are those of the formula at the top of this file; a and s are the amplitudes of signal and noise there.
    """

    levels: np.ndarray
    a: np.ndarray
    s: np.ndarray
    gain: np.ndarray
    from_x: np.ndarray
    from_m: np.ndarray
    to_x_0: np.ndarray
    to_x: np.ndarray
    to_m: np.ndarray
    to_1: np.ndarray
    fix_x: np.ndarray
    fix_0: np.ndarray
    fix_1: np.ndarray
    fix_2: np.ndarray
    sigma: np.ndarray
    corrects: np.ndarray
    clip: bool
    steered: bool = False

    def __post_init__(self) -> None:
        types = {'levels': np.int64, 'corrects': np.bool_}
        for name in (f.name for f in fields(self) if f.name not in ('clip', 'steered')):
            array = getattr(self, name).astype(types.get(name, np.float32))
            array.flags.writeable = False  # cached, and shared by every policy with this setting
            object.__setattr__(self, name, array)


class SamplerState:
    """One chunk's way from noise to x_0: remembers what multistep samplers need."""

    def __init__(self, coefficients: Coefficients, rng: np.random.Generator, steer: Steer | None = None) -> None:
        if steer is not None and not coefficients.steered:
            raise ConfigError('steer: got coefficients made without steered, allowed those made with it')
        self._table = coefficients
        self._rng = rng
        self._steer = steer
        self._i = 0
        self._x: np.ndarray | None = None
        self._estimates: tuple[np.ndarray | None, np.ndarray | None] = (None, None)

    def step(self, x_k: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """Take the next step from ``x_k`` and the denoiser's output for it, both float32 of one shape."""
        table, i = self._table, self._i
        # The difference comes first: for epsilon, gain is about 2000 at the noisiest level.
        x_0 = table.gain[i] * (table.from_x[i] * x_k + table.from_m[i] * prediction)
        if table.clip:
            np.clip(x_0, -1.0, 1.0, out=x_0)
        if self._steer is not None:
            x_0 = self._steer(x_0)
        one, two = self._estimates
        if table.corrects[i]:
            assert self._x is not None and one is not None
            x_k = table.fix_x[i] * self._x + table.fix_0[i] * x_0 + table.fix_1[i] * one
            if two is not None:
                x_k = x_k + table.fix_2[i] * two
        x_next: np.ndarray = table.to_x_0[i] * x_0 + (table.to_x[i] * x_k + table.to_m[i] * prediction)
        if one is not None and table.to_1[i] != 0:
            x_next += table.to_1[i] * one
        if table.sigma[i] > 0:
            x_next += table.sigma[i] * self._rng.standard_normal(x_k.shape, dtype=np.float32)
        self._i, self._x, self._estimates = i + 1, x_k, (x_0, one)
        return x_next


def sample(
    coefficients: Coefficients,
    predict: Predict,
    noise: np.ndarray,
    rng: np.random.Generator,
    *,
    steer: Steer | None = None,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Turn ``noise`` into x_0 by calling ``predict(x_k, k)`` once per step.

    Parameters
    ----------
    coefficients
        From `coefficients_for`.
    predict
        The denoiser: x_k and noise level to a prediction of x_k's shape.
    noise
        Standard normal, any shape, for instance (B, T, A); zeros for regression. It is left as it is.
    rng
        Source of the noise that DDPM, or DDIM with eta, adds; the others draw nothing from it.
    steer
        Moves the estimate of x_0 at every step; needs coefficients that are ``steered``.
    start
        An x_0 to start from, made as noisy as the first level is; None: noise alone.

    """
    x_k = noise.astype(np.float32)
    if start is not None:
        x_k = coefficients.a[0] * start.astype(np.float32) + coefficients.s[0] * x_k
    state = SamplerState(coefficients, rng, steer)
    for k in coefficients.levels.tolist():
        x_k = state.step(x_k, predict(x_k, k))
    return x_k
