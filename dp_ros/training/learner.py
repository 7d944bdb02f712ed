"""A network that learns: one optimizer step after the other, and the moving average of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from dp_ros.policy.normalizer import Normalizer
from dp_ros.training.families import TRAINED_FAMILIES
from dp_ros.training.random_streams import Purpose, generator, word
from dp_ros.training.run_folder import PolicyNetwork, make_network
from dp_ros.training.samples.augment import augment, disturbed
from dp_ros.training.samples.windows import WindowDataset
from dp_ros.training.settings import OptimizerSettings, TrainSettings


@contextmanager
def averaged(network: nn.Module, ema: EMAModel) -> Iterator[None]:
    """Put the averaged weights into ``network``, in evaluation mode; afterwards it goes on training with its own."""
    ema.store(network.parameters())
    ema.copy_to(network.parameters())
    network.eval()
    try:
        yield
    finally:
        network.train()
        ema.restore(network.parameters())


def make_optimizer(parameters: list[nn.Parameter], chosen: OptimizerSettings) -> torch.optim.AdamW:
    """Return the optimizer: one fused pass over all weights."""
    return torch.optim.AdamW(
        parameters,
        lr=chosen.learning_rate,
        betas=(chosen.betas[0], chosen.betas[1]),
        weight_decay=chosen.weight_decay,
        fused=True,
    )


class Learner:
    """The network of a run and what changes it; every process of the run has its own, and all hold the same weights.

    Parameters
    ----------
    settings, normalizer, accelerator
        The run's.
    start
        A network with the same settings whose weights are the first; None: they are drawn at random.

    """

    def __init__(
        self,
        settings: TrainSettings,
        normalizer: Normalizer,
        accelerator: Accelerator,
        *,
        start: PolicyNetwork | None = None,
    ) -> None:
        self._settings = settings
        self.accelerator = accelerator
        torch.manual_seed(settings.seed)
        self.network = make_network(settings, pretrained=start is None)
        if start is not None:
            self.network.load_state_dict(start.state_dict())
        self.network.to(accelerator.device)
        self._model: Any = accelerator.prepare_model(self.network)
        if settings.compile:
            self._model = torch.compile(self._model, dynamic=False)
        self.objective = TRAINED_FAMILIES[settings.family].objective(settings, self.network, normalizer)
        chosen = settings.optimizer
        parameters = list(self.network.parameters())
        self.optimizer = make_optimizer(parameters, chosen)
        self.rate = get_cosine_schedule_with_warmup(self.optimizer, chosen.warmup_steps, settings.steps)
        self.ema = EMAModel(parameters, decay=chosen.ema_max, use_ema_warmup=True, power=chosen.ema_power, foreach=True)

    def take_step(self, data: WindowDataset, indices: Tensor, step: int) -> Tensor:
        """Take optimizer step ``step`` on the samples ``indices``, of which this process computes its share.

        Returns
        -------
            The loss of this share.

        """
        self.optimizer.zero_grad(set_to_none=True)
        accumulate, processes = self._settings.accumulate, self.accelerator.num_processes
        losses = []
        for turn in range(accumulate):
            part = turn * processes + self.accelerator.process_index
            own = slice(part, None, accumulate * processes)
            with self.accelerator.no_sync(self._model) if turn < accumulate - 1 else nullcontext():
                loss = self._loss(data, indices[own], step, part)
                (loss / accumulate).backward()
            losses.append(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._settings.optimizer.gradient_clip)
        self.optimizer.step()
        self.rate.step()
        self.ema.step(self.network.parameters())
        return torch.stack(losses).mean()

    def _loss(self, data: WindowDataset, indices: Tensor, step: int, part: int) -> Tensor:
        """Return the loss of one part of a step's batch."""
        seed, device = self._settings.seed, self.accelerator.device
        streams, actions = data.batch(indices)
        torch.manual_seed(word(seed, step, Purpose.DROPOUT, part))
        draws = generator(seed, step, Purpose.NOISE, part)
        vectors = generator(seed, step, Purpose.VECTORS, part)
        inputs = tuple(self._augmented(s.to(device), step, part, vectors) for s in streams)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._settings.precision == 'bf16'):
            return self.objective(self._model, inputs, actions.to(device), draws, self._counted(data, indices))

    def _counted(self, data: WindowDataset, indices: Tensor) -> Tensor | None:
        if self._settings.objective.count_padding:
            return None
        return data.recorded(indices).to(self.accelerator.device)

    def _augmented(self, values: Tensor, step: int, part: int, vectors: torch.Generator) -> Tensor:
        """Change pictures (B, T, 3, H, W) and vectors (B, T, C) at random; the same draw for all cameras of a step."""
        if values.dim() == 3:
            return disturbed(values, self._settings.augment, vectors)
        if values.dim() != 5:
            return values
        draws = generator(self._settings.seed, step, Purpose.PICTURES, part)
        return augment(values, self._settings.augment, draws)

    @contextmanager
    def averaged(self) -> Iterator[PolicyNetwork]:
        """Put the averaged weights into the network; yield it on the CPU, in evaluation mode."""
        with averaged(self.network, self.ema):
            yield self.network if self.accelerator.device.type == 'cpu' else deepcopy(self.network).cpu()

    @torch.no_grad()
    def validate(self, data: WindowDataset) -> float:
        """Return the averaged network's mean loss over the windows of ``data``, with the same noise each time.

        No more windows are in memory at once than in a batch of training.
        """
        device, total = self.accelerator.device, 0.0
        with averaged(self.network, self.ema):
            for i, indices in enumerate(torch.arange(len(data)).split(self._settings.batch)):
                streams, actions = data.batch(indices)
                draws = generator(self._settings.seed, i, Purpose.VALIDATION)
                inputs = tuple(s.to(device) for s in streams)
                counted = self._counted(data, indices)
                loss = self.objective(self.network, inputs, actions.to(device), draws, counted)
                total += len(indices) * float(loss)
        return total / len(data)

    def state(self) -> dict[str, Any]:
        """Return what `restore` goes on from."""
        return {
            'network': self.network.state_dict(),
            'ema': self.ema.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'rate': self.rate.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.network.load_state_dict(state['network'])
        self.ema.load_state_dict(state['ema'])
        self.ema.to(self.accelerator.device)
        self.optimizer.load_state_dict(state['optimizer'])
        self.rate.load_state_dict(state['rate'])
