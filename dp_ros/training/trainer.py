"""The one trainer. Every random draw is a function of (seed, step), so a resumed run goes on exactly as it would have.

A run folder holds ``config.yaml``, ``run.json`` (versions, data hash, episodes held out), ``checkpoint.pt``,
``curves.csv``, TensorBoard events, at the end ``curves.png``, and with rollouts ``best.pt`` and ``rollouts.csv``.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

import dp_ros
from dp_ros.config import parse, read_yaml, to_plain
from dp_ros.errors import ConfigError, DataError
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.policy.normalizer import Normalizer
from dp_ros.simulation.worlds import check_world
from dp_ros.training.augment import augment
from dp_ros.training.checkpoint import load_checkpoint, save_checkpoint
from dp_ros.training.curves import CURVES, add_row, drop_rows_after, plot_curves
from dp_ros.training.episodes import Episode
from dp_ros.training.interrupt import interruptible
from dp_ros.training.objective import Objective
from dp_ros.training.settings import TrainSettings
from dp_ros.training.windows import WindowDataset, data_hash, fit_normalizer

CHECKPOINT, BEST, CONFIG, RUN = 'checkpoint.pt', 'best.pt', 'config.yaml', 'run.json'
ROLLOUTS = 'rollouts.csv'
VALIDATION_BATCHES = 8


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended."""

    folder: Path
    step: int
    finished: bool
    validation_loss: float


def collected(episodes: Iterable[Episode]) -> list[Episode]:
    """Return all episodes as they are read, showing how far that is."""
    return list(tqdm(episodes, unit=' episodes', desc='read', dynamic_ncols=True))


def split_episodes(episodes: Sequence[Episode], share: float, seed: int) -> tuple[list[Episode], list[Episode]]:
    """Split whole episodes into training and validation; one is held out as soon as ``share`` is not 0."""
    held = 0 if share == 0.0 else max(1, round(share * len(episodes)))
    if held >= len(episodes):
        raise DataError(
            f'validation_share {share}: would hold out {held} of {len(episodes)} episodes, allowed fewer than all'
        )
    chosen = set(np.random.default_rng(seed).permutation(len(episodes))[:held].tolist())
    return (
        [e for i, e in enumerate(episodes) if i not in chosen],
        [e for i, e in enumerate(episodes) if i in chosen],
    )


