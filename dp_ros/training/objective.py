"""The objective: add noise at a random level, predict what the setting asks for, mean squared error; or regression."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.training.settings import ObjectiveSettings

DIFFUSERS_NAMES = {'epsilon': 'epsilon', 'sample': 'sample', 'velocity': 'v_prediction'}


def make_noise_scheduler(settings: ObjectiveSettings) -> DDPMScheduler | None:
    """Return diffusers' DDPM scheduler for the settings; None for regression."""
    if not settings.spec.noisy:
        return None
    return DDPMScheduler(
        num_train_timesteps=settings.diffusion_steps,
        beta_schedule=settings.schedule,
        prediction_type=DIFFUSERS_NAMES[settings.prediction_type],
        clip_sample=True,
    )


def diffusion_loss(
    network: DiffusionNetwork,
    scheduler: DDPMScheduler | None,
    streams: tuple[Tensor, ...],
    actions: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Return the loss of a batch; ``generator`` draws the levels and the noise.

    Parameters
    ----------
    streams, actions
        Normalized: (B, T, ...) each, and (B, P, A).

    """
    if scheduler is None:  # regression: from nothing, in one step
        levels = torch.zeros(len(actions), dtype=torch.int64, device=actions.device)
        return torch.nn.functional.mse_loss(network(torch.zeros_like(actions), levels, *streams), actions)
    noise = torch.randn(actions.shape, generator=generator).to(actions.device)
    levels = torch.randint(0, len(scheduler.betas), (len(actions),), generator=generator).to(actions.device)
    x_k = scheduler.add_noise(actions, noise, levels)
    kind = scheduler.config.prediction_type
    if kind == 'epsilon':
        target = noise
    elif kind == 'sample':
        target = actions
    else:
        target = scheduler.get_velocity(actions, noise, levels)
    return torch.nn.functional.mse_loss(network(x_k, levels, *streams), target)
