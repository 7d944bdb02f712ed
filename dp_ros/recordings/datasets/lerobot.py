"""LeRobot datasets (format 2.0, 2.1 and 3.0, from a local folder) as episodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.bounded_files import MOST_JSON, from_json, read_text, shown
from dp_ros.errors import DataError, listed
from dp_ros.recordings.datasets.lerobot_files import (
    check_text,
    dataset_file,
    episode_rows,
    numbers_of,
    path_from,
    picture,
    read_parquet,
    video_pictures,
    whole,
)
from dp_ros.recordings.datasets.tables import Table, episode_from_table
from dp_ros.recordings.episodes.builder import Episode, FrameStore
from dp_ros.task.spec import TaskSpec

INFO = 'meta/info.json'
_EPISODES = 'meta/episodes'
MOST_EPISODES = 1_000_000


def is_lerobot(path: Path) -> bool:
    """Whether a folder is a LeRobot dataset."""
    return (path / INFO).is_file()


def read_lerobot(path: Path | str, task: TaskSpec, frames: FrameStore | None = None) -> Iterator[Episode]:
    """Yield the episodes of the dataset at ``path``; a stream's topic is its feature, as ``observation.state``.

    Raises
    ------
    DataError
        If the dataset is of another format, incomplete, or lacks what the task wants.

    """
    dataset = LeRobotDataset(Path(path))
    for number in range(len(dataset)):
        with whole(Path(path)):
            episode = episode_from_table(dataset.table(number), task, frames)
        yield episode


class LeRobotDataset:
    """A dataset's facts, and its episodes as tables."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._info = from_json(read_text(dataset_file(path, INFO), MOST_JSON), finite=False)
            self._features = _features(self._info['features'])
            self._rate, version = float(self._info['fps']), str(self._info['codebase_version'])
            self._data_path, self._video_path = self._info['data_path'], self._info.get('video_path') or ''
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f'LeRobot dataset {path}: meta/info.json cannot be used ({type(error).__name__}: {error}); '
                'allowed a dataset of format 2.0, 2.1 or 3.0'
            ) from error
        major = version.lstrip('v').split('.')[0]
        if major not in ('2', '3'):
            raise DataError(f'LeRobot dataset {path}: got format {version[:80]}, allowed 2.0, 2.1 or 3.0')
        with whole(path):
            # Of format 2 an episode's number says where it is: none has to be listed.
            self._episodes = self._in_files() if major == '3' else None
            self._count = self._announced() if self._episodes is None else len(self._episodes)
            self._tasks = _tasks(path)
        if not self._count:
            raise DataError(f'LeRobot dataset {path}: got 0 episodes, allowed 1 or more')

    def __len__(self) -> int:
        """Return the number of episodes."""
        return self._count

    def table(self, number: int) -> Table:
        """Return an episode as a table."""
        entry = self._entry(number)
        index = entry['episode_index']
        file = path_from(self.path, self._data_path, entry)
        wanted = tuple(n for n, f in self._features.items() if f['dtype'] != 'video')
        chosen = episode_rows(file, wanted, index)
        kinds = {n: f['dtype'] for n, f in self._features.items()}
        numeric = [n for n in chosen.column_names if kinds.get(n, '').startswith(('float', 'int'))]
        numbers = {n: numbers_of(file, n, chosen[n]) for n in numeric}
        cameras = tuple(n for n, kind in kinds.items() if kind in ('video', 'image'))

        def pictures(column: str, rows: np.ndarray) -> Iterable[np.ndarray]:
            if kinds[column] == 'image':
                return (picture(self.path, chosen[column][int(row)].as_py()) for row in rows)
            video = {**entry, **entry.get('videos', {}).get(column, {}), 'video_key': column}
            place = path_from(self.path, self._video_path, video)
            return video_pictures(place, float(video.get('from', 0.0)), rows, self._rate)

        return Table(
            name=f'episode_{index:06d}',
            rate=self._rate,
            columns=numbers,
            labels={n: _labels(f.get('names')) for n, f in self._features.items()},
            cameras=cameras,
            pictures=pictures,
            instructions=self._instructions(numbers),
        )

    def _instructions(self, numbers: Mapping[str, np.ndarray]) -> tuple[str, ...]:
        rows = numbers.get('task_index')
        if rows is None or not self._tasks:
            return ()
        unknown = sorted({int(i) for i in rows} - set(self._tasks))
        if unknown:
            raise DataError(
                f'LeRobot dataset {self.path}: got task_index {listed(unknown)}, allowed those in meta/tasks'
            )
        return tuple(self._tasks[int(i)] for i in rows)

    def _entry(self, number: int) -> dict[str, Any]:
        if self._episodes is not None:
            return self._episodes[number]
        return {'episode_index': number, 'episode_chunk': number // _count(self._info, 'chunks_size', 1000)}

    def _announced(self) -> int:
        return _count(self._info, 'total_episodes')

    def _in_files(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for file in sorted((self.path / _EPISODES).rglob('*.parquet')):
            rows = read_parquet(dataset_file(self.path, str(file.relative_to(self.path))), ()).to_pylist()
            found += [self._place(row) for row in rows]
        if len(found) > MOST_EPISODES:
            raise DataError(f'LeRobot dataset {self.path}: got {len(found)} episodes, allowed up to {MOST_EPISODES}')
        return sorted(found, key=lambda e: int(e['episode_index']))

    def _place(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return in which files an episode is."""
        entry = {
            'episode_index': int(row['episode_index']),
            'chunk_index': row['data/chunk_index'],
            'file_index': row['data/file_index'],
        }
        videos = {n: _video_place(row, n) for n, f in self._features.items() if f['dtype'] == 'video'}
        return {**entry, 'videos': videos}


def _features(given: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(given, dict) or not all(isinstance(feature, dict) for feature in given.values()):
        raise DataError(f'features: got {shown(given)}, allowed a mapping of mappings')
    for name, feature in given.items():
        check_text(f'features {name} dtype', feature.get('dtype'))
    return given


def _count(info: Mapping[str, Any], key: str, default: int | None = None) -> int:
    count = info.get(key, default)
    if not isinstance(count, int) or not (0 if default is None else 1) <= count <= MOST_EPISODES:
        raise DataError(f'meta/info.json {key}: got {shown(count)}, allowed a whole number up to {MOST_EPISODES}')
    return count


def _tasks(path: Path) -> dict[int, str]:
    """Return the tasks in words by their index: a table since format 3.0, lines of JSON before; or none."""
    table, lines = 'meta/tasks.parquet', 'meta/tasks.jsonl'
    if (path / table).is_file():
        rows = read_parquet(dataset_file(path, table), ()).to_pylist()
    elif (path / lines).is_file():
        try:
            text = read_text(dataset_file(path, lines), MOST_JSON)
            rows = [from_json(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise DataError(f'LeRobot dataset {lines}: cannot be read ({error}); allowed lines of JSON') from error
    else:
        return {}
    if not all(isinstance(row, dict) for row in rows):
        raise DataError('meta/tasks: got lines that are no mappings, allowed task_index and words')
    # The words are the table's index, whatever that is called.
    words = [next((str(v) for k, v in row.items() if k != 'task_index' and isinstance(v, str)), '') for row in rows]
    return {int(row['task_index']): text for row, text in zip(rows, words, strict=True) if 'task_index' in row}


def _video_place(row: Mapping[str, Any], key: str) -> dict[str, Any]:
    place = f'videos/{key}/'
    return {
        'chunk_index': row[f'{place}chunk_index'],
        'file_index': row[f'{place}file_index'],
        'from': row[f'{place}from_timestamp'],
    }


def _labels(names: Any) -> tuple[str, ...]:
    """Return the names of channels: LeRobot has them as a list, or as the one entry of a mapping."""
    if isinstance(names, Mapping) and len(names) == 1:
        names = next(iter(names.values()))
    return tuple(map(str, names)) if isinstance(names, list) else ()
