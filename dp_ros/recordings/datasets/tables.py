"""Datasets with a row for each frame, at a fixed rate, to episodes: what LeRobot's and robomimic's have in common.

A stream's or the action's topic is the name of a column here: `in_columns` puts one in place of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.errors import ConfigError, DataError, check_finite, listed
from dp_ros.messages.encoding import pose_features, resize_rgb
from dp_ros.policy.language import embed
from dp_ros.recordings.episodes.actions import action_sources
from dp_ros.recordings.episodes.builder import Episode, FrameStore, InMemory
from dp_ros.recordings.episodes.goals import recorded_goals
from dp_ros.task.goals import GoalSpec
from dp_ros.task.spec import ImageStream, Instruction, JointStream, PoseStream, Stream, TaskSpec, Unit

MOST_ROWS_A_SECOND = 100_000.0
_START = 1_700_000_000 * NANOSECONDS
_MOST_RADIANS = 25.0
"""An arm's joint turns no more than four times; 30 degrees or 50 percent are no radians."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """One recorded episode.

    Attributes
    ----------
    rate
        Rows a second.
    columns
        By name, (N, C) numbers.
    labels
        By column, what its channels are called; without an entry, or with one of another length, they have no names.
    cameras
        Columns that are pictures.
    pictures
        From a column and increasing rows, the pictures (H, W, 3) uint8, RGB.
    instructions
        The task in words at each row; none where the dataset has no words.

    """

    name: str
    rate: float
    columns: Mapping[str, np.ndarray]
    labels: Mapping[str, tuple[str, ...]]
    cameras: tuple[str, ...]
    pictures: Callable[[str, np.ndarray], Iterable[np.ndarray]]
    instructions: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not 0.0 < self.rate <= MOST_ROWS_A_SECOND:
            raise DataError(f'{self.name}: got {self.rate:g} rows/s, allowed more than 0, up to {MOST_ROWS_A_SECOND:g}')


def in_columns(task: TaskSpec, columns: Mapping[str, str]) -> TaskSpec:
    """Return the task with columns of a dataset in place of topics, by stream name, the action's by ``action``."""
    unknown = [name for name in columns if name not in {'action', *(s.name for s in task.streams)}]
    if unknown:
        known = listed([*(s.name for s in task.streams), 'action'])
        raise ConfigError(f'columns: got {listed(unknown)}, allowed {known}')
    streams = tuple(replace(s, topic=columns.get(s.name, s.topic)) for s in task.streams)
    action = replace(task.action, source_topic=columns.get('action', task.action.source_topic))
    return replace(task, streams=streams, action=action)


def episode_from_table(table: Table, task: TaskSpec, frames: FrameStore | None = None) -> Episode:
    """Return the episode of a table: each of its rows that is at a control tick.

    Raises
    ------
    DataError
        If rows and control ticks do not fall together, or a column lacks what the task wants of it.

    """
    frames = frames or InMemory()
    rows = _rows(table, task)
    ahead = task.action.source == 'next_state'
    actions = _joints(table, _action_stream(task), rows)
    kept = rows[:-1] if ahead else rows
    if len(kept) == 0:
        raise DataError(f'{table.name}: got {len(rows)} control ticks, allowed {2 if ahead else 1} or more')
    return Episode(
        name=table.name,
        stamps=_START + np.arange(len(kept), dtype=np.int64) * to_nanoseconds(task.control_dt),
        streams={
            **{stream.name: _stream(table, stream, kept, frames) for stream in task.streams},
            **{goal.name: _goal(table, goal, kept, frames) for goal in recorded_goals(task)},
        },
        actions=actions[1:] if ahead else actions,
    )


def _rows(table: Table, task: TaskSpec) -> np.ndarray:
    step = table.rate * task.control_dt
    if round(step) < 1 or abs(step - round(step)) > 1e-3:
        raise DataError(
            f'{table.name}: got {table.rate:g} rows/s for a control_dt of {task.control_dt:g} s, '
            f'allowed a whole number of rows a control step ({1 / table.rate:.6g} s or a multiple)'
        )
    length = min((len(column) for column in table.columns.values()), default=0)
    return np.arange(0, length, round(step))


def _action_stream(task: TaskSpec) -> JointStream:
    if task.action.sources:
        raise ConfigError('action sources: got them for a dataset, allowed for rosbag2 recordings: it has one column')
    (source,) = action_sources(task)
    joints = source.source_joints or source.joints
    return JointStream(name='action', topic=source.topic, joints=joints, units=task.action.units)


