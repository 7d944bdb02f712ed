"""Samples of a sequence model: a window, and what its chunk's tokens stand for.

After an episode's last tick set points and states stay as they are, and nothing more is gained or lost: rewards, less
their step cost, and returns are 0 there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dp_ros.policy.normalizer import Normalizer
from dp_ros.policy.sequence.spec import column_names, quantile_edges
from dp_ros.recordings.episodes.episode import Episode, window_indices
from dp_ros.recordings.episodes.rewards import returns_to_go
from dp_ros.task.spec import REWARD, TaskSpec
from dp_ros.training.samples.windows import WindowDataset
from dp_ros.training.settings import SequenceSettings


class SequenceDataset(WindowDataset):
    """All samples of some episodes; `batch` gives the values of the tokens in place of normalized actions."""

    def __init__(
        self, episodes: Sequence[Episode], task: TaskSpec, normalizer: Normalizer, settings: SequenceSettings
    ) -> None:
        super().__init__(episodes, task, normalizer)
        steps = np.arange(1, task.pred_horizon + 1)
        base, columns = task.base_columns()
        parts = []
        for episode in episodes:
            length = len(episode.stamps)
            _, acted = window_indices(length, task)
            following = (np.arange(length)[:, None] + steps).clip(0, length - 1)
            after = np.arange(length)[:, None] + steps - 1 >= length
            rewards = episode.streams[REWARD][:, 0]
            returns = returns_to_go(rewards, settings.step_cost)
            start = episode.streams[base][:, None, list(columns)]
            parts.append(
                np.concatenate(
                    [
                        np.where(after, 0.0, returns[acted])[..., None],
                        episode.actions[acted] - start,
                        np.where(after, 0.0, rewards[acted] - settings.step_cost)[..., None],
                        *(episode.streams[name][following] for name in settings.states),
                    ],
                    axis=-1,
                )
            )
        self._values = torch.from_numpy(np.concatenate(parts))
        assert self._values.shape[-1] == len(column_names(task, settings.states))

    def batch(self, indices: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the streams (B, T, ...), then the goals (B, ...), and the tokens' values (B, P, K) float64."""
        streams, _ = super().batch(indices)
        return streams, self._values[indices]

    def edges(self, bins: int, actions: int) -> Tensor:
        """Return the edges (K, bins + 1) float64 of bins that hold about equally many values."""
        values = self._values.numpy()
        rows = []
        for column in range(values.shape[-1]):
            found = values[..., column]
            if 0 <= column - 1 < actions:
                found = np.diff(found, axis=1, prepend=0.0)
            rows.append(quantile_edges(found.reshape(-1), bins))
        return torch.from_numpy(np.stack(rows))
