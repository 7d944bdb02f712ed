"""The files of a LeRobot dataset, read within bounds: tables, pictures and videos, all of them in its folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.bounded_files import inside, open_regular, read_bytes, shown
from dp_ros.errors import DataError, listed, one_line
from dp_ros.messages.images import MOST_PIXELS, decode_file

MOST_PICTURE = 2**28
"""Bytes of a picture's file."""
MOST_TIMES, ALWAYS = 16, 2**28
"""A table takes up to so many times its file's size in memory; up to `ALWAYS` bytes whatever its size."""
MOST_ROWS = 2**25
_ROWS = 65536
"""Rows that are read at once."""
_PLACE = re.compile(r'\{(\w+)(?::0?(\d{1,2})d)?\}')
_CONTAINERS = {'.mp4': 'mp4', '.mov': 'mov', '.mkv': 'matroska', '.webm': 'matroska', '.avi': 'avi'}
_INFO = 'meta/info.json'


def dataset_file(folder: Path, name: str) -> Path:
    """Return the path of a file of the dataset, which lies in its folder."""
    return inside(folder, name, _INFO)


def check_text(what: str, value: object) -> None:
    """Raise :class:`DataError` unless a value is text."""
    if not isinstance(value, str):
        raise DataError(f'{what}: got {shown(value)}, allowed text')


def path_from(folder: Path, template: Any, values: Mapping[str, Any]) -> Path:
    """Return the file that ``template`` names, as ``data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet``."""
    check_text('data_path and video_path', template)

    def filled(match: re.Match[str]) -> str:
        name, width = match[1], int(match[2] or 0)
        if name not in values or (width and not isinstance(values[name], int)):
            known = listed(key for key, value in values.items() if isinstance(value, int | str))
            raise DataError(f'path {shown(template)}: got {{{name}}}, allowed {known}, and a width with numbers only')
        return f'{values[name]:0{width}d}' if width else str(values[name])

    if set('{}') & set(_PLACE.sub('', template)):
        raise DataError(f'path {shown(template)}: allowed {{name}} and {{name:03d}} in it')
    return dataset_file(folder, _PLACE.sub(filled, template))


@lru_cache(maxsize=2)
def read_parquet(file: Path, columns: tuple[str, ...]) -> Any:
    """Return the ``columns`` that a table has, or all without any."""
    import pyarrow
    from pyarrow import parquet

    try:
        with open_regular(file) as source:
            most = max(ALWAYS, MOST_TIMES * file.stat().st_size)
            opened = parquet.ParquetFile(source)
            if opened.metadata.num_rows > MOST_ROWS:
                raise DataError(f'got {opened.metadata.num_rows} rows, allowed up to {MOST_ROWS}')
            schema = opened.schema_arrow
            known = [name for name in columns if name in schema.names] or None
            parts, taken = [], 0
            for part in opened.iter_batches(batch_size=_batch(opened, known, most), columns=known):
                taken += part.nbytes
                if taken > most:
                    raise DataError(f'got more than {most} bytes in memory, allowed {MOST_TIMES} times the file')
                parts.append(part)
            chosen = [schema.field(name) for name in schema.names if known is None or name in known]
            return pyarrow.Table.from_batches(parts, schema=pyarrow.schema(chosen))
    except Exception as error:  # pyarrow's own errors are of many kinds.
        raise DataError(f'LeRobot dataset {file}: cannot be read ({_reason(error)})') from error


def episode_rows(file: Path, columns: tuple[str, ...], episode: int) -> Any:
    """Return the rows of an episode in a table, in their order; none is an error."""
    from pyarrow import concat_tables

    table, runs = read_parquet(file, columns), episode_runs(file, columns).get(episode)
    if runs is None:
        raise DataError(f'LeRobot dataset {file}: lacks episode {episode}')
    return concat_tables([table.slice(first, length) for first, length in runs])


@lru_cache(maxsize=2)
def episode_runs(file: Path, columns: tuple[str, ...]) -> dict[Any, list[tuple[int, int]]]:
    """Return where the rows of each episode are in a table: first row and number of rows of each run, in order."""
    index = np.asarray(read_parquet(file, columns)['episode_index'])
    starts = np.flatnonzero(index[1:] != index[:-1]) + 1
    edges = [0, *starts.tolist(), len(index)] if len(index) else []
    runs: dict[Any, list[tuple[int, int]]] = {}
    for first, end in pairwise(edges):
        runs.setdefault(index[first].item(), []).append((first, end - first))
    return runs


