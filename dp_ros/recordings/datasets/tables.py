"""Datasets with a row for each frame, at a fixed rate, to episodes: what LeRobot's and robomimic's have in common.

A stream's or the action's topic is the name of a column here: `in_columns` puts one in place of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.errors import ConfigError, DataError, check_finite, listed, one_line
from dp_ros.messages.encoding import check_positions, nearer_sign, pose_features, resize_rgb
from dp_ros.policy.language import embed
from dp_ros.recordings.episodes.actions import action_sources
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.goals import recorded_goals
from dp_ros.task.goals import GoalSpec
from dp_ros.task.spec import ImageStream, Instruction, JointStream, PoseStream, Stream, TaskSpec
from dp_ros.task.units import QUATERNION

Shapes = dict[str, tuple[int, int]]
MOST_ROWS_A_SECOND = 100_000.0
POSE_CHANNELS = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
_START = 1_700_000_000 * NANOSECONDS


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

    def picture_size(self, column: str) -> tuple[int, int]:
        """Return height and width of a column's first picture; DataError where it cannot be decoded."""
        (pixels,) = self.pictures(column, np.zeros(1, np.int64))
        height, width = pixels.shape[:2]
        return int(height), int(width)


@contextmanager
def whole(where: str) -> Iterator[None]:
    """Make any error within a :class:`DataError` that names the dataset: a damaged one fails in many ways."""
    try:
        yield
    except ConfigError:
        raise
    except DataError as error:
        raise error if where in str(error) else DataError(f'{where}: {error}') from error
    except Exception as error:
        reason = f'{type(error).__name__}: {one_line(str(error))}'
        raise DataError(f'{where}: damaged or of no known format ({reason}); allowed a whole dataset') from error


def in_columns(task: TaskSpec, columns: Mapping[str, str]) -> TaskSpec:
    """Return the task with columns of a dataset in place of topics, by stream name, the action's by ``action``."""
    unknown = [name for name in columns if name not in {'action', *(s.name for s in task.streams)}]
    if unknown:
        known = listed([*(s.name for s in task.streams), 'action'])
        raise ConfigError(f'columns: got {listed(unknown)}, allowed {known}')
    streams = tuple(replace(s, topic=columns.get(s.name, s.topic)) for s in task.streams)
    action = replace(task.action, source_topic=columns.get('action', task.action.source_topic))
    return replace(task, streams=streams, action=action)


