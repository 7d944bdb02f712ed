"""A training loop as real-stanford/diffusion_policy has it, to measure ours beside.

Written anew from what that loop does at each step: samples are cut one by one by a DataLoader's worker and stacked;
the batch is normalized; AdamW as torch has it by default, without fusion; the loss's value is asked for at every step;
weights are averaged one parameter after the other. The network and its objective are ours: those are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from diffusers import DDPMScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.policy.normalizer import ACTION, Normalizer
from dp_ros.recordings.episodes.episode import Episode, window_indices
from dp_ros.training.settings import TrainSettings


class SampleDataset(Dataset[dict[str, Tensor]]):
    """Windows and chunks, cut from the episodes when they are asked for."""

    def __init__(self, episodes: Sequence[Episode], settings: TrainSettings) -> None:
        self._names = [s.name for s in settings.task.streams]
        self._episodes = episodes
        self._windows = [
            (number, observed, acted)
            for number, episode in enumerate(episodes)
            for observed, acted in zip(*window_indices(len(episode.stamps), settings.task), strict=True)
        ]

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        number, observed, acted = self._windows[index]
        episode = self._episodes[number]
        sample = {name: torch.from_numpy(episode.streams[name][observed].astype(np.float32)) for name in self._names}
        return {**sample, ACTION: torch.from_numpy(episode.actions[acted].astype(np.float32))}


class PlainLoop:
    """Takes a step of `network` and its average `averaged`; after an epoch the next one follows."""

    def __init__(self, settings: TrainSettings, episodes: Sequence[Episode], normalizer: Normalizer) -> None:
        torch.manual_seed(settings.seed)
        self._settings = settings
        self.network = DiffusionNetwork(settings.task, settings.network).to(settings.device)
        self.averaged = DiffusionNetwork(settings.task, settings.network).to(settings.device).requires_grad_(False)
        chosen = settings.optimizer
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=chosen.learning_rate,
            betas=(chosen.betas[0], chosen.betas[1]),
            weight_decay=chosen.weight_decay,
        )
        self._rate = get_cosine_schedule_with_warmup(self._optimizer, chosen.warmup_steps, settings.steps)
        self._scheduler = DDPMScheduler(num_train_timesteps=100, beta_schedule='squaredcos_cap_v2')
        self._scale = {name: _affine(normalizer, name, settings.device) for name in normalizer.low}
        loader = DataLoader(
            SampleDataset(episodes, settings),
            batch_size=settings.batch,
            shuffle=True,
            drop_last=True,
            num_workers=1,
            pin_memory=settings.device == 'cuda',
        )
        self._batches = _endless(loader)
        self.step = 0

    def take_step(self) -> float:
        """Take one optimizer step and return its loss."""
        batch = {n: v.to(self._settings.device, non_blocking=True) for n, v in next(self._batches).items()}
        batch = {name: (value - self._scale[name][0]) / self._scale[name][1] for name, value in batch.items()}
        actions = batch.pop(ACTION)
        noise = torch.randn(actions.shape, device=actions.device)
        levels = torch.randint(0, 100, (len(actions),), device=actions.device).long()
        x_k = self._scheduler.add_noise(actions, noise, levels)
        loss = torch.nn.functional.mse_loss(self.network(x_k, levels, *batch.values()), noise, reduction='none')
        loss = loss.flatten(1).mean(dim=1).mean()
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._rate.step()
        self._average()
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(0.9999, 1 - (1 + self.step) ** -0.75)
        for module, averaged in zip(self.network.modules(), self.averaged.modules(), strict=True):
            own = averaged.parameters(recurse=False)
            for parameter, mean in zip(module.parameters(recurse=False), own, strict=True):
                mean.mul_(decay)
                mean.add_(parameter.data.to(dtype=mean.dtype), alpha=1 - decay)


def _endless(loader: DataLoader[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """Yield batches, epoch after epoch. A method would make a cycle, and dropping that waits for the worker."""
    while True:
        yield from loader


def _affine(normalizer: Normalizer, name: str, device: str) -> tuple[Tensor, Tensor]:
    zero = np.zeros(len(normalizer.low[name]))
    centre = normalizer.denormalize(name, zero)
    scale = normalizer.denormalize(name, zero + 1) - centre
    return tuple(torch.from_numpy(a.astype(np.float32)).to(device) for a in (centre, scale))  # type: ignore[return-value]
