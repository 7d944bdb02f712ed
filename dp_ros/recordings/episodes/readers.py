"""Recordings of any kind that training can read, told apart by what lies at their path."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.messages.encoding import check_positions
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.segmentation import BY_FILE, CutSettings
from dp_ros.recordings.episodes.unreadable import Broken
from dp_ros.recordings.episodes.wrapping import unwrapped_episode
from dp_ros.task.spec import JointStream, TaskSpec

if TYPE_CHECKING:
    from dp_ros.recordings.datasets.tables import Table


def kind_of(path: Path | str) -> Literal['zarr', 'lerobot', 'hdf5', 'bags']:
    """Return what lies at a path: PushT's zarr, a LeRobot dataset, robomimic's HDF5, or else rosbag2 recordings."""
    from dp_ros.recordings.datasets.lerobot import is_lerobot
    from dp_ros.recordings.datasets.robomimic import SUFFIXES

    path = Path(path)
    if (path / '.zgroup').is_file():
        return 'zarr'
    if is_lerobot(path):
        return 'lerobot'
    return 'hdf5' if path.suffix in SUFFIXES and path.is_file() else 'bags'


def read_recordings(
    path: Path | str,
    task: TaskSpec,
    *,
    cut: CutSettings = BY_FILE,
    columns: Mapping[str, str] | None = None,
    cache: Path | str | None = None,
    workers: int = 0,
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
    cache, workers
        See `cached_episodes`; for rosbag2 recordings.
    broken
        Deals with rosbag2 recordings that cannot be read; without it, the first one is refused.

    """
    path = Path(path)
    kind = kind_of(path)
    if kind == 'zarr':
        recorded = [goal.name for goal in task.goals if goal.source == 'topic']
        if recorded:
            raise ConfigError(f'goals {listed(recorded)}: got source topic for {path}, allowed hindsight: it has none')
        from dp_ros.recordings.datasets.zarr import read_pusht_zarr

        read = read_pusht_zarr(path, task)
    elif task.reward is not None and kind != 'bags':
        raise ConfigError(f'task.reward: got one for {path}, allowed for rosbag2 recordings, and for PushT')
    elif kind != 'bags':
        from dp_ros.recordings.datasets.tables import in_columns

        read = read_dataset(path, in_columns(task, columns or {}))
    elif cache is None:
        from dp_ros.recordings.episodes.episode import read_episodes

        read = read_episodes(path, task, cut=cut, broken=broken)
    else:
        from dp_ros.recordings.episodes.cache import cached_episodes

        read = cached_episodes(path, task, cache, cut=cut, workers=workers, broken=broken)
    if kind != 'bags':
        check_whole_episodes(path, cut, cache)
    for episode in read:
        check_reach(episode, task)
        # Recordings have been, one by one, so that those that wrap may be left out.
        yield episode if kind == 'bags' else _unwrapped(episode, task)


def check_whole_episodes(path: Path, cut: CutSettings, cache: Path | str | None = None) -> None:
    """Raise ConfigError where a dataset, which knows its episodes, is to be cut, or its pictures cached."""
    if cut.by != 'file' or cache is not None:
        raise ConfigError(f'cut and cache: got them for {path}, allowed for rosbag2 recordings')


def read_dataset(path: Path, task: TaskSpec) -> Iterator[Episode]:
    """Yield the episodes of the LeRobot dataset or HDF5 at ``path``, where a stream's topic is the name of a column.

    In place of topics as ``/joint_states`` LeRobot's usual columns serve, see `usual_columns`. robomimic's own actions
    are mostly steps of the gripper in space, which are no joint positions: with ``next_state`` the robot's own joints
    are the action.

    Raises
    ------
    DataError
        If the dataset is of another format, incomplete, or lacks what the task wants.

    """
    from dp_ros.recordings.datasets.tables import episode_from_table, whole

    chosen, tables = dataset_tables(path, task)
    where = f'{"HDF5" if kind_of(path) == "hdf5" else "LeRobot dataset"} {path}'
    with closing(tables):  # and the file, at once where something is wrong
        for read in tables:
            table = read()
            with whole(where):
                episode = episode_from_table(table, chosen or task)
            yield episode


def dataset_tables(path: Path, task: TaskSpec | None) -> tuple[TaskSpec | None, Generator[Callable[[], Table]]]:
    """Return a LeRobot dataset's or robomimic file's episodes as tables, and the task with the columns it reads.

    Each table is read as its function is called, which raises DataError where that cannot be.
    """
    from dp_ros.recordings.datasets.lerobot import LeRobotDataset, lerobot_tables, usual_columns
    from dp_ros.recordings.datasets.robomimic import hdf5_tables
    from dp_ros.recordings.datasets.tables import in_columns

    if kind_of(path) == 'hdf5':
        return task, hdf5_tables(path)
    dataset = LeRobotDataset(path)
    if task is not None:
        task = in_columns(task, usual_columns(task, dataset.features))
    return task, lerobot_tables(dataset)


def _unwrapped(episode: Episode, task: TaskSpec) -> Episode:
    try:
        streams, actions = unwrapped_episode(task, episode.streams, episode.actions)
    except DataError as error:
        raise DataError(f'{episode.name}: {error}') from error
    return replace(episode, streams=streams, actions=actions)


def check_reach(episode: Episode, task: TaskSpec) -> None:
    """Raise DataError for an episode with positions that no arm has in their units."""
    action = task.action
    commanded = JointStream(name='action', topic='', joints=action.joints, units=action.units)
    check_positions(f'{episode.name}: action', commanded, episode.actions)
    for stream in task.streams:
        if isinstance(stream, JointStream):
            what = f'{episode.name}: topic {stream.topic}: stream {stream.name!r}'
            check_positions(what, stream, episode.streams[stream.name])
