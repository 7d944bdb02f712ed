"""Episodes cut into training samples: a window of observations and the chunk of actions that follows from its end.

Edges as in Chi et al. 2023: before an episode's first observation, copies of it (`obs_horizon - 1`); after its last
action, copies of that, as far as the steps that get executed need them (`exec_horizon - 1` windows into the padding).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dp_ros.config import ImageStream, TaskSpec
from dp_ros.data import Window
from dp_ros.errors import DataError
from dp_ros.policy.normalizer import ACTION, Normalizer, normalize_image
from dp_ros.training.cache_store import JoinedFrames
from dp_ros.training.episodes import Episode


def window_indices(length: int, task: TaskSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return steps of each window (N, obs_horizon) and of each chunk (N, pred_horizon) for an episode of ``length``."""
    count = max(1, length - task.pred_horizon + task.exec_horizon)
    newest = np.arange(min(count, length))[:, None]
    observed = newest + np.arange(1 - task.obs_horizon, 1)
    acted = newest + np.arange(task.pred_horizon)
    return observed.clip(0, length - 1), acted.clip(0, length - 1)


def episode_windows(episode: Episode, task: TaskSpec) -> list[Window]:
    """Return every training window of an episode, as the policy would have got it."""
    observed, _ = window_indices(len(episode.stamps), task)
    return [
        Window(stamps=episode.stamps[i], streams={n: v[i] for n, v in episode.streams.items()}) for i in observed
    ]


def fit_normalizer(episodes: Sequence[Episode], task: TaskSpec) -> Normalizer:
    """Fit the normalizer on every step of the episodes."""
    vectors = [s.name for s in task.streams if not isinstance(s, ImageStream)]
    arrays = {name: np.concatenate([e.streams[name] for e in episodes]) for name in vectors}
    return Normalizer.fit({**arrays, ACTION: np.concatenate([e.actions for e in episodes])})


def data_hash(episodes: Sequence[Episode]) -> str:
    """Return the SHA-256 of what training sees: all episodes' streams and actions, in order."""
    digest = hashlib.sha256()
    for episode in episodes:
        for name, array in (*sorted(episode.streams.items()), (ACTION, episode.actions)):
            digest.update(f'{name}{array.dtype.str}{array.shape}'.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class WindowDataset:
    """All samples of some episodes, normalized. Images stay uint8, and where they are, until they are asked for."""

    def __init__(self, episodes: Sequence[Episode], task: TaskSpec, normalizer: Normalizer) -> None:
        if not episodes:
            raise DataError('training windows: got 0 episodes, allowed 1 or more')
        self._names = tuple(s.name for s in task.streams)
        self._pictures = {
            name: JoinedFrames([e.streams[name] for e in episodes])
            for name in self._names
            if episodes[0].streams[name].dtype == np.uint8
        }
        self._vectors = {
            name: torch.from_numpy(normalizer.normalize(name, np.concatenate([e.streams[name] for e in episodes])))
            for name in self._names
            if name not in self._pictures
        }
        actions = np.concatenate([e.actions for e in episodes])
        self._actions = torch.from_numpy(normalizer.normalize(ACTION, actions))
        starts = np.cumsum([0, *(len(e.stamps) for e in episodes)])
        pairs = [window_indices(len(e.stamps), task) for e in episodes]
        self._observed = torch.from_numpy(np.concatenate([o + s for (o, _), s in zip(pairs, starts, strict=False)]))
        self._acted = torch.from_numpy(np.concatenate([a + s for (_, a), s in zip(pairs, starts, strict=False)]))

    def __len__(self) -> int:
        return len(self._observed)

    def batch(self, indices: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the streams (B, T, ...), in the task's order, and the normalized actions (B, P, A)."""
        observed = self._observed[indices]
        streams = []
        for name in self._names:
            if name in self._pictures:
                streams.append(torch.from_numpy(normalize_image(self._pictures[name][observed.numpy()])))
            else:
                streams.append(self._vectors[name][observed])
        return tuple(streams), self._actions[self._acted[indices]]
