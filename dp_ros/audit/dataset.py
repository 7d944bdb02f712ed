"""Measure a LeRobot dataset or robomimic's HDF5 before training: its columns row by row, and its control ticks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dp_ros.audit.audit import Audit
from dp_ros.audit.ticks import TickAudit
from dp_ros.audit.topics import COLUMN, PICTURE_COLUMN, POSE_COLUMN, TopicAudit
from dp_ros.data import NANOSECONDS
from dp_ros.errors import DataError, listed
from dp_ros.recordings.datasets.tables import Table, column_names, episode_from_table
from dp_ros.recordings.episodes.actions import action_sources
from dp_ros.recordings.episodes.builder import Run
from dp_ros.recordings.episodes.readers import check_reach, dataset_tables
from dp_ros.task.spec import ImageStream, PoseStream, TaskSpec

BOOKKEEPING = ('timestamp', 'frame_index', 'episode_index', 'index', 'task_index')
"""Columns of LeRobot's that are no data."""


def audit_dataset(path: Path, task: TaskSpec | None, idle_speed: float) -> Audit:
    """Measure every episode of the dataset at ``path``; without a task, its columns alone."""
    task, tables = dataset_tables(path, task)
    audit = Audit(path=path, task=task, part='episode')
    if task is not None:
        audit.ticks = TickAudit(task, idle_speed)
    for number, read in enumerate(tqdm(tables, desc='check-bag', unit=' episodes')):
        audit.bags += 1
        try:
            _one(audit, read())
        except DataError as error:
            audit.broken[f'episode {number}'] = str(error)
    return audit


def _one(audit: Audit, table: Table) -> None:
    length = min(map(len, table.columns.values()), default=0)
    times = (np.arange(length) * (NANOSECONDS / table.rate)).astype(np.int64)
    audit.seconds += length / table.rate
    for column in _columns(audit.task, table):
        _column(audit, table, column, times)
    if audit.task is not None and audit.ticks is not None:
        try:
            _ticks(audit.task, audit.ticks, table)
        except DataError as error:
            # What is wrong in many episodes is named once.
            audit.ticks.failed[table.name] = str(error).removeprefix(table.name).lstrip(': ')


def _columns(task: TaskSpec | None, table: Table) -> list[str]:
    """Return the columns that the task reads, where the table has them; without a task all."""
    held = [*(name for name in table.columns if name not in BOOKKEEPING), *table.cameras]
    if task is None:
        return held
    read = {*(stream.topic for stream in task.streams), *(source.topic for source in action_sources(task))}
    return [name for name in held if name in read]


def _column(audit: Audit, table: Table, column: str, times: np.ndarray) -> None:
    kind = PICTURE_COLUMN if column in table.cameras else COLUMN
    if audit.task and any(isinstance(s, PoseStream) and s.topic == column for s in audit.task.streams):
        kind = POSE_COLUMN
    known = audit.topics.setdefault(column, TopicAudit(column, kind))
    known.start(table.name, len(times))
    audit.bags_with[column] += 1
    if kind == PICTURE_COLUMN:
        known.rows(times)
        if len(times):
            known.picture(*table.picture_size(column))
    else:
        values = np.asarray(table.columns[column], dtype=np.float64)[: len(times)].reshape(len(times), -1)
        known.rows(times, column_names(table, column, values.shape[1], audit.task), values)
    known.finish()


def _ticks(task: TaskSpec, ticks: TickAudit, table: Table) -> None:
    """Add an episode as training reads it, without its pictures and goals."""
    cameras = [stream.topic for stream in task.streams if isinstance(stream, ImageStream)]
    lacking = [topic for topic in cameras if topic not in table.cameras]
    if lacking:
        raise DataError(f'lacks pictures {listed(lacking)}; it has {listed(table.cameras)}')
    seen = tuple(stream for stream in task.streams if not isinstance(stream, ImageStream))
    episode = episode_from_table(table, replace(task, streams=seen, goals=(), guidance=''))
    check_reach(episode, replace(task, streams=seen))
    rows = [{name: values[tick] for name, values in episode.streams.items()} for tick in range(len(episode.stamps))]
    run = Run(cut=0, stamps=episode.stamps.tolist(), streams=rows, actions=list(episode.actions))
    ticks.bag(table.name, [run], {})
