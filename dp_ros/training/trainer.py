"""The one trainer. Every random draw is a function of (seed, step), so a resumed run goes on exactly as it would have.

Several processes share each batch without overlap; the first of them alone writes, validates and shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from tqdm import tqdm

from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.policy.bundle.files import sha256
from dp_ros.policy.normalizer import Normalizer
from dp_ros.recordings.episodes.episode import Episode
from dp_ros.task.yaml_reader import to_plain
from dp_ros.training.distributed import interruptible, is_first_process, start_processes
from dp_ros.training.families import TRAINED_FAMILIES
from dp_ros.training.init_from import check_reach, load_start
from dp_ros.training.learner import Learner
from dp_ros.training.random_streams import batches
from dp_ros.training.run_folder import (
    BEST,
    CHECKPOINT,
    ROLLOUTS,
    PolicyNetwork,
    checkpoint_file,
    load_checkpoint,
    load_network,
    locked_folder,
    open_run,
    save_checkpoint,
    trained_folder,
)
from dp_ros.training.run_log import CURVES, RunLog, drop_rows_after, plot_curves
from dp_ros.training.samples.symmetry import with_mirrored
from dp_ros.training.samples.windows import (
    camera_shapes,
    data_hash,
    demonstrated_starts,
    fit_normalizer,
    split_episodes,
)
from dp_ros.training.settings import TrainSettings

__all__ = ['TrainResult', 'Trainer', 'collected', 'load_network', 'split_episodes']

CHECK_EVERY = 50
"""Steps after which losses are looked at; more often, a GPU would wait for each."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended."""

    folder: Path
    step: int
    finished: bool
    validation_loss: float


def collected(episodes: Iterable[Episode]) -> list[Episode]:
    """Return all episodes as they are read, showing how far that is."""
    return list(tqdm(episodes, unit=' episodes', desc='read', dynamic_ncols=True, disable=not is_first_process()))