def episode_from_table(table: Table, task: TaskSpec) -> Episode:
    """Return the episode of a table: each of its rows that is at a control tick.

    Raises
    ------
    DataError
        If rows and control ticks do not fall together, or a column lacks what the task wants of it.

    """
    rows = _rows(table, task)
    ahead = task.action.source == 'next_state'
    actions = _joints(table, _action_stream(task), rows)
    kept = rows[:-1] if ahead else rows
    if len(kept) == 0:
        raise DataError(f'{table.name}: got {len(rows)} control ticks, allowed {2 if ahead else 1} or more')
    shapes: Shapes = {}
    return Episode(
        name=table.name,
        stamps=_START + np.arange(len(kept), dtype=np.int64) * to_nanoseconds(task.control_dt),
        streams={
            **{stream.name: _stream(table, stream, kept, shapes) for stream in task.streams},
            **{goal.name: _goal(table, goal, kept, shapes) for goal in recorded_goals(task)},
        },
        actions=actions[1:] if ahead else actions,
        camera_shapes=shapes,
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
    action = task.action
    if action.sources:
        raise ConfigError('action sources: got them for a dataset, allowed for rosbag2 recordings: it has one column')
    (source,) = action_sources(task)
    joints = source.source_joints or source.joints
    return JointStream(name='action', topic=source.topic, joints=joints, units=action.units, scale=action.scale)


def _stream(table: Table, stream: Stream, rows: np.ndarray, shapes: Shapes) -> np.ndarray:
    if isinstance(stream, JointStream):
        return _joints(table, stream, rows)
    if isinstance(stream, PoseStream):
        values = _column(table, stream.name, stream.topic)[rows]
        chosen = _labelled(table, stream.topic, [pose_label(stream, feature) for feature in stream.features])
        if chosen is not None:
            return _one_sign(stream, values[:, chosen])
        if values.shape[1] != 7:
            raise DataError(
                f'{table.name} column {stream.topic}: got {values.shape[1]} numbers, '
                'allowed 7 for a pose (x, y, z and a quaternion x, y, z, w), or channels called '
                f'{listed(pose_label(stream, feature) for feature in stream.features)}'
            )
        return np.stack([pose_features(stream, row[:3], row[3:]) for row in values])
    return _pictures(table, stream, rows, shapes)


def _one_sign(stream: PoseStream, values: np.ndarray) -> np.ndarray:
    """Return features (N, C) whose quaternions, where they are whole, have the sign that the stream wants."""
    if not set(QUATERNION) <= set(stream.features):
        return values
    columns = [stream.features.index(part) for part in QUATERNION]
    values = values.copy()
    values[:, columns] = [nearer_sign(row, stream.near) for row in values[:, columns]]
    return values


def _goal(table: Table, goal: GoalSpec, rows: np.ndarray, shapes: Shapes) -> np.ndarray:
    if not isinstance(goal, Instruction):
        return _stream(table, goal.as_stream, rows, shapes)
    if not table.instructions:
        raise DataError(f'{table.name} goal {goal.name!r}: the dataset has no tasks in words, allowed one with them')
    return np.stack([embed(table.instructions[row]) for row in rows.tolist()])


def _pictures(table: Table, stream: ImageStream, rows: np.ndarray, shapes: Shapes) -> np.ndarray:
    if stream.topic not in table.cameras:
        raise DataError(f'{table.name}: lacks pictures {stream.topic}; it has {listed(table.cameras)}')
    kept = []
    for pixels in table.pictures(stream.topic, rows):
        height, width = shapes.setdefault(stream.name, pixels.shape[:2])
        if pixels.shape[:2] != (height, width):
            raise DataError(
                f'{table.name} pictures {stream.topic}: got a picture of {pixels.shape[1]} x {pixels.shape[0]} pixels, '
                f'{width} x {height} before; allowed one size in a recording'
            )
        kept.append(resize_rgb(stream, pixels))
    if len(kept) != len(rows):
        raise DataError(f'{table.name} pictures {stream.topic}: got {len(kept)} for {len(rows)} control ticks')
    return np.stack(kept)


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


def column_names(table: Table, column: str, width: int, task: TaskSpec | None) -> tuple[str, ...]:
    """Return what a column's channels are called: by the dataset, by the task that reads them, or by number."""
    labels = table.labels.get(column, ())
    read = [] if task is None else [s for s in (*task.streams, _action_stream(task)) if s.topic == column]
    for stream in read:
        if isinstance(stream, PoseStream) and width == 7:
            return POSE_CHANNELS
        if isinstance(stream, PoseStream) and len(labels) == width:
            return tuple(label.removeprefix(f'{stream.name}.') for label in labels)
        if isinstance(stream, JointStream) and len(labels) != width == len(stream.joints):
            return stream.joints
    return labels if len(labels) == width else tuple(f'[{number}]' for number in range(width))


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
        if chosen is None:
            raise DataError(f'{what}: wanted {listed(stream.fields)}, allowed position: a column for each quantity')
        return _in_units(what, stream, values[:, chosen])
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
    return _in_units(what, stream, values)


def _in_units(what: str, stream: JointStream, values: np.ndarray) -> np.ndarray:
    """Return a column's numbers (N, C) in the stream's units, if they can be that."""
    check_finite(what, values)
    parts = np.split(values, len(stream.fields), axis=1)
    values = np.concatenate([p * stream.factors(f) for f, p in zip(stream.fields, parts, strict=True)], axis=1)
    check_positions(what, stream, values)
    return values