def _stream(table: Table, stream: Stream, rows: np.ndarray, frames: FrameStore) -> Any:
    if isinstance(stream, JointStream):
        return _joints(table, stream, rows)
    if isinstance(stream, PoseStream):
        values = _column(table, stream.name, stream.topic)[rows]
        chosen = _labelled(table, stream.topic, [pose_label(stream, feature) for feature in stream.features])
        if chosen is not None:
            return values[:, chosen]
        if values.shape[1] != 7:
            raise DataError(
                f'{table.name} column {stream.topic}: got {values.shape[1]} numbers, '
                'allowed 7 for a pose (x, y, z and a quaternion x, y, z, w), or channels called '
                f'{listed(pose_label(stream, feature) for feature in stream.features)}'
            )
        return np.stack([pose_features(stream, row[:3], row[3:]) for row in values])
    return _pictures(table, stream, rows, frames)


def _goal(table: Table, goal: GoalSpec, rows: np.ndarray, frames: FrameStore) -> Any:
    if not isinstance(goal, Instruction):
        return _stream(table, goal.as_stream, rows, frames)
    if not table.instructions:
        raise DataError(f'{table.name} goal {goal.name!r}: the dataset has no tasks in words, allowed one with them')
    return np.stack([embed(table.instructions[row]) for row in rows.tolist()])


def _pictures(table: Table, stream: ImageStream, rows: np.ndarray, frames: FrameStore) -> Any:
    if stream.topic not in table.cameras:
        raise DataError(f'{table.name}: lacks pictures {stream.topic}; it has {listed(table.cameras)}')
    kept = [frames.add(stream.name, resize_rgb(stream, rgb)) for rgb in table.pictures(stream.topic, rows)]
    if len(kept) != len(rows):
        raise DataError(f'{table.name} pictures {stream.topic}: got {len(kept)} for {len(rows)} control ticks')
    return frames.stack(stream.name, kept)


def _column(table: Table, name: str, column: str) -> np.ndarray:
    if column not in table.columns:
        raise DataError(f'{table.name} stream {name!r}: lacks column {column}; it has {listed(table.columns)}')
    try:
        values = np.asarray(table.columns[column], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f'{table.name} column {column}: got what are no numbers ({error}), allowed numbers') from error
    if values.ndim not in (1, 2):
        raise DataError(f'{table.name} column {column}: got shape {values.shape}, allowed (N, C) or (N,)')
    return values[:, np.newaxis] if values.ndim == 1 else values


def joint_label(stream: JointStream, field: str, joint: str) -> str:
    """Return what a dataset calls a joint's channel: the joint, or ``joint.velocity`` and ``joint.effort``."""
    return joint if field == 'position' else f'{joint}.{field}'


def pose_label(stream: PoseStream, feature: str) -> str:
    """Return what `dp_ros.recordings.datasets.lerobot_export` calls a pose's channel."""
    return f'{stream.name}.{feature}'


def _labelled(table: Table, column: str, wanted: list[str]) -> list[int] | None:
    """Return where a column has the channels ``wanted``, or None if it does not name all of them."""
    labels = table.labels.get(column, ())
    return [labels.index(name) for name in wanted] if set(wanted) <= set(labels) else None


def _joints(table: Table, stream: JointStream, rows: np.ndarray) -> np.ndarray:
    values = _column(table, stream.name, stream.topic)[rows]
    what = f'{table.name} column {stream.topic}'
    if stream.fields != ('position',):
        wanted = [joint_label(stream, field, joint) for field in stream.fields for joint in stream.joints]
        chosen = _labelled(table, stream.topic, wanted)
        if chosen is not None:
            check_finite(what, values)
            return values[:, chosen]
    if stream.fields != ('position',):
        raise DataError(f'{what}: wanted {listed(stream.fields)}, allowed position: a column for each quantity')
    labels = table.labels.get(stream.topic, ())
    if len(labels) == values.shape[1] and set(stream.joints) <= set(labels):
        values = values[:, [labels.index(joint) for joint in stream.joints]]
    elif len(labels) == values.shape[1] > 1:
        absent = [joint for joint in stream.joints if joint not in labels]
        raise DataError(f'{what}: wanted {listed(absent)}, which it lacks; it has {listed(labels)}')
    elif values.shape[1] != len(stream.joints):
        raise DataError(
            f'{what}: got {values.shape[1]} numbers without names for {len(stream.joints)} joints '
            f'({listed(stream.joints)}), allowed as many as joints, in their order'
        )
    check_finite(what, values)
    _check_units(what, values, stream.joints, stream.units)
    return values


def _check_units(what: str, values: np.ndarray, joints: tuple[str, ...], units: tuple[Unit, ...]) -> None:
    largest = np.abs(values).max(axis=0, initial=0.0)
    for joint, unit, most in zip(joints, units, largest, strict=True):
        if unit == 'rad' and most > _MOST_RADIANS:
            raise DataError(
                f'{what}: got up to {most:.4g} for {joint}, allowed {_MOST_RADIANS:g} rad; '
                'degrees or percent must be made radians first'
            )
