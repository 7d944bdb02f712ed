"""Compare what a LeRobot dataset says of itself with its rows: bookkeeping is believed only where it agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dp_ros.errors import DataError

TOLERANCE = 0.1  # of the time between two rows


def check_rows(columns: Mapping[str, np.ndarray], rate: float, length: int | None) -> None:
    """Raise :class:`DataError` unless the rows of an episode are as many, and as old, as the dataset says.

    Parameters
    ----------
    columns
        The episode's numbers by column, (N, ...) each.
    rate
        Rows a second, as ``fps`` says.
    length
        Rows of the episode, as ``meta/episodes`` says; None where it says nothing.

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
