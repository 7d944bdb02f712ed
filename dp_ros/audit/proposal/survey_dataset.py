"""Measure a LeRobot dataset as recordings are measured: its columns as the topics that a robot would have them on.

A dataset has no topics, no delays and no URDF: names of topics are made up, and have to be checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dp_ros.audit.dataset import BOOKKEEPING
from dp_ros.audit.proposal.alike import merged
from dp_ros.audit.proposal.survey import Motion, Numbers, Survey, TopicSurvey
from dp_ros.data import NANOSECONDS
from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.messages.encoding import IMAGE, JOINT_STATE, JOINT_TRAJECTORY
from dp_ros.recordings.datasets.lerobot import ACTION, IMAGES, STATE
from dp_ros.recordings.datasets.tables import Table
from dp_ros.recordings.episodes.readers import dataset_tables, kind_of

TOPICS = {STATE: '/joint_states', ACTION: '/arm_controller/joint_trajectory'}
"""List where a robot has what LeRobot's columns hold, if it is called as usual."""
NOT_MEASURED = float('inf')


def survey_dataset(path: Path) -> Survey:
    """Measure every episode of the LeRobot dataset at ``path``; pictures in the first alone.

    Raises
    ------
    ConfigError
        For what is no LeRobot dataset: others name neither joints nor columns in a way that is known.
    DataError
        If it lacks ``observation.state``, or an episode cannot be read.

    """
    if kind_of(path) != 'lerobot':
        raise ConfigError(f'{path}: got {kind_of(path)}, allowed rosbag2 recordings or a LeRobot dataset')
    tables = list(dataset_tables(path, None)[1])
    found: list[Survey] = []
    cameras: Mapping[str, TopicSurvey] = {}
    for read in tqdm(tables, desc='init', unit=' episodes'):
        table = read()
        if not found:
            cameras = _cameras(table)
        found.append(_survey(path, table, cameras))
    return merged(found)


def _survey(path: Path, table: Table, cameras: Mapping[str, TopicSurvey]) -> Survey:
    if STATE not in table.columns:
        raise DataError(f'{path}: lacks column {STATE}, from which joint states come; it has {listed(table.columns)}')
    columns = {topic: column for column, topic in TOPICS.items() if column in table.columns}
    joints = {STATE: _names(table, STATE)}
    if ACTION in table.columns:
        same = _width(table, ACTION) == _width(table, STATE) and not table.labels.get(ACTION)
        joints[ACTION] = joints[STATE] if same else _names(table, ACTION)
    topics = {
        topic: _numbers(table, column, topic, joints[column], JOINT_STATE if column == STATE else JOINT_TRAJECTORY)
        for topic, column in columns.items()
    }
    others = [name for name in table.columns if name not in (*BOOKKEEPING, *columns.values())]
    return Survey(
        names=(f'{path.name} {table.name}',),
        seconds=len(table.columns[STATE]) / table.rate,
        topics={**topics, **cameras},
        others={name: f'a column of {_width(table, name)} numbers, of which no topic is known' for name in others},
        columns={**columns, **{topic: column for column, topic in _camera_topics(table).items()}},
    )


def _width(table: Table, column: str) -> int:
    return int(np.asarray(table.columns[column][:1]).size)


def _names(table: Table, column: str) -> tuple[str, ...]:
    """Return what a column's joints are called, or numbers where they have no names."""
    labels, width = table.labels.get(column, ()), _width(table, column)
    named = len(labels) == width and len(set(labels)) == width
    what = 'joint' if column == STATE else column
    return labels if named else tuple(f'{what}_{number + 1}' for number in range(width))


def _numbers(table: Table, column: str, topic: str, joints: tuple[str, ...], kind: str) -> TopicSurvey:
    rows = np.asarray(table.columns[column], dtype=np.float64).reshape(-1, len(joints))
    times = (np.arange(len(rows)) * (NANOSECONDS / table.rate)).astype(np.int64)
    numbers = Numbers(joints)
    for time, row in zip(times.tolist(), rows, strict=True):
        numbers.add(time, row)
    motions: Mapping[str, Motion] = numbers.motions()
    return TopicSurvey(
        name=topic, topic=topic, type=kind, count=len(rows), rate=table.rate, interval=1.0 / table.rate,
        joints=joints, named=joints == table.labels.get(column), motions=motions, fields=('position',),
    )  # fmt: skip


def _camera_topics(table: Table) -> dict[str, str]:
    """Return the topic that a robot may have each camera on, by column."""
    names = {column: column.removeprefix(IMAGES).removeprefix('observation.') for column in table.cameras}
    return {column: f'/{name.replace(".", "/")}/image_raw' for column, name in names.items()}


def _cameras(table: Table) -> dict[str, TopicSurvey]:
    found = {}
    for column, topic in _camera_topics(table).items():
        height, width = table.picture_size(column)
        found[topic] = TopicSurvey(
            name=topic, topic=topic, type=IMAGE, count=len(table.columns[STATE]), rate=table.rate,
            interval=1.0 / table.rate, size=(width, height), encodings=('rgb8',), frozen=NOT_MEASURED,
        )  # fmt: skip
    return found
