"""Noise schedules: how much signal is left at each noise level.

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
k              noise level, 0 (cleanest that is trained on) to K - 1, K = ``diffusion_steps``
beta_k         variance added from level k - 1 to level k
alpha_bar_k    product of 1 - beta_i for i <= k: the share of the signal's variance left at k
=============  ==============================================================================

``x_k = sqrt(alpha_bar_k) x_0 + sqrt(1 - alpha_bar_k) noise``.

The schedule ``none`` is plain regression (behaviour cloning): one level without signal, and no noise: x_k is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from dp_ros.errors import ConfigError, listed

ScheduleName = Literal['squaredcos_cap_v2', 'none']
PredictionType = Literal['epsilon', 'sample', 'velocity']
MAX_DIFFUSION_STEPS = 1000
MAX_BETA = 0.999


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec:
    """The noise that a denoiser was trained with, and what it predicts.

    Attributes
    ----------
    name
        The schedule, by its name in diffusers; ``none`` for regression, with one level and prediction type ``sample``.
    diffusion_steps
        Training noise levels K.
    prediction_type
        What the denoiser predicts: the noise, x_0, or ``sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x_0`` (Salimans
        and Ho 2022).
    clip
        Whether x_0 is clipped to [-1, 1], the normalized actions' range, at every step.

    """

    name: ScheduleName = 'squaredcos_cap_v2'
    diffusion_steps: int = 100
    prediction_type: PredictionType = 'epsilon'
    clip: bool = True

    def __post_init__(self) -> None:
        check_choice('schedule name', self.name, get_args(ScheduleName))
        check_choice('prediction_type', self.prediction_type, get_args(PredictionType))
        if not 1 <= self.diffusion_steps <= MAX_DIFFUSION_STEPS:
            raise ConfigError(f'diffusion_steps: got {self.diffusion_steps}, allowed 1 to {MAX_DIFFUSION_STEPS}')
        if not self.noisy and (self.diffusion_steps, self.prediction_type) != (1, 'sample'):
            raise ConfigError(
                f"schedule 'none': got diffusion_steps {self.diffusion_steps} and prediction_type "
                f'{self.prediction_type!r}, allowed 1 and sample'
            )

    @property
    def noisy(self) -> bool:
        """Whether a chunk starts as noise; regression starts from zeros."""
        return self.name != 'none'


def check_choice(what: str, got: object, allowed: tuple[str, ...]) -> None:
    """Raise :class:`ConfigError` unless ``got`` is one of ``allowed``."""
    if got not in allowed:
        raise ConfigError(f'{what}: got {got!r}, allowed {listed(allowed)}')


def alphas_cumprod(name: str = 'squaredcos_cap_v2', diffusion_steps: int = 100) -> np.ndarray:
    """Return alpha_bar, shape (K,) float64, for noise levels 0 to K - 1: the same numbers as diffusers'.

    The squared cosine of Nichol and Dhariwal 2021 (section 3.2, equation 17), beta capped at 0.999.
    """
    prediction_type: PredictionType = 'sample' if name == 'none' else 'epsilon'
    # Refuses what it does not know.
    spec = ScheduleSpec(name=name, diffusion_steps=diffusion_steps, prediction_type=prediction_type)  # type: ignore[arg-type]
    if not spec.noisy:
        return np.zeros(1)

    def alpha_bar(s: float) -> float:
        return math.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2

    levels = range(diffusion_steps)
    betas = [min(1 - alpha_bar((k + 1) / diffusion_steps) / alpha_bar(k / diffusion_steps), MAX_BETA) for k in levels]
    # Rounded to float32 where diffusers does: alpha_bar at the last level is 2.4e-7, which feels every rounding.
    alphas = np.float32(1.0) - np.array(betas, dtype=np.float32)
    return np.cumprod(alphas.astype(np.float64)).astype(np.float32).astype(np.float64)
