"""LeRobot datasets (format 2.0, 2.1 and 3.0, from a local folder) as episodes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.bounded_files import MOST_JSON, from_json, read_text, shown
from dp_ros.errors import DataError, listed
from dp_ros.recordings.datasets.lerobot_files import (
    check_rows,
    check_text,
    check_totals,
    check_video_times,
    dataset_file,
    episode_rows,
    numbers_of,
    path_from,
    picture,
    read_parquet,
    video_pictures,
)
from dp_ros.recordings.datasets.tables import Table, whole
from dp_ros.recordings.episodes.actions import action_sources
from dp_ros.task.spec import ImageStream, JointStream, TaskSpec

INFO = 'meta/info.json'
_EPISODES = 'meta/episodes'
MOST_EPISODES = 1_000_000
STATE, ACTION, IMAGES = 'observation.state', 'action', 'observation.images.'


def is_lerobot(path: Path) -> bool:
    """Whether a folder is a LeRobot dataset."""
    return (path / INFO).is_file()


def lerobot_tables(dataset: LeRobotDataset) -> Generator[Callable[[], Table]]:
    """Yield for each episode a function that reads its table; it raises DataError where that cannot be read."""

    def read(number: int) -> Table:
        with whole(f'LeRobot dataset {dataset.path}'):
            return dataset.table(number)

    return (partial(read, number) for number in range(len(dataset)))


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
        with whole(f'LeRobot dataset {path}'):
            # Of format 2 an episode's number says where it is: none has to be listed.
            self._episodes = self._in_files() if major == '3' else None
            self._lengths = _lengths(path) if self._episodes is None else {}
            self._count = _count(self._info, 'total_episodes') if self._episodes is None else len(self._episodes)
            entries = self._episodes
            lengths = list(self._lengths.values()) if entries is None else [entry['length'] for entry in entries]
            if lengths:
                check_totals(self._info, lengths)
            self._tasks = _tasks(path)
        if not self._count:
            raise DataError(f'LeRobot dataset {path}: got 0 episodes, allowed 1 or more')

    def __len__(self) -> int:
        """Return the number of episodes."""
        return self._count

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._features)

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

        made = Table(
            name=f'episode_{index:06d}',
            rate=self._rate,
            columns=numbers,
            labels={n: _labels(f.get('names')) for n, f in self._features.items()},
            cameras=cameras,
            pictures=pictures,
            instructions=self._instructions(numbers),
        )
        try:
            check_rows(numbers, self._rate, entry.get('length'))
            for name, place in entry.get('videos', {}).items():
                check_video_times(name, place, self._rate, entry.get('length'))
        except DataError as error:
            raise DataError(f'{made.name}: {error}') from error
        return made

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
        chunk = number // _count(self._info, 'chunks_size', 1000)
        return {'episode_index': number, 'episode_chunk': chunk, 'length': self._lengths.get(number)}

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
            'length': row.get('length'),
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


def _lengths(path: Path) -> dict[int, int]:
    """Return how many rows each episode has, by its number, as format 2 says it; or nothing."""
    lines = 'meta/episodes.jsonl'
    if not (path / lines).is_file():
        return {}
    rows = _json_lines(path, lines)
    if not all(isinstance(row.get(key), int) for row in rows for key in ('episode_index', 'length')):
        raise DataError(f'{lines}: got lines without a whole episode_index and length, allowed both in each')
    return {row['episode_index']: row['length'] for row in rows}


def _json_lines(path: Path, name: str) -> list[dict[str, Any]]:
    try:
        text = read_text(dataset_file(path, name), MOST_JSON)
        rows = [from_json(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise DataError(f'LeRobot dataset {name}: cannot be read ({error}); allowed lines of JSON') from error
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f'{name}: got lines that are no mappings, allowed mappings')
    return rows


def _tasks(path: Path) -> dict[int, str]:
    """Return the tasks in words by their index: a table since format 3.0, lines of JSON before; or none."""
    table, lines = 'meta/tasks.parquet', 'meta/tasks.jsonl'
    if (path / table).is_file():
        rows = read_parquet(dataset_file(path, table), ()).to_pylist()
    elif (path / lines).is_file():
        rows = _json_lines(path, lines)
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
        'to': row.get(f'{place}to_timestamp'),
    }


def _labels(names: Any) -> tuple[str, ...]:
    """Return the names of channels: LeRobot has them as a list, or as the one entry of a mapping."""
    if isinstance(names, Mapping) and len(names) == 1:
        names = next(iter(names.values()))
    found = tuple(map(str, names)) if isinstance(names, list) else ()
    # LeRobot's own robots write `shoulder_pan.pos`.
    return tuple(name.removesuffix('.pos') for name in found) if all(n.endswith('.pos') for n in found) else found


def usual_columns(task: TaskSpec, features: Collection[str]) -> dict[str, str]:
    """Return LeRobot's usual column for each stream, and for ``action``, that has a topic in place of a column.

    Joints are looked for in ``observation.state``, the action in ``action``; a picture in ``observation.images.NAME``,
    or in the one camera that the dataset has.
    """
    cameras = [name for name in features if name.startswith(IMAGES)]
    found = {}
    for stream in task.streams:
        if not stream.topic.startswith('/'):
            continue
        usual = STATE if isinstance(stream, JointStream) else f'{IMAGES}{stream.name}'
        if isinstance(stream, ImageStream) and usual not in features and len(cameras) == 1:
            usual = cameras[0]
        if usual in features:
            found[stream.name] = usual
    if action_sources(task)[0].topic.startswith('/') and ACTION in features:
        found[ACTION] = ACTION
    return found