def _batch(opened: Any, known: list[str] | None, most: int) -> int:
    """Return how many rows are read at once: of text and pictures so few that each may be all that is stored."""
    metadata = opened.metadata
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if size > most:
        raise DataError(f'got {size} bytes unpacked, allowed up to {most}, {MOST_TIMES} times the file')
    columns = [opened.schema.column(i) for i in range(len(opened.schema))]
    chosen = [c for c in columns if known is None or c.path.split('.')[0] in known]
    if not any(c.physical_type == 'BYTE_ARRAY' for c in chosen):
        return _ROWS
    return max(1, min(_ROWS, most // max(1, size)))


def numbers_of(file: Path, column: str, values: Any) -> np.ndarray:
    """Return a column of numbers, or of lists of numbers of one length, as float64."""
    try:
        return np.array(values.to_pylist(), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f'LeRobot dataset {file}: column {column}: got {error}, allowed rows of one length') from error


def picture(folder: Path, image: Any) -> np.ndarray:
    """Return the picture of a row, JPEG or PNG, in it or in a file of its own, as those of a camera's topic."""
    if not isinstance(image, Mapping):
        raise DataError(f'LeRobot dataset {folder}: got {shown(image)} for a picture, allowed bytes or a path')
    data = image.get('bytes') or read_bytes(dataset_file(folder, str(image.get('path'))), MOST_PICTURE)
    return decode_file(f'LeRobot dataset {folder}: picture', data)


def video_pictures(file: Path, start: float, rows: np.ndarray, rate: float) -> Iterator[np.ndarray]:
    """Yield the pictures of rows that increase, from ``start`` [s] on in the file: for each the nearest in time."""
    import av

    wanted = iter((start + rows / rate).tolist())
    due = next(wanted, None)
    try:
        container_format = _CONTAINERS.get(file.suffix)
        if container_format is None:
            raise DataError(f'LeRobot dataset {file}: got a video {file.suffix}, allowed {listed(_CONTAINERS)}')
        # Opened here and of a known format: what lists other files, or addresses, is no video.
        with open_regular(file) as source, av.open(source, mode='r', format=container_format) as container:
            stream = container.streams.video[0]
            if stream.width * stream.height > MOST_PIXELS:
                raise _too_large(file, stream)
            stream.thread_type = 'AUTO'
            if start > 1.0 and stream.time_base:
                container.seek(int(start / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                while due is not None and frame.time is not None and frame.time > due - 0.5 / rate:
                    if frame.time > due + 0.5 / rate:
                        raise DataError(f'LeRobot dataset {file}: no picture at {due:.3f} s')
                    yield _rgb(file, frame)
                    due = next(wanted, None)
                if due is None:
                    return
    except DataError:
        raise
    except Exception as error:  # PyAV's own errors are of many kinds.
        raise DataError(f'LeRobot dataset {file}: cannot be decoded ({_reason(error)})') from error


def _rgb(file: Path, frame: Any) -> np.ndarray:
    if frame.width * frame.height > MOST_PIXELS:
        raise _too_large(file, frame)
    rgb: np.ndarray = frame.to_ndarray(format='rgb24')
    return rgb


def _too_large(file: Path, picture: Any) -> DataError:
    return DataError(
        f'LeRobot dataset {file}: got {picture.width} x {picture.height} pixels, allowed up to {MOST_PIXELS}'
    )


def _reason(error: Exception) -> str:
    return f'{type(error).__name__}: {one_line(str(error))}'


TOLERANCE = 0.1  # of the time between two rows


def check_rows(columns: Mapping[str, np.ndarray], rate: float, length: int | None) -> None:
    """Raise :class:`DataError` unless the rows of an episode are as many, and as old, as the dataset says.

    Columns are (N, ...) numbers each; ``rate`` is ``fps``, ``length`` the rows by ``meta/episodes``, None where it says
    nothing.
    """
    rows = min((len(column) for column in columns.values()), default=0)
    if length is not None and rows != length:
        raise DataError(f'got {rows} rows, allowed {length}, the length in meta/episodes')
    if 'timestamp' in columns:
        times = columns['timestamp'].reshape(rows, -1)[:, 0]
        off = np.abs(times - np.arange(rows) / rate) * rate
        _check('timestamp', times, off, f'{{}} / {rate:g} s, the row by fps')
    if 'frame_index' in columns:
        numbers = columns['frame_index'].reshape(rows, -1)[:, 0]
        _check('frame_index', numbers, np.abs(numbers - np.arange(rows)), '{}, the row')


def _check(name: str, values: np.ndarray, off: np.ndarray, allowed: str) -> None:
    wrong = np.flatnonzero(~(off <= TOLERANCE))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(f'{name} at row {row}: got {values[row]:g}, allowed {allowed.format(row)}')


def check_video_times(name: str, place: Mapping[str, Any], rate: float, length: int | None) -> None:
    """Raise :class:`DataError` unless a video is as long as its episode; ``from`` and ``to`` are in seconds."""
    begin, end = place.get('from'), place.get('to')
    if length is None or begin is None or end is None:
        return
    if not abs((float(end) - float(begin)) * rate - length) <= 1.0:
        raise DataError(
            f'{name}: got {begin} to {end} s in its video, allowed the {length / rate:g} s of {length} rows at '
            f'{rate:g} a second'
        )


def check_totals(info: Mapping[str, Any], lengths: Sequence[int | None]) -> None:
    """Raise :class:`DataError` unless totals in ``meta/info.json`` are those of ``meta/episodes``."""
    totals = {'total_episodes': len(lengths)}
    if lengths and None not in lengths:
        totals['total_frames'] = sum(length or 0 for length in lengths)
    for name, found in totals.items():
        announced = info.get(name)
        if announced is not None and announced != found:
            raise DataError(f'meta/info.json {name}: got {announced}, allowed {found}, what meta/episodes has')
