"""Episodes cut into training samples: a window of observations and the chunk of actions that follows from its end.

Edges are padded as in Chi et al. 2023: before an episode's first observation with copies of it (`obs_horizon - 1`),
after its last action with copies of that. There the padding ends with the steps that get executed (`exec_horizon - 1`);
here it reaches as far as a chunk does (`pred_horizon - 1`), so that how a demonstration ends is observed too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp_ros.errors import ConfigError, DataError
from dp_ros.policy.normalizer import ACTION, Normalizer, action_base, channels_of, normalize_image
from dp_ros.policy.turns import middle_of, middles, observed_at, turned_actions, turned_streams, turning
from dp_ros.recordings.episodes.cache_store import JoinedFrames
from dp_ros.recordings.episodes.episode import Episode, window_indices
from dp_ros.recordings.episodes.goals import episode_names, goal_extremes, recorded_goals, source_of
from dp_ros.task.goals import GoalSpec
from dp_ros.task.spec import REWARD, GoalImage, GoalPose, ImageStream, Instruction, TaskSpec
from dp_ros.task.starts import DemonstratedStarts


def fit_normalizer(episodes: Sequence[Episode], task: TaskSpec) -> Normalizer:
    """Fit the normalizer on every step of the episodes."""
    vectors = [s.name for s in task.streams if not isinstance(s, ImageStream)]
    arrays = {name: np.concatenate([e.streams[name] for e in episodes]) for name in vectors}
    about = _continuous(episodes, task)
    arrays |= {name: _stream_extremes(name, episodes, task, about[name]) for name in about if name != ACTION}
    recorded = [g.name for g in recorded_goals(task) if isinstance(g, GoalPose)]
    asked = {name: np.concatenate([e.streams[name] for e in episodes]) for name in recorded}
    arrays |= goal_extremes(task, arrays | asked)
    actions = np.concatenate([_action_extremes(e, task, about) for e in episodes])
    unseen = [c for c in turning(task).get(ACTION, ()) if observed_at(task, task.action.joints[c]) is None]
    if unseen:
        actions = _extremes(actions, about[ACTION], unseen)
    floors = {name: [channel.floor for channel in channels] for name, channels in channels_of(task).items()}
    return Normalizer.fit({**arrays, ACTION: actions}, floors)


def _continuous(episodes: Sequence[Episode], task: TaskSpec) -> dict[str, np.ndarray]:
    """Return about which positions the continuous joints lie, (C,), of each of `turning`; other columns are 0."""
    found = {}
    for name, columns in turning(task).items():
        values = [e.actions if name == ACTION else e.streams[name] for e in episodes]
        found[name] = np.zeros(values[0].shape[1])
        for column in columns:
            found[name][column] = middle_of(np.concatenate([v[:, column] for v in values]))
    return found


def _extremes(rows: np.ndarray, about: np.ndarray | None = None, columns: Sequence[int] = ()) -> np.ndarray:
    """Return the lowest and the highest (2, C) of (..., C); ``about`` (C,) is in the middle of those of ``columns``."""
    axes = tuple(range(rows.ndim - 1))
    found = np.stack([rows.min(axis=axes), rows.max(axis=axes)])
    if about is not None:
        reach = np.abs(found - about).max(axis=0)
        around = np.stack([about - reach, about + reach])
        found[:, columns] = around[:, columns]
    return found


def _stream_extremes(name: str, episodes: Sequence[Episode], task: TaskSpec, middle: np.ndarray) -> np.ndarray:
    """Return the extrema (2, C) that the network will see of a stream with continuous joints."""
    seen = []
    for episode in episodes:
        steps = np.arange(len(episode.stamps))[:, None] + np.arange(1 - task.obs_horizon, 1)
        windows = {name: episode.streams[name][steps.clip(0)]}
        seen.append(_extremes(turned_streams(task, {name: middle}, windows)[name]))
    return _extremes(np.stack(seen), middle, turning(task)[name])


def _action_extremes(episode: Episode, task: TaskSpec, middle: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return actions (N, A) with the lowest and highest that the network will see of an episode."""
    if not task.action.relative and ACTION not in turning(task):
        return episode.actions
    observed, acted = window_indices(len(episode.stamps), task)
    return _extremes(learnt_actions(task, middle, episode.actions[acted], _windows_of(episode.streams, task, observed)))


