"""Demonstrations in HDF5 as robomimic has them (``data/demo_0/actions``, ``data/demo_0/obs/...``) as episodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.config import TaskSpec
from dp_ros.errors import DataError, listed
from dp_ros.training.collector import Episode, FrameStore
from dp_ros.training.tables import Table, episode_from_table

SUFFIXES = ('.hdf5', '.h5')


def read_hdf5(
    path: Path | str, task: TaskSpec, frames: FrameStore | None = None, *, rate: float | None = None
) -> Iterator[Episode]:
    """Yield the demonstrations in the file at ``path``, in order of number.

    A stream's topic is the name of an observation (``robot0_joint_pos``, ``agentview_image``), the action's is
    ``actions``, or that of an observation. robomimic's own actions are mostly steps of the gripper in space, which are
    no joint positions: with ``next_state`` the robot's own joints are the action.

    Parameters
    ----------
    path, task, frames
        As for `read_episode`.
    rate
        Rows a second; None takes the file's ``env_args`` (``control_freq``).

    """
    import h5py

    path = Path(path)
    try:
        file: Any = h5py.File(path, 'r')
    except OSError as error:
        raise DataError(f'HDF5 {path}: cannot be opened ({error}); allowed a whole HDF5 file') from error
    with file:
        data = file.get('data')
        demos = sorted(data, key=_number) if isinstance(data, h5py.Group) else []
        if not demos:
            raise DataError(f"HDF5 {path}: lacks data/demo_0; it has {listed(file)}, allowed robomimic's form")
        rate = rate or _rate(path, data)
        for name in demos:
            try:
                yield episode_from_table(_table(name, data[name], rate), task, frames)
            except DataError as error:
                raise DataError(f'HDF5 {path}: {error}') from error


def _number(name: str) -> tuple[int, str]:
    digits = ''.join(c for c in name if c.isdigit())
    return int(digits or 0), name


def _rate(path: Path, data: Any) -> float:
    import json

    try:
        return float(json.loads(data.attrs['env_args'])['env_kwargs']['control_freq'])
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            f'HDF5 {path}: data.attrs env_args names no control_freq ({type(error).__name__}: {error}); allowed rows/s'
        ) from error


def _table(name: str, demo: Any, rate: float) -> Table:
    if 'actions' not in demo or 'obs' not in demo:
        raise DataError(f'{name}: got {listed(demo)}, allowed actions and obs')
    arrays = {'actions': demo['actions'], **demo['obs']}
    cameras = tuple(n for n, a in arrays.items() if a.ndim == 4)

    def pictures(column: str, rows: np.ndarray) -> Iterable[np.ndarray]:
        for row in rows.tolist():
            pixels = np.asarray(arrays[column][row])
            if pixels.dtype != np.uint8 or pixels.shape[-1] != 3:
                raise DataError(f'{name} {column}: got {pixels.dtype} {pixels.shape}, allowed uint8 (H, W, 3)')
            yield pixels

    numbers = {n: np.asarray(a[:]) for n, a in arrays.items() if a.ndim <= 2}
    return Table(name=name, rate=rate, columns=numbers, labels={}, cameras=cameras, pictures=pictures)
