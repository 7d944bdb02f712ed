"""The objective: add noise at a random level, predict what the setting asks for, mean squared error; or regression."""

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


def squared_error(prediction: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean squared error of (B, P, A), weighted by (B, P)."""
    if weights is None:
        return torch.nn.functional.mse_loss(prediction, target)
    return ((prediction - target) ** 2 * weights[..., None]).mean()


class Objective:
    """The loss that ``settings`` ask for. Calling it needs nothing but a network, a batch and a generator."""

    def __init__(self, settings: ObjectiveSettings) -> None:
        self.settings = settings
        self._scheduler = make_noise_scheduler(settings)
        self._signal, self._noise = (torch.from_numpy(a).to(torch.float32) for a in amplitudes(settings.spec))

    def __call__(
        self,
        network: DiffusionNetwork,
        streams: tuple[Tensor, ...],
        actions: Tensor,
        generator: torch.Generator,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch; ``generator`` draws the levels and the noise.

        Parameters
        ----------
        streams, actions
            Normalized: (B, T, ...) each, and (B, P, A).
        weights
            How much each action counts, (B, P), of mean 1 over a whole batch; None: all the same.

        """
        if self.settings.diffusion_steps == 1:  # regression: from nothing, in one step
            levels = torch.zeros(len(actions), dtype=torch.int64, device=actions.device)
            return squared_error(network(torch.zeros_like(actions), levels, *streams), actions, weights)
        noise = torch.randn(actions.shape, generator=generator).to(actions.device)
        levels = self._levels(len(actions), generator).to(actions.device)
        x_k, target = self._noised(actions, noise, levels)
        if not self.settings.prefix_steps:
            return squared_error(network(x_k, levels, *streams), target, weights)
        prefix = self._prefix(actions, generator)
        x_k = torch.cat((torch.where(prefix, actions, x_k), prefix.to(x_k.dtype)), dim=-1)
        wrong = (network(x_k, levels, *streams) - target) ** 2 * ~prefix
        if weights is not None:
            wrong = wrong * weights[..., None]
        return wrong.sum() / (~prefix).expand_as(wrong).sum()

    def _prefix(self, actions: Tensor, generator: torch.Generator) -> Tensor:
        """Return which actions are given, (B, P, 1): the first 0 to `prefix_steps` of each chunk, drawn uniformly."""
        length = torch.randint(0, self.settings.prefix_steps + 1, (len(actions), 1, 1), generator=generator)
        return torch.arange(actions.shape[1], device=actions.device)[None, :, None] < length.to(actions.device)

    def _levels(self, count: int, generator: torch.Generator) -> Tensor:
        steps = self.settings.diffusion_steps
        if self.settings.level_sampling == 'uniform':
            return torch.randint(0, steps, (count,), generator=generator)
        share = torch.sigmoid(torch.randn(count, generator=generator))
        return (share * steps).to(torch.int64).clamp(max=steps - 1)

    def _noised(self, actions: Tensor, noise: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Return x_k, and what the network is to predict from it."""
        scheduler = self._scheduler
        if scheduler is None:  # flow matching, or regression in two passes
            column = levels.cpu()[:, None, None]
            signal = self._signal[column].to(actions.device)
            amount = self._noise[column].to(actions.device)
            x_k = signal * actions + amount * noise
            return (x_k, noise - actions) if self.settings.spec.noisy else (x_k * (signal > 0), actions)
        x_k = scheduler.add_noise(actions, noise, levels)
        kind = self.settings.prediction_type
        if kind == 'velocity':
            return x_k, scheduler.get_velocity(actions, noise, levels)
        return x_k, noise if kind == 'epsilon' else actions
