"""The objective: add noise at a random level, predict what the setting asks for, mean error; or regression."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from dp_ros.diffusion.schedule import amplitudes, beta_range
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.training.settings import ObjectiveSettings

DIFFUSERS_NAMES = {'epsilon': 'epsilon', 'sample': 'sample', 'velocity': 'v_prediction'}


def make_noise_scheduler(settings: ObjectiveSettings) -> DDPMScheduler | None:
    """Return diffusers' DDPM scheduler for the settings; None for flow matching and regression."""
    if settings.schedule in ('flow', 'none'):
        return None
    first, last = beta_range(settings.diffusion_steps)
    return DDPMScheduler(
        num_train_timesteps=settings.diffusion_steps,
        beta_schedule=settings.schedule,
        beta_start=first,
        beta_end=last,
        prediction_type=DIFFUSERS_NAMES[settings.prediction_type],
        clip_sample=True,
    )


def mean_error(wrong: Tensor, counted: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Return the mean of errors (B, P, A), of the actions that are ``counted`` (B, P, 1) or of all.

    Where there are ``weights`` (P, 1), it is the weighted mean.
    """
    if weights is not None:
        counted = weights.expand((*wrong.shape[:2], 1)) if counted is None else counted * weights
    if counted is None:
        return wrong.mean()
    total = counted.expand_as(wrong).sum()
    return (wrong * counted).sum() / torch.where(total > 0, total, 1)  # none counts where all are given


def chunk_velocities(actions: Tensor) -> Tensor:
    """Return what normalized actions (B, P, A) change by in P control steps, (B, P, A): central differences.

    At both ends of the chunk they are one-sided.
    """
    change = actions.diff(dim=1) * actions.shape[1]
    before, after = torch.cat((change[:, :1], change), dim=1), torch.cat((change, change[:, -1:]), dim=1)
    return (before + after) / 2


class Objective:
    """The loss that ``settings`` ask for. Calling it needs nothing but a network, a batch and a generator."""

    def __init__(self, settings: ObjectiveSettings) -> None:
        self.settings = settings
        self._scheduler = make_noise_scheduler(settings)
        self._signal, self._noise = (torch.from_numpy(a).to(torch.float32) for a in amplitudes(settings.spec))
        self._error = torch.square if settings.loss == 'mse' else torch.abs

    def __call__(
        self,
        network: DiffusionNetwork,
        streams: tuple[Tensor, ...],
        actions: Tensor,
        generator: torch.Generator,
        counted: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch; ``generator`` draws the levels and the noise.

        Parameters
        ----------
        streams, actions
            Normalized: (B, T, ...) each, and (B, P, A).
        counted
            Which actions count, (B, P, 1); None: all.

        """
        if not self.settings.spec.noisy:  # regression: from nothing, in one step
            levels = torch.zeros(len(actions), dtype=torch.int64, device=actions.device)
            x_k, target = torch.zeros_like(actions), actions
        else:
            noise = torch.randn(actions.shape, generator=generator).to(actions.device)
            levels = torch.randint(0, self.settings.diffusion_steps, (len(actions),), generator=generator)
            levels = levels.to(actions.device)
            x_k, target = self.noised(actions, noise, levels)
        if self.settings.prefix_steps:
            prefix = self._prefix(actions, generator)
            x_k = torch.cat((torch.where(prefix, actions, x_k), prefix.to(x_k.dtype)), dim=-1)
            counted = ~prefix if counted is None else counted & ~prefix
        output = network(x_k, levels, *streams)
        decay, weights = self.settings.step_weight, None
        if decay != 1.0:
            weights = decay ** torch.arange(actions.shape[1], device=actions.device)[:, None]
        loss = mean_error(self._error(output[..., : actions.shape[-1]] - target), counted, weights)
        if self.settings.velocity_weight:
            velocities = output[..., actions.shape[-1] :]
            wrong = self._error(velocities - chunk_velocities(actions))
            loss = loss + self.settings.velocity_weight * mean_error(wrong, counted, weights)
        return loss

    def _prefix(self, actions: Tensor, generator: torch.Generator) -> Tensor:
        """Return which actions are given, (B, P, 1): the first 0 to `prefix_steps` of each chunk, drawn uniformly."""
        length = torch.randint(0, self.settings.prefix_steps + 1, (len(actions), 1, 1), generator=generator)
        return torch.arange(actions.shape[1], device=actions.device)[None, :, None] < length.to(actions.device)

    def noised(self, actions: Tensor, noise: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Return x_k, and what the network is to predict from it."""
        scheduler = self._scheduler
        if scheduler is None:  # flow matching
            column = levels.cpu()[:, None, None]
            signal = self._signal[column].to(actions.device)
            amount = self._noise[column].to(actions.device)
            return signal * actions + amount * noise, noise - actions
        x_k = scheduler.add_noise(actions, noise, levels)
        kind = self.settings.prediction_type
        if kind == 'velocity':
            return x_k, scheduler.get_velocity(actions, noise, levels)
        return x_k, noise if kind == 'epsilon' else actions
