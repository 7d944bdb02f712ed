"""Noise schedules: how much signal is left at each noise level.

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
k              noise level, 0 (cleanest that is trained on) to K - 1, K = ``diffusion_steps``
beta_k         variance added from level k - 1 to level k
alpha_bar_k    product of 1 - beta_i for i <= k: the share of the signal's variance left at k
signal, noise  amplitudes at a level: ``x_k = signal_k x_0 + noise_k noise``
=============  ==============================================================================

Diffusion: signal = sqrt(alpha_bar_k), noise = sqrt(1 - alpha_bar_k). The schedule ``flow`` is flow matching along
straight lines (Lipman et al. 2023; Liu et al. 2023): noise = (k + 1) / K, signal = 1 - noise. The schedule ``none`` is
regression, plain behaviour cloning: its only level has no signal, and x_k is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from dp_ros.errors import ConfigError, check_choice, check_range
from dp_ros.options import check_options, option

ScheduleName = Literal['squaredcos_cap_v2', 'linear', 'scaled_linear', 'flow', 'none']
PredictionType = Literal['epsilon', 'sample', 'velocity']
MAX_DIFFUSION_STEPS = 1000
MAX_BETA = 0.999
BETA_RANGE = (0.1, 20.0)
"""First and last beta of the linear schedules, times K: Ho et al.'s of 2020 at K = 1000, as much noise at any K."""
PREDICTION_TYPES: dict[str, tuple[str, ...]] = {'flow': ('velocity',), 'none': ('sample',)}
"""What may be predicted; anything where a schedule is not listed."""


# fmt: off
@dataclass(frozen=True, kw_only=True)
class ScheduleSpec:
    """The noise that a denoiser was trained with, and what it predicts."""

    name: ScheduleName = option(
        'squaredcos_cap_v2', 'The schedule, by its name in diffusers; `flow` for flow matching, `none` for regression.',
        name='schedule name',
    )
    diffusion_steps: int = option(100, 'Training noise levels K.', low=1, high=MAX_DIFFUSION_STEPS)
    prediction_type: PredictionType = option(
        'epsilon', 'What the denoiser predicts: the noise, x_0, or the velocity: `signal noise - noise x_0` of '
        'diffusion (Salimans and Ho 2022), `noise - x_0` of flow matching.',
    )
    clip: bool = option(True, "Whether x_0 is clipped to [-1, 1], the normalized actions' range, at every step.")
    only_steps: int = option(
        0, 'The one number of sampling steps that a distilled denoiser was trained for; 0: any.',
        low=0, high=MAX_DIFFUSION_STEPS,
    )
    prefix_steps: int = option(
        0, 'The longest clean prefix, in actions, that the denoiser was trained to go on from. With any, x_k has one '
        'more channel: 1 at the actions of the prefix, 0 at the others.', low=0, high=10_000,
    )
    joint_velocities: bool = option(
        False, "Whether the denoiser gives the joints' velocities too: A channels after its prediction, what the clean "
        "chunk's normalized actions change by in pred_horizon control steps.",
    )

    def __post_init__(self) -> None:
        check_options(self)
        check_range('only_steps', self.only_steps, 0, self.diffusion_steps)
        if self.prefix_steps and not self.noisy:
            raise ConfigError(f"prefix_steps with schedule 'none': got {self.prefix_steps}, allowed 0")
        check_choice(
            f'prediction_type with schedule {self.name!r}',
            self.prediction_type,
            PREDICTION_TYPES.get(self.name, get_args(PredictionType)),
        )
        if not self.noisy and self.diffusion_steps != 1:
            raise ConfigError(f"diffusion_steps with schedule 'none': got {self.diffusion_steps}, allowed 1")

    @property
    def noisy(self) -> bool:
        """Whether a chunk starts as noise; regression starts from zeros."""
        return self.name != 'none'

    @property
    def steps_range(self) -> tuple[int, int]:
        """The fewest and the most sampling steps that may be asked for."""
        return (self.only_steps, self.only_steps) if self.only_steps else (1, self.diffusion_steps)

    @property
    def mask_channels(self) -> int:
        """Channels of x_k beside the actions'."""
        return 1 if self.prefix_steps else 0

    @property
    def outputs(self) -> int:
        """Channels that the denoiser gives for each of the actions'."""
        return 2 if self.joint_velocities else 1
# fmt: on


def amplitudes(spec: ScheduleSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return signal and noise amplitude of each level, (K,) float64 each."""
    if spec.name == 'flow':
        noise = np.arange(1, spec.diffusion_steps + 1) / spec.diffusion_steps
        return 1.0 - noise, noise
    if not spec.noisy:
        return np.zeros(1), np.ones(1)
    alpha_bar = alphas_cumprod(spec.name, spec.diffusion_steps)
    return np.sqrt(alpha_bar), np.sqrt(1.0 - alpha_bar)


def alphas_cumprod(name: str = 'squaredcos_cap_v2', diffusion_steps: int = 100) -> np.ndarray:
    """Return alpha_bar, shape (K,) float64, of a diffusion schedule's levels 0 to K - 1: diffusers' numbers.

    The squared cosine is Nichol and Dhariwal's of 2021 (section 3.2, equation 17), beta capped at 0.999; ``linear`` is
    Ho et al.'s of 2020, ``scaled_linear`` is linear in the root of beta (latent diffusion; "quadratic" in Song et al.).
    """
    check_choice('schedule name', name, ('squaredcos_cap_v2', 'linear', 'scaled_linear'))
    ScheduleSpec(diffusion_steps=diffusion_steps)  # refuses what it does not know

    def alpha_bar(s: float) -> float:
        return math.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2

    if name == 'squaredcos_cap_v2':
        ends = [alpha_bar(k / diffusion_steps) for k in range(diffusion_steps + 1)]
        betas = np.array([min(1 - after / before, MAX_BETA) for before, after in pairwise(ends)])
    else:
        first, last = beta_range(diffusion_steps)
        power = 1 if name == 'linear' else 2
        betas = np.linspace(first ** (1 / power), last ** (1 / power), diffusion_steps) ** power
    # Rounded to float32 where diffusers does: alpha_bar at the last level is 2.4e-7, which feels every rounding.
    alphas = np.float32(1.0) - betas.astype(np.float32)
    return np.cumprod(alphas.astype(np.float64)).astype(np.float32).astype(np.float64)


def beta_range(diffusion_steps: int) -> tuple[float, float]:
    """Return the first and the last beta of the linear schedules."""
    first, last = (min(beta / diffusion_steps, MAX_BETA) for beta in BETA_RANGE)
    return first, last
