"""Recordings of any kind that training can read, told apart by what lies at their path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.segmentation import BY_FILE, CutSettings
from dp_ros.recordings.episodes.unreadable import Broken
from dp_ros.recordings.episodes.wrapping import unwrapped_episode
from dp_ros.task.spec import TaskSpec


def read_recordings(
    path: Path | str,
    task: TaskSpec,
    *,
    cut: CutSettings = BY_FILE,
    columns: Mapping[str, str] | None = None,
    cache: Path | str | None = None,
    workers: int = 0,
    progress: bool = True,
    broken: Broken | None = None,
) -> Iterator[Episode]:
    """Yield the episodes at ``path``: rosbag2 recordings, a LeRobot dataset, robomimic's HDF5, or PushT's zarr.

    Parameters
    ----------
    path, task
        Where from, and what of it.
    cut
        What divides a rosbag2 recording; the others know their episodes.
    columns
        Of a LeRobot or robomimic dataset, by stream name and ``action``; without one, what the task has as topic.
    cache, workers, progress
        See `cached_episodes`; for rosbag2 recordings.
    broken
        Deals with rosbag2 recordings that cannot be read; without it, the first one is refused.

    """
    from dp_ros.recordings.datasets.lerobot import is_lerobot, read_lerobot
    from dp_ros.recordings.datasets.robomimic import SUFFIXES, read_hdf5
    from dp_ros.recordings.datasets.tables import in_columns

    path = Path(path)
    bags = False
    if (path / '.zgroup').is_file():
        recorded = [goal.name for goal in task.goals if goal.source == 'topic']
        if recorded:
            raise ConfigError(f'goals {listed(recorded)}: got source topic for {path}, allowed hindsight: it has none')
        from dp_ros.recordings.datasets.zarr import read_pusht_zarr

        read = read_pusht_zarr(path, task)
    elif is_lerobot(path):
        read = read_lerobot(path, in_columns(task, columns or {}))
    elif path.suffix in SUFFIXES and path.is_file():
        read = read_hdf5(path, in_columns(task, columns or {}))
    else:
        bags, read = True, _bags(path, task, cut, cache, workers, progress, broken)
    if not bags and (cut.by != 'file' or cache is not None):
        raise ConfigError(f'cut and cache: got them for {path}, allowed for rosbag2 recordings')
    for episode in read:
        # Recordings have been, one by one, so that those that wrap may be left out.
        yield episode if bags else _unwrapped(episode, task)


def _unwrapped(episode: Episode, task: TaskSpec) -> Episode:
    try:
        streams, actions = unwrapped_episode(task, episode.streams, episode.actions)
    except DataError as error:
        raise DataError(f'{episode.name}: {error}') from error
    return replace(episode, streams=streams, actions=actions)


def _bags(
    path: Path,
    task: TaskSpec,
    cut: CutSettings,
    cache: Path | str | None,
    workers: int,
    progress: bool,
    broken: Broken | None,
) -> Iterator[Episode]:
    if cache is None:
        from dp_ros.recordings.episodes.episode import read_episodes

        return read_episodes(path, task, cut=cut, broken=broken)
    from dp_ros.recordings.episodes.cache import cached_episodes

    return cached_episodes(path, task, cache, cut=cut, workers=workers, progress=progress, broken=broken)
