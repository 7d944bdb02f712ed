"""What of a zarr store (format 2) is read: arrays of numbers that are all there, unpacked to what they say.

A store's metadata may ask for any codec: one of them is pickle, which runs what it is given.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.bounded_files import MOST_TEXT, open_regular, read_bytes
from dp_ros.errors import DataError
from dp_ros.messages.images import MOST_PIXELS

MOST_FILES = 100_000
MOST_NUMBERS, MOST_CHUNK, MOST_EPISODE = 2**27, 2**28, 2**29
"""Bytes of an array of numbers, of a chunk, unpacked, and of an episode's pictures."""
_BLOSC_HEAD = struct.Struct('<4BI')


def check_files(store: Path) -> None:
    """Raise :class:`DataError` unless all that is in a store are files of its own."""
    for number, path in enumerate(store.rglob('*')):
        if number > MOST_FILES:
            raise DataError(f'got more than {MOST_FILES} files, allowed up to that')
        if path.is_symlink():
            raise DataError(f'{path.relative_to(store)}: got a link, allowed files of its own')
        if not path.is_file() and not path.is_dir():
            raise DataError(f'{path.relative_to(store)}: got a device, pipe or socket, allowed regular files')
        if path.name.startswith('.z'):
            read_bytes(path, MOST_TEXT)


def numbers_in(root: Any, name: str) -> np.ndarray:
    """Return an array of numbers, checked first."""
    array = _checked(root, name)
    size = math.prod(array.shape) * array.dtype.itemsize
    if size > MOST_NUMBERS:
        raise DataError(f'{name}: got {size} bytes, allowed up to {MOST_NUMBERS}')
    return np.asarray(array[:])


def pictures_in(root: Any, name: str) -> Any:
    """Return an array of pictures (N, H, W, 3) to be read in parts, checked first; None where there is none."""
    if root.get(name) is None:
        return None
    array = _checked(root, name)
    if array.ndim != 4 or array.shape[3] != 3 or array.shape[1] * array.shape[2] > MOST_PIXELS:
        raise DataError(f'{name}: got shape {array.shape}, allowed (N, H, W, 3)')
    return array


def _checked(root: Any, name: str) -> Any:
    array = root[name]
    about = array.metadata
    if array.dtype.kind not in 'biuf' or about.filters:
        raise DataError(f'{name}: got {array.dtype} with filters {about.filters}, allowed numbers without')
    codec = about.compressor.get_config()['id'] if about.compressor is not None else None
    if codec not in (None, 'blosc'):
        raise DataError(f'{name}: got compressor {codec!r}, allowed blosc or none')
    size = math.prod(array.chunks) * array.dtype.itemsize
    if not 0 < size <= MOST_CHUNK:
        raise DataError(f'{name}: got chunks of {size} bytes, allowed up to {MOST_CHUNK}')
    _check_chunks(Path(root.store.root) / name, array, codec, size)
    return array


def _check_chunks(folder: Path, array: Any, codec: str | None, size: int) -> None:
    """Refuse chunks that unpack to other than a chunk; those that are not there are zeros, as zarr writes them."""
    grid = [-(-length // chunk) for length, chunk in zip(array.shape, array.chunks, strict=True)]
    wanted, chunks = math.prod(grid), [p for p in folder.rglob('*') if p.is_file() and not p.name.startswith('.z')]
    if len(chunks) > wanted:
        raise DataError(f'{folder.name}: got {len(chunks)} chunks, allowed up to {wanted}')
    for path in chunks:
        with open_regular(path) as file:
            head = file.read(_BLOSC_HEAD.size)
        got = path.stat().st_size if codec is None else _BLOSC_HEAD.unpack(head)[4]
        if got != size:
            raise DataError(f'{folder.name}/{path.name}: got a chunk of {got} bytes, allowed {size}')