def _windows_of(columns: Mapping[str, Any], task: TaskSpec, observed: np.ndarray) -> dict[str, np.ndarray]:
    """Return the windows (..., T, C) of the streams that say where the joints are."""
    return {name: columns[name][observed] for name in _based_on(task)}


def learnt_actions(
    task: TaskSpec, middle: Mapping[str, np.ndarray], actions: np.ndarray, streams: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return chunks (..., P, A) of set points as the network has them, for windows of the streams that they need."""
    turned = turned_streams(task, middle, streams)
    actions = turned_actions(task, middle, actions, turned)
    base = action_base(task, turned)
    return actions if base is None else actions - base[..., -1:, :]


def demonstrated_starts(episodes: Sequence[Episode], task: TaskSpec) -> DemonstratedStarts | None:
    """Return where the action's joints were measured at the first tick of episodes; None if no stream has them all."""
    try:
        stream, columns = task.base_columns()
    except ConfigError:
        return None
    return DemonstratedStarts.of(
        task.action.joints, np.stack([episode.streams[stream][0][list(columns)] for episode in episodes])
    )


def camera_shapes(episodes: Sequence[Episode], task: TaskSpec) -> dict[str, tuple[int, int]]:
    """Return height and width of the pictures of each camera, and goal, as they were recorded: what a robot must send.

    Those that are fitted by ``letterbox`` may have any, and are left out.

    Raises
    ------
    DataError
        If one had several: brought to one size, the same things would have different shapes.

    """
    found: dict[str, tuple[int, int]] = {}
    stretched = {s.name for s in task.streams if isinstance(s, ImageStream) and s.fit == 'stretch'}
    stretched |= {g.name for g in task.goals if isinstance(g, GoalImage)}
    for episode in episodes:
        for name in stretched & set(episode.camera_shapes):
            shape = episode.camera_shapes[name]
            before = found.setdefault(name, shape)
            if shape != before:
                raise DataError(
                    f'{episode.name}: stream {name!r} size: got pictures of {shape[1]} x {shape[0]} pixels, '
                    f'{before[1]} x {before[0]} before; allowed one size in all recordings, or fit: letterbox'
                )
    hindsight = {g.name: g.stream for g in task.goals if isinstance(g, GoalImage) and g.source == 'hindsight'}
    return found | {name: found[stream] for name, stream in hindsight.items() if stream in found}


def data_hash(episodes: Sequence[Episode]) -> str:
    """Return the SHA-256 of what training sees: all episodes' streams and actions, in order."""
    digest = hashlib.sha256()
    for episode in episodes:
        for name, array in (*sorted(episode.streams.items()), (ACTION, episode.actions)):
            digest.update(f'{name}{array.dtype.str}{array.shape}'.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


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


class WindowDataset:
    """All samples of some episodes, normalized. Images stay uint8, and where they are, until they are asked for."""

    def __init__(self, episodes: Sequence[Episode], task: TaskSpec, normalizer: Normalizer) -> None:
        if not episodes:
            raise DataError('training windows: got 0 episodes, allowed 1 or more')
        self._names = tuple(s.name for s in task.streams)
        worded = {g.name for g in task.goals if isinstance(g, Instruction)}
        self._columns = {
            name: _column(name, episodes, None if name in worded else normalizer)
            for name in episode_names(task)
            if name != REWARD
        }
        actions = np.concatenate([e.actions for e in episodes])
        self._task, self._normalizer, self._middles = task, normalizer, middles(task, normalizer)
        # What is moved by whole turns, or counts from where the joints are, is normalized window by window.
        self._moved = {
            n: np.concatenate([e.streams[n] for e in episodes])
            for n in {*_based_on(task), *turning(task)}
            if n != ACTION
        }
        self._recorded = actions if task.action.relative or ACTION in turning(task) else None
        self._actions = torch.from_numpy(normalizer.normalize(ACTION, actions))
        starts = np.cumsum([0, *(len(e.stamps) for e in episodes)])
        pairs = [window_indices(len(e.stamps), task) for e in episodes]
        self._observed = torch.from_numpy(np.concatenate([o + s for (o, _), s in zip(pairs, starts, strict=False)]))
        self._acted = torch.from_numpy(np.concatenate([a + s for (_, a), s in zip(pairs, starts, strict=False)]))
        ends = np.repeat(starts[1:] - 1, [len(observed) for observed, _ in pairs])
        self._ends = torch.from_numpy(ends)
        self._goals = GoalColumns(task, self._columns, self._ends)

    def __len__(self) -> int:
        return len(self._observed)

    def batch(self, indices: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the streams (B, T, ...), then the goals (B, ...), and the normalized actions (B, P, A)."""
        observed = self._observed[indices]
        streams = [self._stream(name, observed) for name in self._names]
        goals = [_taken(column, steps) for column, steps in self._goals.batch(indices, observed[:, -1])]
        return (*streams, *goals), self.actions(indices)

    def actions(self, indices: Tensor) -> Tensor:
        """Return the normalized actions (B, P, A) alone; no picture is decoded."""
        acted = self._acted[indices]
        if self._recorded is None:
            return self._actions[acted]
        windows = _windows_of(self._moved, self._task, self._observed[indices].numpy())
        actions = learnt_actions(self._task, self._middles, self._recorded[acted.numpy()], windows)
        return torch.from_numpy(self._normalizer.normalize(ACTION, actions))

    def recorded(self, indices: Tensor) -> Tensor:
        """Return which actions of the chunks were recorded, (B, P, 1); the others are copies of an episode's last."""
        newest = self._observed[indices, -1]
        steps = newest[:, None] + torch.arange(self._task.pred_horizon)
        return (steps <= self._ends[indices, None])[..., None]

    def _stream(self, name: str, observed: Tensor) -> Tensor:
        if name not in self._middles:
            return _taken(self._columns[name], observed)
        turned = turned_streams(self._task, self._middles, {name: self._moved[name][observed.numpy()]})
        return torch.from_numpy(self._normalizer.normalize(name, turned[name]))


def _based_on(task: TaskSpec) -> set[str]:
    """Return the streams that say where the joints are that actions count from, or lie next to."""
    places = [observed_at(task, task.action.joints[column]) for column in turning(task).get(ACTION, ())]
    return {place[0] for place in places if place} | ({task.base_columns()[0]} if task.action.relative else set())


def _column(name: str, episodes: Sequence[Episode], normalizer: Normalizer | None) -> Tensor | JoinedFrames:
    """Return one stream of all episodes, one after the other: numbers normalized, pictures and embeddings as they are.

    An embedding (``normalizer`` None) is of mean square 1 by itself.
    """
    if episodes[0].streams[name].dtype == np.uint8:
        return JoinedFrames([e.streams[name] for e in episodes])
    values = np.concatenate([e.streams[name] for e in episodes])
    return torch.from_numpy(values.astype(np.float32) if normalizer is None else normalizer.normalize(name, values))


def _taken(column: Tensor | JoinedFrames, steps: Tensor) -> Tensor:
    if isinstance(column, Tensor):
        return column[steps]
    return torch.from_numpy(normalize_image(column[steps.numpy()]))


class GoalColumns:
    """The goals of all windows of some episodes.

    Parameters
    ----------
    task
        Its goals.
    columns
        By stream and by recorded goal, all steps of all episodes one after the other.
    ends
        For each window, the last step of its episode.

    """

    def __init__(self, task: TaskSpec, columns: Mapping[str, Any], ends: Tensor) -> None:
        self._goals, self._columns, self._ends = task.goals, columns, ends

    def batch(self, windows: Tensor, newest: Tensor) -> list[tuple[Any, Tensor]]:
        """Return, for each goal, its column and the steps in it, for windows that end at the steps ``newest``."""
        return [(self._columns[source_of(g)], self._steps(g, windows, newest)) for g in self._goals]

    def _steps(self, goal: GoalSpec, windows: Tensor, newest: Tensor) -> Tensor:
        if goal.source == 'topic':
            return newest
        ends = self._ends[windows]
        if isinstance(goal, Instruction) or goal.hindsight == 'last':
            return ends
        # A function of the windows asked for, and so of (seed, step): a resumed run draws the same.
        seed = int((windows * torch.arange(1, len(windows) + 1)).sum())
        drawn = torch.rand(len(windows), generator=torch.Generator().manual_seed(seed))
        return torch.minimum(newest + 1 + (drawn * (ends - newest)).to(torch.int64), ends)