RollOut = Callable[[TrainSettings, PolicyNetwork, Normalizer], dict[str, Any]]


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
    skipped
        Recordings that were left out, and why.
    roll_out
        Plays episodes with a network, and returns their summary; needed with `rollouts.world`.

    """

    def __init__(
        self,
        settings: TrainSettings,
        episodes: Sequence[Episode],
        folder: Path,
        skipped: Mapping[str, str] | None = None,
        *,
        roll_out: RollOut | None = None,
    ) -> None:
        self._skipped = dict(skipped or {})
        self.accelerator = start_processes(settings)
        if settings.rollouts.world and roll_out is None:
            raise ConfigError(f'rollouts.world: got {settings.rollouts.world!r} and no function that plays episodes')
        self._roll_out = roll_out
        self.settings = settings
        self.folder = folder
        train, held = split_episodes(episodes, settings.validation_share, settings.seed)
        self.held_out = [e.name for e in held]
        train = with_mirrored(train, settings.mirror)
        start = load_start(settings)
        self.normalizer = fit_normalizer(train, settings.task) if start is None else start[1]
        family = TRAINED_FAMILIES[settings.family]
        self.train_set = family.windows(settings, train, self.normalizer)
        check_reach(settings, self.train_set)
        self.validation_set = family.windows(settings, held, self.normalizer) if held else None
        self.learner = Learner(settings, self.normalizer, self.accelerator, start=start and start[0])
        if start is None:
            family.fit(settings, self.learner.network, self.train_set)
        self.step = 0
        self.validation_loss = float('nan')
        self._losses: list[torch.Tensor] = []
        self._camera_shapes = camera_shapes(episodes, settings.task)
        self._starts = demonstrated_starts(episodes, settings.task)
        self._open_folder(data_hash(episodes), len(episodes))

    def run(self) -> TrainResult:
        """Train to the configured step, or until interrupted; a checkpoint is written either way."""
        settings = self.settings
        log = RunLog(self.folder, settings, silent=not self.accelerator.is_main_process)
        losses: list[float] = []
        size, parts = len(self.train_set), self.accelerator.num_processes * settings.accumulate
        if size < parts:
            raise DataError(f'training windows: got {size}, allowed {parts} or more, one for each part of a batch')
        batch = min(settings.batch, size - size % parts)
        order = batches(size, batch, seed=settings.seed, first=self.step, last=settings.steps)
        alone = locked_folder(self.folder, 'training') if self.accelerator.is_main_process else nullcontext()
        with alone, interruptible() as interrupted, log.opened(self.step):
            for indices in order:
                self._losses.append(self.train_step(indices))
                log.advance()
                last = self.step == settings.steps
                report = self.step % settings.validate_every == 0 or last
                save = self.step % settings.checkpoint_every == 0 or last
                stop = self._agreed(interrupted())
                if report or save or stop or len(self._losses) >= CHECK_EVERY:
                    losses += self._checked_losses()
                if report:
                    self.report(log, float(np.mean(losses)))
                    losses.clear()
                if (
                    self._roll_out is not None
                    and settings.rollouts.world
                    and (self.step % settings.rollouts.every == 0 or last)
                ):
                    self._try_out(log, self._roll_out)
                if save or stop:
                    self._save()
                if stop:
                    log.say(f'interrupted at step {self.step}; checkpoint written, the same command goes on from it')
                    break
        if self.accelerator.is_main_process:
            plot_curves(self.folder)
        finished = self.step >= settings.steps
        return TrainResult(folder=self.folder, step=self.step, finished=finished, validation_loss=self.validation_loss)

    def train_step(self, indices: torch.Tensor) -> torch.Tensor:
        """Take one optimizer step on a batch, and return this process's loss."""
        loss = self.learner.take_step(self.train_set, indices, self.step)
        self.step += 1
        return loss

    def _checked_losses(self) -> list[float]:
        """Return the losses since the last call, over all processes; one that is not finite is an error."""
        values = self.accelerator.reduce(torch.stack(self._losses), 'mean').tolist()
        self._losses.clear()
        for step, value in enumerate(values, start=self.step - len(values)):
            if not np.isfinite(value):
                raise DataError(f'loss at step {step}: got {value}, allowed finite numbers; try a lower learning_rate')
        return values

    def _agreed(self, asked: bool) -> bool:
        """Whether any process was asked to stop: all must, after the same step."""
        if self.accelerator.num_processes == 1:
            return asked
        if asked:
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()

    def report(self, log: RunLog, loss: float) -> None:
        """Validate and log, with the mean loss since the last time."""
        if not self.accelerator.is_main_process:
            return
        held, learner = self.validation_set, self.learner
        self.validation_loss = learner.validate(held) if held else float('nan')
        rate = learner.rate.get_last_lr()[0]
        log.losses({'step': self.step, 'loss': loss, 'validation_loss': self.validation_loss, 'learning_rate': rate})

    def _try_out(self, log: RunLog, roll_out: RollOut) -> None:
        """Run episodes with the EMA network, and keep it if it is the best so far: by score, then by success."""
        if not self.accelerator.is_main_process:
            return
        with self.learner.averaged() as network:
            summary = roll_out(self.settings, network, self.normalizer)
            reached = [summary['mean_score'], summary['success_rate']]
            best = self.folder / BEST
            if not best.exists() or reached > load_checkpoint(best)['reached']:
                weights = {name: value.clone() for name, value in network.state_dict().items()}
                normalizer = to_plain(self.normalizer)
                state = {'step': self.step, 'network': weights, 'normalizer': normalizer, 'reached': reached}
                save_checkpoint(best, state)
        log.keep({'step': self.step, 'mean_score': reached[0], 'success_rate': reached[1]}, ROLLOUTS)
        log.say(f'step {self.step}: mean score {reached[0]:.3f}, success {reached[1]:.0%}')

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        state = {
            'step': self.step,
            **self.learner.state(),
            'validation_loss': self.validation_loss,
            'normalizer': to_plain(self.normalizer),
        }
        save_checkpoint(self.folder / CHECKPOINT, state)

    def _open_folder(self, data_sha256: str, episodes: int) -> None:
        """Start the run folder, or take up the run that it holds; only the first process needs to see it."""
        if self.accelerator.num_processes > 1:
            hashes = {read[:12] for read in gather_object([data_sha256])}
            if len(hashes) > 1:
                raise DataError(f'recordings: got data {listed(sorted(hashes))} in several processes, allowed the same')
        found: list[dict[str, Any] | None] = [None]
        if self.accelerator.is_main_process:
            record = {
                'data_sha256': data_sha256,
                'episodes': episodes,
                'held_out_episodes': self.held_out,
                **({'skipped_recordings': self._skipped} if self._skipped else {}),
                'training_windows': len(self.train_set),
                'camera_shapes': self._camera_shapes,
                **({'starts': to_plain(self._starts)} if self._starts else {}),
                'parameters': sum(p.numel() for p in self.learner.network.parameters()),
            }
            others = {'teacher': self.settings.objective.distill.teacher, 'start': self.settings.start}
            for what, named in others.items():
                if named:
                    record[f'{what}_sha256'] = sha256(checkpoint_file(trained_folder(what, named)))
            found = [open_run(self.folder, self.settings, record)]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(found)
        if found[0] is not None:
            self._restore(found[0])

    def _restore(self, state: dict[str, Any]) -> None:
        self.learner.restore(state)
        self.step = state['step']
        self.validation_loss = state['validation_loss']
        if self.accelerator.is_main_process:
            for table in (CURVES, ROLLOUTS):
                drop_rows_after(self.folder, self.step, table)
