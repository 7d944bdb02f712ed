"""Files as a bundle needs them: hashed, parsed strictly, replaced whole, and named in every error."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.bounded_files import MOST_JSON, from_json, open_regular, read_bytes
from dp_ros.errors import BundleError, DataError, DpRosError


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn every error about a file into a BundleError that starts with its path."""
    try:
        yield
    except FileNotFoundError as error:
        raise BundleError(f'{path}: got no such file, allowed a complete bundle') from error
    except OSError as error:
        raise BundleError(f'{path}: cannot be read ({error}), allowed a readable file') from error
    except DpRosError as error:
        raise BundleError(f'{path}: {error}') from error


def sha256(path: Path) -> str:
    """Return a file's SHA-256, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def check_sha256(got: str, expected: str) -> None:
    """Raise BundleError unless a file's SHA-256 is the one that the manifest has."""
    if got != expected:
        raise BundleError(f'SHA-256: got {got}, allowed {expected[:80]}; the file was altered after export')


def read_json(path: Path) -> Any:
    """Read JSON; a key given twice and numbers that are not finite are refused."""
    return from_json(read_bytes(path, MOST_JSON))


MOST_ARRAYS = 2**28
"""Bytes of arrays in an npz file."""


def read_npz(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file; none is made before it is known that it is there as large as it says."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        check_zip(archive, MOST_ARRAYS)
        return {info.filename.removesuffix('.npy'): _array(archive, info) for info in archive.infolist()}


def check_zip(archive: zipfile.ZipFile, most: int) -> None:
    """Raise :class:`DataError` for an archive that unpacks to more than ``most`` bytes, or has a name twice."""
    infos = archive.infolist()
    total = sum(info.file_size for info in infos)
    if total > most:
        raise DataError(f'got an archive that unpacks to {total} bytes, allowed up to {most}')
    if len({info.filename for info in infos}) < len(infos):
        raise DataError('got a name twice in an archive, allowed once')


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    npy = np.lib.format
    with archive.open(info) as file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise DataError(f'{info.filename}: got npy version {version}, allowed 1.0 and 2.0')
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, column_major, dtype = read_header(file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or dtype.kind not in 'biuf':
            raise DataError(f'{info.filename}: got {dtype}, which may be a pickle, allowed arrays of numbers')
        left = info.file_size - file.tell()
        if min(shape, default=0) < 0 or size != left:
            raise DataError(f'{info.filename}: got shape {shape} of {dtype} in {left} bytes, allowed what is stored')
        content = file.read()
    return np.frombuffer(content, dtype).reshape(shape, order='F' if column_major else 'C').copy()


def write_json(path: Path, plain: Any) -> None:
    """Write JSON that `read_json` takes."""
    try:
        text = json.dumps(plain, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleError(f'{error}; allowed what JSON can hold, finite numbers only') from error
    path.write_text(text + '\n', encoding='utf-8')


def put_in_place(new: Path, folder: Path, old: Path) -> None:
    """Move the folder ``new`` to ``folder`` and what was there to ``old``; on failure what was there comes back."""
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(new, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