class Trainer:
    """Trains one network on one set of episodes.

    Parameters
    ----------
    settings
        The training configuration.
    episodes
        All episodes; the validation share is taken from them.
    folder
        The run folder. A run found there is resumed if its configuration and data are the same, refused otherwise.

    """

    def __init__(self, settings: TrainSettings, episodes: Sequence[Episode], folder: Path) -> None:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        if settings.device == 'cuda' and not torch.cuda.is_available():
            raise ConfigError("device: got 'cuda', which this machine lacks; allowed cpu")
        if settings.rollouts.world:
            check_world(settings.rollouts.world, settings.task.action.joints, f'training of {settings.name}')
        self.settings = settings
        self.folder = folder
        self._data_hash = data_hash(episodes)
        train, held = split_episodes(episodes, settings.validation_share, settings.seed)
        self.held_out = [e.name for e in held]
        self.normalizer = fit_normalizer(train, settings.task)
        self.train_set = WindowDataset(train, settings.task, self.normalizer)
        self.validation_set = WindowDataset(held, settings.task, self.normalizer) if held else None
        torch.manual_seed(settings.seed)
        self.network = DiffusionNetwork(settings.task, settings.network).to(settings.device)
        self.objective = Objective(settings.objective)
        chosen = settings.optimizer
        parameters = list(self.network.parameters())
        self.optimizer = torch.optim.AdamW(
            parameters,
            lr=chosen.learning_rate,
            betas=(chosen.betas[0], chosen.betas[1]),
            weight_decay=chosen.weight_decay,
            fused=True,
        )
        self.rate = get_cosine_schedule_with_warmup(self.optimizer, chosen.warmup_steps, settings.steps)
        self.ema = EMAModel(
            parameters, decay=chosen.ema_max, use_ema_warmup=True, power=chosen.ema_power, foreach=True
        )
        self.step = 0
        self.validation_loss = float('nan')
        self._open_folder()

    def run(self) -> TrainResult:
        """Train to the configured step, or until interrupted; a checkpoint is written either way."""
        settings = self.settings
        writer = SummaryWriter(str(self.folder))
        bar = tqdm(total=settings.steps, initial=self.step, unit='step', desc=settings.name, dynamic_ncols=True)
        losses: list[float] = []
        with interruptible() as interrupted, bar, writer:
            for batch in self._batches():
                losses.append(self._train_step(batch))
                bar.update()
                last = self.step == settings.steps
                if self.step % settings.validate_every == 0 or last:
                    self._report(writer, bar, float(np.mean(losses)))
                    losses.clear()
                if settings.rollouts.world and (self.step % settings.rollouts.every == 0 or last):
                    self._look(writer, bar)
                if self.step % settings.checkpoint_every == 0 or last:
                    self._save()
                if interrupted():
                    self._save()
                    bar.write(f'interrupted at step {self.step}; checkpoint written, the same command goes on from it')
                    break
        plot_curves(self.folder)
        return TrainResult(
            folder=self.folder,
            step=self.step,
            finished=self.step >= settings.steps,
            validation_loss=self.validation_loss,
        )

    def _batches(self) -> Iterator[torch.Tensor]:
        """Yield sample indices: each epoch a permutation drawn from (seed, epoch), entered where the step says."""
        size, batch = len(self.train_set), min(self.settings.batch, len(self.train_set))
        per_epoch = size // batch
        while self.step < self.settings.steps:
            epoch, within = divmod(self.step, per_epoch)
            order = torch.randperm(size, generator=_generator(self.settings.seed, epoch, 1))
            for start in range(within * batch, per_epoch * batch, batch):
                if self.step >= self.settings.steps:
                    return
                yield order[start : start + batch]

    def _train_step(self, indices: torch.Tensor) -> float:
        streams, actions = self.train_set.batch(indices)
        device = self.settings.device
        torch.manual_seed(_word(self.settings.seed, self.step, 4))  # of dropout
        loss = self.objective(
            self.network,
            tuple(self._augmented(s.to(device)) for s in streams),
            actions.to(device),
            _generator(self.settings.seed, self.step, 2),
        )
        value = loss.item()
        if not np.isfinite(value):
            raise DataError(f'loss at step {self.step}: got {value}, allowed finite numbers; try a lower learning_rate')
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.optimizer.gradient_clip)
        self.optimizer.step()
        self.rate.step()
        self.ema.step(self.network.parameters())
        self.step += 1
        return value

    def _augmented(self, values: torch.Tensor) -> torch.Tensor:
        """Change pictures (B, T, 3, H, W) at random; the same draw for all cameras of a step."""
        if values.dim() != 5:
            return values
        return augment(values, self.settings.augment, _generator(self.settings.seed, self.step, 5))

    @torch.no_grad()
    def _validate(self) -> float:
        """Return the EMA network's loss on held-out episodes, with the same noise each time."""
        if self.validation_set is None:
            return float('nan')
        self.ema.store(self.network.parameters())
        self.ema.copy_to(self.network.parameters())
        self.network.eval()
        losses = []
        for i, indices in enumerate(torch.arange(len(self.validation_set)).chunk(VALIDATION_BATCHES)):
            streams, actions = self.validation_set.batch(indices)
            streams = tuple(s.to(self.settings.device) for s in streams)
            generator = _generator(self.settings.seed, i, 3)
            losses.append(self.objective(self.network, streams, actions.to(self.settings.device), generator))
        self.network.train()
        self.ema.restore(self.network.parameters())
        return float(torch.stack(losses).mean())

    def _report(self, writer: SummaryWriter, bar: tqdm, loss: float) -> None:
        self.validation_loss = self._validate()
        rate = self.rate.get_last_lr()[0]
        bar.set_postfix(loss=f'{loss:.4f}', validation=f'{self.validation_loss:.4f}')
        row = {'step': self.step, 'loss': loss, 'validation_loss': self.validation_loss, 'learning_rate': rate}
        for name, value in list(row.items())[1:]:
            writer.add_scalar(name, value, self.step)
        add_row(self.folder, row)

    def _look(self, writer: SummaryWriter, bar: tqdm) -> None:
        """Run episodes with the EMA network, and keep it if it is the best so far: by score, then by success."""
        from dp_ros.training.rollouts import roll_out  # it evaluates, which imports export, which imports this

        self.ema.store(self.network.parameters())
        self.ema.copy_to(self.network.parameters())
        self.network.eval()
        try:
            summary = roll_out(self.settings, self.network, self.normalizer)
            reached = [summary['mean_score'], summary['success_rate']]
            best = self.folder / BEST
            if not best.exists() or reached > load_checkpoint(best)['reached']:
                network = {name: value.clone() for name, value in self.network.state_dict().items()}
                normalizer = to_plain(self.normalizer)
                state = {'step': self.step, 'network': network, 'normalizer': normalizer, 'reached': reached}
                save_checkpoint(best, state)
        finally:
            self.network.train()
            self.ema.restore(self.network.parameters())
        row = {'step': self.step, 'mean_score': reached[0], 'success_rate': reached[1]}
        add_row(self.folder, row, ROLLOUTS)
        for name in ('mean_score', 'success_rate'):
            writer.add_scalar(name, row[name], self.step)
        bar.write(f'step {self.step}: mean score {reached[0]:.3f}, success {reached[1]:.0%}')

    def _save(self) -> None:
        state = {
            'step': self.step,
            'network': self.network.state_dict(),
            'ema': self.ema.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'rate': self.rate.state_dict(),
            'validation_loss': self.validation_loss,
            'normalizer': to_plain(self.normalizer),
        }
        save_checkpoint(self.folder / CHECKPOINT, state)

    def _open_folder(self) -> None:
        """Start the run folder, or take up the run that it holds."""
        config = to_plain(self.settings)
        if (self.folder / CONFIG).exists():
            self._check_same(config)
            if (self.folder / CHECKPOINT).exists():
                self._restore(load_checkpoint(self.folder / CHECKPOINT))
            return
        if self.folder.is_dir() and any(self.folder.iterdir()):
            raise ConfigError(
                f'run folder {self.folder}: got one that holds something else, allowed a run or a new folder'
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        run = {
            'data_sha256': self._data_hash,
            'held_out_episodes': self.held_out,
            'training_windows': len(self.train_set),
            'parameters': sum(p.numel() for p in self.network.parameters()),
            'versions': versions(),
        }
        (self.folder / RUN).write_text(json.dumps(run, indent=2) + '\n')
        (self.folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))

    def _check_same(self, config: dict[str, Any]) -> None:
        found = to_plain(read_yaml(self.folder / CONFIG, TrainSettings))
        differing = [key for key in config if config[key] != found.get(key)]
        if differing:
            raise ConfigError(
                f'run folder {self.folder}: holds a run whose {", ".join(differing)} differs; '
                'allowed the same configuration (to resume), or a new folder'
            )
        run = json.loads((self.folder / RUN).read_text())
        if run['data_sha256'] != self._data_hash:
            raise ConfigError(
                f'run folder {self.folder}: holds a run on data {run["data_sha256"][:12]}, got {self._data_hash[:12]}; '
                'allowed the same recordings (to resume), or a new folder'
            )

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state['network'])
        self.ema.load_state_dict(state['ema'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.rate.load_state_dict(state['rate'])
        self.step = state['step']
        self.validation_loss = state['validation_loss']
        for table in (CURVES, ROLLOUTS):
            drop_rows_after(self.folder, self.step, table)


def load_network(
    folder: Path, checkpoint: Literal['best', 'last'] | None = None
) -> tuple[TrainSettings, DiffusionNetwork, Normalizer, dict[str, Any]]:
    """Return a run's settings, its EMA network in evaluation mode, its normalizer, and its record.

    Without a choice of ``checkpoint`` it is the best by rollouts, or the last where there were none.
    """
    settings = read_yaml(folder / CONFIG, TrainSettings)
    best = checkpoint == 'best' or (checkpoint is None and (folder / BEST).exists())
    path = folder / (BEST if best else CHECKPOINT)
    state = load_checkpoint(path)
    network = DiffusionNetwork(settings.task, settings.network)
    network.load_state_dict(state['network'])
    if not best:
        ema = EMAModel(network.parameters())
        ema.load_state_dict(state['ema'])
        ema.copy_to(network.parameters())
    record = {**json.loads((folder / RUN).read_text()), 'step': state['step']}
    if best:
        record['rollouts'] = dict(zip(('mean_score', 'success_rate'), state['reached'], strict=True))
    return settings, network.eval(), parse(Normalizer, state['normalizer'], f'{path}.normalizer'), record


def versions() -> dict[str, str]:
    """Return the versions that a run depends on."""
    found = {name: version(name) for name in ('torch', 'diffusers', 'numpy')}
    return {'dp_ros': dp_ros.__version__, 'python': platform.python_version(), **found}


def _generator(seed: int, index: int, purpose: int) -> torch.Generator:
    """Return a generator that depends on its three numbers alone."""
    return torch.Generator().manual_seed(_word(seed, index, purpose))


def _word(seed: int, index: int, purpose: int) -> int:
    word = np.random.SeedSequence((seed, index, purpose)).generate_state(1, np.uint64)[0]
    return int(word >> np.uint64(1))
