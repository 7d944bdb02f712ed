"""LeRobot datasets (format 2.0, 2.1 and 3.0, from a local folder) as episodes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.config import TaskSpec
from dp_ros.errors import DataError, listed
from dp_ros.training.collector import Episode, FrameStore
from dp_ros.training.tables import Table, episode_from_table

_EPISODES = 'meta/episodes'


def is_lerobot(path: Path) -> bool:
    """Whether a folder is a LeRobot dataset."""
    return (path / 'meta/info.json').is_file()


def read_lerobot(path: Path | str, task: TaskSpec, frames: FrameStore | None = None) -> Iterator[Episode]:
    """Yield the episodes of the dataset at ``path``; a stream's topic is its feature, as ``observation.state``.

    Raises
    ------
    DataError
        If the dataset is of another format, incomplete, or lacks what the task wants.

    """
    dataset = LeRobotDataset(Path(path))
    for number in range(len(dataset)):
        yield episode_from_table(dataset.table(number), task, frames)


class LeRobotDataset:
    """A dataset's facts, and its episodes as tables."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._info = json.loads((path / 'meta/info.json').read_text(encoding='utf-8'))
            self._features: dict[str, Any] = self._info['features']
            self._rate, version = float(self._info['fps']), str(self._info['codebase_version'])
            self._data_path, self._video_path = self._info['data_path'], self._info.get('video_path') or ''
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f'LeRobot dataset {path}: meta/info.json cannot be used ({type(error).__name__}: {error}); '
                'allowed a dataset of format 2.0, 2.1 or 3.0'
            ) from error
        major = version.lstrip('v').split('.')[0]
        if major not in ('2', '3'):
            raise DataError(f'LeRobot dataset {path}: got format {version}, allowed 2.0, 2.1 or 3.0')
        self._episodes = self._in_files() if major == '3' else self._by_number()
        self._tasks = _tasks(path)
        if not self._episodes:
            raise DataError(f'LeRobot dataset {path}: got 0 episodes, allowed 1 or more')

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self._episodes)

    def table(self, number: int) -> Table:
        """Return an episode as a table."""
        entry = self._episodes[number]
        index = int(entry['episode_index'])
        file = self.path / self._data_path.format(**entry)
        wanted = [n for n, f in self._features.items() if f['dtype'] != 'video']
        content = _parquet(file, tuple(wanted))
        chosen = content.filter(np.asarray(content['episode_index']) == index)
        if len(chosen) == 0:
            raise DataError(f'LeRobot dataset {file}: lacks episode {index}')
        kinds = {n: f['dtype'] for n, f in self._features.items()}
        numeric = [n for n in content.column_names if kinds.get(n, '').startswith(('float', 'int'))]
        numbers = {n: np.array(chosen[n].to_pylist(), dtype=np.float64) for n in numeric}
        cameras = tuple(n for n, kind in kinds.items() if kind in ('video', 'image'))

        def pictures(column: str, rows: np.ndarray) -> Iterable[np.ndarray]:
            if kinds[column] == 'image':
                return (_decoded(self.path, chosen[column][int(row)].as_py()) for row in rows)
            video = {**entry, **entry.get('videos', {}).get(column, {}), 'video_key': column}
            return _video(self.path / self._video_path.format(**video), video.get('from', 0.0), rows, self._rate)

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

    def _by_number(self) -> list[dict[str, Any]]:
        size = int(self._info.get('chunks_size', 1000))
        return [{'episode_index': i, 'episode_chunk': i // size} for i in range(int(self._info['total_episodes']))]

    def _in_files(self) -> list[dict[str, Any]]:
        found = []
        for file in sorted((self.path / _EPISODES).rglob('*.parquet')):
            for row in _parquet(file, ()).to_pylist():
                chunk, number = row['data/chunk_index'], row['data/file_index']
                entry = {'episode_index': row['episode_index'], 'chunk_index': chunk, 'file_index': number}
                entry['videos'] = {n: _video_place(row, n) for n, f in self._features.items() if f['dtype'] == 'video'}
                found.append(entry)
        return sorted(found, key=lambda e: e['episode_index'])


def _tasks(path: Path) -> dict[int, str]:
    """Return the tasks in words by their index: a table since format 3.0, lines of JSON before; or none."""
    table, lines = path / 'meta/tasks.parquet', path / 'meta/tasks.jsonl'
    if table.is_file():
        rows = _parquet(table, ()).to_pylist()
    elif lines.is_file():
        try:
            rows = [json.loads(line) for line in lines.read_text(encoding='utf-8').splitlines() if line.strip()]
        except ValueError as error:
            raise DataError(f'LeRobot dataset {lines}: cannot be read ({error}); allowed lines of JSON') from error
    else:
        return {}
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


@lru_cache(maxsize=2)
def _parquet(file: Path, columns: tuple[str, ...]) -> Any:
    from pyarrow import parquet

    try:
        known = parquet.read_schema(file).names
        return parquet.read_table(file, columns=[c for c in columns if c in known] or None)
    except Exception as error:  # pyarrow's own errors are of many kinds.
        raise DataError(f'LeRobot dataset {file}: cannot be read ({type(error).__name__}: {error})') from error


def _labels(names: Any) -> tuple[str, ...]:
    """Return the names of channels: LeRobot has them as a list, or as the one entry of a mapping."""
    if isinstance(names, Mapping) and len(names) == 1:
        names = next(iter(names.values()))
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _decoded(folder: Path, image: Mapping[str, Any]) -> np.ndarray:
    import cv2

    data = image.get('bytes') or (folder / str(image.get('path'))).read_bytes()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise DataError(f'LeRobot dataset {folder}: a picture of {len(data)} bytes cannot be decoded')
    rgb: np.ndarray = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return rgb


def _video(file: Path, start: float, rows: np.ndarray, rate: float) -> Iterator[np.ndarray]:
    """Yield the pictures of rows that increase, from ``start`` [s] on in the file: for each the nearest in time."""
    import av

    wanted = iter((start + rows / rate).tolist())
    due = next(wanted, None)
    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            stream.thread_type = 'AUTO'
            if start > 1.0 and stream.time_base:
                container.seek(int(start / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                while due is not None and frame.time is not None and frame.time > due - 0.5 / rate:
                    if frame.time > due + 0.5 / rate:
                        raise DataError(f'LeRobot dataset {file}: no picture at {due:.3f} s')
                    yield frame.to_ndarray(format='rgb24')
                    due = next(wanted, None)
                if due is None:
                    return
    except DataError:
        raise
    except Exception as error:  # PyAV's own errors are of many kinds.
        raise DataError(f'LeRobot dataset {file}: cannot be decoded ({type(error).__name__}: {error})') from error
