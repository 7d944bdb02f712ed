"""Demonstrations in HDF5 as robomimic has them (``data/demo_0/actions``, ``data/demo_0/obs/...``) as episodes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.bounded_files import from_json, open_regular
from dp_ros.errors import DataError, listed
from dp_ros.messages.images import MOST_PIXELS
from dp_ros.recordings.datasets.tables import Table, whole

MOST_BYTES = 2**27
"""Bytes of one column of numbers of a demonstration, or of a packed block of pictures."""
SUFFIXES = ('.hdf5', '.h5')


def hdf5_tables(path: Path) -> Generator[Callable[[], Table]]:
    """Yield for each demonstration a function that reads its table, while the file is open; it may raise DataError."""
    import h5py

    try:
        open_regular(path).close()
        file: Any = h5py.File(path, 'r')
    except (OSError, DataError) as error:
        raise DataError(f'HDF5 {path}: cannot be opened ({error}); allowed a whole HDF5 file') from error
    with file:
        with whole(f'HDF5 {path}'):
            data = _own(file, 'data')
            demos = sorted(data, key=_number) if isinstance(data, h5py.Group) else []
            if not demos:
                raise DataError(f"lacks data/demo_0; it has {listed(file)}, allowed robomimic's form")
            rate = _rate(data)

        def read(name: str) -> Table:
            with whole(f'HDF5 {path}'):
                return _table(name, _own(data, name), rate)

        yield from (partial(read, name) for name in demos)


def _own(group: Any, name: str) -> Any:
    """Return what a group has itself under a name, or None; links to elsewhere are refused."""
    import h5py

    link = group.get(name, getlink=True) if name in group.keys() else None  # noqa: SIM118, for a link to nothing
    if link is not None and not isinstance(link, h5py.HardLink):
        raise DataError(f'{group.name}/{name}: got a {type(link).__name__}, allowed what is in the file itself')
    return None if link is None else group[name]


def _number(name: str) -> tuple[int, str]:
    digits = ''.join(c for c in name if c in '0123456789')
    return int(digits[:18] or 0), name


def _rate(data: Any) -> float:
    try:
        return float(from_json(data.attrs['env_args'], finite=False)['env_kwargs']['control_freq'])
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            f'data.attrs env_args names no control_freq ({type(error).__name__}: {error}); allowed rows/s'
        ) from error


def _table(name: str, demo: Any, rate: float) -> Table:
    import h5py

    actions, seen = (_own(demo, part) if isinstance(demo, h5py.Group) else None for part in ('actions', 'obs'))
    if actions is None or not isinstance(seen, h5py.Group):
        raise DataError(f'{name}: got {listed(demo)}, allowed actions and obs')
    arrays = {'actions': actions, **{key: _own(seen, key) for key in seen}}
    arrays = {n: a for n, a in arrays.items() if isinstance(a, h5py.Dataset) and a.dtype.kind in 'biuf'}
    for column, array in arrays.items():
        _check_stored(f'{name} {column}', array)
    cameras = tuple(n for n, a in arrays.items() if a.ndim == 4)

    def pictures(column: str, rows: np.ndarray) -> Iterable[np.ndarray]:
        array = arrays[column]
        _, height, width, depth = array.shape
        if array.dtype != np.uint8 or depth != 3 or height * width > MOST_PIXELS:
            raise DataError(f'{name} {column}: got {array.dtype} {array.shape[1:]}, allowed uint8 (H, W, 3)')
        return (np.asarray(array[row]) for row in rows.tolist())

    numbers = {n: np.asarray(a[:]) for n, a in arrays.items() if 1 <= a.ndim <= 2}
    return Table(name=name, rate=rate, columns=numbers, labels={}, cameras=cameras, pictures=pictures)


def _check_stored(what: str, array: Any) -> None:
    """Raise :class:`DataError` for what is in another file, or would take more memory than is reasonable."""
    if array.external or array.is_virtual:
        raise DataError(f'{what}: got one that is stored in other files, allowed what is in the file itself')
    at_once = int(np.prod(array.chunks, dtype=object)) * array.dtype.itemsize if array.chunks else 0
    if array.ndim <= 2:
        at_once = max(at_once, array.size * array.dtype.itemsize)
    if at_once > MOST_BYTES:
        raise DataError(f'{what}: got {at_once} bytes to read at once, allowed up to {MOST_BYTES}')
