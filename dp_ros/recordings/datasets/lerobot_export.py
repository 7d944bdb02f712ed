"""Episodes to a LeRobot dataset (format 3.0), as LeRobot's own reader and `dp_ros.recordings.datasets.lerobot` take it.

======================  =======================================================================================
feature                 what it holds
======================  =======================================================================================
observation.state       all joint streams side by side; a channel is called after its joint, with ``.velocity``
                        or ``.effort`` behind it where it is not the position
observation.            all pose streams side by side; a channel is called ``<stream>.<feature>``
environment_state
observation.images.*    a camera, by its stream's name; a video for each episode, or lossless, as PNG in the tables
action                  the set points, called after the joints
======================  =======================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.options import REQUIRED, check_options, option
from dp_ros.recordings.datasets.lerobot import ACTION, IMAGES, STATE
from dp_ros.recordings.datasets.lerobot_video import check_size, video_info, write_video
from dp_ros.recordings.datasets.tables import joint_label, pose_label
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.rosbag.reader import new_folder, refuse_existing
from dp_ros.task.spec import ImageStream, JointStream, PoseStream, TaskSpec

ENVIRONMENT = 'observation.environment_state'
Pictures = Literal['video', 'png']
_VIDEOS = 'videos/{video_key}/'
_FILES = 'chunk-{chunk_index:03d}/file-{file_index:03d}'
_CHUNK = 1000  # files in a folder
_FILE_MEGABYTES = 100
_VIDEO_MEGABYTES = 200
CARD = """---
task_categories:
- robotics
tags:
- LeRobot
configs:
- config_name: default
  data_files: data/*/*.parquet
---

{episodes} demonstrations of "{instruction}" by the robot `{robot}`: {frames} frames, {rate} a second.
The format is LeRobot's 3.0.

| feature | type | shape | channels |
|---|---|---|---|
{rows}

Observations are aligned at each control tick, and actions are the set points that the controller was at,
as dp_ros trains from them.
"""
_COUNTERS = ('frame_index', 'episode_index', 'index', 'task_index')


@dataclass(frozen=True, kw_only=True)
class LerobotSettings:
    """Choose what a dataset says, and how its files are made."""

    # fmt: off
    instruction: str = option(REQUIRED, 'the task in words, as LeRobot wants one')
    robot: str = option('unknown', "LeRobot's robot_type")
    pictures: Pictures = option(
        'video', 'how cameras are stored; png loses nothing, and takes much more room'
    )
    file_megabytes: float = _FILE_MEGABYTES  # more than that begin another file
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        if not self.instruction.strip():
            raise ConfigError("instruction: got '', allowed the task in words")


def export_lerobot(
    episodes: Iterable[Episode], task: TaskSpec, out: Path | str, settings: LerobotSettings
) -> tuple[int, int]:
    """Write episodes as a dataset in the new folder ``out``, which appears when all of it is written.

    Memory holds one episode. Return how many episodes and frames there are.

    Raises
    ------
    ConfigError
        If control_dt is no whole number of frames a second, two channels would have one name, a video cannot hold a
        camera's size, or the task has goals from recordings, which such a dataset has no place for.

    """
    out = Path(out)
    refuse_existing(out)
    rate = 1.0 / task.control_dt
    if abs(rate - round(rate)) > 1e-6:
        raise ConfigError(f'control_dt: got {task.control_dt} s, allowed a whole number of frames a second')
    _refuse_recorded_goals(task)
    with new_folder(out) as made:
        writer = _Writer(made, task, round(rate), settings.pictures, settings.file_megabytes)
        try:
            for episode in tqdm(episodes, unit=' episodes', desc='export', dynamic_ncols=True):
                writer.add(episode, settings.instruction)
        finally:
            writer.close_file()
        writer.finish(settings.instruction, settings.robot)
    return len(writer.places), writer.frames


def _refuse_recorded_goals(task: TaskSpec) -> None:
    goals = [f'{goal.name} ({goal.topic})' for goal in task.goals if goal.source == 'topic']
    if goals:
        raise ConfigError(
            f'goals: got {listed(goals)} from recordings, which a LeRobot dataset is not written with; '
            'allowed goals in hindsight, or a configuration without goals, to write the rest'
        )


def at_recorded_size(task: TaskSpec, camera_shapes: Mapping[str, tuple[int, int]]) -> TaskSpec:
    """Return the task with its cameras at the sizes, height and width, that they were recorded with."""
    streams = [
        replace(s, height=camera_shapes[s.name][0], width=camera_shapes[s.name][1])
        if isinstance(s, ImageStream) and s.name in camera_shapes
        else s
        for s in task.streams
    ]
    return replace(task, streams=tuple(streams))


def features(task: TaskSpec, rate: int, pictures: Pictures = 'png') -> dict[str, dict[str, Any]]:
    """Return the dataset's features, as meta/info.json has them."""
    arms = [s for s in task.streams if isinstance(s, JointStream)]
    joints = [joint_label(s, field, joint) for s in arms for field in s.fields for joint in s.joints]
    poses = [pose_label(s, f) for s in task.streams if isinstance(s, PoseStream) for f in s.features]
    found: dict[str, dict[str, Any]] = {}
    for name, channels in ((STATE, joints), (ENVIRONMENT, poses), (ACTION, list(task.action.joints))):
        if len(set(channels)) != len(channels):
            raise ConfigError(f'{name}: got channels {listed(channels)}, allowed no name twice')
        if channels:
            found[name] = {'dtype': 'float32', 'shape': [len(channels)], 'names': channels, 'fps': rate}
    for stream in task.streams:
        if isinstance(stream, ImageStream):
            camera = {'shape': list(stream.shape), 'names': ['height', 'width', 'channels'], 'fps': rate}
            if pictures == 'video':
                check_size(stream.name, stream.height, stream.width)
                camera['info'] = video_info(stream.height, stream.width, rate)
            found[IMAGES + stream.name] = {'dtype': 'video' if pictures == 'video' else 'image', **camera}
    found['timestamp'] = {'dtype': 'float32', 'shape': [1], 'names': None, 'fps': rate}
    return found | {name: {'dtype': 'int64', 'shape': [1], 'names': None, 'fps': rate} for name in _COUNTERS}


def columns(episode: Episode, task: TaskSpec) -> dict[str, np.ndarray]:
    """Return an episode's vectors by feature, (N, C) float32."""
    of_kind = {
        name: [episode.streams[s.name] for s in task.streams if isinstance(s, kind)]
        for name, kind in ((STATE, JointStream), (ENVIRONMENT, PoseStream))
    }
    found = {name: np.concatenate(arrays, axis=1) for name, arrays in of_kind.items() if arrays}
    return {name: values.astype(np.float32) for name, values in (found | {ACTION: episode.actions}).items()}


class _Writer:
    """Writes the tables of one dataset."""

    def __init__(self, folder: Path, task: TaskSpec, rate: int, pictures: Pictures, file_megabytes: float) -> None:
        self._folder, self._task, self._rate, self._films = folder, task, rate, pictures == 'video'
        self._file_bytes = file_megabytes * 1e6
        self._features = features(task, rate, pictures)
        self._cameras = [s.name for s in task.streams if isinstance(s, ImageStream)]
        self._file: Any = None
        self._file_number = -1
        self._stats: list[dict[str, Stats]] = []
        self.places: list[dict[str, Any]] = []
        self.frames = 0

    def add(self, episode: Episode, instruction: str) -> None:
        """Write an episode, to another file if the last is full."""
        import pyarrow

        number, count = len(self.places), len(episode.stamps)
        vectors = columns(episode, self._task)
        seconds = (np.arange(count) / self._rate).astype(np.float32)
        counters = {'frame_index': np.arange(count), 'episode_index': np.full(count, number)}
        counters |= {'index': self.frames + np.arange(count), 'task_index': np.zeros(count, np.int64)}
        arrays = {name: pyarrow.FixedSizeListArray.from_arrays(v.ravel(), v.shape[1]) for name, v in vectors.items()}
        stats = {name: vector_stats(values.astype(np.float64)) for name, values in vectors.items()}
        for camera in self._cameras:
            pictures = episode.streams[camera]
            if self._films:
                write_video(self._video(IMAGES + camera, number), pictures, self._rate)
            else:
                arrays[IMAGES + camera] = _encoded(pictures, number)
            counts = sum(shade_counts(np.asarray(pictures[i : i + 1])) for i in range(count))
            stats[IMAGES + camera] = picture_stats(np.asarray(counts), count)
        for name, values in {'timestamp': seconds, **counters}.items():
            arrays[name] = pyarrow.array(values)
            stats[name] = vector_stats(values[:, None].astype(np.float64))
        self._write(pyarrow.table({name: arrays[name] for name in self._features if name in arrays}))
        chunk, file = divmod(self._file_number, _CHUNK)
        self.places.append(
            {
                'episode_index': number, 'tasks': [instruction], 'length': count,
                'data/chunk_index': chunk, 'data/file_index': file,
                'dataset_from_index': self.frames, 'dataset_to_index': self.frames + count,
                **self._video_places(number, count),
                **{f'stats/{n}/{k}': v.tolist() for n, part in stats.items() for k, v in part.items()},
                'meta/episodes/chunk_index': 0, 'meta/episodes/file_index': 0,
            }
        )  # fmt: skip
        self._stats.append(stats)
        self.frames += count

    def _video(self, key: str, number: int) -> Path:
        chunk, file = divmod(number, _CHUNK)
        place = (_VIDEOS + _FILES).format(video_key=key, chunk_index=chunk, file_index=file)
        return self._folder / f'{place}.mp4'

    def _video_places(self, number: int, count: int) -> dict[str, Any]:
        chunk, file = divmod(number, _CHUNK)
        found: dict[str, Any] = {}
        for camera in self._cameras if self._films else ():
            key = _VIDEOS.format(video_key=IMAGES + camera)
            found |= {f'{key}chunk_index': chunk, f'{key}file_index': file}
            found |= {f'{key}from_timestamp': 0.0, f'{key}to_timestamp': count / self._rate}
        return found

    def _write(self, table: Any) -> None:
        from pyarrow import parquet

        if self._file is None or self._path(self._file_number).stat().st_size > self._file_bytes:
            self.close_file()
            self._file_number += 1
            path = self._path(self._file_number)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = parquet.ParquetWriter(path, table.schema, compression='snappy')
        self._file.write_table(table)

    def _path(self, number: int) -> Path:
        chunk, file = divmod(number, _CHUNK)
        return self._folder / 'data' / f'{_FILES.format(chunk_index=chunk, file_index=file)}.parquet'

    def close_file(self) -> None:
        """Write the end of the file that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(self, instruction: str, robot: str) -> None:
        """Write what describes the dataset."""
        import pyarrow
        from pyarrow import parquet

        if not self.places:
            raise DataError('LeRobot dataset: got 0 episodes to write, allowed 1 or more')
        meta = self._folder / 'meta'
        (meta / 'episodes/chunk-000').mkdir(parents=True)
        parquet.write_table(pyarrow.Table.from_pylist(self.places), meta / 'episodes/chunk-000/file-000.parquet')
        parquet.write_table(_tasks(instruction), meta / 'tasks.parquet')
        stats = {name: joined_stats([part[name] for part in self._stats]) for name in self._features}
        _write_json(meta / 'stats.json', {n: {k: v.tolist() for k, v in s.items()} for n, s in stats.items()})
        _write_json(meta / 'info.json', self._info(robot))
        card = self._card(instruction, robot)
        (self._folder / 'README.md').write_text(card, encoding='utf-8')

    def _card(self, instruction: str, robot: str) -> str:
        """Return the dataset card that the Hugging Face hub shows."""
        rows = '\n'.join(
            f'| `{name}` | {feature["dtype"]} | {" x ".join(map(str, feature["shape"]))} | '
            f'{", ".join(feature["names"] or ())} |'
            for name, feature in self._features.items()
        )
        return CARD.format(
            episodes=len(self.places), frames=self.frames, rate=self._rate, robot=robot, instruction=instruction,
            rows=rows,
        )  # fmt: skip

    def _info(self, robot: str) -> dict[str, Any]:
        return {
            'codebase_version': 'v3.0',
            'robot_type': robot,
            'total_episodes': len(self.places),
            'total_frames': self.frames,
            'total_tasks': 1,
            'chunks_size': _CHUNK,
            'data_files_size_in_mb': _FILE_MEGABYTES,
            'video_files_size_in_mb': _VIDEO_MEGABYTES,
            'fps': self._rate,
            'splits': {'train': f'0:{len(self.places)}'},
            'data_path': f'data/{_FILES}.parquet',
            'video_path': f'{_VIDEOS}{_FILES}.mp4' if self._films and self._cameras else None,
            'features': self._features,
        }


def _tasks(instruction: str) -> Any:
    """Return the table of tasks: LeRobot reads it with pandas, and looks a task up by its words as the index."""
    import pyarrow

    table = pyarrow.table({'task_index': pyarrow.array([0], pyarrow.int64()), '__index_level_0__': [instruction]})
    pandas = {
        'index_columns': ['__index_level_0__'],
        'column_indexes': [],
        'columns': [
            {'name': 'task_index', 'field_name': 'task_index', 'pandas_type': 'int64', 'numpy_type': 'int64',
             'metadata': None},
            {'name': None, 'field_name': '__index_level_0__', 'pandas_type': 'unicode', 'numpy_type': 'object',
             'metadata': None},
        ],
    }  # fmt: skip
    return table.replace_schema_metadata({'pandas': json.dumps(pandas)})


def _encoded(pictures: Any, episode: int) -> Any:
    """Return pictures (N, H, W, 3) as a column of PNG files, one at a time, so that frames on disk may stay there."""
    import cv2
    import pyarrow

    rows = []
    for i in range(len(pictures)):
        good, data = cv2.imencode('.png', cv2.cvtColor(np.asarray(pictures[i]), cv2.COLOR_RGB2BGR))
        if not good:
            raise DataError(f'episode {episode}: picture {i} cannot be written as PNG')
        rows.append({'bytes': data.tobytes(), 'path': f'episode-{episode:06d}-frame-{i:06d}.png'})
    return pyarrow.array(rows, pyarrow.struct({'bytes': pyarrow.binary(), 'path': pyarrow.string()}))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + '\n', encoding='utf-8')


Stats = dict[str, np.ndarray]
_SHADES = np.arange(256)


def vector_stats(values: np.ndarray) -> Stats:
    """Return the statistics of rows (N, C)."""
    return {
        'min': values.min(axis=0),
        'max': values.max(axis=0),
        'mean': values.mean(axis=0),
        'std': values.std(axis=0),
        'count': np.array([len(values)]),
    }


def shade_counts(pixels: np.ndarray) -> np.ndarray:
    """Return how often each shade occurs in each channel of pictures (N, H, W, 3) uint8: (3, 256)."""
    return np.stack([np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(3)])


def picture_stats(counts: np.ndarray, pictures: int) -> Stats:
    """Return the statistics of pictures, shades from 0 to 1, each (3, 1, 1), from their `shade_counts`."""
    total = counts.sum(axis=1)
    mean = counts @ _SHADES / total
    spread = np.sqrt(np.maximum(counts @ _SHADES**2 / total - mean**2, 0.0))
    seen = counts > 0
    values = {'min': seen.argmax(axis=1), 'max': 255 - seen[:, ::-1].argmax(axis=1), 'mean': mean, 'std': spread}
    return {name: (value / 255.0).reshape(3, 1, 1) for name, value in values.items()} | {'count': np.array([pictures])}


def joined_stats(parts: Sequence[Stats]) -> Stats:
    """Return the statistics of all rows, from those of each part."""
    counts = np.array([part['count'][0] for part in parts], dtype=np.float64)
    share = (counts / counts.sum()).reshape(-1, *[1] * parts[0]['mean'].ndim)
    mean = sum(w * part['mean'] for w, part in zip(share, parts, strict=True))
    square = sum(w * (part['std'] ** 2 + part['mean'] ** 2) for w, part in zip(share, parts, strict=True))
    return {
        'min': np.min([part['min'] for part in parts], axis=0),
        'max': np.max([part['max'] for part in parts], axis=0),
        'mean': np.asarray(mean),
        'std': np.sqrt(np.maximum(np.asarray(square) - np.asarray(mean) ** 2, 0.0)),
        'count': np.array([int(counts.sum())]),
    }
